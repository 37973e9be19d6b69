//! What the kernel knows of a process: memory, processor time, descriptors.
//!
//! Of a worker the supervisor has looked it up already, once a second, and the segment has it.

use std::time::Duration;

use ostler_segment::Segment;
use procfs::WithCurrentSystemInfo as _;
use procfs::process::Process;

/// Figures of one process; zero or `None` where it is gone or not ours to look at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) user_s: f64,
    pub(crate) system_s: f64,
    pub(crate) rss_bytes: Option<u64>,
    pub(crate) fds: Option<u64>,
}

impl Figures {
    /// What the supervisor has found out about a worker; until it has, what the kernel says.
    pub(crate) fn of_worker(segment: &Segment, pid: u32) -> Self {
        let Some(figures) = segment.figures() else { return Self::of(pid) };
        Self {
            user_s: Duration::from_micros(figures.user_us).as_secs_f64(),
            system_s: Duration::from_micros(figures.system_us).as_secs_f64(),
            rss_bytes: Some(figures.rss_bytes),
            fds: None,
        }
    }

    /// Reads `/proc/PID`.
    pub(crate) fn of(pid: u32) -> Self {
        let process = i32::try_from(pid).ok().and_then(|pid| Process::new(pid).ok());
        let Some((process, stat)) =
            process.and_then(|process| process.stat().ok().map(|stat| (process, stat)))
        else {
            return Self::default();
        };
        #[expect(clippy::cast_precision_loss, reason = "2^53 ticks are millions of years")]
        let seconds = |ticks: u64| ticks as f64 / procfs::ticks_per_second() as f64;
        Self {
            user_s: seconds(stat.utime),
            system_s: seconds(stat.stime),
            rss_bytes: Some(stat.rss_bytes().get()),
            fds: process.fd_count().ok().map(|count| count as u64),
        }
    }
}
