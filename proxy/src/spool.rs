//! Files without names for bodies that are too large for memory.
//!
//! Every byte is counted before it is written and given back with its file, so the sum of all
//! files never passes `spool.max-size`. Reads and writes of at most [`PIECE_BYTES`] are made on
//! the event loop: they go to the page cache, which takes less time than handing them to another
//! thread would; a disk that cannot keep up slows the loop down.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ostler_conf::SpoolConfig;
use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::shared::Complaints;

/// How much is written or read at once.
pub(crate) const PIECE_BYTES: usize = 64 * 1024;

/// How much of a file is read before its room is given back: rarely enough to cost nothing, often
/// enough that an answer without an end needs no room without an end. A multiple of any block.
const GIVE_BACK_BYTES: u64 = 1024 * 1024;

/// Why nothing can be spooled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpoolError {
    /// All files together would be larger than `spool.max-size`.
    #[error("the spool is full")]
    Full,
    /// The file cannot be made, written or read.
    #[error("a file in the spool failed")]
    Io(#[from] io::Error),
}

/// Why a directory cannot be the spool.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpoolRefused {
    #[error("it cannot be used by the proxy's user")]
    Io(#[from] io::Error),
    #[error("its mode is {0:04o}: make it 0700, what is in it is private")]
    Mode(u32),
    #[error("it belongs to uid {0}, not to the proxy's user")]
    Owner(u32),
}

/// The directory of one configuration, and the room in it.
#[derive(Debug)]
pub(crate) struct Spool {
    directory: OwnedFd,
    path: PathBuf,
    max_bytes: u64,
    books: Arc<Books>,
}

/// What outlives a configuration.
#[derive(Debug)]
struct Books {
    used_bytes: AtomicU64,
    /// Makes names for file systems that need them for a moment.
    next_name: AtomicU64,
    full: Complaints,
    failed: Complaints,
}

/// One body, or a part of it: written at its end, read from its start.
#[derive(Debug)]
pub(crate) struct SpoolFile {
    file: File,
    spool: Arc<Spool>,
    /// Up to here it was taken.
    start: u64,
    /// Up to here its room was given back.
    given_back: u64,
    end: u64,
    is_punchable: bool,
}

impl Spool {
    /// Opens the directory, and tries it. `before` is the spool that this one replaces, whose
    /// files go on counting.
    ///
    /// # Errors
    ///
    /// When files cannot be made in it, or others than the proxy's user may use it.
    pub(crate) fn open(
        config: &SpoolConfig,
        before: Option<&Self>,
    ) -> Result<Arc<Self>, SpoolRefused> {
        let books = before.map_or_else(|| Arc::new(Books::new()), |spool| Arc::clone(&spool.books));
        let spool = Arc::new(Self {
            directory: open_private(&config.directory)?,
            path: config.directory.clone(),
            max_bytes: config.max_size.0,
            books,
        });
        spool.make()?;
        Ok(spool)
    }

    /// Bytes in all files together.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.books.used_bytes.load(Ordering::Relaxed)
    }

    /// Holds what is to come against what is free at this moment. Nothing is set aside for it: a
    /// client that only says how much it will send takes room from nobody.
    ///
    /// # Errors
    ///
    /// When it would not fit; it is logged.
    pub(crate) fn expect(&self, bytes: u64) -> Result<(), SpoolError> {
        let free = self.max_bytes.saturating_sub(self.used_bytes());
        if bytes <= free { Ok(()) } else { Err(self.note(SpoolError::Full)) }
    }

    /// An empty file.
    ///
    /// # Errors
    ///
    /// When it cannot be made; it is logged.
    pub(crate) fn create(self: &Arc<Self>) -> Result<SpoolFile, SpoolError> {
        let file = self.make().map_err(|error| self.note(error.into()))?;
        let spool = Arc::clone(self);
        Ok(SpoolFile { file, spool, start: 0, given_back: 0, end: 0, is_punchable: true })
    }

    fn make(&self) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::EXCL;
        let mode = Mode::RUSR | Mode::WUSR;
        match rustix::fs::openat(&self.directory, ".", flags | OFlags::TMPFILE, mode) {
            Ok(file) => return Ok(file.into()),
            // How kernels and file systems say that they do not know it (open(2)).
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
        let number = self.books.next_name.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}.{number}", std::process::id());
        let flags = flags | OFlags::CREATE | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&self.directory, &name, flags, mode)?;
        rustix::fs::unlinkat(&self.directory, &name, AtFlags::empty())?;
        Ok(file.into())
    }

    /// Counts bytes that are about to be written.
    fn reserve(&self, bytes: u64) -> Result<(), SpoolError> {
        let grow = |used: u64| used.checked_add(bytes).filter(|&used| used <= self.max_bytes);
        let used = &self.books.used_bytes;
        match used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.note(SpoolError::Full)),
        }
    }

    fn give_back(&self, bytes: u64) {
        let before = self.books.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(bytes <= before, "more is given back than was counted");
    }

    /// Logs an error, at most once a minute.
    fn note(&self, error: SpoolError) -> SpoolError {
        let directory = self.path.display();
        match &error {
            SpoolError::Full if self.books.full.is_due() => {
                let max_bytes = self.max_bytes;
                tracing::warn!(%directory, max_bytes, "spool_full");
            }
            SpoolError::Io(error) if self.books.failed.is_due() => {
                tracing::error!(%directory, %error, "spool_failed");
            }
            SpoolError::Full | SpoolError::Io(_) => {}
        }
        error
    }
}

