//! The part of a snapshot about pools: their workers, rows and requests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use super::{Costs, Histogram, PostMortem};
use crate::moment::UnixTime;

/// A pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Pool {
    /// Whether it works as configured.
    pub state: PoolState,
    /// Since when it does not work as configured.
    pub degraded_since: Option<UnixTime>,
    /// Workers it should have.
    pub processes: u32,
    /// Threads of each worker.
    pub threads: u32,
    /// Requests in flight in each worker, at most.
    pub concurrency: u32,
    /// Requests in flight in all workers, at most.
    pub capacity: u64,
    /// Workers that take requests.
    pub ready: u32,
    /// Claimed rows.
    pub busy: u64,
    /// Busy rows past the time their request was allowed.
    pub stuck: u64,
    /// Requests that wait for a row.
    pub queued: u64,
    /// Most requests that may wait for a row.
    pub queue_length: u64,
    /// How long the request has waited that has waited longest.
    pub queue_oldest_ms: u64,
    /// Since when no row has been free.
    pub full_since: Option<UnixTime>,
    /// Since when the queue has had no room.
    pub queue_full_since: Option<UnixTime>,
    /// Length of the window that `queue_wait_ms` and `run_ms` are about.
    pub window_s: u64,
    /// Waits in the queue, in the window.
    pub queue_wait_ms: Percentiles,
    /// Times in the application, in the window.
    pub run_ms: Percentiles,
    /// Requests shed, by reason.
    pub shed_total: ShedTotal,
    /// The last waits that were long, the latest first, and who held the rows meanwhile.
    pub blame: Vec<Blame>,
    /// Requests whose client left while they waited.
    pub left_total: u64,
    /// Workers replaced, by reason.
    pub recycles_total: BTreeMap<String, u64>,
    /// Workers that were replaced last, the latest first, as far as this proxy process knows.
    pub recycled: Vec<Recycled>,
    /// Workers that are to be replaced.
    pub recycles_pending: Vec<PendingRecycle>,
    /// When a worker is started again that is held back because those before it died.
    pub retry_in_ms: Option<u64>,
    /// How the last worker that exited unasked ended.
    pub last_exit: Option<LastExit>,
    /// What workers were doing when they got stuck, were killed or crashed, the latest last.
    pub post_mortems: Vec<PostMortem>,
    /// Its processes, by slot, then generation.
    pub workers: Vec<Worker>,
    /// Requests handed to workers.
    pub requests_total: u64,
    /// Waits in the queue of all requests handed to workers, in milliseconds.
    pub queue_wait_ms_total: u64,
    /// Times in the application of all requests handed to workers, in milliseconds.
    pub run_ms_total: u64,
    /// Waits in the queue since the start, by how long they were.
    pub queue_wait: Histogram,
    /// Times in the application since the start, by how long they were.
    pub run: Histogram,
}

impl Pool {
    /// Tells whether its rows are requests of an asynchronous worker, not threads.
    pub fn is_service(&self) -> bool {
        self.threads < self.concurrency
    }
}

/// Whether a pool works as configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum PoolState {
    /// It does.
    #[default]
    Ok,
    /// Its first workers are on their way.
    Starting,
    /// Workers are missing that should be there.
    Degraded,
    /// No worker takes requests, and none is starting.
    Down,
}

impl PoolState {
    /// Returns its name in the document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Starting => "starting",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// Times of the requests of a window, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Percentiles {
    /// Half took no longer.
    #[serde(serialize_with = "short_number")]
    pub p50: f64,
    /// 99 of 100 took no longer.
    #[serde(serialize_with = "short_number")]
    pub p99: f64,
    /// The longest.
    #[serde(serialize_with = "short_number")]
    pub max: f64,
}

/// Requests shed, by reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[serde(default)]
pub struct ShedTotal {
    /// The queue was full.
    pub queue_full: u64,
    /// The request waited too long.
    pub queue_timeout: u64,
    /// The request would have waited too long.
    pub predicted_wait: u64,
    /// No worker was ready or starting.
    pub pool_not_ready: u64,
}

impl ShedTotal {
    /// Returns each reason with its number.
    pub(crate) fn entries(&self) -> [(&'static str, u64); 4] {
        [
            ("queue-full", self.queue_full),
            ("queue-timeout", self.queue_timeout),
            ("predicted-wait", self.predicted_wait),
            ("pool-not-ready", self.pool_not_ready),
        ]
    }

    /// Returns all of them.
    pub fn sum(&self) -> u64 {
        self.entries().into_iter().map(|(_, number)| number).sum()
    }
}

/// A wait that was long, and who held the rows meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Blame {
    /// When the wait ended.
    pub at: UnixTime,
    /// How long the wait was.
    pub waited_ms: u64,
    /// Rows that were held.
    pub held: u32,
    /// Rows that there were.
    pub capacity: u32,
    /// The routes that held most of them.
    pub routes: Vec<Blamed>,
}

/// What one route held.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Blamed {
    /// Its site, if that has a host, and its path.
    pub route: String,
    /// Rows it held.
    pub count: u32,
    /// Half of the rows it held had been held no longer.
    pub median_age_ms: u64,
}

/// A worker that was replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Recycled {
    /// When its replacement was ready, or it had to go without.
    pub at: UnixTime,
    /// Place of the worker.
    pub slot: u32,
    /// Which worker in that slot.
    pub generation: u32,
    /// Why.
    pub reason: String,
    /// Its resident memory when it was looked at last.
    pub rss_bytes: Option<u64>,
}

