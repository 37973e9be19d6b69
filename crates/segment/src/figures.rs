//! What the supervisor knows of a worker's process: its memory and its processor time.
//!
//! They stand in the segment so that every reader has the same ones, and has them still when the
//! process is gone. The supervisor is their only writer. Each is exact on its own; two of them may
//! be from two readings. The time of the reading is written last and read first, so that whoever
//! finds one finds figures too.

use crate::atomic::Ordering;
use crate::map::Words;

/// Words of them: one cache line, so that rows begin at one.
pub(crate) const FIGURE_WORDS: usize = 8;

const READ_UNIX_MS: usize = 0;
const RSS_BYTES: usize = 1;
const USER_US: usize = 2;
const SYSTEM_US: usize = 3;

/// Figures of a worker's process group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// When they were read, in milliseconds since 1970. Not 0.
    pub read_unix_ms: u64,
    /// Resident memory; a page that processes share counts for each.
    pub rss_bytes: u64,
    /// Processor time in the program, in microseconds.
    pub user_us: u64,
    /// Processor time in the kernel on its behalf, in microseconds.
    pub system_us: u64,
}

impl Figures {
    /// Returns the processor time, in microseconds.
    pub fn cpu_us(&self) -> u64 {
        self.user_us.saturating_add(self.system_us)
    }

    /// `None`: nothing was written yet.
    pub(crate) fn read(words: Words<'_>) -> Option<Self> {
        let read_unix_ms = words.load_acquire(READ_UNIX_MS);
        (read_unix_ms != 0).then(|| Self {
            read_unix_ms,
            rss_bytes: words.load(RSS_BYTES),
            user_us: words.load(USER_US),
            system_us: words.load(SYSTEM_US),
        })
    }

    pub(crate) fn write(&self, words: Words<'_>) {
        words.store_figure(RSS_BYTES, self.rss_bytes, Ordering::Relaxed);
        words.store_figure(USER_US, self.user_us, Ordering::Relaxed);
        words.store_figure(SYSTEM_US, self.system_us, Ordering::Relaxed);
        words.store_figure(READ_UNIX_MS, self.read_unix_ms, Ordering::Release);
    }
}
