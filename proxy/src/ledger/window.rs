//! What each route cost in the last minute.
//!
//! Every few seconds the differences are kept of those routes that have changed, and those of more
//! than a minute ago are forgotten. So it is between 55 and 60 seconds that are kept, and ten
//! thousand routes that all change take 12 MB at the most.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Figures, TICK};
use crate::pool::WINDOW_S;

const WINDOW: Duration = Duration::from_secs(WINDOW_S);

/// The last minute of all routes.
#[derive(Debug, Default)]
pub(super) struct Windows {
    /// By number: what stood there at the last tick.
    last: Vec<Figures>,
    ticks: VecDeque<Tick>,
}

/// The differences of some seconds.
#[derive(Debug)]
struct Tick {
    /// When they began.
    from: Instant,
    changed: Vec<(usize, Figures)>,
}

impl Windows {
    /// Begins with these totals for the routes that are not known yet.
    pub(super) fn begin(&mut self, totals: impl Iterator<Item = Figures>) {
        let known = self.last.len();
        self.last.extend(totals.skip(known));
    }

    /// Keeps what has changed since the last tick.
    pub(super) fn tick(&mut self, current: Vec<Figures>, now: Instant) {
        let changed = self.changes(&current).collect();
        self.ticks.push_back(Tick { from: now.checked_sub(TICK).unwrap_or(now), changed });
        self.last = current;
        self.ticks.retain(|tick| is_recent(tick, now));
    }

    /// Sums the last minute up, by number.
    pub(super) fn sums(&self, current: &[Figures], now: Instant) -> Vec<Figures> {
        let mut sums = vec![Figures::default(); current.len()];
        let recent = self.ticks.iter().filter(|tick| is_recent(tick, now));
        let kept = recent.flat_map(|tick| tick.changed.iter().copied());
        for (number, figures) in kept.chain(self.changes(current)) {
            if let Some(sum) = sums.get_mut(number) {
                *sum = sum.and(&figures);
            }
        }
        sums
    }

    fn changes(&self, current: &[Figures]) -> impl Iterator<Item = (usize, Figures)> {
        let pairs = current.iter().zip(&self.last).enumerate();
        pairs.filter(|(_, (now, last))| now != last).map(|(at, (now, last))| (at, now.since(last)))
    }
}

fn is_recent(tick: &Tick, now: Instant) -> bool {
    now.saturating_duration_since(tick.from) <= WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn requests(counts: &[u64]) -> Vec<Figures> {
        let figures = counts.iter();
        figures.map(|&requests| Figures { requests, ..Figures::default() }).collect()
    }

    fn sums(windows: &Windows, counts: &[u64], now: Instant) -> Vec<u64> {
        windows.sums(&requests(counts), now).iter().map(|figures| figures.requests).collect()
    }

    #[test]
    fn what_was_counted_before_it_began_is_not_of_the_last_minute() {
        let (mut windows, now) = (Windows::default(), clock::now());
        windows.begin(requests(&[100, 200]).into_iter());
        assert_eq!(sums(&windows, &[101, 200], now), [1, 0]);
        windows.begin(requests(&[500, 500, 7]).into_iter());
        assert_eq!(sums(&windows, &[101, 200, 9], now), [1, 0, 2], "only the new one begins");
    }

    #[test]
    fn a_minute_is_kept_and_no_more() {
        let (mut windows, start) = (Windows::default(), clock::now());
        windows.begin(requests(&[0]).into_iter());
        for ticks in 1..=30_u32 {
            windows.tick(requests(&[u64::from(ticks) * 5]), start + TICK * ticks);
        }
        let now = start + TICK * 30;
        assert_eq!(windows.ticks.len(), 12);
        assert_eq!(sums(&windows, &[150], now), [60]);
        assert_eq!(sums(&windows, &[154], now + Duration::from_secs(4)), [59]);
        assert_eq!(sums(&windows, &[150], now + Duration::from_secs(61)), [0], "ticks may stop");
    }

    #[test]
    fn routes_that_do_not_change_take_no_room() {
        let (mut windows, start) = (Windows::default(), clock::now());
        let mut counts = vec![1; 10_000];
        windows.begin(requests(&counts).into_iter());
        for ticks in 1..=3_u32 {
            counts[7] += 1;
            windows.tick(requests(&counts), start + TICK * ticks);
        }
        let kept: Vec<usize> = windows.ticks.iter().map(|tick| tick.changed.len()).collect();
        assert_eq!(kept, [1, 1, 1]);
    }
}
