//! Taking back what a proxy that died held in a segment.
//!
//! ```text
//! row of the dead one, and its cell       then
//! no cell, or the request went over HTTP  busy until the worker is replaced
//! cell Free (not queued, or closed)       row free
//! cell Queued                             cell free, row free: the worker never saw the request
//! cell Taken                              cell Left, the worker is told; busy
//! cell Left                               busy
//! cell Done                               cell free, row free
//! ```
//!
//! A row is freed only after its cell, and both by compare-and-swap on the very claim that was
//! looked at: any number of proxies may do this at once, while the worker goes on.

use crate::cell::CellReclaimed;
use crate::lane::Lane;
use crate::row::{Row, RowTicket};
use crate::segment::Segment;
use crate::state::INCARNATION_MASK;

/// What a row is to a proxy that has not claimed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a worker that was not told does not end what nobody waits for"]
pub enum Reclaimed {
    /// Nobody holds it.
    Free,
    /// A living proxy holds it, or a handler runs on in it.
    Busy {
        /// A task of the worker is to be told: the row belongs into its news, and its bell rung.
        is_news: bool,
    },
}

impl Segment {
    /// Looks at a row that somebody else claimed, and takes it back if that proxy `is_dead` and
    /// the worker is done with the request. `is_dead` gets the lower 24 bits of an incarnation;
    /// its process must be certain to have ended.
    pub fn reclaim(&self, row: u32, is_dead: impl Fn(u32) -> bool) -> Reclaimed {
        let busy = Reclaimed::Busy { is_news: false };
        let (words, cell) = (self.row(row), self.cell(row));
        let Some(holder) = words.holder() else {
            return if words.state().is_some() { Reclaimed::Free } else { busy };
        };
        if !is_dead(holder.incarnation()) || words.is_over_http(holder) {
            return busy;
        }
        let Some(cell) = cell else { return busy };
        match cell.reclaim(holder.incarnation()) {
            CellReclaimed::InUse { told } => Reclaimed::Busy { is_news: told },
            // Where the claim is not there any more, another proxy has taken the row back first.
            CellReclaimed::Free if words.release(holder) => Reclaimed::Free,
            CellReclaimed::Free => busy,
        }
    }

    /// Whether a request of the proxy with this incarnation went over HTTP and has left no trace
    /// of its end: once that proxy is dead, its row is busy until the worker is replaced.
    pub fn is_lost_with(&self, incarnation: u32) -> bool {
        let is_lost = |row: Row<'_>| {
            let bits = u64::from(incarnation) & INCARNATION_MASK;
            let theirs = |holder: &RowTicket| u64::from(holder.incarnation()) == bits;
            row.holder().filter(theirs).is_some_and(|holder| row.is_over_http(holder))
        };
        self.iter().any(is_lost)
    }

    /// Makes the lanes of proxies that are dead nobody's.
    pub fn free_lanes(&self, is_dead: impl Fn(u32) -> bool) {
        let lanes = (0..self.head().lanes).filter_map(|number| self.lane(number));
        for (lane, owner) in lanes.filter_map(|lane: Lane<'_>| Some((lane, lane.owner()?))) {
            if is_dead(owner.incarnation) {
                // Where it fails, another proxy was first.
                let _was_theirs = lane.free(owner);
            }
        }
    }
}
