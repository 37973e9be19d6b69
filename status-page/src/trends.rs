//! The last hour as lines: what the page draws beside the numbers of one moment.

use std::collections::BTreeMap;

use crate::moment::UnixTime;

/// Numbers of the last hour, one for each step; `None` where nothing was recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trends {
    /// End of the last step.
    pub until: UnixTime,
    /// Seconds of a step.
    pub step_s: u32,
    /// Requests ended, a second.
    pub requests: Vec<Option<f64>>,
    /// Of these, answered with 500 to 599, a second.
    pub errors: Vec<Option<f64>>,
    /// Pools by name.
    pub pools: BTreeMap<String, PoolTrend>,
}

/// Numbers of one pool; of each step the worst.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolTrend {
    /// Claimed rows.
    pub busy: Vec<Option<f64>>,
    /// Requests that waited.
    pub queued: Vec<Option<f64>>,
    /// Waits in the queue, 99 of 100, in milliseconds.
    pub queue_wait_p99_ms: Vec<Option<f64>>,
    /// Times in the application, 99 of 100, in milliseconds.
    pub run_p99_ms: Vec<Option<f64>>,
    /// Requests shed, a second.
    pub shed: Vec<Option<f64>>,
}
