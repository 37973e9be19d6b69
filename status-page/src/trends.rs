//! The last hour as lines: what the page draws beside the numbers of one moment.

mod step;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::moment::UnixTime;
use crate::snapshot::Snapshot;

pub use step::{PoolStep, Step};

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

/// The steps of the last hour, from snapshots that come second by second.
#[derive(Clone, Debug, Default)]
pub struct TrendLog {
    /// By time, without those in which nothing was recorded.
    steps: VecDeque<Step>,
    last: Option<Sample>,
}

/// What rates are made from: counters of the snapshot before.
#[derive(Clone, Debug)]
struct Sample {
    at: UnixTime,
    requests: u64,
    errors: u64,
    shed: BTreeMap<String, u64>,
}

impl TrendLog {
    /// Steps of an hour.
    pub const STEPS: usize = 360;

    const STEP_MS: u64 = Step::SECONDS as u64 * 1_000;

    /// Two snapshots further apart than this, in milliseconds, have a gap between them.
    const MAX_GAP_MS: u64 = 5_000;

    /// Notes a snapshot that comes after those before.
    pub fn note(&mut self, snapshot: &Snapshot) {
        let sample = Sample::of(snapshot);
        let mut step = Step::of(snapshot);
        if let Some(before) = self.last.take() {
            sample.rates_since(&before, &mut step);
            if Self::STEP_MS < before.at.ms_since(sample.at) {
                // The clock was ahead: what was noted then has not come yet.
                self.steps.retain(|known| known.number <= step.number);
            }
        }
        self.last = Some(sample);
        self.add(step);
    }

    /// Adds a step from the history. Its numbers join those that are known of the same time.
    pub fn add(&mut self, step: Step) {
        let place = self.steps.partition_point(|known| known.number < step.number);
        match self.steps.get_mut(place).filter(|known| known.number == step.number) {
            Some(known) => known.join(step),
            None => self.steps.insert(place, step),
        }
        while Self::STEPS < self.steps.len() {
            self.steps.pop_front();
        }
    }

    /// Returns the steps from one number up to another, which is not included.
    pub fn steps(&self, from: u64, to: u64) -> Vec<Step> {
        self.steps.iter().filter(|step| (from..to).contains(&step.number)).cloned().collect()
    }

    /// Returns the hour that ends with the step of this moment.
    pub fn trends(&self, until: UnixTime) -> Trends {
        let end = Step::number_of(until).saturating_add(1);
        let first = end.saturating_sub(Self::STEPS as u64);
        let mut points: Vec<Option<&Step>> = vec![None; Self::STEPS];
        for step in &self.steps {
            let place = step.number.checked_sub(first).and_then(|n| usize::try_from(n).ok());
            if let Some(point) = place.and_then(|place| points.get_mut(place)) {
                *point = Some(step);
            }
        }
        let names: BTreeSet<&String> =
            points.iter().flatten().flat_map(|step| step.pools.keys()).collect();
        let line = |value: &dyn Fn(&Step) -> Option<f64>| {
            points.iter().map(|point| point.and_then(value)).collect::<Vec<Option<f64>>>()
        };
        let pools = names.into_iter().map(|name| {
            let of = |value: fn(&Step, &PoolStep) -> Option<f64>| {
                line(&|step| step.pools.get(name).and_then(|pool| value(step, pool)))
            };
            let trend = PoolTrend {
                busy: of(|_, pool| Some(count(pool.busy))),
                queued: of(|_, pool| Some(count(pool.queued))),
                queue_wait_p99_ms: of(|_, pool| Some(pool.queue_wait_p99_ms)),
                run_p99_ms: of(|_, pool| Some(pool.run_p99_ms)),
                shed: of(|step, pool| step.rate(pool.shed)),
            };
            (name.clone(), trend)
        });
        Trends {
            until: Step::start_of(end),
            step_s: Step::SECONDS,
            requests: line(&|step| step.rate(step.requests)),
            errors: line(&|step| step.rate(step.errors)),
            pools: pools.collect(),
        }
    }
}

impl Sample {
    fn of(snapshot: &Snapshot) -> Self {
        let pools = snapshot.pools.iter();
        Self {
            at: snapshot.taken(),
            requests: snapshot.requests.total,
            errors: snapshot.requests.by_status.server_error,
            shed: pools.map(|(name, pool)| (name.clone(), pool.shed_total.sum())).collect(),
        }
    }

    /// Adds what was counted since `before`. A counter that went back belongs to another server:
    /// nothing is known of the time between.
    fn rates_since(&self, before: &Self, step: &mut Step) {
        let ms = self.at.ms_since(before.at);
        if ms == 0 || TrendLog::MAX_GAP_MS < ms {
            return;
        }
        let requests = self.requests.checked_sub(before.requests);
        let errors = self.errors.checked_sub(before.errors);
        let (Some(requests), Some(errors)) = (requests, errors) else { return };
        (step.covered_ms, step.requests, step.errors) = (ms, requests, errors);
        for (name, pool) in &mut step.pools {
            let (now, then) = (self.shed.get(name), before.shed.get(name));
            let shed = now.zip(then).and_then(|(now, then)| now.checked_sub(*then));
            pool.shed = shed.unwrap_or(0);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "it is drawn")]
fn count(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests;
