//! Segments and counter pages over real memfds, as several processes would use them.

#![expect(clippy::unwrap_used, reason = "helpers of tests; clippy only knows test functions")]

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use ostler_segment::{
    Access, CounterPage, RowSnapshot, RowState, Segment, SegmentError, SegmentHead, Summary,
    counter,
};
use proptest::prelude::*;

#[test]
fn each_row_is_claimed_by_exactly_one_of_many_threads() {
    const ROWS: u32 = 500;
    let segment = writable(ROWS);
    let tickets: Vec<(u32, u32)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let segment = &segment;
                scope.spawn(move || {
                    (0..ROWS)
                        .filter(|&row| segment.row(row).claim(thread).is_some())
                        .map(|row| (row, thread))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut rows: Vec<u32> = tickets.iter().map(|&(row, _)| row).collect();
    rows.sort_unstable();
    assert_eq!(rows, (0..ROWS).collect::<Vec<_>>());
    for (row, thread) in tickets {
        let snapshot = segment.row(row).snapshot().unwrap();
        assert_eq!((snapshot.state, snapshot.incarnation), (RowState::Claimed, thread));
    }
}

#[test]
fn a_row_goes_from_free_to_running_to_stuck_and_back() {
    let segment = writable(1);
    let row = segment.row(0);
    let ticket = row.claim(7).unwrap();
    assert_eq!(row.claim(8), None);
    assert!(!row.mark_stuck(ticket), "nothing runs yet");
    assert!(row.describe(ticket, &Summary { target: "/slow", ..Summary::default() }));
    assert_eq!(snapshot(&segment).request, None, "a request shows once it is handed over");

    assert!(row.start(ticket, 7, 1_500, 1_767_225_600_000_000));
    row.set_tid(4_242);
    let running = snapshot(&segment);
    assert_eq!((running.state, running.tid, running.sequence), (RowState::Running, 4_242, 1));
    let request = running.request.unwrap();
    assert_eq!((request.queued_us, request.started_unix_us), (1_500, 1_767_225_600_000_000));
    assert_eq!(request.summary.target, "/slow");

    assert!(row.mark_stuck(ticket));
    let stuck = snapshot(&segment);
    assert_eq!(stuck.state, RowState::Stuck);
    assert_eq!(stuck.request.unwrap().summary.target, "/slow");

    row.add_request(2_000_000);
    assert!(row.release(ticket));
    let free = snapshot(&segment);
    assert_eq!((free.state, free.request), (RowState::Free, None));
    assert_eq!((free.requests_total, free.busy_us_total), (1, 2_000_000));
}

#[test]
fn an_old_ticket_changes_nothing() {
    let segment = writable(1);
    let row = segment.row(0);
    let old = row.claim(1).unwrap();
    assert!(row.release(old));
    assert!(!row.release(old), "released twice");
    let new = row.claim(1).unwrap();
    assert!(!row.describe(old, &Summary { target: "/old", ..Summary::default() }));
    assert!(!row.start(old, 0, 0, 0));
    assert!(!row.release(old));
    assert!(row.start(new, 0, 0, 0));
    assert!(!row.mark_stuck(old));
    assert!(!row.describe(new, &Summary::default()), "what runs is not described anew");
    assert_eq!(row.state(), Some(RowState::Running));
}

#[test]
fn a_row_left_claimed_by_a_dead_proxy_stays_busy_for_the_next_one() {
    let fd = create(2);
    let dead = Segment::map(fd.as_fd(), Access::Write).unwrap();
    let ticket = dead.row(0).claim(1).unwrap();
    assert!(dead.row(0).start(ticket, 0, 0, 0));
    drop(dead);
    let next = Segment::map(fd.as_fd(), Access::Write).unwrap();
    assert_eq!(next.row(0).claim(2), None);
    assert!(next.row(1).claim(2).is_some());
    assert_eq!(next.row(0).snapshot().unwrap().incarnation, 1);
}

/// Goal: a reader never takes one request's text for another's. Method: a writer fills every text
/// of every request with one letter, at all lengths, while readers look for two letters.
#[test]
fn a_reader_never_sees_a_mixed_summary() {
    let segment = writable(1);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2).map(|_| scope.spawn(|| read_until(&segment, &done))).collect();
        write_requests(&segment, 60_000);
        // On a busy machine the readers may start late; give them something to read.
        while readers.iter().any(|reader| !reader.is_finished()) {
            done.store(true, Ordering::Relaxed);
            write_requests(&segment, 1_000);
        }
        for reader in readers {
            assert!(0 < reader.join().unwrap(), "a reader saw no request at all");
        }
    });
}

