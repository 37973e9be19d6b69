//! What the dispatcher hears from the tasks beside it.

use std::collections::BTreeMap;

use crate::message::{FromProxy, WorkerId};
use crate::post_mortem::PostMortem;
use crate::stacks::PoolStacks;

/// Events that may wait for the dispatcher; who sends more waits.
pub(crate) const QUEUE: usize = 1024;

/// Names one set of workers for as long as the supervisor lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SetId(pub(crate) u64);

/// Something happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// A worker said that it is ready.
    WorkerReady(WorkerId),
    /// All is known about the end of a worker.
    WorkerTold {
        /// The worker.
        id: WorkerId,
        /// Its set.
        set: SetId,
        /// Why and how it ended, with its last words.
        story: String,
        /// What it printed last to standard error; empty where it was told to end.
        last_words: Vec<String>,
    },
    /// What a worker is, or was, doing was written down.
    PostMortem(Box<PostMortem>),
    /// The workers of a pool said what they are doing, for the proxy process.
    Stacks(Box<PoolStacks>),
    /// Workers were looked at. Resident memory of their process groups, in bytes, by their number.
    Memory(BTreeMap<i32, u64>),
    /// The proxy process said something.
    FromProxy {
        /// Which one.
        incarnation: u32,
        /// What.
        message: FromProxy,
    },
    /// The proxy process closed its channel, or said something that cannot be understood.
    ProxyLost {
        /// Which one.
        incarnation: u32,
        /// What cannot be understood.
        error: Option<std::io::Error>,
    },
}
