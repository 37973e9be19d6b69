//! Processor time of requests and figures of processes, over a real memfd with both its mappings.

#![expect(clippy::unwrap_used, reason = "helpers of tests; clippy only knows test functions")]

use std::os::fd::AsFd as _;

use ostler_segment::{
    Access, Cost, Figures, RequestSnapshot, Row, RowTicket, Segment, SegmentHead,
};

const FIGURES: Figures =
    Figures { read_unix_ms: 1, rss_bytes: 4_096, user_us: 3_000_000, system_us: 1_000_000 };

#[test]
fn a_request_shows_what_it_has_used_while_it_runs_and_when_it_has_ended() {
    let (worker, supervisor) = mappings();
    let (row, seen) = (worker.row(0), supervisor.row(0));
    let ticket = start(row);
    assert_eq!(seen.taken(), None, "nobody has taken it");
    row.set_thread(7, 500_000);
    assert_eq!(request(row).cpu_us, None);

    let taken = seen.taken().unwrap();
    assert_eq!((taken.tid, taken.started_unix_us), (7, 1_000));
    seen.note_clock(&taken, 750_000);
    assert_eq!(request(row).cpu_us, Some(250_000));
    assert_eq!(row.snapshot().unwrap().cpu_us_total, 250_000);
    assert_eq!(row.request_cpu_us(ticket), None, "it has not ended");

    row.add_cpu(300_000);
    assert_eq!((request(row).cpu_us, row.request_cpu_us(ticket)), (Some(300_000), Some(300_000)));
    assert!(row.release(ticket));
    assert_eq!(row.snapshot().unwrap().cpu_us_total, 300_000);

    let next = start(row);
    assert_eq!(seen.taken(), None, "the thread is that of the request before");
    assert_eq!((request(row).cpu_us, row.request_cpu_us(next)), (None, None));
    assert_eq!(row.snapshot().unwrap().cpu_us_total, 300_000);
}

#[test]
fn a_clock_that_is_behind_or_beyond_its_bits_makes_no_nonsense() {
    const WRAP: u64 = 1 << 40;
    let (worker, supervisor) = mappings();
    for (at_take, clock, expected) in
        [(1_000, 400, 0), (WRAP - 10, WRAP + 20, 30), (3 * WRAP, 3 * WRAP + 1, 1), (0, 0, 0)]
    {
        let ticket = start(worker.row(0));
        worker.row(0).set_thread(1, at_take);
        supervisor.row(0).note_clock(&supervisor.row(0).taken().unwrap(), clock);
        assert_eq!(request(worker.row(0)).cpu_us, Some(expected), "{at_take} {clock}");
        assert!(worker.row(0).release(ticket));
    }
}

#[test]
fn the_supervisor_writes_its_figures_and_nothing_else() {
    let (worker, supervisor) = mappings();
    assert_eq!(worker.figures(), None);
    supervisor.set_figures(&FIGURES);
    assert_eq!((worker.figures(), worker.figures().unwrap().cpu_us()), (Some(FIGURES), 4_000_000));

    let row = supervisor.row(0);
    assert_eq!(row.claim(1), None);
    let ticket = start(worker.row(0));
    worker.row(0).set_thread(7, 0);
    assert!(!row.mark_stuck(ticket) && !row.release(ticket));
    row.set_thread(9, 9);
    row.add_cpu(9);
    row.add_cost(Cost::DbQueries, 9);
    row.add_request(9);
    assert_eq!(request(worker.row(0)).costs.db_queries, 0);
    let after = worker.row(0).snapshot().unwrap();
    assert_eq!((after.tid, after.cpu_us_total, after.requests_total), (7, 0, 0));
}

#[test]
fn a_reader_writes_no_figures() {
    let file = Segment::create(&head()).unwrap();
    let reader = Segment::map(file.as_fd(), Access::Read).unwrap();
    reader.set_figures(&FIGURES);
    assert_eq!(reader.figures(), None);
}

/// As the worker maps a segment, and as the supervisor does.
fn mappings() -> (Segment, Segment) {
    let file = Segment::create(&head()).unwrap();
    let map = |access| Segment::map(file.as_fd(), access).unwrap();
    (map(Access::Write), map(Access::Figures))
}

fn head() -> SegmentHead {
    SegmentHead { pool: "web".to_owned(), slot: 0, generation: 1, rows: 1, lanes: 0 }
}

fn start(row: Row<'_>) -> RowTicket {
    let ticket = row.claim(1).unwrap();
    assert!(row.start(ticket, 0, 0, 1_000));
    ticket
}

fn request(row: Row<'_>) -> RequestSnapshot {
    row.snapshot().unwrap().request.unwrap()
}
