//! How many requests took how long, since the start.

use serde::{Deserialize, Serialize};

/// Upper bounds of all buckets but the last, which has none, in milliseconds.
///
/// From a handler that answers from memory to one that is about to be given up.
pub const BOUNDS_MS: [f64; 16] = [
    0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0,
    30_000.0, 60_000.0,
];

/// Requests by how long something took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Histogram {
    /// Requests in each bucket: those above the bound before it, and not above its own. The bounds
    /// are [`BOUNDS_MS`] milliseconds; the last bucket has none. Empty if nothing is known.
    pub counts: Vec<u64>,
    /// All times together, in milliseconds.
    pub sum_ms: f64,
}

impl Histogram {
    /// Adds another one. One with other buckets than ours is left out.
    pub(super) fn add(&mut self, other: &Self) {
        if other.counts.len() != BOUNDS_MS.len() + 1 {
            return;
        }
        self.counts.resize(other.counts.len(), 0);
        for (sum, other) in self.counts.iter_mut().zip(&other.counts) {
            *sum += other;
        }
        self.sum_ms += other.sum_ms;
    }
}