fn write_requests(segment: &Segment, count: u64) {
    let row = segment.row(0);
    for number in 0..count {
        let letter = char::from(b'a' + u8::try_from(number % 26).unwrap());
        let text = letter.to_string().repeat(1 + usize::try_from(number % 191).unwrap());
        let ticket = row.claim(1).unwrap();
        let summary = Summary {
            id: &text,
            method: &text,
            target: &text,
            host: &text,
            site: &text,
            client: &text,
            protocol: &text,
        };
        assert!(row.describe(ticket, &summary));
        assert!(row.start(ticket, 0, u64::from(letter), u64::from(letter)));
        assert!(row.release(ticket));
    }
}

/// Reads until the writer is done and at least one request was seen. Returns how many were.
fn read_until(segment: &Segment, done: &AtomicBool) -> u64 {
    let mut seen = 0;
    while !(done.load(Ordering::Relaxed) && 0 < seen) {
        let Some(request) = snapshot(segment).request else { continue };
        seen += 1;
        let summary = &request.summary;
        let letter = summary.target.chars().next().unwrap();
        let texts = [
            &summary.id,
            &summary.method,
            &summary.target,
            &summary.host,
            &summary.site,
            &summary.client,
            &summary.protocol,
        ];
        for text in texts {
            assert!(text.chars().all(|other| other == letter), "mixed: {summary:?}");
        }
        assert_eq!(summary.truncated, 8 < summary.target.len());
        assert_eq!(request.queued_us, u64::from(letter));
        assert_eq!(request.started_unix_us, u64::from(letter));
    }
    seen
}

#[test]
fn two_mappings_of_one_segment_see_each_other() {
    let fd = create(3);
    let writer = Segment::map(fd.as_fd(), Access::Write).unwrap();
    let reader = Segment::map(fd.as_fd(), Access::Read).unwrap();
    assert_eq!(reader.head(), writer.head());
    let ticket = writer.row(2).claim(1).unwrap();
    assert_eq!(reader.row(2).state(), Some(RowState::Claimed));
    assert_eq!(reader.row(1).state(), Some(RowState::Free));
    assert!(writer.row(2).release(ticket));
    assert_eq!(reader.row(2).state(), Some(RowState::Free));
}

#[test]
fn a_read_only_mapping_refuses_every_write() {
    let fd = create(1);
    let writer = Segment::map(fd.as_fd(), Access::Write).unwrap();
    let reader = Segment::map(fd.as_fd(), Access::Read).unwrap();
    let row = reader.row(0);
    assert_eq!(row.claim(1), None);
    let ticket = writer.row(0).claim(1).unwrap();
    assert!(!row.describe(ticket, &Summary::default()));
    assert!(!row.start(ticket, 0, 0, 0));
    assert!(!row.mark_stuck(ticket));
    assert!(!row.release(ticket));
    row.set_tid(1);
    row.add_request(1);
    let snapshot = row.snapshot().unwrap();
    assert_eq!((snapshot.state, snapshot.tid, snapshot.requests_total), (RowState::Claimed, 0, 0));
}

#[test]
fn a_segment_cannot_be_resized_and_an_unsealed_one_is_not_mapped() {
    let fd = create(1);
    let size = rustix::fs::fstat(&fd).unwrap().st_size.cast_unsigned();
    assert_eq!(rustix::fs::ftruncate(&fd, size - 8), Err(rustix::io::Errno::PERM));
    assert_eq!(rustix::fs::ftruncate(&fd, size + 8), Err(rustix::io::Errno::PERM));

    let unsealed = copy_of(&fd, rustix::fs::SealFlags::empty());
    check_refused(&unsealed, |error| matches!(error, SegmentError::NotSealed));
    let half = copy_of(&fd, rustix::fs::SealFlags::GROW | rustix::fs::SealFlags::SEAL);
    check_refused(&half, |error| matches!(error, SegmentError::NotSealed));
    let file = tempfile_of(&fd);
    check_refused(&file, |error| matches!(error, SegmentError::NotSealed));
    let all = copy_of(&fd, SEALS);
    assert!(Segment::map(all.as_fd(), Access::Read).is_ok(), "the copy as such is fine");
}

