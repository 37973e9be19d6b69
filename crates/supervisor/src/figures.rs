//! What the kernel knows of workers: looked at once a second, and written into their segments.
//!
//! A worker's figures are those of its process group, so that a program which starts others is
//! told whole. Resident memory is summed over the processes of a group. Pages that they share are
//! counted for each, because asking the kernel for shares (`smaps_rollup`) walks every page of
//! every process, once a second, and stops them meanwhile. Processor time is that of the processes
//! there are, and of their children that they have waited for.
//!
//! What is written stays readable when the process is gone: the status page and the post-mortems
//! read it there, and ask the kernel nothing.

mod clocks;
mod groups;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ostler_segment::{Figures, Segment};
use rustix::process::Pid;

pub(crate) use clocks::note_clocks;

use crate::event::Event;
use crate::figures::groups::Sum;
use crate::start::unix_ms;
use crate::supervisor::Supervisor;

/// How often workers are looked at. A leak takes longer than that to become a problem.
const EVERY: Duration = Duration::from_secs(1);

/// How long a request has been running before its thread's clock is looked at.
const MIN_AGE: Duration = Duration::from_secs(1);

/// When workers are looked at next.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    due: Option<Instant>,
    is_looking: bool,
    /// How often it was done.
    turn: u32,
}

impl Watch {
    /// Returns when to look; `None` while there is nothing to look at, or a look is under way.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.is_looking)
    }
}

impl Supervisor {
    /// Has the workers looked at when it is time to.
    pub(crate) fn look_at_workers(&mut self, now: Instant) {
        let Watch { due, is_looking, turn } = &mut self.figures;
        if *is_looking {
            return;
        }
        let workers: Vec<(Pid, Arc<Segment>)> = self.workers.segments().collect();
        if workers.is_empty() {
            *due = None;
            return;
        }
        if now < *due.get_or_insert(now + EVERY) {
            return;
        }
        (*due, *is_looking, *turn) = (Some(now + EVERY), true, turn.wrapping_add(1));
        let (events, turn) = (self.machinery.events.clone(), *turn);
        self.machinery.tasks.spawn(async move {
            let looked = tokio::task::spawn_blocking(move || look(&workers, turn)).await;
            // Nobody listens only while the supervisor ends.
            drop(events.send(Event::Memory(looked.unwrap_or_default())).await);
        });
    }

    /// Notes the memory that was found.
    pub(crate) fn note_memory(&mut self, found: &BTreeMap<i32, u64>) {
        self.figures.is_looking = false;
        self.workers.note_memory(found);
    }
}

/// Writes down what there is to know of workers. Returns the resident memory of their process
/// groups, in bytes, by their number.
fn look(workers: &[(Pid, Arc<Segment>)], turn: u32) -> BTreeMap<i32, u64> {
    let found = match groups::sums(workers.iter().map(|(group, _)| *group)) {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, "figures_not_read");
            return BTreeMap::new();
        }
    };
    for (pid, segment) in workers {
        if let Some(sum) = found.get(&pid.as_raw_pid()) {
            segment.set_figures(&figures(sum, segment.figures(), unix_ms()));
        }
        note_clocks(*pid, segment, MIN_AGE, turn);
    }
    found.into_iter().map(|(group, sum)| (group, sum.rss_bytes)).collect()
}

/// A process that has just died has no memory any more: what it had last is what is asked for.
fn figures(sum: &Sum, before: Option<Figures>, now_unix_ms: u64) -> Figures {
    let last = before.map_or(0, |before| before.rss_bytes);
    Figures {
        read_unix_ms: now_unix_ms,
        rss_bytes: if sum.rss_bytes == 0 { last } else { sum.rss_bytes },
        user_us: sum.user_us,
        system_us: sum.system_us,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use ostler_segment::{Access, SegmentHead};

    use super::*;

    #[test]
    fn what_is_found_of_a_worker_stands_in_its_segment() {
        let segment = Arc::new(segment());
        let own = rustix::process::getpgrp();
        let found = look(&[(own, Arc::clone(&segment))], 1);
        let figures = segment.figures().unwrap();
        assert_eq!(found[&own.as_raw_pid()], figures.rss_bytes);
        assert!(0 < figures.rss_bytes && unix_ms() < figures.read_unix_ms + 60_000, "{figures:?}");
    }

    #[test]
    fn of_a_process_that_died_the_memory_is_what_it_had() {
        let living = Sum { rss_bytes: 4_096, user_us: 10, system_us: 1 };
        let seen = figures(&living, None, 1);
        assert_eq!((seen.rss_bytes, seen.cpu_us()), (4_096, 11));
        let dead = Sum { rss_bytes: 0, user_us: 20, system_us: 2 };
        let last = figures(&dead, Some(seen), 2);
        assert_eq!((last.rss_bytes, last.cpu_us(), last.read_unix_ms), (4_096, 22, 2));
    }

    fn segment() -> Segment {
        let head =
            SegmentHead { pool: "web".to_owned(), slot: 0, generation: 1, rows: 1, lanes: 0 };
        Segment::map(Segment::create(&head).unwrap().as_fd(), Access::Figures).unwrap()
    }
}
