//! The shared memory of one worker: a head that says whose it is, its rows, and the ring link.
//!
//! ```text
//! head | figures | rows | bell | queued, one bit a cell | news, likewise | lanes | cells, one a row
//!                       '--- only with lanes: a segment without them has rows alone ---'
//! ```
//!
//! Created and sealed by the supervisor, mapped by proxy and worker. The head is copied and
//! checked once, when it is mapped; afterwards only the copy is used.

use std::os::fd::{BorrowedFd, OwnedFd};

use crate::bell::{BELL_WORDS, Bell};
use crate::bits::{self, Bits};
use crate::cell::{CONTROL_WORDS, Cell};
use crate::error::SegmentError;
use crate::figures::{FIGURE_WORDS, Figures};
use crate::lane::{LANE_WORDS, Lane};
use crate::map::{self, Access, Mapping, Words};
use crate::row::{ROW_WORDS, Row};

/// Most bytes of a pool's name in a segment.
pub const MAX_POOL_NAME_BYTES: usize = 64;
/// Most rows of one worker: 32 MiB of them.
pub const MAX_ROWS: u32 = 65_536;

/// `OSTLRSEG`, read as a little-endian word.
const MAGIC: u64 = u64::from_le_bytes(*b"OSTLRSEG");
/// Changes with every change of the head's or a row's layout.
const VERSION: u64 = 5;
/// Most lanes of one worker: each is a descriptor that is handed to it when it starts.
pub const MAX_LANES: u32 = 240;
/// Bytes of the rings of one direction that all cells together have at most, unless
/// [`MIN_RING_BYTES`] makes it more. Only what requests touch takes memory.
const RINGS_BYTES: u64 = 128 << 20;
/// Most bytes of a ring: common answers go in one turn.
const MAX_RING_BYTES: u64 = 128 << 10;
/// Least bytes of a ring.
const MIN_RING_BYTES: u64 = 8 << 10;

const VERSION_AT: usize = 1;
const ROWS_AT: usize = 2;
const SLOT_AT: usize = 3;
const GENERATION_AT: usize = 4;
const NAME_LENGTH_AT: usize = 5;
const NAME_AT: usize = 6;
const LANES_AT: usize = NAME_AT + MAX_POOL_NAME_BYTES / 8;
const HEAD_WORDS: usize = 16;

const _: () = assert!(LANES_AT < HEAD_WORDS);

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
    /// Event loops of proxies that can have it on the ring link at once: at most [`MAX_LANES`].
    /// 0: without the ring link.
    pub lanes: u32,
}

/// Where everything is, in words.
#[derive(Clone, Copy, Debug)]
struct Layout {
    rows: usize,
    bell: usize,
    queued: usize,
    news: usize,
    lanes: usize,
    cells: usize,
    end: u64,
    /// Words of a set of cells.
    set_words: usize,
    /// Words of a cell.
    cell_words: usize,
}

impl Layout {
    /// Lays out a segment of so many rows and lanes, both of them checked.
    fn new(rows: u32, lanes: u32) -> Self {
        let set_words = bits::words_for(rows);
        let cell_words = CONTROL_WORDS + 2 * ring_words(rows);
        let rows_at = HEAD_WORDS + FIGURE_WORDS;
        let bell = rows_at + rows as usize * ROW_WORDS;
        let queued = bell + BELL_WORDS;
        let news = queued + set_words;
        let lanes_at = news + set_words;
        let cells = lanes_at + lanes as usize * (LANE_WORDS + set_words);
        let with_link = cells + rows as usize * cell_words;
        let end = if lanes == 0 { bell } else { with_link } as u64;
        Self {
            rows: rows_at,
            bell,
            queued,
            news,
            lanes: lanes_at,
            cells,
            end,
            set_words,
            cell_words,
        }
    }
}

/// Words of each ring of a cell: a power of two.
fn ring_words(rows: u32) -> usize {
    let share = (RINGS_BYTES / u64::from(rows.max(1))).max(1);
    let bytes = 1_u64 << share.ilog2();
    usize::try_from(bytes.clamp(MIN_RING_BYTES, MAX_RING_BYTES) / 8).unwrap_or(1024)
}

/// One worker's segment, mapped.
#[derive(Debug)]
pub struct Segment {
    mapping: Mapping,
    head: SegmentHead,
    layout: Layout,
}

