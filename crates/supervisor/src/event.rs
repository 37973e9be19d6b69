//! What the dispatcher hears from the tasks beside it.

use crate::message::{FromProxy, WorkerId};
use crate::post_mortem::PostMortem;

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
        /// Its set.
        set: SetId,
        /// Why and how it ended, with its last words.
        story: String,
        /// Whether it had been ready.
        was_ready: bool,
    },
    /// A worker ended with requests inside it.
    PostMortem(Box<PostMortem>),
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
