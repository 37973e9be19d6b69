//! Threads of a worker that do not come back, and when its replacement is asked for.
//!
//! ```text
//! event     what it says                                     asked for, once each
//! marked    nobody waits for a request past its time         every thread, when none is left
//! overdue   a marked one is still there after its grace      some threads
//! ended     a marked one came back after all                 -
//! ```
//!
//! Who holds the request has its clock; here is only what several of them mean together. A worker
//! without a thread left serves nobody, so nothing is gained by granting it any grace.

/// The threads of one worker that are past the time of their requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StuckThreads {
    /// How many threads there are.
    threads: u32,
    /// How many of them are stuck now.
    stuck: u32,
    /// The worst that was asked for.
    told: Option<Stuck>,
}

/// How much of a worker is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stuck {
    /// A thread, for longer than is tolerated.
    Some,
    /// Every thread: it can serve nobody.
    Every,
}

impl StuckThreads {
    /// A worker with so many threads, all well.
    pub fn new(threads: u32) -> Self {
        Self { threads, stuck: 0, told: None }
    }

    /// Notes that a request is past its time. Returns what to ask for.
    pub fn marked(&mut self) -> Option<Stuck> {
        self.stuck = self.stuck.saturating_add(1);
        debug_assert!(self.stuck <= self.threads, "more stuck requests than threads");
        (self.threads <= self.stuck).then(|| self.tell(Stuck::Every)).flatten()
    }

    /// Notes that a marked request has used up its grace. Returns what to ask for.
    pub fn overdue(&mut self) -> Option<Stuck> {
        self.tell(Stuck::Some)
    }

    /// Notes that a marked request has ended.
    pub fn ended(&mut self) {
        debug_assert!(0 < self.stuck, "a stuck request ended that was never marked");
        self.stuck = self.stuck.saturating_sub(1);
    }

    /// Returns what to ask for, unless as much was asked for before.
    fn tell(&mut self, stuck: Stuck) -> Option<Stuck> {
        let is_news = self.told < Some(stuck);
        if is_news {
            self.told = Some(stuck);
        }
        is_news.then_some(stuck)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Happens {
        Marked,
        Overdue,
        Ended,
    }

    use Happens::{Ended, Marked, Overdue};

    #[test]
    fn a_thread_is_reported_after_its_grace_and_a_worker_without_threads_at_once() {
        check(3, &[Marked], &[]);
        check(3, &[Marked, Overdue], &[Stuck::Some]);
        check(3, &[Marked, Marked, Marked], &[Stuck::Every]);
        check(1, &[Marked], &[Stuck::Every]);
    }

    #[test]
    fn a_worker_is_reported_once_and_again_only_when_no_thread_is_left() {
        check(3, &[Marked, Overdue, Marked, Overdue], &[Stuck::Some]);
        check(2, &[Marked, Overdue, Marked, Overdue], &[Stuck::Some, Stuck::Every]);
        check(2, &[Marked, Marked, Overdue, Overdue], &[Stuck::Every]);
        check(1, &[Marked, Overdue, Ended, Marked], &[Stuck::Every]);
    }

    #[test]
    fn a_thread_that_comes_back_is_not_counted() {
        check(2, &[Marked, Ended, Marked], &[]);
        check(2, &[Marked, Ended, Marked, Marked], &[Stuck::Every]);
    }

    #[track_caller]
    fn check(threads: u32, events: &[Happens], expected: &[Stuck]) {
        let mut worker = StuckThreads::new(threads);
        let asked = events.iter().filter_map(|event| match event {
            Marked => worker.marked(),
            Overdue => worker.overdue(),
            Ended => {
                worker.ended();
                None
            }
        });
        assert_eq!(asked.collect::<Vec<_>>(), expected, "{threads} threads: {events:?}");
    }
}
