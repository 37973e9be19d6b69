//! What supervisor and proxy process say to each other.
//!
//! One JSON document a packet (`channel`); descriptors that belong to a message travel beside it,
//! in the order its documentation names. Both sides are one binary, but two versions meet while a
//! binary is replaced: the first message of either side is `Hello` and names [`PROTOCOL`].

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize, Serializer};

/// Version of the messages in this module. A side that hears another one says so and ends.
pub const PROTOCOL: u32 = 4;

/// Longest text for the operator, in bytes; what is longer is cut. Escaped as JSON it is at most
/// six times as long, which still fits into a packet.
pub const MAX_TEXT: usize = 8 * 1024;

/// One worker process: its pool, its place there, and which process in that place.
///
/// A slot is used again after its worker exited. The generation tells the new worker from the old
/// one, so that a late message about the old one is dropped and not blamed on the new one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkerId {
    /// Name of the pool.
    pub pool: String,
    /// Place in the pool, from 0.
    pub slot: u32,
    /// How many workers have used the slot, this one included: from 1.
    pub generation: u32,
}

/// Why the proxy process wants a worker to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unfit {
    /// Threads are still busy `stuck-grace` after the `request-timeout` of their requests.
    Stuck {
        /// No thread of it is left to work.
        every_thread: bool,
    },
    /// It fails its health check.
    Health,
}

impl Unfit {
    /// What the log says.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stuck { every_thread: true } => "every-thread-stuck",
            Self::Stuck { every_thread: false } => "stuck",
            Self::Health => "unhealthy",
        }
    }
}

/// How a process ended. `Display` is what the log and the status page say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerExit {
    /// It ended by itself, with this status.
    Status(i32),
    /// This signal ended it.
    Signal(i32),
}

impl WorkerExit {
    /// Returns the status, if it ended by itself.
    pub fn status(self) -> Option<i32> {
        if let Self::Status(status) = self { Some(status) } else { None }
    }

    /// Returns the signal that ended it, if one did.
    pub fn signal(self) -> Option<i32> {
        if let Self::Signal(signal) = self { Some(signal) } else { None }
    }
}

impl fmt::Display for WorkerExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// A worker that is to be replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingRecycle {
    /// Its slot.
    pub slot: u32,
    /// Why, in a word.
    pub reason: String,
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ListenerRole {
    /// Clients: sites and their routes.
    Client,
    /// Operators: the status page, metrics, health.
    Status,
}

