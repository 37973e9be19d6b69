//! The stacks of this process's threads, told without the interpreter lock.
//!
//! `faulthandler` writes the stacks of all threads when a signal comes, whatever holds the lock.
//! The thread that raises that signal gets it itself, so they are there when `raise` returns.
//!
//! What `faulthandler` looks at must not change meanwhile, or it crashes the process. So whoever
//! raises the signal waits for the lock. It does without only when the lock is not to be had: what
//! holds it then is not Python, and the stacks stand still.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use pyo3::Python;
use rustix::fs::{MemfdFlags, memfd_create};
use serde::Serialize;
use signal_hook::low_level::raise;

use crate::threads::Threads;

/// Most bytes of one account: 100 threads, which `faulthandler` shows at most, of 100 frames.
const MAX_BYTES: u64 = 768 * 1024;

/// How long the interpreter lock is waited for: Python gives it up every 5 ms, if nothing else is
/// configured.
const LOCK_WAIT: Duration = Duration::from_millis(500);

/// How `faulthandler` begins with the thread that asks, which is none of the application's.
const ASKING: &str = "Current thread 0x";

/// How `faulthandler` begins with a thread.
const THREAD: &str = "Thread 0x";

/// Where `faulthandler` writes, and who the threads are.
#[derive(Clone)]
pub(crate) struct Stacks {
    file: Arc<Mutex<File>>,
    signal: i32,
    /// Whether a thread waits for the interpreter lock.
    is_waiting: Arc<AtomicBool>,
    threads: Threads,
}

#[derive(Debug, Serialize)]
struct Account {
    threads: Vec<Thread>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Thread {
    tid: Option<u32>,
    name: String,
    frames: Vec<String>,
}

impl Stacks {
    /// Makes the file that `faulthandler` is to write to at `signal`.
    pub(crate) fn new(signal: i32, threads: Threads) -> io::Result<Self> {
        let file = File::from(memfd_create("ostler-stacks", MemfdFlags::CLOEXEC)?);
        Ok(Self { file: Arc::new(Mutex::new(file)), signal, is_waiting: Arc::default(), threads })
    }

    /// The file's descriptor.
    pub(crate) fn descriptor(&self) -> i32 {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).as_raw_fd()
    }

    /// Tells them, as JSON.
    pub(crate) fn tell(&self) -> String {
        let threads = match self.written() {
            Ok(text) => self.read(&text),
            Err(error) => {
                let frames = vec![format!("(cannot be told: {error})")];
                vec![Thread { tid: None, name: String::new(), frames }]
            }
        };
        serde_json::to_string(&Account { threads }).unwrap_or_default()
    }

    /// What `faulthandler` writes.
    fn written(&self) -> io::Result<String> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.set_len(0)?;
        file.rewind()?;
        self.ask()?;
        file.rewind()?;
        let mut bytes = Vec::new();
        (&*file).take(MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Has them written, if possible while no thread runs Python.
    fn ask(&self) -> io::Result<()> {
        let signal = self.signal;
        if self.is_waiting.swap(true, Ordering::AcqRel) {
            // Whoever waited for the lock before has not got it yet.
            return raise(signal);
        }
        let (sender, written) = mpsc::channel();
        let is_done = Arc::new(AtomicBool::new(false));
        let (waiting, done) = (Arc::clone(&self.is_waiting), Arc::clone(&is_done));
        let with_lock = move || {
            Python::attach(|_py| {
                if !done.swap(true, Ordering::AcqRel) {
                    drop(sender.send(raise(signal)));
                }
            });
            waiting.store(false, Ordering::Release);
        };
        let thread = thread::Builder::new().name("ostler-stacks".to_owned()).spawn(with_lock);
        let thread = thread.inspect_err(|_none| self.is_waiting.store(false, Ordering::Release))?;
        let result = match written.recv_timeout(LOCK_WAIT) {
            Err(_late) if !is_done.swap(true, Ordering::AcqRel) => return raise(signal),
            Err(_late) => written.recv().unwrap_or_else(|lost| Err(io::Error::other(lost))),
            Ok(result) => result,
        };
        // It would be seen in what is written next.
        drop(thread.join());
        result
    }

    fn read(&self, text: &str) -> Vec<Thread> {
        let mut told: Vec<Thread> = Vec::new();
        let mut is_asking = false;
        for line in text.lines() {
            is_asking = line.starts_with(ASKING) || (is_asking && !line.starts_with(THREAD));
            if is_asking {
                continue;
            }
            if let Some((_, rest)) = line.split_once(THREAD) {
                let digits = rest.split(|it: char| !it.is_ascii_hexdigit()).next();
                let ident = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
                let (tid, name) = ident.and_then(|ident| self.threads.who_is(ident)).unzip();
                told.push(Thread { tid, name: name.unwrap_or_default(), frames: Vec::new() });
            } else if let Some(thread) = told.last_mut().filter(|_| !line.trim().is_empty()) {
                thread.frames.push(line.trim().to_owned());
            }
        }
        told
    }
}
