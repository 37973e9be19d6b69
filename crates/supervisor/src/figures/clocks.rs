//! The processor time of requests that run: from the clocks of their threads.

use std::fs;
use std::time::Duration;

use ostler_segment::{LinkKind, Segment};
use rustix::process::Pid;

use crate::start::unix_ms;

/// Threads of a worker that are looked at in one turn.
const MAX_THREADS: usize = 64;

/// Writes down what the clocks of threads stand at whose requests are older than `min_age`: of at
/// most 64, in each turn of others. Only workers that run handlers on threads tell which.
pub(crate) fn note_clocks(pid: Pid, segment: &Segment, min_age: Duration, turn: u32) {
    if segment.bell().and_then(|bell| bell.kind()) != Some(LinkKind::Threads) {
        return;
    }
    let now_us = unix_ms().saturating_mul(1_000);
    let is_old =
        |started_us: u64| min_age <= Duration::from_micros(now_us.saturating_sub(started_us));
    let rows = (0..segment.rows()).map(|number| segment.row(number));
    let old = rows.filter_map(|row| Some((row, row.taken()?)));
    let old: Vec<_> = old.filter(|(_, taken)| is_old(taken.started_unix_us)).collect();
    let first = (turn as usize).wrapping_mul(MAX_THREADS) % old.len().max(1);
    let in_turn = old.iter().cycle().skip(first).take(old.len().min(MAX_THREADS));
    for (row, taken) in in_turn {
        if let Some(clock_us) = clock_us(pid, taken.tid) {
            row.note_clock(taken, clock_us);
        }
    }
}

/// Processor time of a thread, in microseconds; `None` if the process has none of this number.
///
/// It is the first number of `schedstat` (`proc_pid_schedstat`), in nanoseconds.
fn clock_us(pid: Pid, tid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).ok()?;
    let nanoseconds: u64 = text.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds / 1_000)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use ostler_segment::{Access, SegmentHead};

    use super::*;

    #[test]
    fn the_clock_of_a_thread_is_what_it_has_used() {
        let (pid, tid) = (rustix::process::getpid(), rustix::thread::gettid());
        let tid = tid.as_raw_pid().unsigned_abs();
        let before = clock_us(pid, tid).unwrap();
        burn();
        assert!(before < clock_us(pid, tid).unwrap());
        assert_eq!(clock_us(pid, u32::MAX), None);
    }

    #[test]
    fn each_of_many_long_requests_has_its_turn() {
        const ROWS: u32 = 100;
        let head =
            SegmentHead { pool: "web".to_owned(), slot: 0, generation: 1, rows: ROWS, lanes: 1 };
        let file = Segment::create(&head).unwrap();
        let worker = Segment::map(file.as_fd(), Access::Write).unwrap();
        let supervisor = Segment::map(file.as_fd(), Access::Figures).unwrap();
        worker.bell().unwrap().announce(LinkKind::Threads);
        let tid = rustix::thread::gettid().as_raw_pid().unsigned_abs();
        for row in worker.iter() {
            let ticket = row.claim(1).unwrap();
            assert!(row.start(ticket, 0, 0, 0));
            row.set_thread(tid, 0);
        }
        let known = || {
            let request = |row: ostler_segment::Row<'_>| row.snapshot()?.request?.cpu_us;
            worker.iter().filter_map(request).count()
        };
        let pid = rustix::process::getpid();
        note_clocks(pid, &supervisor, Duration::from_secs(1), 1);
        assert_eq!(known(), MAX_THREADS);
        note_clocks(pid, &supervisor, Duration::from_secs(1), 2);
        assert_eq!(known(), ROWS as usize);
    }

    /// Works for so long that the kernel has counted some of it.
    fn burn() {
        let (pid, own) = (rustix::process::getpid(), rustix::thread::gettid());
        let tid = own.as_raw_pid().unsigned_abs();
        let before = clock_us(pid, tid).unwrap();
        while clock_us(pid, tid).unwrap() < before + 1_000 {}
    }
}