/// From the supervisor to the proxy process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToProxy {
    /// First message. Descriptor: the server's counter page.
    Hello {
        /// [`PROTOCOL`] of the supervisor.
        protocol: u32,
        /// Process id of the supervisor.
        supervisor_pid: u32,
        /// When the supervisor started, in milliseconds since the epoch.
        started_unix_ms: u64,
        /// Which proxy process of this supervisor: from 1.
        incarnation: u32,
    },
    /// Where access log lines go, at the start and when logs are reopened. Descriptor: the file.
    AccessLog,
    /// A pool, before its first worker and before each `Config` that names it. One that is known is
    /// left as it is. Descriptor: its counter page.
    Pool {
        /// Name of the pool.
        name: String,
    },
    /// The routes, before each `Config`: all there ever were, by number, which does not change.
    /// Descriptors: a memory file with their names as `Vec<String>` in JSON, and their counter
    /// pages, each for as many of them as fit.
    Routes,
    /// A server of an origin, before each `Config` that names it. Descriptor: its counter page.
    OriginServer {
        /// Name of the origin.
        origin: String,
        /// The server's URL, as configured.
        url: String,
    },
    /// What workers of a pool were doing when they got stuck, were killed or crashed: all that is
    /// kept, the latest last. Descriptor: a memory file with `Vec<PostMortem>` as JSON.
    PostMortems {
        /// Name of the pool, which is known.
        pool: String,
    },
    /// What the threads of a pool are doing: the answer to `Stacks`, also where another proxy process
    /// asked. Descriptor: a memory file with a `PoolStacks` as JSON.
    Stacks {
        /// Name of the pool.
        pool: String,
    },
    /// A listener, before the first `Config` that names it. Descriptors: one socket for each of
    /// the server's threads, or one socket where `role` is `Status`.
    Listener {
        /// Name in the configuration; `status` and `status-internal` for the status listeners.
        name: String,
        /// The address as bound, with the real port.
        address: String,
        /// The address as configured.
        configured: String,
        /// What it is for.
        role: ListenerRole,
    },
    /// Where the history is kept, before the first `Config`. Without it, nothing is kept.
    /// Descriptor: the file, to be read and written; it has its size.
    History,
    /// A configuration to apply: accept on the listeners it names, close the others. Descriptors:
    /// a memory file with the whole configuration as TOML, and one with the text for operators,
    /// in which each value has its source and secrets are masked. Answered by `ConfigApplied` or
    /// `ConfigRefused`.
    Config {
        /// Grows by one with each configuration.
        version: u64,
        /// When it was read, in milliseconds since the epoch.
        loaded_unix_ms: u64,
    },
    /// Why the last reload failed, for the status page; `None` when one succeeded since.
    ConfigError {
        /// Text for the operator, possibly of several lines.
        #[serde(serialize_with = "cut_some")]
        message: Option<String>,
    },
    /// A worker process runs. It gets no requests yet. Descriptors: its segment; with the ring
    /// link also the pipe of its bell and an eventfd for each lane.
    WorkerStarted {
        /// The worker.
        id: WorkerId,
        /// Its process id.
        pid: u32,
        /// Rows of its segment.
        rows: u32,
        /// The socket that it serves HTTP on.
        socket: PathBuf,
    },
    /// Request each path from the worker until it answers. Answered by `WorkerWarmed`.
    WorkerWarm {
        /// The worker.
        id: WorkerId,
        /// Paths to request, in this order.
        paths: Vec<String>,
        /// How long all of it may take, in milliseconds.
        timeout_ms: u64,
        /// Whether an answer of status 5xx is an error.
        check_status: bool,
    },
    /// The worker gets requests from here on.
    WorkerServe {
        /// The worker.
        id: WorkerId,
    },
    /// The worker gets no new requests. Answered by `WorkerWithdrawn` when none is inside it that
    /// is waited for.
    WorkerWithdraw {
        /// The worker.
        id: WorkerId,
    },
    /// The worker is being replaced, before its `WorkerWithdraw`.
    WorkerRecycled {
        /// The worker.
        id: WorkerId,
        /// Why, in a word.
        reason: String,
    },
    /// The worker's process ended.
    WorkerExited {
        /// The worker.
        id: WorkerId,
        /// How.
        exit: WorkerExit,
    },
    /// What a worker that exited unasked printed last, after its `WorkerExited`.
    WorkerLastWords {
        /// The worker.
        id: WorkerId,
        /// Lines of its standard error, the last one last.
        lines: Vec<String>,
    },
    /// What is to come in a pool, whenever that changed.
    PoolOutlook {
        /// Name of the pool.
        pool: String,
        /// Workers that are to be replaced, in this order.
        pending: Vec<PendingRecycle>,
        /// When a worker is started that waits because those before it died, in milliseconds.
        retry_in_ms: Option<u64>,
    },
    /// Which proxy processes of this supervisor live: after `Hello`, and whenever that changes.
    Proxies {
        /// Incarnations of those that live, the receiver's included.
        living: Vec<u32>,
        /// The last one that was started. Those up to it that do not live have ended.
        newest: u32,
    },
    /// Asks whether everything sent before has been carried out. Answered by `Synced`.
    Sync,
    /// The health path answers 503 from here on; everything else goes on.
    LameDuck,
    /// Close the listeners, finish what was accepted, then answer `Drained` and end.
    Drain,
}

/// From the proxy process to the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromProxy {
    /// First message.
    Hello {
        /// [`PROTOCOL`] of the proxy process.
        protocol: u32,
        /// Its process id.
        pid: u32,
    },
    /// The configuration is in force, and its listeners accept.
    ConfigApplied {
        /// Of the `Config`.
        version: u64,
    },
    /// The configuration cannot be used; the one before stays in force.
    ConfigRefused {
        /// Of the `Config`.
        version: u64,
        /// Text for the operator.
        #[serde(serialize_with = "cut")]
        message: String,
    },
    /// The worker answered every warm-up request, or did not.
    WorkerWarmed {
        /// The worker.
        id: WorkerId,
        /// What went wrong.
        #[serde(serialize_with = "cut_some")]
        error: Option<String>,
    },
    /// No request is inside the worker, but for such as are stuck and past their `stuck-grace`, and
    /// none will be sent to it.
    WorkerWithdrawn {
        /// The worker.
        id: WorkerId,
    },
    /// The worker shall be replaced.
    WorkerUnfit {
        /// The worker.
        id: WorkerId,
        /// Why.
        reason: Unfit,
    },
    /// Asks what the threads of a pool are doing. Answered by `Stacks`, within little more than two
    /// seconds; not where the configuration has no such pool.
    Stacks {
        /// Name of the pool.
        pool: String,
    },
    /// Everything that the supervisor sent before its `Sync` has been carried out.
    Synced,
    /// Every accepted request is finished; the process ends.
    Drained,
}

fn cut<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    if text.len() <= MAX_TEXT {
        return serializer.serialize_str(text);
    }
    let kept = text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default();
    serializer.serialize_str(&format!("{kept}..."))
}

#[expect(clippy::ref_option, reason = "what serde calls it with")]
fn cut_some<S: Serializer>(text: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    match text {
        Some(text) => serializer.serialize_some(&Cut(text)),
        None => serializer.serialize_none(),
    }
}

#[derive(Serialize)]
struct Cut<'a>(#[serde(serialize_with = "cut")] &'a str);
