//! Taking back what a dead proxy held: once, and never while its handler runs.

use loom::sync::Arc;
use loom::thread;

use super::{Memory, check, words};
use crate::atomic::AtomicU64;
use crate::cell::CellReclaimed;
use crate::map::Words;
use crate::row::{ROW_WORDS, Row};

const DEAD: u32 = 1;

/// A row and its cell.
struct Both {
    row: Vec<AtomicU64>,
    cell: Memory,
}

impl Both {
    fn row(&self) -> Row<'_> {
        Row::new(Words::of_memory(&self.row))
    }

    /// As `Segment::reclaim`, and then a claim by the proxy that does it.
    fn reclaim_and_claim(&self, incarnation: u32) -> bool {
        let Some(holder) = self.row().holder().filter(|held| held.incarnation() == DEAD) else {
            return false;
        };
        self.cell.cell().reclaim(DEAD) == CellReclaimed::Free
            && self.row().release(holder)
            && self.row().claim(incarnation).is_some()
            && self.cell.cell().open(incarnation, 0).is_some()
    }
}

/// Two proxies find what a third one left, while the worker takes the request and ends it.
#[test]
fn a_row_is_taken_back_once_and_only_when_its_handler_has_ended() {
    check(3, || {
        let both = Arc::new(Both { row: words(ROW_WORDS), cell: Memory::new() });
        let _row = both.row().claim(DEAD).unwrap();
        let ticket = both.cell.cell().open(DEAD, 0).unwrap();
        assert!(both.cell.cell().queue(ticket));
        let worker = {
            let both = Arc::clone(&both);
            thread::spawn(move || {
                let Some(taken) = both.cell.cell().take() else { return };
                // The handler runs.
                let held = both.row().holder().map(|holder| holder.incarnation());
                assert_eq!(held, Some(DEAD), "nobody else has its row");
                assert!(both.cell.cell().finish(taken));
            })
        };
        let other = {
            let both = Arc::clone(&both);
            thread::spawn(move || both.reclaim_and_claim(2))
        };
        let ours = both.reclaim_and_claim(3);
        worker.join().unwrap();
        let theirs = other.join().unwrap();
        assert!(!(ours && theirs), "one row, one holder");
        // Whoever looks when all is over finds it, unless it was found before.
        assert_eq!(both.reclaim_and_claim(4), !ours && !theirs);
    });
}
