//! Ten seconds of the server in a few numbers: what trends are drawn from, and what the history
//! keeps of each minute so that an hour is not read second by second.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::count;
use crate::moment::UnixTime;
use crate::snapshot::Snapshot;

/// One step. Several of the same time can be joined.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    /// Which one: seconds since 1970, divided by [`Step::SECONDS`].
    pub number: u64,
    /// Time that the counts are of, in milliseconds; 0: nothing was counted.
    pub covered_ms: u64,
    /// Requests ended.
    pub requests: u64,
    /// Of these, answered with 500 to 599.
    pub errors: u64,
    /// Pools by name.
    pub pools: BTreeMap<String, PoolStep>,
}

/// One step of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolStep {
    /// Most claimed rows.
    pub busy: u64,
    /// Most requests that waited.
    pub queued: u64,
    /// The longest of these waits, 99 of 100, in milliseconds.
    pub queue_wait_p99_ms: f64,
    /// The longest of these times, 99 of 100, in milliseconds.
    pub run_p99_ms: f64,
    /// Requests shed.
    pub shed: u64,
}

impl Step {
    /// Seconds of a step.
    pub const SECONDS: u32 = 10;

    /// Returns the number of the step that a moment is in.
    pub fn number_of(at: UnixTime) -> u64 {
        at.ms / (u64::from(Self::SECONDS) * 1_000)
    }

    /// Returns when a step begins.
    pub fn start_of(number: u64) -> UnixTime {
        UnixTime::from_ms(number.saturating_mul(u64::from(Self::SECONDS) * 1_000))
    }

    /// Takes what one snapshot says alone.
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let pools = snapshot.pools.iter().map(|(name, pool)| {
            let step = PoolStep {
                busy: pool.busy,
                queued: pool.queued,
                queue_wait_p99_ms: pool.queue_wait_ms.p99,
                run_p99_ms: pool.run_ms.p99,
                shed: 0,
            };
            (name.clone(), step)
        });
        Self {
            number: Self::number_of(snapshot.taken()),
            pools: pools.collect(),
            ..Self::default()
        }
    }

    /// Adds what is known of another part of the same time.
    pub(super) fn join(&mut self, other: Self) {
        self.covered_ms = self.covered_ms.saturating_add(other.covered_ms);
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        for (name, pool) in other.pools {
            self.pools.entry(name).or_default().join(&pool);
        }
    }

    /// Returns a count of this step, a second.
    pub(super) fn rate(&self, number: u64) -> Option<f64> {
        (self.covered_ms != 0).then(|| count(number) * 1_000.0 / count(self.covered_ms))
    }
}

impl PoolStep {
    fn join(&mut self, other: &Self) {
        self.busy = self.busy.max(other.busy);
        self.queued = self.queued.max(other.queued);
        self.queue_wait_p99_ms = self.queue_wait_p99_ms.max(other.queue_wait_p99_ms);
        self.run_p99_ms = self.run_p99_ms.max(other.run_p99_ms);
        self.shed = self.shed.saturating_add(other.shed);
    }
}
