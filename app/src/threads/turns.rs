//! Threads that share one lock take turns.
//!
//! The threads of an interpreter have a lock that only one of them can run with. Waking a second
//! one for what waits is useless while the first one runs, and costly: they would pass the lock
//! between them. It is useful as soon as all that have a request wait for something else, such as a
//! database. The kernel knows which of both is the case.
//!
//! So what counts as the length of a handler, for who decides whom to wake, is the time in which
//! no thread was ready to run; and a thread leaves what is queued to another one that runs. That
//! one comes back for it. If it does not within [`SLICE`], or waits, the proxy's ring, which comes
//! every millisecond while something is queued, brings the next one in.

mod reading;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ostler_segment::WAKE_COST;
use reading::Clocks;

/// How long a request has the others wait for it: some switch intervals of the interpreter (5 ms
/// in `CPython`), so that a long computation shares the processor with them from then on.
const SLICE: Duration = Duration::from_millis(20);

/// Room for what the kernel says of a thread.
const LINE_BYTES: usize = 512;

/// The threads of a worker that share one lock.
#[derive(Debug, Default)]
pub(super) struct Turns {
    threads: Mutex<Vec<Arc<Runner>>>,
    /// How many are in a request.
    running: AtomicUsize,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Runner {
    stat: File,
    clocks: Clocks,
    started: Instant,
    /// When its request began, in microseconds since `started`, and one more; 0 without one.
    begun_us: AtomicU64,
    /// How long its last request took, in microseconds.
    took_us: AtomicU64,
}

impl Turns {
    /// Adds the calling thread. `None` where the kernel does not say what threads do: then nobody
    /// waits for a turn.
    #[expect(clippy::disallowed_methods, reason = "what requests use is measured here")]
    pub(super) fn add(&self) -> Option<Arc<Runner>> {
        let runner = Arc::new(Runner {
            stat: File::open("/proc/thread-self/stat").ok()?,
            clocks: Clocks::of_thread().ok()?,
            started: Instant::now(),
            begun_us: AtomicU64::new(0),
            took_us: AtomicU64::new(u64::MAX),
        });
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&runner));
        Some(runner)
    }

    /// Tells whether another thread than the calling one runs, and will come back soon.
    pub(super) fn is_taken(&self) -> bool {
        if self.running.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.iter().any(|thread| thread.is_young() && thread.is_ready())
    }

    /// Runs a request on the calling thread, and returns for how long no thread was ready to run,
    /// if it took long.
    pub(super) fn run(&self, runner: &Runner, work: impl FnOnce()) -> Duration {
        let before = runner.is_usually_long().then(|| runner.clocks.read());
        let turn = Turn::begin(self, runner);
        work();
        let took = turn.begun.elapsed();
        drop(turn);
        runner
            .took_us
            .store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        match before {
            Some(before) if WAKE_COST <= took => runner.clocks.read().idle_since(&before, took),
            Some(_) | None => took,
        }
    }
}

/// A thread's time in a request.
struct Turn<'t> {
    turns: &'t Turns,
    runner: &'t Runner,
    begun: Instant,
}

impl<'t> Turn<'t> {
    #[expect(clippy::disallowed_methods, reason = "what requests use is measured here")]
    fn begin(turns: &'t Turns, runner: &'t Runner) -> Self {
        let begun = Instant::now();
        let since_us = (begun - runner.started).as_micros();
        runner.begun_us.store(u64::try_from(since_us).unwrap_or(0) + 1, Ordering::Relaxed);
        turns.running.fetch_add(1, Ordering::Relaxed);
        Self { turns, runner, begun }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.runner.begun_us.store(0, Ordering::Relaxed);
        self.turns.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Runner {
    /// Whether looking at the clocks is cheap beside its requests.
    fn is_usually_long(&self) -> bool {
        WAKE_COST <= Duration::from_micros(self.took_us.load(Ordering::Relaxed))
    }

    /// Whether it is in a request that began a short while ago.
    fn is_young(&self) -> bool {
        let begun = self.begun_us.load(Ordering::Relaxed);
        let age = || self.started.elapsed().saturating_sub(Duration::from_micros(begun));
        0 < begun && age() < SLICE
    }

    /// Whether it is on a processor, or ready for one (`proc_pid_stat(5)`, state `R`).
    fn is_ready(&self) -> bool {
        // The name of the thread, in parentheses, may have any characters.
        let line = read(&self.stat);
        line.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" R"))
    }
}

/// A file of the kernel, as far as it is of interest.
fn read(file: &File) -> String {
    let mut bytes = [0; LINE_BYTES];
    let count = file.read_at(&mut bytes, 0).unwrap_or(0);
    String::from_utf8_lossy(bytes.get(..count).unwrap_or_default()).into_owned()
}
