//! Sealed memfds and their mappings. The only module of this crate with `unsafe`.
//!
//! A mapping hands out its memory as atomic words and in no other form, so that whatever another
//! process writes there, at whatever time, is a data value to us and never undefined behaviour.
//! The seals make the size final before anything is mapped: nobody can take pages away later.

#![expect(unsafe_code, reason = "memory shared between processes can only be had from mmap")]

use std::fmt;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::mm::{MapFlags, ProtFlags};
#[cfg(not(loom))]
use rustix::thread::futex;

#[cfg(not(loom))]
use crate::atomic::AtomicU32;
use crate::atomic::{AtomicU64, Ordering, fence};

use crate::error::SegmentError;

/// Bytes of one word.
const WORD_BYTES: u64 = 8;
/// Most words one mapping may have: 1.25 GiB, of which only what is written to takes memory.
pub(crate) const MAX_WORDS: u64 = 160 << 20;

const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// What a mapping may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only. Every write through such a mapping is refused.
    Read,
    /// Reading, and writing what the supervisor finds out about the process: its figures, and the
    /// processor time of requests that run. Every other write is refused.
    Figures,
    /// Reading and writing.
    Write,
}

/// The words of one mapped memfd.
pub(crate) struct Mapping {
    start: NonNull<AtomicU64>,
    /// In words.
    len: usize,
    access: Access,
}

// SAFETY: the mapping is not tied to the thread that made it; only `drop` unmaps it, once.
unsafe impl Send for Mapping {}
// SAFETY: all that a shared reference gives is atomic words, made to be used from many threads.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps all of a sealed memfd.
    pub(crate) fn new(fd: BorrowedFd<'_>, access: Access) -> Result<Self, SegmentError> {
        // The model checker's words are no memory.
        if cfg!(loom) {
            return Err(SegmentError::NotSealed);
        }
        // Seals before size: only then is the size final.
        let seals = rustix::fs::fcntl_get_seals(fd).unwrap_or(SealFlags::empty());
        if !seals.contains(SEALS) {
            return Err(SegmentError::NotSealed);
        }
        let stat = rustix::fs::fstat(fd).map_err(SegmentError::system("fstat"))?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if size == 0 || size % WORD_BYTES != 0 || MAX_WORDS < size / WORD_BYTES {
            return Err(SegmentError::Size { size });
        }
        let length = usize::try_from(size).map_err(|_overflow| SegmentError::Size { size })?;
        let protection = match access {
            Access::Read => ProtFlags::READ,
            Access::Figures | Access::Write => ProtFlags::READ | ProtFlags::WRITE,
        };
        // SAFETY: a new mapping at an address the kernel chooses overlaps no memory of ours.
        let address = unsafe {
            rustix::mm::mmap(ptr::null_mut(), length, protection, MapFlags::SHARED, fd, 0)
        }
        .map_err(SegmentError::system("mmap"))?;
        let start = NonNull::new(address.cast()).ok_or(SegmentError::Size { size })?;
        Ok(Self { start, len: length / size_of::<AtomicU64>(), access })
    }

    /// Returns the words, and whether they may be written.
    pub(crate) fn words(&self) -> Words<'_> {
        // SAFETY: `start` is page aligned and `len` words long until `drop`; the seals keep the
        // pages there; every bit pattern is a valid `AtomicU64`. Writes are kept from a read-only
        // mapping by `Words`, and it only does relaxed loads, which read-only memory permits.
        let cells = unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) };
        Words { cells, access: self.access }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let bytes = self.len * size_of::<AtomicU64>();
        // SAFETY: exactly what `mmap` returned, and all borrows of it ended with `self`.
        let unmapped = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), bytes) };
        debug_assert!(unmapped.is_ok(), "a mapping of ours was not unmapped: {unmapped:?}");
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Mapping")
            .field("words", &self.len)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

/// Words that can be loaded, and stored to if the mapping is writable.
#[derive(Clone, Copy)]
pub(crate) struct Words<'a> {
    cells: &'a [AtomicU64],
    access: Access,
}

impl<'a> Words<'a> {
    /// Returns the words from `start` on, `len` of them, or `None` past the end.
    pub(crate) fn part(self, start: usize, len: usize) -> Option<Self> {
        let cells = self.cells.get(start..)?.get(..len)?;
        Some(Self { cells, access: self.access })
    }

    /// Returns how many there are.
    pub(crate) fn len(self) -> usize {
        self.cells.len()
    }

