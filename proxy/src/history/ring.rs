//! The history's file: frames one behind the other, from the start again when the end is reached.
//!
//! ```text
//! 0     head      "OSTLHIST", version u32, zero u32, size u64; padded to 4096 bytes
//! 4096  frames    newest ─┐   ┌─ oldest
//!                 ████████▓···█████████████ wrap mark to the end
//!                         └ remains of what was overwritten
//! ```
//!
//! One process writes at a time, which holds the lock of the file; several may read. A frame is
//! overwritten from its head on, and what is read is checked against its checksum, so that nothing
//! half overwritten, torn by a crash or foreign is ever taken for a frame. Reads and writes name
//! their place and nothing is mapped: a full disk or a truncated file is an error of one call.
//!
//! A group is a key frame and the deltas that need it, without a gap between them: no group goes
//! over the end of the file.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, FlockOperation};

use super::frame::{self, Head, Kind, MAX_PAYLOAD};
use super::scan;

/// Where frames begin.
pub(super) const AREA: u64 = 4096;

/// How a file of this kind begins.
const MAGIC: [u8; 8] = *b"OSTLHIST";

/// Version of the file. One of another version is started anew.
const VERSION: u32 = 1;

/// Bytes of the head that mean something.
const HEAD: usize = 24;

/// A key frame and its deltas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) from_ms: u64,
    pub(super) until_ms: u64,
    sequence: u32,
    /// Frames in it.
    pub(super) frames: u32,
    offset: u64,
    end: u64,
}

/// Where a frame of steps is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Minute {
    pub(super) time_ms: u64,
    sequence: u32,
    offset: u64,
    end: u64,
}

/// What is where, in the order it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) groups: VecDeque<Group>,
    pub(super) minutes: VecDeque<Minute>,
    /// Where the next frame goes.
    next: u64,
    sequence: u32,
    /// The newest group may take more deltas.
    is_open: bool,
}

/// The file and what is known of it.
#[derive(Debug)]
pub(super) struct Ring {
    file: File,
    size: u64,
    index: Mutex<Index>,
}

impl Ring {
    /// Takes over a file of this size. Nothing is known of what is in it until `scan`.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        if size < AREA + 2 * (MAX_PAYLOAD as u64) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the file is too small"));
        }
        Ok(Self { file, size, index: Mutex::default() })
    }

    /// Bytes of the file.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Returns whether this process may write: no other one does. Held until the process ends, or
    /// `unlock`.
    pub(super) fn try_lock(&self) -> bool {
        rustix::fs::fcntl_lock(&self.file, FlockOperation::NonBlockingLockExclusive).is_ok()
    }

    /// Lets another process write.
    pub(super) fn unlock(&self) {
        if let Err(error) = rustix::fs::fcntl_lock(&self.file, FlockOperation::Unlock) {
            tracing::warn!(%error, "history_not_unlocked");
        }
    }

    /// Looks through the whole file. Who writes next must do so after it got the lock.
    pub(super) fn scan(&self) -> io::Result<()> {
        let mut head = [0; HEAD];
        self.file.read_exact_at(&mut head, 0)?;
        let index = if head == self.head() {
            scan::index(&self.file, AREA..self.size)?
        } else {
            Index { next: AREA, ..Index::default() }
        };
        *self.index() = index;
        Ok(())
    }

    /// Makes the file one of this version and size, if it is not. Only with the lock. Returns
    /// whether it was begun anew.
    pub(super) fn begin(&self) -> io::Result<bool> {
        let mut head = [0; HEAD];
        self.file.read_exact_at(&mut head, 0)?;
        if head == self.head() {
            return Ok(false);
        }
        // Frames of before would be taken for later ones. The size stays, where that is possible:
        // the next proxy process may look at it at this moment.
        let all = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if rustix::fs::fallocate(&self.file, all, 0, self.size).is_err() {
            self.file.set_len(0)?;
            self.file.set_len(self.size)?;
        }
        // Before it has its place on the disk: without a head nobody could read what follows.
        self.file.write_all_at(&self.head(), 0)?;
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, self.size) {
            // Not every file system can; then the disk must have room when it is written.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    fn head(&self) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        let parts = [(0, &MAGIC[..]), (8, &VERSION.to_le_bytes()), (16, &self.size.to_le_bytes())];
        for (at, bytes) in parts {
            head.iter_mut().skip(at).zip(bytes).for_each(|(byte, new)| *byte = *new);
        }
        head
    }

    /// Looks at what is where.
    pub(super) fn with_index<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        look(&self.index())
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a delta of this size can follow the newest frame.
    pub(super) fn takes_delta(&self, length: usize) -> bool {
        let index = self.index();
        index.is_open && index.next + frame::HEAD as u64 + length as u64 <= self.size
    }

    /// Writes a frame behind the newest one. One thread does.
    pub(super) fn append(&self, kind: Kind, time_ms: u64, payload: &[u8]) -> io::Result<()> {
        let (mut place, sequence) = {
            let index = self.index();
            (index.next..index.next, index.sequence)
        };
        let head = Head { kind, sequence, time_ms, length: payload.len() };
        let too_long = || io::Error::new(io::ErrorKind::InvalidData, "the frame is too long");
        let bytes = head.frame(payload).ok_or_else(too_long)?;
        let room = self.size.saturating_sub(place.start);
        if room < head.size() {
            // What is left of the last round must not be taken for a part of this one.
            let mark = wrap_mark(head, room).unwrap_or_default();
            self.replace(place.start..self.size, &mark)?;
            place.start = AREA;
        }
        place.end = place.start + head.size();
        self.replace(place.clone(), &bytes)?;
        self.index().note(head, place);
        Ok(())
    }

    /// Writes over what is there. Nobody looks for that any more, and nobody waits for the disk.
    fn replace(&self, place: Range<u64>, bytes: &[u8]) -> io::Result<()> {
        self.index().forget(&place);
        self.file.write_all_at(bytes, place.start)
    }

    /// Reads the frames of a group, the key frame first. None of it: it was overwritten.
    pub(super) fn read_group(&self, group: &Group) -> io::Result<Vec<(Head, Vec<u8>)>> {
        let bytes = self.read(group.offset..group.end)?;
        let mut frames: Vec<(Head, Vec<u8>)> = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some((head, payload)) = frame::read(rest) {
            let is_first = frames.is_empty();
            if is_first && (head.kind, head.sequence) != (Kind::Key, group.sequence)
                || !is_first && head.kind != Kind::Delta
            {
                break;
            }
            frames.push((head, payload.to_vec()));
            rest = rest.get(frame::HEAD + head.length..).unwrap_or_default();
        }
        Ok(frames)
    }

    /// Reads the payload of a frame of steps. `None`: it was overwritten.
    pub(super) fn read_minute(&self, minute: &Minute) -> io::Result<Option<Vec<u8>>> {
        let bytes = self.read(minute.offset..minute.end)?;
        let found = frame::read(&bytes)
            .filter(|(head, _)| head.kind == Kind::Minute && head.sequence == minute.sequence);
        Ok(found.map(|(_, payload)| payload.to_vec()))
    }

    fn read(&self, place: Range<u64>) -> io::Result<Vec<u8>> {
        let length = usize::try_from(place.end.saturating_sub(place.start)).unwrap_or(0);
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, place.start)?;
        Ok(bytes)
    }
}

