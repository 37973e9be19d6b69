//! Which routes hold the rows of a worker, and for how long, as far as this process knows it.
//!
//! The worker can write anything into its rows. So a row that this process has claimed is charged
//! by its own books. Of a row that another proxy process has claimed only the route is read, and
//! its time counts from when it was first seen here, by a clock that is never set: whatever is
//! written there, a row costs no more than the time that passes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ostler_segment::Segment;

/// The rows of a worker that requests run in.
#[derive(Debug)]
pub(crate) struct Runs(Mutex<Vec<Option<Run>>>);

/// What is known of a row.
#[derive(Clone, Copy, Debug)]
struct Run {
    route: u32,
    since: Instant,
    whose: Whose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Ours,
    /// What the row says of when it was handed over tells one request from the next.
    Another {
        started_unix_us: u64,
    },
}

/// A row that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeldRow {
    /// Number of the route.
    pub(crate) route: u32,
    /// The route is only what stands in the row.
    pub(crate) is_hearsay: bool,
    pub(crate) held_for: Duration,
}

impl Runs {
    /// Of so many rows, in none of which anything runs yet.
    pub(super) fn new(rows: u32) -> Self {
        Self(Mutex::new(vec![None; rows as usize]))
    }

    /// Notes that a request of this process holds a row, before the row says so.
    pub(super) fn begin(&self, row: u32, route: u32, since: Instant) {
        self.set(row, Some(Run { route, since, whose: Whose::Ours }));
    }

    /// Notes that it has given the row back.
    pub(super) fn end(&self, row: u32) {
        self.set(row, None);
    }

    fn set(&self, row: u32, run: Option<Run>) {
        if let Some(known) = self.rows().get_mut(row as usize) {
            *known = run;
        }
    }

    /// Looks at the rows that are held.
    pub(crate) fn look(&self, segment: &Segment, now: Instant) -> Vec<HeldRow> {
        let mut rows = self.rows();
        let pairs = rows.iter_mut().zip(segment.iter());
        let held = pairs.filter_map(|(known, row)| {
            if known.is_none_or(|run| run.whose != Whose::Ours) {
                let seen = row.running().map(|(route, started_unix_us)| {
                    let whose = Whose::Another { started_unix_us };
                    Run { route, since: now, whose }
                });
                *known = seen.map(|seen| known.filter(|run| run.is_same(&seen)).unwrap_or(seen));
            }
            known.map(|run| HeldRow {
                route: run.route,
                is_hearsay: run.whose != Whose::Ours,
                held_for: now.saturating_duration_since(run.since),
            })
        });
        held.collect()
    }

    fn rows(&self) -> MutexGuard<'_, Vec<Option<Run>>> {
        // Nothing under this lock panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run {
    fn is_same(&self, other: &Self) -> bool {
        (self.route, self.whose) == (other.route, other.whose)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use ostler_segment::{Access, SegmentHead};

    use super::*;
    use crate::clock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_row_costs_no_more_than_the_time_that_passes_whatever_is_written_into_it() {
        let segment = segment(2);
        let (runs, now) = (Runs::new(2), clock::now());
        let forged = segment.row(0).claim(9).unwrap();
        assert!(segment.row(0).start(forged, 1, 0, 0), "handed over in 1970");
        let held = |route, seconds| HeldRow { route, is_hearsay: true, held_for: SECOND * seconds };
        assert_eq!(runs.look(&segment, now), [held(1, 0)]);
        assert_eq!(runs.look(&segment, now + SECOND * 3), [held(1, 3)]);

        // Another route does not inherit what this one held.
        assert!(segment.row(0).release(forged));
        let forged = segment.row(0).claim(9).unwrap();
        assert!(segment.row(0).start(forged, 2, 0, 0));
        assert_eq!(runs.look(&segment, now + SECOND * 4), [held(2, 0)]);
        assert!(segment.row(0).release(forged));
        assert_eq!(runs.look(&segment, now + SECOND * 5), []);
    }

    #[test]
    fn a_row_of_ours_is_charged_by_our_books() {
        let segment = segment(1);
        let (runs, now) = (Runs::new(1), clock::now());
        runs.begin(0, 7, now);
        let forged = segment.row(0).claim(9).unwrap();
        assert!(segment.row(0).start(forged, 1, 0, 0));
        let ours = HeldRow { route: 7, is_hearsay: false, held_for: SECOND };
        assert_eq!(runs.look(&segment, now + SECOND), [ours]);
        runs.end(0);
        assert!(segment.row(0).release(forged));
        assert_eq!(runs.look(&segment, now + SECOND), []);
    }

    fn segment(rows: u32) -> Segment {
        let head = SegmentHead { pool: "web".to_owned(), slot: 0, generation: 1, rows, lanes: 0 };
        let fd = Segment::create(&head).unwrap();
        Segment::map(fd.as_fd(), Access::Write).unwrap()
    }
}
