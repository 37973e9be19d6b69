//! The part of a snapshot about what changed.

use serde::{Deserialize, Serialize};

use super::UnixTime;

/// Something that changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Event {
    /// When.
    pub at: UnixTime,
    /// What.
    pub kind: EventKind,
    /// The pool or origin that it is about.
    pub subject: Option<String>,
    /// A sentence for the operator.
    pub text: String,
}

impl Event {
    /// Most events that are kept.
    pub const KEPT: usize = 50;
}

/// What changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// The server started.
    #[default]
    Started,
    /// The server began to drain.
    Draining,
    /// Another configuration came into force.
    ConfigLoaded,
    /// A configuration was refused.
    ConfigRefused,
    /// Another proxy process serves.
    ProxyReplaced,
    /// Every row of a pool was taken, or one is free again.
    PoolFull,
    /// The queue of a pool was full, or has room again.
    QueueFull,
    /// Requests were refused, or are no more.
    Shed,
    /// Workers of a pool went missing, or all are there again.
    PoolState,
    /// A worker was replaced.
    WorkerRecycled,
    /// A worker exited unasked.
    WorkerExited,
    /// Requests got stuck.
    Stuck,
    /// Requests of a route made too many database queries.
    OverBudget,
    /// A server of an origin went down, or is up again.
    OriginServer,
}
