//! Every order of events, within bounds, of what several sides do to the same words: run by the
//! model checker loom. See CONTRIBUTING.md for the command.
//!
//! A model fails when a side sleeps for ever (loom calls it a deadlock) or when what it asserts is
//! not so. What sleeps here is what sleeps in the field: threads on the futex, and whoever has an
//! eventfd on an [`Event`].

mod bell;
mod cell;
mod lane;
mod reclaim;
mod row;
mod stream;
mod waiters;

use loom::sync::{Condvar, Mutex};

use crate::atomic::AtomicU64;
use crate::cell::{CONTROL_WORDS, Cell};
use crate::map::Words;

/// Runs a model in every order with at most so many preemptions.
fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(model);
}

fn words(count: usize) -> Vec<AtomicU64> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

/// An eventfd, or anything else that is signalled and heard once.
#[derive(Debug)]
struct Event {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Event {
    fn new() -> Self {
        Self { is_set: Mutex::new(false), changed: Condvar::new() }
    }

    fn set(&self) {
        *self.is_set.lock().unwrap() = true;
        self.changed.notify_all();
    }

    fn wait(&self) {
        let mut is_set = self.is_set.lock().unwrap();
        while !*is_set {
            is_set = self.changed.wait(is_set).unwrap();
        }
        *is_set = false;
    }
}

/// A cell whose rings are one word each.
#[derive(Debug)]
struct Memory(Vec<AtomicU64>);

/// Bytes of a ring of [`Memory`].
const RING_BYTES: usize = 8;

impl Memory {
    fn new() -> Self {
        Self(words(CONTROL_WORDS + 2))
    }

    fn cell(&self) -> Cell<'_> {
        Cell::new(Words::of_memory(&self.0)).expect("it can be written")
    }
}
