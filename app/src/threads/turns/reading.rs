//! How long threads that share a lock were ready to run.

use std::fs::File;
use std::io;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::read;

/// What is known of one thread, and of the process.
#[derive(Debug)]
pub(super) struct Clocks {
    schedstat: File,
}

/// What they show.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    /// Processor time of the process.
    process: Duration,
    /// Processor time of the thread.
    ran: Duration,
    /// How long the thread was ready and had no processor.
    delayed: Duration,
}

impl Clocks {
    /// Those of the calling thread.
    pub(super) fn of_thread() -> io::Result<Self> {
        Ok(Self { schedstat: File::open("/proc/thread-self/schedstat")? })
    }

    /// Reads them (Linux, `Documentation/scheduler/sched-stats`).
    pub(super) fn read(&self) -> Reading {
        let process = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from);
        let line = read(&self.schedstat);
        let mut numbers = line.split(' ').map(|number| number.parse().unwrap_or(0));
        let mut next = || Duration::from_nanos(numbers.next().unwrap_or(0));
        Reading { process: process.unwrap_or_default(), ran: next(), delayed: next() }
    }
}

impl Reading {
    /// How much of the time since `before`, which is `took`, no thread was ready to run.
    ///
    /// For the other threads only the processor time is known: that they waited for a processor as
    /// long, for each of its nanoseconds, as this one did is a guess.
    pub(super) fn idle_since(&self, before: &Self, took: Duration) -> Duration {
        let ran = self.ran.saturating_sub(before.ran);
        let ready = ran + self.delayed.saturating_sub(before.delayed);
        let process = self.process.saturating_sub(before.process);
        let stretch = if ran.is_zero() { 1.0 } else { ready.div_duration_f64(ran) };
        let all = Duration::try_from_secs_f64(process.as_secs_f64() * stretch);
        took.saturating_sub(all.unwrap_or(Duration::MAX).max(ready))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_is_when_nobody_is_ready() {
        // Alone, and on a processor all the time; half of the time; waiting for a database.
        check((10, 10, 0), 10, 0);
        check((5, 5, 5), 10, 0);
        check((2, 2, 0), 10, 8);
        // Behind others, which have the lock, on a machine of its own, and on one that is full.
        check((10, 2, 0), 10, 0);
        check((5, 1, 1), 10, 0);
        // Nothing is known of the thread, or the process used two processors.
        check((3, 0, 0), 10, 7);
        check((20, 10, 0), 10, 0);
    }

    /// Milliseconds of the process, of the thread, and of its delays, in so many.
    #[track_caller]
    fn check((process, ran, delayed): (u64, u64, u64), took: u64, idle: u64) {
        let [process, ran, delayed] = [process, ran, delayed].map(Duration::from_millis);
        let after = Reading { process, ran, delayed };
        let found = after.idle_since(&Reading::default(), Duration::from_millis(took));
        assert_eq!(found, Duration::from_millis(idle));
    }
}