impl Books {
    fn new() -> Self {
        Self {
            used_bytes: AtomicU64::new(0),
            next_name: AtomicU64::new(0),
            full: Complaints::new(),
            failed: Complaints::new(),
        }
    }
}

fn open_private(path: &Path) -> Result<OwnedFd, SpoolRefused> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from)?;
    let found = rustix::fs::fstat(&directory).map_err(io::Error::from)?;
    if found.st_uid != rustix::process::geteuid().as_raw() {
        return Err(SpoolRefused::Owner(found.st_uid));
    }
    let mode = Mode::from_raw_mode(found.st_mode);
    if mode.intersects(Mode::RWXG | Mode::RWXO) {
        return Err(SpoolRefused::Mode(mode.as_raw_mode()));
    }
    Ok(directory)
}

impl SpoolFile {
    /// Writes at the end. Either all of `bytes`, or nothing that counts.
    ///
    /// # Errors
    ///
    /// When there is no room for them; it is logged.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        let count = bytes.len() as u64;
        self.spool.reserve(count)?;
        if let Err(error) = self.file.write_all_at(bytes, self.end) {
            // What was written of it is nobody's.
            drop(self.file.set_len(self.end));
            self.spool.give_back(count);
            return Err(self.spool.note(error.into()));
        }
        self.end += count;
        Ok(())
    }

    /// How much of it was not taken yet.
    pub(crate) fn length(&self) -> u64 {
        self.end - self.start
    }

    /// Appends some of what is at `at` and behind it to `into`; returns how much. Nothing is taken.
    ///
    /// # Errors
    ///
    /// When it cannot be read; it is logged.
    pub(crate) fn read_at(&self, at: u64, into: &mut Vec<u8>) -> Result<usize, SpoolError> {
        let left = self.end.saturating_sub(at);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let before = into.len();
        into.reserve(wanted);
        match rustix::io::pread(&self.file, spare_capacity(into), at) {
            Ok(0) if 0 < wanted => {
                Err(self.spool.note(io::Error::from(io::ErrorKind::UnexpectedEof).into()))
            }
            Ok(count) => {
                let count = count.min(wanted);
                into.truncate(before + count);
                Ok(count)
            }
            Err(error) => Err(self.spool.note(io::Error::from(error).into())),
        }
    }

    /// Takes some of what is left; its room is given back in steps.
    ///
    /// # Errors
    ///
    /// When it cannot be read; it is logged.
    pub(crate) fn take(&mut self, into: &mut Vec<u8>) -> Result<(), SpoolError> {
        self.start += self.read_at(self.start, into)? as u64;
        let up_to = self.start - self.start % GIVE_BACK_BYTES;
        if self.given_back < up_to && self.is_punchable {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let hole = up_to - self.given_back;
            match rustix::fs::fallocate(&self.file, flags, self.given_back, hole) {
                Ok(()) => {
                    self.spool.give_back(hole);
                    self.given_back = up_to;
                }
                // Not every file system can; then the room is kept until the file is dropped.
                Err(_) => self.is_punchable = false,
            }
        }
        Ok(())
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        self.spool.give_back(self.end - self.given_back);
    }
}

#[cfg(test)]
mod tests;
