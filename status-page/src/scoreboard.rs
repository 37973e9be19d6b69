//! The rows of all pools taken together: letters, sums, and who has been busy longest.

use crate::snapshot::{Pool, Request, Snapshot, Thread, ThreadState, Worker};

/// Rows of one service worker that are listed even when idle.
///
/// A service may have thousands; the idle ones say nothing. Its busy rows are always listed.
const LISTED_ROWS: u32 = 64;

/// Sums over all rows and workers, as `mod_status` counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Rows in the application.
    pub(crate) busy: u64,
    /// The same of workers on their way out.
    pub(crate) finishing: u64,
    /// Rows that wait for a request.
    pub(crate) idle: u64,
    /// Worker processes, those on their way out included.
    pub(crate) processes: u64,
    /// Worker processes on their way out.
    pub(crate) stopping: u64,
}

/// Counts rows and workers.
pub(crate) fn tally(snapshot: &Snapshot) -> Tally {
    let mut tally = Tally::default();
    for worker in snapshot.pools.values().flat_map(|pool| &pool.workers) {
        tally.processes += 1;
        tally.stopping += u64::from(worker.state.is_ending());
        for thread in &worker.threads {
            match thread.state {
                ThreadState::Working => tally.busy += 1,
                ThreadState::Finishing => tally.finishing += 1,
                ThreadState::Idle => tally.idle += 1,
                ThreadState::Starting | ThreadState::Absent => {}
            }
        }
    }
    tally
}

/// Returns one letter for each row, in the order of pools, slots, generations and rows.
///
/// A slot without a worker that takes requests, or will, shows as many `.` as it should have rows.
pub(crate) fn letters(snapshot: &Snapshot) -> String {
    let mut letters = String::new();
    for pool in snapshot.pools.values() {
        let mut workers: Vec<&Worker> = pool.workers.iter().collect();
        workers.sort_by_key(|worker| (worker.slot, worker.generation));
        for slot in 0..pool.processes {
            let in_slot = workers.iter().filter(|worker| worker.slot == slot);
            letters.extend(in_slot.flat_map(|worker| worker_letters(worker)));
            if is_vacant(pool, slot) {
                letters.extend((0..pool.concurrency).map(|_| ThreadState::Absent.letter()));
            }
        }
        let surplus = workers.iter().filter(|worker| pool.processes <= worker.slot);
        letters.extend(surplus.flat_map(|worker| worker_letters(worker)));
    }
    letters
}

fn worker_letters(worker: &Worker) -> impl Iterator<Item = char> {
    worker.threads.iter().map(|thread| thread.state.letter())
}

/// Tells whether a slot has no worker that takes requests, or will.
pub(crate) fn is_vacant(pool: &Pool, slot: u32) -> bool {
    !pool.workers.iter().any(|worker| worker.slot == slot && !worker.state.is_ending())
}

/// Returns the rows of a worker that are to be listed.
pub(crate) fn listed<'a>(pool: &Pool, worker: &'a Worker) -> impl Iterator<Item = &'a Thread> {
    let all = !pool.is_service();
    worker
        .threads
        .iter()
        .filter(move |thread| all || thread.thread < LISTED_ROWS || thread.state.is_busy())
}

/// Takes the rows that are not to be listed out of the snapshot.
pub(crate) fn keep_listed(snapshot: &mut Snapshot) {
    for pool in snapshot.pools.values_mut().filter(|pool| pool.is_service()) {
        for worker in &mut pool.workers {
            worker.threads.retain(|thread| thread.thread < LISTED_ROWS || thread.state.is_busy());
        }
    }
}

/// A busy row, and where it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Busy<'a> {
    /// Name of its pool.
    pub(crate) pool: &'a str,
    /// Its worker.
    pub(crate) worker: &'a Worker,
    /// The row.
    pub(crate) thread: &'a Thread,
    /// Its request.
    pub(crate) request: &'a Request,
}

/// Returns the busy rows whose request is known, longest-running first.
pub(crate) fn busiest(snapshot: &Snapshot) -> Vec<Busy<'_>> {
    let mut rows: Vec<Busy<'_>> = Vec::new();
    for (name, pool) in &snapshot.pools {
        for worker in &pool.workers {
            rows.extend(worker.threads.iter().filter_map(|thread| {
                let request = thread.request.as_ref()?;
                Some(Busy { pool: name, worker, thread, request })
            }));
        }
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.request.running_ms));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::WorkerState;

    #[test]
    fn each_row_has_a_letter_and_a_missing_worker_has_dots() {
        let pool = Pool {
            processes: 3,
            threads: 2,
            concurrency: 2,
            workers: vec![
                worker(2, 1, WorkerState::Starting, &[false, false]),
                worker(0, 1, WorkerState::Draining, &[true, false]),
                worker(0, 2, WorkerState::Ready, &[false, true]),
            ],
            ..Pool::default()
        };
        let mut snapshot = Snapshot::default();
        snapshot.pools.insert("web".to_owned(), pool);
        assert_eq!(letters(&snapshot), "G._W..SS");
        let expected = Tally { busy: 1, finishing: 1, idle: 1, processes: 3, stopping: 1 };
        assert_eq!(tally(&snapshot), expected);
    }

    #[test]
    fn idle_rows_of_a_service_are_listed_up_to_64_and_those_of_threads_always() {
        let mut rows = vec![false; 100];
        rows[90] = true;
        let pool = |threads| Pool {
            processes: 1,
            threads,
            concurrency: 100,
            workers: vec![worker(0, 1, WorkerState::Ready, &rows)],
            ..Pool::default()
        };
        for (threads, expected) in [(4, 65), (100, 100)] {
            let pool = pool(threads);
            assert_eq!(listed(&pool, &pool.workers[0]).count(), expected);
            let mut snapshot = Snapshot::default();
            snapshot.pools.insert("web".to_owned(), pool);
            assert_eq!(letters(&snapshot).len(), 100);
            keep_listed(&mut snapshot);
            assert_eq!(snapshot.pools["web"].workers[0].threads.len(), expected);
        }
    }

    fn worker(slot: u32, generation: u32, state: WorkerState, rows: &[bool]) -> Worker {
        let threads = (0..)
            .zip(rows)
            .map(|(thread, &busy)| Thread {
                thread,
                state: ThreadState::of(state, busy),
                ..Thread::default()
            })
            .collect();
        Worker { slot, generation, state, threads, ..Worker::default() }
    }
}
