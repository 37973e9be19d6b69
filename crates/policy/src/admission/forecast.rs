//! How long a request would wait, and who is refused for it.
//!
//! A place comes back when a permit does, so a wait is the number of those before a request,
//! itself included, divided by the rate at which permits come back. Two such waits are
//! predicted, and the longer one counts: that for a place of the pool, and, for a route with a
//! share, that for a place of its share. Requests over their share are before nobody, and the
//! rows they hold come back to their own line.
//!
//! Where nothing is known yet, nobody is refused for a prediction: in a pool whose permits have
//! never come back, or that has no worker at this moment, `queue-timeout` alone is the limit.

use std::time::{Duration, Instant};

use super::line::Line;
use super::pace::time_for;
use super::{Admission, RouteId, Shed};

/// A prediction has an error. Refused is who would wait this part of `queue-timeout` longer than
/// that: so that of the refused, hardly any would have been served where handlers are steady.
const DOUBT: u32 = 16;

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
        let longest = self.queue_timeout.saturating_add(self.queue_timeout / DOUBT);
        (longest < wait).then(|| Shed::PredictedWait(self.until_let_wait(line, now)))
    }

    fn until_let_wait(&self, line: usize, now: Instant) -> Duration {
        let wait = self.predicted_wait(line, now).unwrap_or_default();
        let too_long = wait.saturating_sub(self.queue_timeout);
        let crowd = self.excess(line).unwrap_or_default();
        let rate = self.lines.get(line).and_then(|line| line.pace.rate(self.rows_of(line), now));
        let crowded = rate.map_or(Duration::ZERO, |rate| time_for(crowd, rate));
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
            Some(time_for(own.waiting.len().saturating_add(1), rate))
        });
        for_share.max(self.wait_for_pool(line, now))
    }

    /// How long until a place of the pool is there that no line at its limit keeps to itself.
    fn wait_for_pool(&self, own: usize, now: Instant) -> Option<Duration> {
        let is_open = |index: usize, line: &Line<W>| index == own || !line.is_full(self.capacity);
        let (mut before, mut total) = (1_usize, 0.0);
        for (index, line) in self.lines.iter().enumerate() {
            if !is_open(index, line) {
                continue;
            }
            before = before.saturating_add(line.waiting.len());
            if line.pace.held() != 0 {
                total += line.pace.rate(line.pace.held(), now)?;
            }
        }
        (0.0 < total).then(|| time_for(before, total))
    }

    fn rows_of(&self, line: &Line<W>) -> u32 {
        line.rows(self.capacity).min(self.capacity)
    }
}
