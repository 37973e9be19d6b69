//! What was recorded is read back as it was.

use std::collections::BTreeMap;

use ostler_status::{Pool, Request, Snapshot, Thread, ThreadState, Worker, WorkerState};

use super::tape::Tape;
use super::*;

const START_MS: u64 = 1_767_225_600_000;

#[test]
fn each_second_that_is_kept_is_read_back_as_it_was_written() {
    let (history, written) = record(0..3_000, 40);
    let kept = history.kept().unwrap();
    let first = (kept.from.ms - START_MS) / 1_000;
    assert!(0 < first && first < 2_900, "{first}: the ring was full once");
    for (second, expected) in &written {
        let asked = UnixTime::from_ms(START_MS + second * 1_000);
        match history.at(asked) {
            Ok(past) => {
                let read = Snapshot {
                    server: status::Server { history: None, ..past.snapshot.server.clone() },
                    ..past.snapshot
                };
                assert_eq!(&read, expected, "{second}");
            }
            Err(PastError::Gone(gone)) => {
                assert!(*second < first, "{second}");
                assert_eq!((gone.before, gone.after), (None, Some(kept.from)));
            }
            Err(PastError::Io(error)) => panic!("{second}: {error}"),
        }
    }
}

#[test]
fn the_hour_before_a_moment_is_that_of_the_snapshots_before_it() {
    let (history, written) = record(0..900, 2);
    let asked = UnixTime::from_ms(START_MS + 777_000);
    let Ok(past) = history.at(asked) else { panic!("it is kept") };
    let trends = history.trends_before(&past).unwrap();
    let mut log = TrendLog::default();
    for (_, snapshot) in written.range(..=777) {
        log.note(snapshot);
    }
    let expected = log.trends(asked);
    assert_eq!(trends.until, expected.until);
    assert_eq!(trends.requests.len(), expected.requests.len());
    let different = trends.requests.iter().zip(&expected.requests).filter(|(a, b)| a != b).count();
    // The step that a group ends in is made of two parts, between which nothing is counted.
    assert!(different <= 1, "{different} of {} points", trends.requests.len());
    assert_eq!(trends.pools["web"].queued, expected.pools["web"].queued);
}

#[test]
fn a_moment_in_a_gap_is_told_what_is_around_it() {
    let (history, mut written) = record(0..10, 2);
    let ring = history.ring.as_ref().unwrap();
    let mut tape = Tape::default();
    let late = thinned(100, 2);
    tape.write(ring, &late, |_, _| Vec::new()).unwrap();
    written.insert(100, late);
    let at = |second: u64| UnixTime::from_ms(START_MS + second * 1_000);
    for (second, expected) in [(0, Some(0)), (13, Some(9)), (14, Some(9)), (15, None), (99, None)] {
        match (history.at(at(second)), expected) {
            (Ok(past), Some(expected)) => assert_eq!(past.snapshot.taken(), at(expected)),
            (Err(PastError::Gone(gone)), None) => {
                let expected = Gone {
                    kept: Some((at(0), at(100))),
                    before: Some(at(9)),
                    after: Some(at(100)),
                };
                assert_eq!(gone, expected, "{second}");
            }
            (other, _) => panic!("{second}: {other:?}"),
        }
    }
    let overview = history.overview();
    assert_eq!((overview.frames, overview.from, overview.until), (11, Some(at(0)), Some(at(100))));
}

#[test]
fn neither_a_gap_nor_a_clock_that_was_set_back_hides_what_was_recorded() {
    let (history, _) = record(0..0, 2);
    let ring = history.ring.as_ref().unwrap();
    let mut tape = Tape::default();
    // A gap of 14 seconds, and then the clock is set back to before it.
    let seconds: Vec<u64> = (0..5).chain(18..24).chain(8..12).collect();
    for &second in &seconds {
        tape.write(ring, &thinned(second, 2), |_, _| Vec::new()).unwrap();
    }
    let at = |second: u64| UnixTime::from_ms(START_MS + second * 1_000);
    for second in 0..=28 {
        let recorded = (0..=second).rev().take(6).find(|second| seconds.contains(second));
        match (history.at(at(second)), recorded) {
            (Ok(past), Some(recorded)) => assert_eq!(past.snapshot.taken(), at(recorded)),
            (Err(PastError::Gone(gone)), None) => {
                for named in [gone.before, gone.after].into_iter().flatten() {
                    assert_eq!(history.at(named).unwrap().snapshot.taken(), named, "{second}");
                }
            }
            (other, expected) => panic!("{second}: {other:?}, not {expected:?}"),
        }
    }
}

/// Records these seconds of a pool with so many threads into the smallest ring.
fn record(seconds: std::ops::Range<u64>, threads: u32) -> (History, BTreeMap<u64, Snapshot>) {
    let file = tempfile::tempfile().unwrap();
    file.set_len(ring::AREA + 2 * frame::MAX_PAYLOAD as u64).unwrap();
    let history = History::new(Some(file.into()));
    let ring = history.ring.as_ref().unwrap();
    ring.begin().unwrap();
    ring.scan().unwrap();
    let (mut tape, mut trends) = (Tape::default(), TrendLog::default());
    let mut written = BTreeMap::new();
    for second in seconds {
        let snapshot = thinned(second, threads);
        trends.note(&snapshot);
        tape.write(ring, &snapshot, |from, to| trends.steps(from, to)).unwrap();
        written.insert(second, snapshot);
    }
    (history, written)
}

/// A second of a busy server: all its numbers differ from those of the one before.
fn thinned(second: u64, threads: u32) -> Snapshot {
    let mixed = |salt: u64| {
        let mut number = (second + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt;
        number = (number ^ (number >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number ^ (number >> 32)
    };
    let row = |thread: u32| {
        let running_ms = mixed(u64::from(thread)) % 1_000;
        let request = Request {
            id: format!("{:016x}", mixed(u64::from(thread) + 1_000)),
            target: format!("/problems/{}", mixed(u64::from(thread) + 2_000) % 500),
            running_ms,
            ..Request::default()
        };
        let request = running_ms.is_multiple_of(2).then_some(request);
        let state = ThreadState::of(WorkerState::Ready, request.is_some());
        Thread { thread, state, request, requests_total: second, ..Thread::default() }
    };
    let worker = Worker { threads: (0..threads).map(row).collect(), ..Worker::default() };
    let pool = Pool {
        threads,
        concurrency: threads,
        queued: mixed(7) % 100,
        workers: vec![worker],
        ..<_>::default()
    };
    let mut snapshot = Snapshot::default();
    snapshot.server.started = UnixTime::from_ms(START_MS);
    #[expect(clippy::cast_precision_loss, reason = "seconds of a test")]
    let uptime_s = second as f64;
    snapshot.server.uptime_s = uptime_s;
    snapshot.requests.total = second * 10;
    snapshot.pools.insert("web".to_owned(), pool);
    snapshot.thin();
    snapshot
}
