//! The threads of the application: who they are, and which is in a request.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

/// All threads that are known, by Python's number of them (`threading.get_ident`).
#[derive(Clone, Default)]
pub(crate) struct Threads(Arc<Mutex<BTreeMap<u64, Known>>>);

struct Known {
    name: String,
    thread: Arc<Thread>,
}

/// One thread. What it is doing changes, and is looked at by others, under the interpreter lock.
#[derive(Default)]
pub(crate) struct Thread {
    /// Python's number of it.
    pub(crate) ident: u64,
    /// The kernel's.
    tid: u32,
    /// How often it began or ended a request: odd within one.
    turns: AtomicU64,
    /// Whether an exception was sent to it during this request.
    is_interrupted: AtomicBool,
}

impl Threads {
    /// Notes the calling thread.
    pub(crate) fn add(&self, ident: u64, name: String) -> Arc<Thread> {
        let tid = rustix::thread::gettid().as_raw_pid().unsigned_abs();
        let thread = Arc::new(Thread { ident, tid, ..Thread::default() });
        self.lock().insert(ident, Known { name, thread: Arc::clone(&thread) });
        thread
    }

    /// The number that the kernel has for a thread, and its name.
    pub(crate) fn who_is(&self, ident: u64) -> Option<(u32, String)> {
        self.lock().get(&ident).map(|known| (known.thread.tid, known.name.clone()))
    }

    /// The thread that the kernel numbers so.
    pub(crate) fn with_tid(&self, tid: u32) -> Option<Arc<Thread>> {
        let threads = self.lock();
        let found = threads.values().find(|known| known.thread.tid == tid);
        found.map(|known| Arc::clone(&known.thread))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Thread {
    /// Which request it is in; `None` between requests.
    pub(crate) fn turn(&self) -> Option<u64> {
        Some(self.turns.load(Ordering::Relaxed)).filter(|turns| turns % 2 == 1)
    }

    /// Notes that a request begins.
    pub(crate) fn begin(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that it ends.
    pub(crate) fn end(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether an exception was sent to it since this was asked last.
    pub(crate) fn was_interrupted(&self) -> bool {
        self.is_interrupted.swap(false, Ordering::Relaxed)
    }

    /// Sends an exception to it with `send`, a function in C, if it is still in this request.
    pub(crate) fn interrupt(
        &self,
        turn: u64,
        send: &Bound<'_, PyAny>,
        exception: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        if self.turn() != Some(turn) {
            return Ok(false);
        }
        self.is_interrupted.store(true, Ordering::Relaxed);
        send.call1((self.ident, exception))?;
        Ok(true)
    }
}