impl Segment {
    /// Creates the memfd of a worker's segment, with all rows free, sealed against resizing.
    ///
    /// # Errors
    ///
    /// If the pool's name or the number of rows is out of bounds, or a system call fails.
    pub fn create(head: &SegmentHead) -> Result<OwnedFd, SegmentError> {
        check_rows(u64::from(head.rows))?;
        check_lanes(u64::from(head.lanes))?;
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
        words[LANES_AT] = u64::from(head.lanes);
        for (word, bytes) in words[NAME_AT..].iter_mut().zip(head.pool.as_bytes().chunks(8)) {
            let mut padded = [0_u8; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(padded);
        }
        map::create("ostler-segment", Layout::new(head.rows, head.lanes).end, &words)
    }

    /// Maps a segment.
    ///
    /// # Errors
    ///
    /// If it is not a sealed segment of this layout, or a system call fails.
    pub fn map(fd: BorrowedFd<'_>, access: Access) -> Result<Self, SegmentError> {
        let mapping = Mapping::new(fd, access)?;
        let head = read_head(mapping.words())?;
        let layout = Layout::new(head.rows, head.lanes);
        Ok(Self { mapping, head, layout })
    }

    /// Returns whose segment it is.
    pub fn head(&self) -> &SegmentHead {
        &self.head
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> u32 {
        self.head.rows
    }

    /// Returns what is known of the process; `None` while nothing is.
    pub fn figures(&self) -> Option<Figures> {
        Figures::read(self.part(HEAD_WORDS, FIGURE_WORDS))
    }

    /// Writes down what is known of the process. For the supervisor alone.
    pub fn set_figures(&self, figures: &Figures) {
        figures.write(self.part(HEAD_WORDS, FIGURE_WORDS));
    }

    /// Returns a row.
    ///
    /// # Panics
    ///
    /// If `index` is not below [`Self::rows`].
    pub fn row(&self, index: u32) -> Row<'_> {
        assert!(index < self.head.rows, "row {index} of {}", self.head.rows);
        Row::new(self.part(self.layout.rows + index as usize * ROW_WORDS, ROW_WORDS))
    }

    /// Tells whether the segment has cells and lanes.
    pub fn has_link(&self) -> bool {
        0 < self.head.lanes
    }

    /// Returns the worker's bell, or `None` without a ring link.
    pub fn bell(&self) -> Option<Bell<'_>> {
        self.has_link().then(|| Bell::new(self.part(self.layout.bell, BELL_WORDS)))
    }

    /// Returns the cell of a row, or `None` where there is none, or none that can be written.
    pub fn cell(&self, row: u32) -> Option<Cell<'_>> {
        let start = self.layout.cells + row as usize * self.layout.cell_words;
        let is_there = self.has_link() && row < self.head.rows;
        is_there.then(|| Cell::new(self.part(start, self.layout.cell_words)))?
    }

    /// Returns a lane, or `None` where there is none, or none that can be written.
    pub fn lane(&self, index: u32) -> Option<Lane<'_>> {
        let size = LANE_WORDS + self.layout.set_words;
        let start = self.layout.lanes + index as usize * size;
        (index < self.head.lanes).then(|| Lane::new(self.part(start, size)))?
    }

    /// Puts a cell that is queued where the worker finds it. The bell is rung afterwards.
    pub fn enqueue(&self, cell: u32) {
        self.set_of_cells(self.layout.queued).set(cell);
    }

    /// Takes a number that was enqueued out, the first from `start` on. The cell itself says
    /// whether a request is queued there.
    pub fn dequeue(&self, start: u32) -> Option<u32> {
        self.set_of_cells(self.layout.queued).pop(start).filter(|&cell| cell < self.head.rows)
    }

    /// Tells whether anything is enqueued.
    pub fn has_queued(&self) -> bool {
        self.set_of_cells(self.layout.queued).any()
    }

    /// Tells the worker's event loop that a cell it has is to be looked at again.
    pub fn add_news(&self, cell: u32) {
        self.set_of_cells(self.layout.news).set(cell);
    }

    /// Gives each cell there is news of to `take`.
    pub fn drain_news(&self, take: impl FnMut(u32)) {
        self.set_of_cells(self.layout.news).drain(take);
    }

    /// Tells whether there is news of any cell.
    pub fn has_news(&self) -> bool {
        self.set_of_cells(self.layout.news).any()
    }

    /// Without a ring link, or without the right to write, the set of nothing.
    fn set_of_cells(&self, start: usize) -> Bits<'_> {
        let words = self.has_link().then(|| self.part(start, self.layout.set_words));
        Bits(words.and_then(Words::writable).unwrap_or_default())
    }

    fn part(&self, start: usize, len: usize) -> Words<'_> {
        let words = self.mapping.words().part(start, len);
        words.expect("the size was checked against the layout")
    }

    /// Returns all rows, in order.
    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        (0..self.head.rows).map(|index| self.row(index))
    }
}

fn check_rows(rows: u64) -> Result<u32, SegmentError> {
    u32::try_from(rows)
        .ok()
        .filter(|rows| (1..=MAX_ROWS).contains(rows))
        .ok_or_else(|| SegmentError::Count { count: rows, max: u64::from(MAX_ROWS) })
}

fn check_lanes(lanes: u64) -> Result<u32, SegmentError> {
    u32::try_from(lanes)
        .ok()
        .filter(|lanes| *lanes <= MAX_LANES)
        .ok_or_else(|| SegmentError::Count { count: lanes, max: u64::from(MAX_LANES) })
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
    let lanes = check_lanes(head[LANES_AT])?;
    if words.len() as u64 != Layout::new(rows, lanes).end {
        return Err(SegmentError::Size { size: words.len() as u64 * 8 });
    }
    let name: Vec<u8> =
        head[NAME_AT..LANES_AT].iter().flat_map(|word| word.to_le_bytes()).collect();
    let pool = usize::try_from(head[NAME_LENGTH_AT])
        .ok()
        .filter(|length| (1..=MAX_POOL_NAME_BYTES).contains(length))
        .and_then(|length| String::from_utf8(name[..length].to_vec()).ok())
        .ok_or(SegmentError::PoolName { max: MAX_POOL_NAME_BYTES })?;
    let narrow = |at: usize| {
        u32::try_from(head[at])
            .map_err(|_wide| SegmentError::Count { count: head[at], max: u64::from(u32::MAX) })
    };
    Ok(SegmentHead {
        pool,
        slot: narrow(SLOT_AT)?,
        generation: narrow(GENERATION_AT)?,
        rows,
        lanes,
    })
}
