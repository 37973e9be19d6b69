//! Atomic words and futexes for the model checker.
//!
//! loom takes a sequentially consistent operation for an acquire-release one, but knows
//! sequentially consistent fences. So such an operation is a fence and then the operation here,
//! which is how processors without an instruction of their own do it. A store of that kind is an
//! exchange: loom would let another thread's exchange pass it by in modification order.
//! A futex sleeps and wakes under one lock, as the kernel's do; a model uses one of them at most.

use loom::sync::{Condvar, Mutex};

use super::{Ordering, fence};
use crate::map::Words;

#[derive(Debug)]
pub(crate) struct AtomicU64(loom::sync::atomic::AtomicU64);

impl AtomicU64 {
    pub(crate) fn new(value: u64) -> Self {
        Self(loom::sync::atomic::AtomicU64::new(value))
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        self.0.load(fenced(order, Ordering::Acquire))
    }

    pub(crate) fn store(&self, value: u64, order: Ordering) {
        if order == Ordering::SeqCst {
            self.0.swap(value, fenced(order, Ordering::Release));
        } else {
            self.0.store(value, order);
        }
    }

    pub(crate) fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.0.swap(value, fenced(order, Ordering::AcqRel))
    }

    pub(crate) fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        self.0.fetch_add(value, fenced(order, Ordering::AcqRel))
    }

    pub(crate) fn fetch_max(&self, value: u64, order: Ordering) -> u64 {
        self.0.fetch_max(value, fenced(order, Ordering::AcqRel))
    }

    pub(crate) fn fetch_or(&self, value: u64, order: Ordering) -> u64 {
        self.0.fetch_or(value, fenced(order, Ordering::AcqRel))
    }

    pub(crate) fn fetch_and(&self, value: u64, order: Ordering) -> u64 {
        self.0.fetch_and(value, fenced(order, Ordering::AcqRel))
    }

    pub(crate) fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        self.0.compare_exchange(current, new, fenced(success, Ordering::AcqRel), failure)
    }
}

fn fenced(order: Ordering, weaker: Ordering) -> Ordering {
    if order == Ordering::SeqCst {
        fence(Ordering::SeqCst);
        return weaker;
    }
    order
}

loom::lazy_static! {
    static ref SLEEPERS: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
}

impl Words<'_> {
    pub(crate) fn futex_value(self, index: usize) -> u32 {
        self.futex(index).map_or(0, |futex| value(futex))
    }

    pub(crate) fn futex_wait(self, index: usize, seen: u32) {
        let Some(futex) = self.futex(index) else { return };
        let guard = SLEEPERS.0.lock().expect("no model panics with it");
        if value(futex) == seen {
            drop(SLEEPERS.1.wait(guard).expect("no model panics with it"));
        }
    }

    pub(crate) fn futex_wake_some(self, index: usize, count: u32) {
        let Some(futex) = self.futex(index) else { return };
        futex.fetch_add(1, Ordering::SeqCst);
        let guard = SLEEPERS.0.lock().expect("no model panics with it");
        if count == 1 {
            SLEEPERS.1.notify_one();
        } else {
            SLEEPERS.1.notify_all();
        }
        drop(guard);
    }

    fn futex(&self, index: usize) -> Option<&AtomicU64> {
        self.writable()?.get(index)
    }
}

fn value(futex: &AtomicU64) -> u32 {
    u32::try_from(futex.load(Ordering::SeqCst)).expect("a model wakes seldom")
}
