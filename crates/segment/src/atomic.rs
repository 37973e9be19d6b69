//! The atomic operations of this crate: those of the machine, or those of the model checker.

#[cfg(loom)]
mod model;

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{Ordering, fence};

#[cfg(loom)]
pub(crate) use model::AtomicU64;