    /// Loads one word, relaxed; 0 past the end. Order it with fences.
    ///
    /// Stronger loads are not certain to work in read-only memory (see `std::sync::atomic`).
    pub(crate) fn load(self, index: usize) -> u64 {
        self.cells.get(index).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    /// Loads one word, and orders what is read afterwards behind it; 0 past the end.
    pub(crate) fn load_acquire(self, index: usize) -> u64 {
        let word = self.load(index);
        fence(Ordering::Acquire);
        word
    }

    /// Stores one word. Does nothing past the end, or in a read-only mapping.
    pub(crate) fn store(self, index: usize, value: u64, order: Ordering) {
        if let Some(cell) = self.writable().and_then(|cells| cells.get(index)) {
            cell.store(value, order);
        }
    }

    /// Stores one word, sequentially consistent, and returns what it was; `value` past the end,
    /// or in a read-only mapping.
    pub(crate) fn swap(self, index: usize, value: u64) -> u64 {
        let cell = self.writable().and_then(|cells| cells.get(index));
        cell.map_or(value, |cell| cell.swap(value, Ordering::SeqCst))
    }

    /// Changes what a futex stands at, and wakes one thread that sleeps on it.
    pub(crate) fn futex_wake(self, index: usize) {
        self.futex_wake_some(index, 1);
    }

    /// Changes what a futex stands at, and wakes all threads that sleep on it.
    pub(crate) fn futex_wake_all(self, index: usize) {
        self.futex_wake_some(index, i32::MAX.unsigned_abs());
    }

    /// Returns the words for writing, or `None` if the mapping is read-only.
    pub(crate) fn writable(self) -> Option<&'a [AtomicU64]> {
        match self.access {
            Access::Write => Some(self.cells),
            Access::Read | Access::Figures => None,
        }
    }

    /// Stores one of the words that the supervisor writes. Does nothing past the end, or where it
    /// may not be written.
    pub(crate) fn store_figure(self, index: usize, value: u64, order: Ordering) {
        match (self.access, self.cells.get(index)) {
            (Access::Figures | Access::Write, Some(cell)) => cell.store(value, order),
            (Access::Read, _) | (_, None) => {}
        }
    }

    /// Takes plain memory for words, so that rules are testable without a mapping.
    #[cfg(test)]
    pub(crate) fn of_memory(cells: &'a [AtomicU64]) -> Self {
        Self { cells, access: Access::Write }
    }
}

#[cfg(not(loom))]
impl<'a> Words<'a> {
    /// Returns what a futex stands at; 0 past the end.
    ///
    /// A word that is used as a futex is used as nothing else.
    pub(crate) fn futex_value(self, index: usize) -> u32 {
        self.futex(index).map_or(0, |futex| futex.load(Ordering::SeqCst))
    }

    /// Sleeps until a futex no longer stands at `seen`. May return early.
    pub(crate) fn futex_wait(self, index: usize, seen: u32) {
        if let Some(futex) = self.futex(index) {
            // Interrupted, or changed before it slept: the caller looks again either way.
            let _ended = futex::wait(futex, futex::Flags::empty(), seen, None);
        }
    }

    fn futex_wake_some(self, index: usize, count: u32) {
        if let Some(futex) = self.futex(index) {
            futex.fetch_add(1, Ordering::SeqCst);
            // It cannot fail: the address is mapped and aligned.
            let _woken = futex::wake(futex, futex::Flags::empty(), count);
        }
    }

    fn futex(self, index: usize) -> Option<&'a AtomicU32> {
        let cell = self.writable()?.get(index)?;
        // SAFETY: the word lives and is aligned as long as `'a`, and a futex word is accessed
        // through here only, so never with another size.
        Some(unsafe { AtomicU32::from_ptr(cell.as_ptr().cast()) })
    }
}

/// Takes over the descriptors that this process was started with, by their numbers.
///
/// Only one that was inherited survives `exec` without the flag that closes it, which everything
/// a Rust program opens itself has. It is set here, so that no descriptor can be taken twice.
///
/// # Errors
///
/// If one is not open, or was not inherited.
pub fn take_inherited(numbers: &[i32]) -> Result<Vec<OwnedFd>, SegmentError> {
    let take = |&number: &i32| {
        if number <= 2 {
            return Err(SegmentError::NotInherited { number });
        }
        // SAFETY: used for two system calls that fail on a number that is not open.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let flags = fcntl_getfd(descriptor).map_err(SegmentError::system("fcntl"))?;
        if flags.contains(FdFlags::CLOEXEC) {
            return Err(SegmentError::NotInherited { number });
        }
        let flags = flags | FdFlags::CLOEXEC;
        fcntl_setfd(descriptor, flags).map_err(SegmentError::system("fcntl"))?;
        // SAFETY: it is open, and nobody owns it: see above.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    };
    numbers.iter().map(take).collect()
}

/// Creates a sealed memfd that begins with the words of `head` and is 0 from there on.
///
/// # Errors
///
/// If `words` is out of bounds or a system call fails.
pub(crate) fn create(name: &str, words: u64, head: &[u64]) -> Result<OwnedFd, SegmentError> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = rustix::fs::memfd_create(name, flags).map_err(SegmentError::system("memfd_create"))?;
    let size = words.saturating_mul(WORD_BYTES);
    rustix::fs::ftruncate(&fd, size).map_err(SegmentError::system("ftruncate"))?;
    let bytes: Vec<u8> = head.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let written = rustix::io::pwrite(&fd, &bytes, 0).map_err(SegmentError::system("pwrite"))?;
    if written != bytes.len() {
        return Err(SegmentError::Size { size });
    }
    rustix::fs::fcntl_add_seals(&fd, SEALS).map_err(SegmentError::system("fcntl"))?;
    Ok(fd)
}
