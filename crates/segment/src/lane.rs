//! A lane: how a worker tells one event loop of one proxy that there is news of a cell.
//!
//! The worker sets the cell's bit, then looks whether the loop sleeps; a loop that is about to
//! sleep says so, then looks at the bits. Sequentially consistent, so one of them sees the other:
//! a loop that is awake is never signalled, and one that sleeps never misses anything.
//!
//! A lane belongs to one proxy process from [`Lane::claim`] on. Two proxies have different lanes.

use crate::atomic::{AtomicU64, Ordering};
use crate::bits::Bits;
use crate::map::Words;

/// Words of a lane before its bits: one cache line.
pub(crate) const LANE_WORDS: usize = 8;

const OWNER: usize = 0;
const AWAKE: usize = 1;

/// Which process a lane belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Incarnation of the proxy: lower 24 bits.
    pub incarnation: u32,
    /// Its process id.
    pub pid: u32,
}

impl Owner {
    fn word(self) -> u64 {
        (u64::from(self.incarnation) << 32) | u64::from(self.pid)
    }
}

/// One lane of a segment.
#[derive(Clone, Copy)]
pub struct Lane<'a> {
    words: Words<'a>,
    cells: &'a [AtomicU64],
}

impl<'a> Lane<'a> {
    /// Takes words for a lane. `None` if they cannot be written.
    pub(crate) fn new(words: Words<'a>) -> Option<Self> {
        Some(Self { words, cells: words.writable()? })
    }

    /// Makes the lane `owner`'s, if it is nobody's.
    pub fn claim(&self, owner: Owner) -> bool {
        let owner = owner.word();
        self.cells.get(OWNER).is_some_and(|word| {
            word.compare_exchange(0, owner, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
    }

    /// Returns whose it is.
    pub fn owner(&self) -> Option<Owner> {
        let owner = self.words.load_acquire(OWNER);
        let incarnation = u32::try_from(owner >> 32).unwrap_or(0);
        let pid = u32::try_from(owner & u64::from(u32::MAX)).unwrap_or(0);
        (owner != 0).then_some(Owner { incarnation, pid })
    }

    /// Makes the lane nobody's, if it still is `owner`'s, whose process has ended. What the worker
    /// tells of its requests wakes the next owner for nothing.
    pub fn free(&self, owner: Owner) -> bool {
        self.cells.get(OWNER).is_some_and(|word| {
            let order = (Ordering::AcqRel, Ordering::Relaxed);
            word.compare_exchange(owner.word(), 0, order.0, order.1).is_ok()
        })
    }

    /// Tells of a cell. True: the loop sleeps, and its eventfd is to be written to.
    #[must_use = "a loop that sleeps does not notice otherwise"]
    pub fn tell(&self, cell: u32) -> bool {
        // Who set the bit before has woken the loop, or saw that it was awake.
        self.bits().set(cell) && self.words.swap(AWAKE, 1) == 0
    }

    /// Says that the loop is about to sleep. What is told afterwards wakes it.
    pub fn fall_asleep(&self) {
        self.words.store(AWAKE, 0, Ordering::SeqCst);
    }

    /// Says that the loop is awake.
    pub fn wake_up(&self) {
        self.words.store(AWAKE, 1, Ordering::SeqCst);
    }

    /// Gives each cell that was told of to `take`.
    pub fn drain(&self, take: impl FnMut(u32)) {
        self.bits().drain(take);
    }

    fn bits(&self) -> Bits<'a> {
        Bits(self.cells.get(LANE_WORDS..).unwrap_or_default())
    }
}

impl std::fmt::Debug for Lane<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Lane").field("owner", &self.owner()).finish_non_exhaustive()
    }
}