impl Recycled {
    /// Most of them that are kept of a pool.
    pub const KEPT: usize = 16;
}

/// A worker that is to be replaced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct PendingRecycle {
    /// Place of the worker.
    pub slot: u32,
    /// Why.
    pub reason: String,
}

/// How a worker ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LastExit {
    /// When.
    pub at: UnixTime,
    /// Place of the worker.
    pub slot: u32,
    /// Which worker in that slot.
    pub generation: u32,
    /// How, as `signal 9` or `status 1`.
    pub exit: String,
    /// Its status, if it ended by itself.
    pub status: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// What it printed last to standard error: the traceback of Python, at most 100 lines and
    /// 16 KiB, or at most five lines.
    pub stderr: Vec<String>,
    /// Its resident memory when it was looked at last.
    pub rss_bytes: Option<u64>,
    /// Processor time it had used when it was looked at last.
    pub cpu_s: Option<f64>,
}

/// A worker process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Worker {
    /// Its place.
    pub slot: u32,
    /// Which worker in that slot.
    pub generation: u32,
    /// Its process.
    pub pid: u32,
    /// Where it is in its life.
    pub state: WorkerState,
    /// Seconds since it was started.
    pub age_s: f64,
    /// Resident memory of its process group.
    pub rss_bytes: Option<u64>,
    /// Processor time used.
    pub cpu_s: Option<f64>,
    /// Requests it ended.
    pub requests_total: u64,
    /// Its rows: threads, or places of an asynchronous worker.
    pub threads: Vec<Thread>,
}

impl Worker {
    /// Tells whether it takes requests.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.state, WorkerState::Ready)
    }
}

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum WorkerState {
    /// It has not said that it is ready.
    #[default]
    Starting,
    /// It answers its warm-up requests.
    Warming,
    /// It takes requests.
    Ready,
    /// It takes no more and finishes those it has.
    Draining,
    /// It was killed; the kernel has not yet reported its end.
    Killed,
}

impl WorkerState {
    /// Returns its name in the document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Warming => "warming",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Killed => "killed",
        }
    }

    /// Tells whether the worker is on its way out.
    pub(crate) fn is_ending(self) -> bool {
        matches!(self, Self::Draining | Self::Killed)
    }
}

/// One unit of a worker's concurrency.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[expect(clippy::struct_field_names, reason = "the document calls its number so")]
#[serde(default)]
pub struct Thread {
    /// Its number in the worker, from 0.
    pub thread: u32,
    /// The kernel's number of the thread, if the worker tells it.
    pub tid: Option<u32>,
    /// What it is doing.
    pub state: ThreadState,
    /// Its request is past the time it was allowed.
    pub stuck: bool,
    /// Requests it ended.
    pub requests_total: u64,
    /// Processor time used.
    pub cpu_s: Option<f64>,
    /// The request in it.
    pub request: Option<Request>,
}

/// What a row is doing: its letter in the scoreboard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum ThreadState {
    /// `_`: waiting for a request.
    #[serde(rename = "_")]
    Idle,
    /// `S`: its worker is not ready yet.
    #[serde(rename = "S")]
    Starting,
    /// `W`: in the application.
    #[serde(rename = "W")]
    Working,
    /// `G`: in the application of a worker that is on its way out.
    #[serde(rename = "G")]
    Finishing,
    /// `.`: no process, or one that takes no more requests.
    #[default]
    #[serde(rename = ".")]
    Absent,
}

impl ThreadState {
    /// Decides the state of a row of a worker.
    pub fn of(worker: WorkerState, busy: bool) -> Self {
        match (worker, busy) {
            (WorkerState::Draining | WorkerState::Killed, true) => Self::Finishing,
            (WorkerState::Draining | WorkerState::Killed, false) => Self::Absent,
            (WorkerState::Starting | WorkerState::Warming | WorkerState::Ready, true) => {
                Self::Working
            }
            (WorkerState::Starting | WorkerState::Warming, false) => Self::Starting,
            (WorkerState::Ready, false) => Self::Idle,
        }
    }

    /// Returns the letter.
    pub fn letter(self) -> char {
        match self {
            Self::Idle => '_',
            Self::Starting => 'S',
            Self::Working => 'W',
            Self::Finishing => 'G',
            Self::Absent => '.',
        }
    }

    /// Tells whether a request is in it.
    pub fn is_busy(self) -> bool {
        matches!(self, Self::Working | Self::Finishing)
    }
}

/// A request in the application.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Request {
    /// Its id.
    pub id: String,
    /// Its method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Host as the client sent it.
    pub host: String,
    /// Site that matched.
    pub site: String,
    /// Address of the client.
    pub client: String,
    /// Protocol of the client.
    pub protocol: String,
    /// How long it waited for its row.
    pub queued_ms: u64,
    /// How long it has been in the application.
    pub running_ms: u64,
    /// The route that led it there.
    pub route: String,
    /// Processor time it has used, where its worker tells; read once a second, or when it ends.
    pub cpu_ms: Option<u64>,
    /// What the application has reported of it so far.
    pub costs: Costs,
}

/// Writes a whole number without a fraction, as the document's readers expect of `0`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn short_number<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "`as` saturates, and what it changed is written as it was"
    )]
    let (whole, back) = (*number as u64, (*number as u64) as f64);
    #[expect(clippy::float_cmp, reason = "the question is whether they are exactly equal")]
    let is_whole = back == *number;
    if is_whole { serializer.serialize_u64(whole) } else { serializer.serialize_f64(*number) }
}
