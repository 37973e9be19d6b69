//! A page of counters that outlives the process that counts.
//!
//! The supervisor creates it and hands it to every proxy in turn, so that no counter goes back
//! when the proxy is replaced. Workers never get one.

use crate::atomic::{AtomicU64, Ordering};
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::error::SegmentError;
use crate::map::{self, Access, Mapping, Words};

/// `OSTLRCNT`, read as a little-endian word.
const MAGIC: u64 = u64::from_le_bytes(*b"OSTLRCNT");
/// Changes with every change of the page's layout.
const VERSION: u64 = 1;
const VERSION_AT: usize = 1;
const COUNT_AT: usize = 2;
const HEAD_WORDS: usize = 8;
/// Most counters of one page.
const MAX_COUNTERS: u64 = 65_536;

/// An array of counters, mapped for reading and writing.
#[derive(Debug)]
pub struct CounterPage {
    mapping: Mapping,
    len: usize,
}

impl CounterPage {
    /// Creates the memfd of a page of `counters`, all 0, sealed against resizing.
    ///
    /// # Errors
    ///
    /// If the number is out of bounds or a system call fails.
    pub fn create(counters: usize) -> Result<OwnedFd, SegmentError> {
        let count = counters as u64;
        check_count(count)?;
        let mut words = [0_u64; HEAD_WORDS];
        words[0] = MAGIC;
        words[VERSION_AT] = VERSION;
        words[COUNT_AT] = count;
        map::create("ostler-counters", HEAD_WORDS as u64 + count, &words)
    }

    /// Maps a page.
    ///
    /// # Errors
    ///
    /// If it is not a sealed page of this layout, or a system call fails.
    pub fn map(fd: BorrowedFd<'_>) -> Result<Self, SegmentError> {
        let mapping = Mapping::new(fd, Access::Write)?;
        let len = read_head(mapping.words())?;
        Ok(Self { mapping, len })
    }

    /// Returns how many counters there are.
    #[expect(clippy::len_without_is_empty, reason = "no page is empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds to a counter. Returns nothing and does nothing past the last one.
    pub fn add(&self, index: impl Into<usize>, amount: u64) {
        if let Some(cell) = self.cell(index.into()) {
            cell.fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// Sets a counter. Does nothing past the last one.
    pub fn set(&self, index: impl Into<usize>, value: u64) {
        if let Some(cell) = self.cell(index.into()) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    /// Raises a counter to `value`, unless it is higher. Returns what it is then; 0 past the last.
    pub(crate) fn raise(&self, index: usize, value: u64) -> u64 {
        self.cell(index).map_or(0, |cell| cell.fetch_max(value, Ordering::Relaxed).max(value))
    }

    /// Returns a counter; 0 past the last one.
    pub fn get(&self, index: impl Into<usize>) -> u64 {
        self.cell(index.into()).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    fn cell(&self, index: usize) -> Option<&AtomicU64> {
        let cell = self.mapping.words().writable()?.get(HEAD_WORDS..)?.get(index);
        debug_assert!(cell.is_some(), "counter {index} of {}", self.len);
        cell
    }
}

fn check_count(count: u64) -> Result<usize, SegmentError> {
    usize::try_from(count)
        .ok()
        .filter(|_| (1..=MAX_COUNTERS).contains(&count))
        .ok_or(SegmentError::Count { count, max: MAX_COUNTERS })
}

fn read_head(words: Words<'_>) -> Result<usize, SegmentError> {
    if words.load(0) != MAGIC {
        return Err(SegmentError::Magic);
    }
    let found = words.load(VERSION_AT);
    if found != VERSION {
        return Err(SegmentError::Version { found, known: VERSION });
    }
    let count = check_count(words.load(COUNT_AT))?;
    if words.len() != HEAD_WORDS + count {
        return Err(SegmentError::Size { size: words.len() as u64 * 8 });
    }
    Ok(count)
}
