//! The shared memory of one worker: a head that says whose it is, then its rows.
//!
//! Created and sealed by the supervisor, mapped by supervisor, proxy and worker. The head is
//! copied and checked once, when it is mapped; afterwards only the copy is used.

use std::os::fd::{BorrowedFd, OwnedFd};

use crate::error::SegmentError;
use crate::map::{self, Access, Mapping, Words};
use crate::row::{ROW_WORDS, Row};

/// Most bytes of a pool's name in a segment.
pub const MAX_POOL_NAME_BYTES: usize = 64;
/// Most rows of one worker: 32 MiB of them.
pub const MAX_ROWS: u32 = 65_536;

/// `OSTLRSEG`, read as a little-endian word.
const MAGIC: u64 = u64::from_le_bytes(*b"OSTLRSEG");
/// Changes with every change of the head's or a row's layout.
const VERSION: u64 = 1;

const VERSION_AT: usize = 1;
const ROWS_AT: usize = 2;
const SLOT_AT: usize = 3;
const GENERATION_AT: usize = 4;
const NAME_LENGTH_AT: usize = 5;
const NAME_AT: usize = 6;
const HEAD_WORDS: usize = 16;

const _: () = assert!(NAME_AT + MAX_POOL_NAME_BYTES / 8 <= HEAD_WORDS);

/// Whose segment it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHead {
    /// Name of the pool. 1 to 64 bytes.
    pub pool: String,
    /// Place of the worker in its pool, from 0.
    pub slot: u32,
    /// Which worker in that slot.
    pub generation: u32,
    /// Units of concurrency. 1 to [`MAX_ROWS`].
    pub rows: u32,
}

/// One worker's rows, mapped.
#[derive(Debug)]
pub struct Segment {
    mapping: Mapping,
    head: SegmentHead,
}

impl Segment {
    /// Creates the memfd of a worker's segment, with all rows free, sealed against resizing.
    ///
    /// # Errors
    ///
    /// If the pool's name or the number of rows is out of bounds, or a system call fails.
    pub fn create(head: &SegmentHead) -> Result<OwnedFd, SegmentError> {
        check_rows(u64::from(head.rows))?;
        if head.pool.is_empty() || MAX_POOL_NAME_BYTES < head.pool.len() {
            return Err(SegmentError::PoolName { max: MAX_POOL_NAME_BYTES });
        }
        let mut words = [0_u64; HEAD_WORDS];
        words[0] = MAGIC;
        words[VERSION_AT] = VERSION;
        words[ROWS_AT] = u64::from(head.rows);
        words[SLOT_AT] = u64::from(head.slot);
        words[GENERATION_AT] = u64::from(head.generation);
        words[NAME_LENGTH_AT] = head.pool.len() as u64;
        for (word, bytes) in words[NAME_AT..].iter_mut().zip(head.pool.as_bytes().chunks(8)) {
            let mut padded = [0_u8; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(padded);
        }
        map::create("ostler-segment", words_of(head.rows), &words)
    }

    /// Maps a segment.
    ///
    /// # Errors
    ///
    /// If it is not a sealed segment of this layout, or a system call fails.
    pub fn map(fd: BorrowedFd<'_>, access: Access) -> Result<Self, SegmentError> {
        let mapping = Mapping::new(fd, access)?;
        let head = read_head(mapping.words())?;
        Ok(Self { mapping, head })
    }

    /// Returns whose segment it is.
    pub fn head(&self) -> &SegmentHead {
        &self.head
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> u32 {
        self.head.rows
    }

    /// Returns a row.
    ///
    /// # Panics
    ///
    /// If `index` is not below [`Self::rows`].
    pub fn row(&self, index: u32) -> Row<'_> {
        assert!(index < self.head.rows, "row {index} of {}", self.head.rows);
        let start = HEAD_WORDS + index as usize * ROW_WORDS;
        let words = self.mapping.words().part(start, ROW_WORDS);
        Row::new(words.expect("the size was checked against the number of rows"))
    }

    /// Returns all rows, in order.
    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        (0..self.head.rows).map(|index| self.row(index))
    }
}

fn words_of(rows: u32) -> u64 {
    HEAD_WORDS as u64 + u64::from(rows) * ROW_WORDS as u64
}

fn check_rows(rows: u64) -> Result<u32, SegmentError> {
    u32::try_from(rows)
        .ok()
        .filter(|rows| (1..=MAX_ROWS).contains(rows))
        .ok_or_else(|| SegmentError::Count { count: rows, max: u64::from(MAX_ROWS) })
}

fn read_head(words: Words<'_>) -> Result<SegmentHead, SegmentError> {
    // One copy, then checks: what is checked cannot change any more.
    let head: [u64; HEAD_WORDS] = std::array::from_fn(|index| words.load(index));
    if head[0] != MAGIC {
        return Err(SegmentError::Magic);
    }
    if head[VERSION_AT] != VERSION {
        return Err(SegmentError::Version { found: head[VERSION_AT], known: VERSION });
    }
    let rows = check_rows(head[ROWS_AT])?;
    if words.len() as u64 != words_of(rows) {
        return Err(SegmentError::Size { size: words.len() as u64 * 8 });
    }
    let name: Vec<u8> = head[NAME_AT..].iter().flat_map(|word| word.to_le_bytes()).collect();
    let pool = usize::try_from(head[NAME_LENGTH_AT])
        .ok()
        .filter(|length| (1..=MAX_POOL_NAME_BYTES).contains(length))
        .and_then(|length| String::from_utf8(name[..length].to_vec()).ok())
        .ok_or(SegmentError::PoolName { max: MAX_POOL_NAME_BYTES })?;
    let narrow = |at: usize| {
        u32::try_from(head[at])
            .map_err(|_wide| SegmentError::Count { count: head[at], max: u64::from(u32::MAX) })
    };
    Ok(SegmentHead { pool, slot: narrow(SLOT_AT)?, generation: narrow(GENERATION_AT)?, rows })
}
