//! The part of a snapshot about workers that got stuck, were killed or crashed.

use serde::{Deserialize, Serialize};

use super::Costs;
use crate::moment::UnixTime;

/// What a worker was doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct PostMortem {
    /// When this was written down.
    pub at: UnixTime,
    /// What happened.
    pub moment: Moment,
    /// Place of the worker.
    pub slot: u32,
    /// Which worker in that slot.
    pub generation: u32,
    /// Its process.
    pub pid: u32,
    /// How it ended, where it has.
    pub exit: Option<String>,
    /// The requests inside it, at most 64, those past their time first.
    pub requests: Vec<HeldRequest>,
    /// How many more there were.
    pub requests_left_out: u32,
    /// Its threads, at most 64, where its requests do not say which one they are on.
    pub threads: Vec<ThreadTrace>,
    /// The last lines it printed.
    pub output: Vec<String>,
    /// Its resident memory when it was looked at last.
    pub rss_bytes: Option<u64>,
    /// Processor time it had used by then.
    pub cpu_s: Option<f64>,
}

/// When a record was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// Its threads did not come back; nothing was done about it yet.
    #[default]
    Stuck,
    /// Its time to end was over, with requests inside it.
    Killed,
    /// It ended by itself, with requests inside it.
    Crashed,
}

impl Moment {
    /// Returns its name in the document.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stuck => "stuck",
            Self::Killed => "killed",
            Self::Crashed => "crashed",
        }
    }
}

/// A request inside a worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct HeldRequest {
    /// Its id.
    pub id: String,
    /// Its method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Host as the client sent it.
    pub host: String,
    /// Address of the client.
    pub client: String,
    /// How long it had been in the application.
    pub age_ms: u64,
    /// It was past its time.
    pub stuck: bool,
    /// Processor time it had used, where its worker tells.
    pub cpu_ms: Option<u64>,
    /// What the application had reported of it.
    pub costs: Costs,
    /// The thread it is on, if the worker says so.
    pub thread: Option<ThreadTrace>,
}

/// A thread, as the kernel shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ThreadTrace {
    /// Its number.
    pub tid: u32,
    /// Its name.
    pub name: String,
    /// Its state, as `ps` shows it.
    pub state: String,
    /// The place in the kernel where it waits.
    pub wait_channel: Option<String>,
    /// Number and arguments of the system call it is in.
    pub system_call: Option<String>,
    /// Its stack in the kernel, the innermost frame first.
    pub stack: Vec<String>,
    /// Its stack in the application, where the worker shows that: the most recent call first.
    pub frames: Vec<String>,
}