#[test]
fn a_head_that_is_not_ours_is_refused() {
    // Word, value that stands there, expected error.
    type Expected = fn(&SegmentError) -> bool;
    let cases: [(u64, u64, Expected); 9] = [
        (0, 0, |error| matches!(error, SegmentError::Magic)),
        (1, 1, |error| matches!(error, SegmentError::Version { found: 1, known: 5 })),
        (2, 0, |error| matches!(error, SegmentError::Count { count: 0, .. })),
        (2, 3, |error| matches!(error, SegmentError::Size { .. })),
        (2, u64::MAX, |error| matches!(error, SegmentError::Count { .. })),
        (4, 1 << 32, |error| matches!(error, SegmentError::Count { .. })),
        (5, 0, |error| matches!(error, SegmentError::PoolName { .. })),
        (5, 65, |error| matches!(error, SegmentError::PoolName { .. })),
        (6, u64::MAX, |error| matches!(error, SegmentError::PoolName { .. })),
    ];
    for (word, value, expected) in cases {
        let fd = create(2);
        poke(&fd, word, value);
        let error = Segment::map(fd.as_fd(), Access::Write).unwrap_err();
        assert!(expected(&error), "word {word} = {value:#x}: {error}");
    }
}

#[test]
fn what_cannot_be_a_segment_is_not_created() {
    let head = |pool: &str, rows| SegmentHead {
        pool: pool.into(),
        slot: 0,
        generation: 0,
        rows,
        lanes: 0,
    };
    assert!(matches!(Segment::create(&head("", 1)), Err(SegmentError::PoolName { .. })));
    let long = "x".repeat(65);
    assert!(matches!(Segment::create(&head(&long, 1)), Err(SegmentError::PoolName { .. })));
    assert!(matches!(Segment::create(&head("web", 0)), Err(SegmentError::Count { .. })));
    assert!(matches!(Segment::create(&head("web", 65_537)), Err(SegmentError::Count { .. })));
    let longest = "x".repeat(64);
    let fd = Segment::create(&head(&longest, 65_536)).unwrap();
    let segment = Segment::map(fd.as_fd(), Access::Read).unwrap();
    assert_eq!(segment.head(), &head(&longest, 65_536));
    assert_eq!(segment.iter().count(), 65_536);
}

proptest! {
    #[test]
    fn no_content_of_a_segment_makes_a_reader_panic(
        row in proptest::collection::vec(any::<u64>(), 80),
        state in 0_u64..5,
        head in proptest::collection::vec((0_u64..16, any::<u64>()), 0..2),
    ) {
        let fd = create(1);
        for (word, value) in (ROW..).zip(&row) {
            poke(&fd, word, *value);
        }
        // Mostly a state that makes sense, else the rest is not even read.
        poke(&fd, ROW, row[0] & !0xFF | state);
        let segment = Segment::map(fd.as_fd(), Access::Write).unwrap();
        if let Some(snapshot) = segment.row(0).snapshot() {
            prop_assert!(state < 4);
            if let Some(request) = snapshot.request {
                // Each hostile byte may become one replacement character of 3 bytes.
                prop_assert!(request.summary.target.len() <= 3 * 192);
            }
        }
        if let Some(taken) = segment.row(0).taken() {
            segment.row(0).note_clock(&taken, row[1]);
        }
        if let Some(ticket) = segment.row(0).claim(u32::MAX) {
            prop_assert!(segment.row(0).release(ticket));
        }
        // A mapping keeps to its copy of the head; a new one checks it again.
        for (word, value) in head {
            poke(&fd, word, value);
        }
        prop_assert_eq!(segment.rows(), 1);
        prop_assert_eq!(segment.iter().count(), 1);
        drop(Segment::map(fd.as_fd(), Access::Read));
        drop(CounterPage::map(fd.as_fd()));
    }
}

