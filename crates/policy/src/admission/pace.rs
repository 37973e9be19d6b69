//! How fast permits come back: completions for each second that a row is held.
//!
//! The time that rows are held counts from the moment they are taken, not when they come back.
//! So an idle time changes nothing; a mix of short and long handlers is as fast as it is, not as
//! its last sample was; and when nothing comes back any more, the pace falls while one looks.
//! Old completions fade with new ones, not with time.

use std::time::{Duration, Instant};

/// Completions before a pace is believed. Fewer tell too little: nobody is refused for them.
const LEAST_COMPLETIONS: f64 = 8.0;

/// Completions that count: so many for each row, so that a burst of all rows at once (as after a
/// start) shifts the pace by no more than 1/16 …
const COMPLETIONS_A_ROW: u32 = 16;

/// … and at least so many, so that chance shifts it by about an eighth.
const COMPLETIONS: u32 = 64;

/// The pace of some rows of a pool.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    held: u32,
    /// When `row_seconds` was brought up to date last.
    at: Option<Instant>,
    completions: f64,
    /// Seconds that rows were held for these completions.
    row_seconds: f64,
}

impl Pace {
    /// Rows that are held.
    pub(super) fn held(&self) -> u32 {
        self.held
    }

    /// So many rows are held from now on, for another reason than take and completion.
    pub(super) fn set_held(&mut self, held: u32, now: Instant) {
        self.row_seconds = self.row_seconds_until(now);
        self.at = Some(now);
        self.held = held;
    }

    /// A row is held from now on.
    pub(super) fn take(&mut self, now: Instant) {
        self.set_held(self.held.saturating_add(1), now);
    }

    /// A row came back; the pool has so many of them.
    pub(super) fn complete(&mut self, capacity: u32, now: Instant) {
        debug_assert!(0 < self.held, "a row that comes back was held");
        let counted = capacity.saturating_mul(COMPLETIONS_A_ROW).max(COMPLETIONS);
        let kept = 1.0 - 1.0 / f64::from(counted);
        self.row_seconds = self.row_seconds.mul_add(kept, self.held_since(now));
        self.completions = self.completions.mul_add(kept, 1.0);
        self.at = Some(now);
        self.held = self.held.saturating_sub(1);
    }

    /// Completions a second if so many rows are held; `None`: not known yet.
    pub(super) fn rate(&self, rows: u32, now: Instant) -> Option<f64> {
        let row_seconds = self.row_seconds_until(now);
        let is_known = LEAST_COMPLETIONS <= self.completions && 0 < rows && 0.0 < row_seconds;
        is_known.then(|| self.completions / row_seconds * f64::from(rows))
    }

    fn row_seconds_until(&self, now: Instant) -> f64 {
        self.row_seconds + self.held_since(now)
    }

    fn held_since(&self, now: Instant) -> f64 {
        let since = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        since.as_secs_f64() * f64::from(self.held)
    }
}

/// How long until so many permits came back at this rate a second. At most a day: what lies
/// beyond is never waited for.
pub(super) fn time_for(completions: f64, rate: f64) -> Duration {
    const DAY_S: f64 = 86_400.0;
    Duration::from_secs_f64((completions / rate).clamp(0.0, DAY_S))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// One row that gave back so many permits, each held for 100 ms, with idle times between.
    fn steady(completions: u32) -> (Pace, Instant) {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let mut now = Instant::now();
        let mut pace = Pace::default();
        for _ in 0..completions {
            pace.take(now);
            now += 100 * MS;
            pace.complete(1, now);
            now += 900 * MS;
        }
        (pace, now)
    }

    #[test]
    fn nothing_is_predicted_from_a_few_completions() {
        let (pace, now) = steady(4);
        assert_eq!(pace.rate(1, now), None);
        assert_eq!(steady(100).0.rate(0, now), None, "a pool without rows may get some");
    }

    #[test]
    fn idle_times_do_not_slow_it() {
        let (pace, now) = steady(50);
        let rate = pace.rate(4, now + 3_600_000 * MS).unwrap();
        assert!((rate - 40.0).abs() < 0.1, "{rate}");
    }

    #[test]
    fn it_falls_while_nothing_comes_back_and_recovers() {
        let (mut pace, mut now) = steady(200);
        pace.take(now);
        let before = pace.rate(1, now).unwrap();
        now += 60_000 * MS;
        let stuck = pace.rate(1, now).unwrap();
        assert!(stuck < before / 8.0, "{stuck} after {before}");
        pace.complete(1, now);
        for _ in 0..400 {
            pace.take(now);
            now += 100 * MS;
            pace.complete(1, now);
        }
        let after = pace.rate(1, now).unwrap();
        assert!(before * 0.9 < after, "{after} after {before}");
    }

    #[test]
    fn a_wait_is_at_most_a_day() {
        assert_eq!(time_for(3.0, 2.0), 1_500 * MS);
        assert_eq!(time_for(f64::MAX, 1e-300), Duration::from_hours(24));
    }
}
