//! How long a request would wait, and who is refused for it.
//!
//! A place comes back when a permit does, so a wait is the number of those before a request,
//! and a half for the one that is on its way, divided by the rate at which permits come back. Two
//! such waits are predicted, and the longer one counts: that for a place of the pool, and, for a
//! route with a share, that for a place of its share. Requests over their share are before nobody,
//! and the rows they hold come back to their own line.
//!
//! Under lasting overload the queue is then as long as can be served in `queue-timeout`, and whoever
//! is refused would have waited about that long: a little less or a little more. That costs no
//! throughput, because a queue that long never runs empty; `tests/overload.rs` has the figures.
//!
//! Where nothing is known yet, nobody is refused for a prediction: in a pool whose permits have
//! never come back, or that has no worker at this moment, `queue-timeout` alone is the limit.

use std::time::{Duration, Instant};

use super::line::Line;
use super::pace::time_for;
use super::{Admission, RouteId, Shed};

/// Of the permit that comes back next, on average so much is still to come.
const ON_ITS_WAY: f64 = 0.5;

impl<W> Admission<W> {
    /// Says, without changing anything, whether a request that arrived now would be refused.
    #[must_use]
    pub fn would_shed(&self, route: RouteId, now: Instant) -> Option<Shed> {
        let line = self.line_of(route);
        let has_free = self.workers.iter().any(|it| it.is_serving() && !it.free.is_empty());
        let may_take = (self.queued == 0 || self.next_line().is_none())
            && self.lines.get(line).is_some_and(|line| !line.is_full(self.capacity));
        if may_take && has_free { None } else { self.refusal(line, now) }
    }

    /// After how long the queue is predicted to have drained so far that a request of this route
    /// may wait in it.
    #[must_use]
    pub fn retry_after(&self, route: RouteId, now: Instant) -> Duration {
        self.until_let_wait(self.line_of(route), now)
    }

    /// Why a request that cannot have a place now may not wait for one.
    pub(super) fn refusal(&self, line: usize, now: Instant) -> Option<Shed> {
        if self.queued == 0 && !self.has_prospect() {
            return Some(Shed::PoolNotReady);
        }
        if self.excess(line).is_some() {
            return Some(Shed::QueueFull(self.until_let_wait(line, now)));
        }
        let wait = self.predicted_wait(line, now)?;
        (self.queue_timeout < wait).then(|| Shed::PredictedWait(self.until_let_wait(line, now)))
    }

    fn until_let_wait(&self, line: usize, now: Instant) -> Duration {
        let wait = self.predicted_wait(line, now).unwrap_or_default();
        let too_long = wait.saturating_sub(self.queue_timeout);
        let crowd = self.excess(line).unwrap_or_default();
        let rate = self.lines.get(line).and_then(|line| line.pace.rate(self.rows_of(line), now));
        let crowded = rate.map_or(Duration::ZERO, |rate| time_for(number(crowd), rate));
        too_long.max(crowded)
    }

    /// How many requests too many there would be in the queue, or of its line in it.
    fn excess(&self, line: usize) -> Option<usize> {
        let line = self.lines.get(line)?;
        let over = |waiting: usize, places: usize| {
            waiting.saturating_add(1).checked_sub(places).filter(|&over| over != 0)
        };
        let of_line = over(line.waiting.len(), line.places(self.queue_length));
        over(self.queued, self.queue_length).max(of_line)
    }

    /// How long a request that comes now would wait; `None`: nobody knows.
    fn predicted_wait(&self, line: usize, now: Instant) -> Option<Duration> {
        let own = self.lines.get(line)?;
        let for_share = own.limit.and_then(|_| {
            let rate = own.pace.rate(self.rows_of(own), now)?;
            Some(time_for(number(own.waiting.len()) + ON_ITS_WAY, rate))
        });
        for_share.max(self.wait_for_pool(line, now))
    }

    /// How long until a place of the pool is there that no line at its limit keeps to itself.
    fn wait_for_pool(&self, own: usize, now: Instant) -> Option<Duration> {
        let is_open = |index: usize, line: &Line<W>| index == own || !line.is_full(self.capacity);
        let (mut before, mut total) = (0_usize, 0.0);
        for (index, line) in self.lines.iter().enumerate() {
            if !is_open(index, line) {
                continue;
            }
            before = before.saturating_add(line.waiting.len());
            if line.pace.held() != 0 {
                total += line.pace.rate(line.pace.held(), now)?;
            }
        }
        (0.0 < total).then(|| time_for(number(before) + ON_ITS_WAY, total))
    }

    fn rows_of(&self, line: &Line<W>) -> u32 {
        line.rows(self.capacity).min(self.capacity)
    }
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