#[test]
fn counters_add_up_over_threads_and_outlive_a_mapping() {
    let fd = CounterPage::create(counter::Server::PAGE).unwrap();
    let page = CounterPage::map(fd.as_fd()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let page = CounterPage::map(fd.as_fd()).unwrap();
                for _ in 0..1_000 {
                    page.add(counter::Server::RequestsTotal, 2);
                }
            });
        }
    });
    page.set(counter::Server::reason(63), 9);
    assert_eq!(page.get(counter::Server::RequestsTotal), 8_000);
    assert_eq!(page.get(counter::Server::AcceptedTotal), 0);
    drop(page);
    let page = CounterPage::map(fd.as_fd()).unwrap();
    assert_eq!(page.len(), counter::Server::PAGE);
    assert_eq!(page.get(counter::Server::RequestsTotal), 8_000);
    assert_eq!(page.get(counter::Server::PAGE - 1), 9);
}

#[test]
fn a_page_that_is_not_ours_is_refused() {
    let cases: [(u64, u64); 3] = [(0, 1), (1, 2), (2, 9)];
    for (word, value) in cases {
        let fd = CounterPage::create(8).unwrap();
        poke(&fd, word, value);
        assert!(CounterPage::map(fd.as_fd()).is_err(), "word {word} = {value}");
    }
    let segment = create(1);
    assert!(matches!(CounterPage::map(segment.as_fd()), Err(SegmentError::Magic)));
    assert!(matches!(CounterPage::create(0), Err(SegmentError::Count { .. })));
}

/// The first word of the first row.
const ROW: u64 = 24;

const SEALS: rustix::fs::SealFlags = rustix::fs::SealFlags::SHRINK
    .union(rustix::fs::SealFlags::GROW)
    .union(rustix::fs::SealFlags::SEAL);

fn create(rows: u32) -> OwnedFd {
    let head = SegmentHead { pool: "web".to_owned(), slot: 1, generation: 2, rows, lanes: 0 };
    Segment::create(&head).unwrap()
}

fn writable(rows: u32) -> Segment {
    Segment::map(create(rows).as_fd(), Access::Write).unwrap()
}

fn snapshot(segment: &Segment) -> RowSnapshot {
    segment.row(0).snapshot().unwrap()
}

/// Writes a word behind the back of every mapping, as a hostile worker can.
fn poke(fd: &OwnedFd, word: u64, value: u64) {
    assert_eq!(rustix::io::pwrite(fd, &value.to_ne_bytes(), word * 8), Ok(8));
}

fn contents(fd: &OwnedFd) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(rustix::fs::fstat(fd).unwrap().st_size).unwrap()];
    assert_eq!(rustix::io::pread(fd, bytes.as_mut_slice(), 0), Ok(bytes.len()));
    bytes
}

fn copy_of(fd: &OwnedFd, seals: rustix::fs::SealFlags) -> OwnedFd {
    let flags = rustix::fs::MemfdFlags::ALLOW_SEALING | rustix::fs::MemfdFlags::CLOEXEC;
    let copy = rustix::fs::memfd_create("copy", flags).unwrap();
    let bytes = contents(fd);
    assert_eq!(rustix::io::pwrite(&copy, &bytes, 0), Ok(bytes.len()));
    rustix::fs::fcntl_add_seals(&copy, seals).unwrap();
    copy
}

/// A plain file with the same content.
fn tempfile_of(fd: &OwnedFd) -> OwnedFd {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::open(std::env::temp_dir(), flags, Mode::RUSR | Mode::WUSR).unwrap();
    let bytes = contents(fd);
    assert_eq!(rustix::io::pwrite(&file, &bytes, 0), Ok(bytes.len()));
    file
}

#[track_caller]
fn check_refused(fd: &OwnedFd, expected: impl FnOnce(&SegmentError) -> bool) {
    let error = Segment::map(fd.as_fd(), Access::Read).unwrap_err();
    assert!(expected(&error), "{error}");
}
