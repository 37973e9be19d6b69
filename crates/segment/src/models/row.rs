//! What requests cost: shown with the request that it was for, whoever looks and whoever is late.

use loom::sync::{Arc, Mutex};
use loom::thread;

use super::{Memory, check, words};
use crate::atomic::AtomicU64;
use crate::cell::{CellState, CellTicket};
use crate::cost::Cost;
use crate::figures::{FIGURE_WORDS, Figures};
use crate::map::Words;
use crate::row::{ROW_WORDS, Row, RowTicket};

/// A row.
struct RowMemory(Vec<AtomicU64>);

impl RowMemory {
    fn new() -> Self {
        Self(words(ROW_WORDS))
    }

    fn row(&self) -> Row<'_> {
        Row::new(Words::of_memory(&self.0))
    }

    /// Hands a request of this route over, as the proxy does.
    fn begin(&self, route: u32) -> RowTicket {
        let ticket = self.row().claim(1).unwrap();
        assert!(self.row().start(ticket, route, 0, 0));
        ticket
    }

    /// One request, on a thread of its number: 10 queries a route, and 100 µs.
    fn serve(&self, route: u32) {
        let ticket = self.begin(route);
        let (row, number) = (self.row(), u64::from(route));
        row.set_thread(route, number * 1_000);
        row.add_cost(Cost::DbQueries, number * 10);
        row.add_cpu(number * 100);
        assert_eq!(row.request_cpu_us(ticket), Some(number * 100));
        assert!(row.release(ticket));
    }
}

#[test]
fn what_a_reader_finds_is_about_the_request_that_it_finds() {
    check(2, || {
        let memory = Arc::new(RowMemory::new());
        let worker = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || (1..=2).for_each(|route| memory.serve(route)))
        };
        let (snapshot, _whole) = memory.row().try_snapshot().unwrap();
        if let Some(request) = snapshot.request {
            let number = u64::from(request.route);
            assert!([0, number * 10].contains(&request.costs.db_queries), "{request:?}");
            assert!([None, Some(number * 100)].contains(&request.cpu_us), "{request:?}");
        }
        if let Some(taken) = memory.row().taken() {
            let expected = u64::from(taken.tid) * 1_000;
            assert_eq!(taken.used_us(expected + 7), 7, "the clock is that of the thread");
        }
        worker.join().unwrap();
        assert_eq!(memory.row().snapshot().unwrap().cpu_us_total, 300);
    });
}

/// The supervisor looks at one request, and writes while the next one runs.
#[test]
fn a_clock_that_was_read_too_late_is_about_nobody() {
    check(3, || {
        let memory = Arc::new(RowMemory::new());
        let first = memory.begin(1);
        memory.row().set_thread(1, 1_000);
        let supervisor = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || {
                if let Some(taken) = memory.row().taken() {
                    memory.row().note_clock(&taken, 5_000);
                }
            })
        };
        assert!(memory.row().release(first));
        let _second = memory.begin(2);
        let request = memory.row().snapshot().unwrap().request.unwrap();
        assert_eq!((request.route, request.cpu_us), (2, None));
        supervisor.join().unwrap();
        let request = memory.row().snapshot().unwrap().request.unwrap();
        assert_eq!((request.route, request.cpu_us), (2, None));
    });
}

/// A worker's side of a cell: whoever reports looks under a lock whether the request still runs,
/// and whoever ends it holds the lock.
struct Worker {
    row: RowMemory,
    cell: Memory,
    gate: Mutex<()>,
}

impl Worker {
    fn report(&self, ticket: CellTicket, queries: u64) {
        let _gate = self.gate.lock().unwrap();
        if self.cell.cell().is_running(ticket) {
            self.row.row().add_cost(Cost::DbQueries, queries);
        }
    }

    fn end(&self, ticket: CellTicket) {
        let _gate = self.gate.lock().unwrap();
        assert!(self.cell.cell().finish(ticket));
    }
}

#[test]
fn who_reports_after_the_end_of_a_request_changes_nothing_of_the_next() {
    check(3, || {
        let worker =
            Arc::new(Worker { row: RowMemory::new(), cell: Memory::new(), gate: Mutex::new(()) });
        let row = worker.row.begin(1);
        let ours = worker.cell.cell().open(1, 0).unwrap();
        assert!(worker.cell.cell().queue(ours));
        let taken = worker.cell.cell().take().unwrap();
        let late = {
            let worker = Arc::clone(&worker);
            thread::spawn(move || worker.report(taken, 100))
        };
        let handler = {
            let worker = Arc::clone(&worker);
            thread::spawn(move || {
                worker.report(taken, 1);
                worker.end(taken);
            })
        };
        handler.join().unwrap();
        assert_eq!(worker.cell.cell().state(ours), Some(CellState::Done));
        let costs = worker.row.row().costs();
        assert!([1, 101].contains(&costs.db_queries), "{costs:?}");
        worker.cell.cell().close(ours);
        assert!(worker.row.row().release(row));
        let _next = worker.row.begin(2);
        let next = worker.cell.cell().open(1, 0).unwrap();
        assert!(worker.cell.cell().queue(next));
        assert!(worker.cell.cell().take().is_some());
        late.join().unwrap();
        let request = worker.row.row().snapshot().unwrap().request.unwrap();
        assert_eq!((request.route, request.costs.db_queries), (2, 0));
    });
}

#[test]
fn who_finds_the_time_of_a_reading_finds_its_figures() {
    check(3, || {
        let memory = Arc::new(words(FIGURE_WORDS));
        let supervisor = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || {
                let figures = Figures { read_unix_ms: 1, rss_bytes: 2, user_us: 3, system_us: 4 };
                figures.write(Words::of_memory(&memory));
            })
        };
        if let Some(found) = Figures::read(Words::of_memory(&memory)) {
            assert_eq!((found.rss_bytes, found.cpu_us()), (2, 7));
        }
        supervisor.join().unwrap();
        assert!(Figures::read(Words::of_memory(&memory)).is_some());
    });
}
