//! The states of a cell: whoever is first decides, and a request is taken once or taken back.

use loom::sync::Arc;
use loom::thread;

use super::{Memory, check};
use crate::cell::{CellState, LeftAt};
use crate::stream::{Found, ReadEnd, WriteEnd};

#[test]
fn a_request_that_was_taken_back_was_never_taken() {
    check(4, || {
        let memory = Arc::new(Memory::new());
        let ticket = memory.cell().open(1, 0).unwrap();
        assert!(memory.cell().queue(ticket));
        let worker = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || memory.cell().take().map(|taken| memory.cell().finish(taken)))
        };
        let left = memory.cell().leave(ticket);
        let state = memory.cell().state(ticket);
        let finished = worker.join().unwrap();
        match left {
            Some(LeftAt::Queue) => {
                assert_eq!((finished, state), (None, Some(CellState::Free)));
            }
            Some(LeftAt::Worker) => {
                assert_eq!(finished, Some(true));
                assert!(matches!(state, Some(CellState::Left | CellState::Done)), "{state:?}");
            }
            Some(LeftAt::End) => {
                assert_eq!((finished, state), (Some(true), Some(CellState::Done)));
            }
            None => panic!("the cell is in this use"),
        }
        let is_done = memory.cell().state(ticket) == Some(CellState::Done);
        assert_eq!(is_done, left != Some(LeftAt::Queue));
    });
}

#[test]
fn one_of_two_threads_takes_a_request() {
    check(4, || {
        let memory = Arc::new(Memory::new());
        let threads = [(), ()].map(|()| {
            let memory = Arc::clone(&memory);
            thread::spawn(move || memory.cell().take().is_some())
        });
        let ticket = memory.cell().open(1, 0).unwrap();
        memory.cell().queue(ticket);
        let taken = threads.map(|thread| u32::from(thread.join().unwrap()));
        let later = u32::from(memory.cell().take().is_some());
        assert_eq!(taken[0] + taken[1] + later, 1);
    });
}

/// The worker reads the request whose ticket it took, whatever was in the cell before.
#[test]
fn a_cell_that_is_used_again_shows_nothing_of_its_last_request() {
    check(3, || {
        let memory = Arc::new(Memory::new());
        let worker = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || {
                let cell = memory.cell();
                let Some(ticket) = cell.take().or_else(|| cell.take()) else { return };
                let (mut end, mut out) = (ReadEnd::default(), Vec::new());
                let read = cell.read(&mut end, 8, &mut out).unwrap();
                assert_eq!(read.0, Found::Bytes(1));
                assert_eq!(u32::from(out[0]), crate::cell::Cell::incarnation(ticket));
                assert_eq!(u32::from(out[0]), cell.lane());
                assert!(cell.finish(ticket));
            })
        };
        let cell = memory.cell();
        for use_of_it in [1, 2_u8] {
            let number = u32::from(use_of_it);
            let ticket = cell.open(number, number).unwrap();
            cell.send(&mut WriteEnd::default(), &[use_of_it], true);
            assert!(cell.queue(ticket));
            if cell.leave(ticket) != Some(LeftAt::Queue) {
                break;
            }
        }
        worker.join().unwrap();
    });
}
