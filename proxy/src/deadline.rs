//! Deadlines that cost next to nothing while they are kept.
//!
//! A connection has one timer. Most deadlines are moved before they pass, and nearly always
//! later; so the timer is left alone until it fires, and only then set to the deadline that
//! counts. It is set anew at once only for a deadline that is nearer.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::Instant;

use tokio::time::{Sleep, sleep_until};

/// The deadline passed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Elapsed;

/// One timer for the deadlines of one connection, one after the other.
#[derive(Debug)]
pub(crate) struct Deadline {
    timer: Pin<Box<Sleep>>,
    /// When the timer fires.
    armed: Instant,
}

impl Deadline {
    /// A timer that is first needed at about `at`.
    pub(crate) fn new(at: Instant) -> Self {
        Self { timer: Box::pin(sleep_until(at.into())), armed: at }
    }

    /// Runs `work` until `at`.
    pub(crate) async fn run<T>(
        &mut self,
        at: Instant,
        work: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        let mut work = pin!(work);
        poll_fn(|context| {
            if let Poll::Ready(value) = work.as_mut().poll(context) {
                return Poll::Ready(Ok(value));
            }
            if at < self.armed {
                self.arm(at);
            }
            loop {
                ready!(self.timer.as_mut().poll(context));
                if at <= self.armed {
                    return Poll::Ready(Err(Elapsed));
                }
                self.arm(at);
            }
        })
        .await
    }

    fn arm(&mut self, at: Instant) {
        self.timer.as_mut().reset(at.into());
        self.armed = at;
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use super::*;
    use crate::clock;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_may_move_in_either_direction() {
        let start = tokio::time::Instant::now();
        let now = start.into_std();
        let mut deadline = Deadline::new(now + Duration::from_secs(5));
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(deadline.run(at(9), async { 1 }).await, Ok(1));
        assert_eq!(deadline.run(at(2), pending::<()>()).await, Err(Elapsed));
        assert_eq!(start.elapsed().as_secs(), 2);
        assert_eq!(deadline.run(at(20), pending::<()>()).await, Err(Elapsed));
        assert_eq!(start.elapsed().as_secs(), 20);
        assert_eq!(deadline.run(at(20), pending::<()>()).await, Err(Elapsed));
        assert_eq!(deadline.run(at(7), async { 2 }).await, Ok(2));
    }

    #[tokio::test]
    async fn a_deadline_in_the_past_passes_at_once() {
        let mut deadline = Deadline::new(clock::now() + Duration::from_mins(1));
        assert_eq!(deadline.run(clock::now(), pending::<()>()).await, Err(Elapsed));
    }
}
