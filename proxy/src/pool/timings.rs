//! How long requests waited and ran lately: percentiles over the last minute.
//!
//! Durations are counted in buckets that grow by a quarter of a power of two, so that a percentile
//! is exact to 19 %; six slots of ten seconds each forget in turn.

use std::time::{Duration, Instant};

/// Buckets: four for each power of two of microseconds, up to about nine hours.
const BUCKETS: usize = 4 * 36;
const SLOTS: usize = 6;
const SLOT: Duration = Duration::from_secs(10);

/// The window in seconds, for the status page.
pub(crate) const WINDOW_S: u64 = SLOT.as_secs() * SLOTS as u64;

/// The two durations of a pool.
#[derive(Debug)]
pub(crate) struct Timings {
    /// From arrival to permit.
    pub(crate) queue_wait: Window,
    /// From permit to the end of the handler.
    pub(crate) run: Window,
}

impl Timings {
    /// Empty windows that begin now.
    pub(crate) fn new(now: Instant) -> Self {
        Self { queue_wait: Window::new(now), run: Window::new(now) }
    }
}

/// What the status page shows of one duration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Percentiles {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
}

/// The durations of the last minute.
#[derive(Debug)]
pub(crate) struct Window {
    start: Instant,
    slots: [Slot; SLOTS],
}

#[derive(Clone, Debug)]
struct Slot {
    /// Which ten seconds since `start` it holds.
    number: u64,
    counts: [u32; BUCKETS],
    max: Duration,
}

impl Window {
    fn new(start: Instant) -> Self {
        let empty = Slot { number: 0, counts: [0; BUCKETS], max: Duration::ZERO };
        Self { start, slots: std::array::from_fn(|_| empty.clone()) }
    }

    /// Counts one duration.
    pub(crate) fn record(&mut self, duration: Duration, now: Instant) {
        let number = self.number(now);
        let slot = &mut self.slots[usize::try_from(number).unwrap_or(0) % SLOTS];
        if slot.number != number {
            *slot = Slot { number, counts: [0; BUCKETS], max: Duration::ZERO };
        }
        let count = &mut slot.counts[bucket(duration)];
        *count = count.saturating_add(1);
        slot.max = slot.max.max(duration);
    }

    /// Sums the window up.
    pub(crate) fn percentiles(&self, now: Instant) -> Percentiles {
        let number = self.number(now);
        let is_recent = |slot: &&Slot| number < slot.number.saturating_add(SLOTS as u64);
        let recent: Vec<&Slot> = self.slots.iter().filter(is_recent).collect();
        let count = |bucket: usize| -> u64 {
            recent.iter().map(|slot| u64::from(slot.counts[bucket])).sum()
        };
        let total: u64 = (0..BUCKETS).map(count).sum();
        let max = recent.iter().map(|slot| slot.max).max().unwrap_or_default();
        let at = |permille: u64| {
            let wanted = (total * permille).div_ceil(1000);
            let mut seen = 0;
            let found = (0..BUCKETS).find(|&bucket| {
                seen += count(bucket);
                0 < wanted && wanted <= seen
            });
            found.map_or(Duration::ZERO, |bucket| upper_bound(bucket).min(max))
        };
        Percentiles { p50: at(500), p99: at(990), max }
    }

    fn number(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs() / SLOT.as_secs()
    }
}

/// The bucket of a duration: its power of two, and the two bits behind the first.
fn bucket(duration: Duration) -> usize {
    let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(4);
    let power = us.ilog2();
    let quarter = (us >> (power - 2)) & 3;
    let index = u64::from(power - 2) * 4 + quarter;
    usize::try_from(index).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The longest duration that falls into a bucket.
fn upper_bound(bucket: usize) -> Duration {
    if bucket == 0 {
        return Duration::ZERO;
    }
    let (power, quarter) = (bucket / 4, bucket as u64 % 4);
    Duration::from_micros(((5 + quarter) << power) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact_to_a_fifth_and_forget_after_a_minute() {
        let start = clock_start();
        let mut window = Window::new(start);
        assert_eq!(window.percentiles(start), Percentiles::default());
        for ms in 1..=100 {
            window.record(Duration::from_millis(ms), start);
        }
        let found = window.percentiles(start);
        let is_near = |found: Duration, ms: u64| {
            let exact = Duration::from_millis(ms);
            exact <= found && found <= exact.mul_f64(1.25)
        };
        assert!(is_near(found.p50, 50), "{found:?}");
        assert!(is_near(found.p99, 99), "{found:?}");
        assert_eq!(found.max, Duration::from_millis(100));
        assert_eq!(window.percentiles(start + Duration::from_secs(59)), found);
        assert_eq!(window.percentiles(start + Duration::from_secs(61)), Percentiles::default());
    }

    #[test]
    fn every_duration_has_a_bucket_that_holds_it() {
        for us in [0_u64, 1, 4, 5, 7, 8, 9, 1_000, 123_456, 3_600_000_000] {
            let duration = Duration::from_micros(us);
            let bound = upper_bound(bucket(duration));
            assert!(us <= 4 || duration <= bound, "{us} µs in {bound:?}");
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    fn clock_start() -> Instant {
        crate::clock::now()
    }
}