/// Returns what is written where a frame does not fit; nothing where not even a head does.
fn wrap_mark(head: Head, room: u64) -> Option<Vec<u8>> {
    let length = usize::try_from(room).ok()?.checked_sub(frame::HEAD)?;
    Head { kind: Kind::Wrap, length, ..head }.frame(&[])
}

impl Index {
    /// Notes a frame that follows the newest one.
    pub(super) fn note(&mut self, head: Head, place: Range<u64>) {
        let Head { sequence, time_ms, .. } = head;
        let (offset, end) = (place.start, place.end);
        match head.kind {
            Kind::Key => {
                let (from_ms, until_ms) = (time_ms, time_ms);
                let frames = 1;
                self.groups.push_back(Group { from_ms, until_ms, sequence, frames, offset, end });
                self.is_open = true;
            }
            Kind::Delta => self.note_delta(head, &place),
            Kind::Minute => {
                self.minutes.push_back(Minute { time_ms, sequence, offset, end });
                self.is_open = false;
            }
            Kind::Wrap => self.is_open = false,
        }
        self.next = end;
        self.sequence = sequence.wrapping_add(1);
    }

    /// A delta belongs to the group before it, if nothing is missing between them.
    fn note_delta(&mut self, head: Head, place: &Range<u64>) {
        let follows = self.is_open && self.next == place.start && self.sequence == head.sequence;
        match self.groups.back_mut() {
            Some(group) if follows => {
                group.until_ms = head.time_ms;
                group.frames = group.frames.saturating_add(1);
                group.end = place.end;
            }
            _ => self.is_open = false,
        }
    }

    /// Forgets what lies here, because something else will.
    fn forget(&mut self, place: &Range<u64>) {
        let overlaps = |offset: u64, end: u64| offset < place.end && place.start < end;
        while self.groups.front().is_some_and(|group| overlaps(group.offset, group.end)) {
            self.groups.pop_front();
        }
        while self.minutes.front().is_some_and(|minute| overlaps(minute.offset, minute.end)) {
            self.minutes.pop_front();
        }
    }

    /// Begins anew at the newest frame: after a scan in the order of the file.
    pub(super) fn rotated(mut self, newest: Option<(u32, u64)>) -> Self {
        let Some((sequence, end)) = newest else {
            return Self { next: AREA, ..Self::default() };
        };
        // Sequences are compared by their distance from the newest, so that they may wrap.
        let age = |of: u32| sequence.wrapping_sub(of);
        self.groups.make_contiguous().sort_by_key(|group| std::cmp::Reverse(age(group.sequence)));
        self.minutes.make_contiguous().sort_by_key(|one| std::cmp::Reverse(age(one.sequence)));
        Self { next: end, sequence: sequence.wrapping_add(1), is_open: false, ..self }
    }
}

#[cfg(test)]
mod tests;
