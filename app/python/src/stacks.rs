//! The stacks of this process's threads, told without the interpreter lock.
//!
//! `faulthandler` writes the stacks of all threads when a signal comes, whatever holds the lock.
//! The thread that asks raises that signal itself, so they are there when `raise` returns.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{MemfdFlags, memfd_create};
use serde::Serialize;
use signal_hook::low_level::raise;

use crate::threads::Threads;

/// Most bytes of one account: 100 threads, which `faulthandler` shows at most, of 100 frames.
const MAX_BYTES: u64 = 768 * 1024;

/// How `faulthandler` begins with a thread.
const THREAD: &str = "Thread 0x";

/// Where `faulthandler` writes, and who the threads are.
#[derive(Clone)]
pub(crate) struct Stacks {
    file: Arc<Mutex<File>>,
    signal: i32,
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
        Ok(Self { file: Arc::new(Mutex::new(file)), signal, threads })
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
        raise(self.signal)?;
        file.rewind()?;
        let mut bytes = Vec::new();
        (&*file).take(MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn read(&self, text: &str) -> Vec<Thread> {
        let mut told: Vec<Thread> = Vec::new();
        for line in text.lines() {
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
