//! What a client has not taken yet of an answer: in memory, then in the spool, then no more.
//!
//! ```text
//! front   goes next: at most `limits.response-in-memory`, and one piece
//! file    what follows it, if anything
//! tail    what follows that: at most one piece of the spool, and one piece
//! ```
//!
//! Says whether there is room for more, and gives back what it took in the same order. It waits
//! for nobody.

use std::mem;
use std::sync::Arc;

use ostler_conf::ResponseBuffering;

use crate::spool::{PIECE_BYTES, Spool, SpoolError, SpoolFile};

/// How much of an answer may be kept for its client, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffering<'s> {
    in_memory: usize,
    spool: Option<&'s Arc<Spool>>,
}

impl<'s> Buffering<'s> {
    /// What a route's word means.
    pub(crate) fn of(word: ResponseBuffering, in_memory: u64, spool: &'s Arc<Spool>) -> Self {
        let in_memory = usize::try_from(in_memory).unwrap_or(usize::MAX);
        match word {
            ResponseBuffering::Spool => Self { in_memory, spool: Some(spool) },
            ResponseBuffering::Memory => Self { in_memory, spool: None },
            ResponseBuffering::Off => Self { in_memory: 0, spool: None },
        }
    }
}

/// What one client has not taken yet.
#[derive(Debug)]
pub(crate) struct Backlog {
    front: Vec<u8>,
    /// So much of `front` was taken.
    taken: usize,
    file: Option<SpoolFile>,
    tail: Vec<u8>,
    in_memory: usize,
    spool: Option<Arc<Spool>>,
}

impl Backlog {
    /// Begins with what the client did not take just now.
    pub(crate) fn new(front: Vec<u8>, buffering: Buffering<'_>) -> Self {
        let Buffering { in_memory, spool } = buffering;
        let (file, tail) = (None, Vec::new());
        Self { front, taken: 0, file, tail, in_memory, spool: spool.cloned() }
    }

    /// Whether it has room for another piece.
    pub(crate) fn has_room(&self) -> bool {
        self.goes_in_front() || (self.spool.is_some() && self.tail.len() < PIECE_BYTES)
    }

    fn goes_in_front(&self) -> bool {
        let is_last = self.file.is_none() && self.tail.is_empty();
        is_last && self.next().len() < self.in_memory
    }

    /// Where a piece is to be appended; [`Backlog::settle`] follows.
    pub(crate) fn end(&mut self) -> &mut Vec<u8> {
        if !self.goes_in_front() {
            return &mut self.tail;
        }
        // At most as much is moved as was taken, so this costs no more than the writes did.
        if self.front.len() <= 2 * self.taken {
            self.front.drain(..self.taken);
            self.taken = 0;
        }
        &mut self.front
    }

    /// Moves what is at the end into the spool, once it is worth a write. Where that fails, it
    /// stays, and there is no room until the client has taken something.
    pub(crate) fn settle(&mut self) {
        if self.tail.len() < PIECE_BYTES {
            return;
        }
        let Some(spool) = &self.spool else { return };
        let file = match self.file.take().map_or_else(|| spool.create(), Ok) {
            Ok(file) => self.file.insert(file),
            Err(_logged) => return,
        };
        if file.append(&self.tail).is_ok() {
            self.tail.clear();
        } else if file.length() == 0 {
            self.file = None;
        }
    }

    /// What the client gets next; empty: see [`Backlog::refill`].
    pub(crate) fn next(&self) -> &[u8] {
        self.front.get(self.taken..).unwrap_or_default()
    }

    /// Notes that the client took so much of [`Backlog::next`].
    pub(crate) fn take(&mut self, count: usize) {
        self.taken = self.taken.saturating_add(count).min(self.front.len());
    }

    /// Brings forward what follows, when all in front was taken. False when nothing is left.
    ///
    /// # Errors
    ///
    /// When the spool cannot be read: the rest is lost.
    pub(crate) fn refill(&mut self) -> Result<bool, SpoolError> {
        debug_assert!(self.next().is_empty(), "what is in front goes first");
        self.front.clear();
        self.taken = 0;
        // There may be room by now.
        if self.file.is_some() {
            self.settle();
        }
        if let Some(file) = &mut self.file {
            file.take(&mut self.front)?;
            if file.length() == 0 {
                self.file = None;
            }
        } else {
            mem::swap(&mut self.front, &mut self.tail);
        }
        Ok(!self.front.is_empty())
    }

    /// The memory of one that is empty, for use elsewhere.
    pub(crate) fn into_memory(mut self) -> Vec<u8> {
        self.front.clear();
        self.front
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use ostler_conf::{ByteSize, SpoolConfig};
    use tempfile::TempDir;

    use super::*;

    const KIB: usize = 1024;

    fn spool(max_size: usize) -> (TempDir, Arc<Spool>) {
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let (directory, max_size) = (folder.path().to_owned(), ByteSize(max_size as u64));
        let spool = Spool::open(&SpoolConfig { directory, max_size }, None).unwrap();
        (folder, spool)
    }

    /// Pushes pieces while there is room; returns how many bytes were taken in.
    fn fill(backlog: &mut Backlog, next: &mut u32, most: usize, piece: usize) -> usize {
        let mut pushed = 0;
        while backlog.has_room() && pushed < most {
            let bytes = numbered(next, piece);
            backlog.end().extend_from_slice(&bytes);
            backlog.settle();
            pushed += piece;
        }
        pushed
    }

    fn numbered(next: &mut u32, count: usize) -> Vec<u8> {
        let bytes = (*next..).take(count).map(|at| at.wrapping_mul(0x9e37_79b9).to_le_bytes()[3]);
        let bytes = bytes.collect();
        *next += u32::try_from(count).unwrap();
        bytes
    }

    /// Takes up to `most` bytes, at most `step` at once.
    fn drain(backlog: &mut Backlog, most: usize, step: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        while taken.len() < most {
            if backlog.next().is_empty() && !backlog.refill().unwrap() {
                break;
            }
            let count = backlog.next().len().min(step).min(most - taken.len());
            taken.extend_from_slice(&backlog.next()[..count]);
            backlog.take(count);
        }
        taken
    }

    #[test]
    fn each_way_of_buffering_has_its_limit() {
        let check = |word, expected: usize| {
            let (_folder, spool) = spool(1024 * KIB);
            let buffering = Buffering::of(word, 256 * KIB as u64, &spool);
            let mut backlog = Backlog::new(vec![0; 10 * KIB], buffering);
            let pushed = fill(&mut backlog, &mut 0, usize::MAX, 16 * KIB);
            assert_eq!(pushed, expected * KIB, "{word:?}");
        };
        check(ResponseBuffering::Off, 0);
        // 256 KiB are reached with the sixteenth piece.
        check(ResponseBuffering::Memory, 256);
        // And then the spool, and one piece of it that found no room.
        check(ResponseBuffering::Spool, 256 + 1024 + 64);
    }

    #[test]
    fn bytes_come_out_in_the_order_they_went_in() {
        for seed in 0..12_u32 {
            let (_folder, spool) = spool(300 * KIB);
            let buffering = Buffering::of(ResponseBuffering::Spool, 100 * KIB as u64, &spool);
            let (mut pushed, mut wanted) = (0, 0);
            let mut backlog = Backlog::new(numbered(&mut pushed, 1000), buffering);
            for step in 0..60_u32 {
                let random = (seed * 977 + step).wrapping_mul(0x85eb_ca6b) >> 9;
                let [size, times] = [random % 70_000, random % 7].map(|n| n as usize + 1);
                fill(&mut backlog, &mut pushed, times * size, size);
                let taken = drain(&mut backlog, (random % 150_000) as usize, 30_000);
                assert!(taken == numbered(&mut wanted, taken.len()), "seed {seed} step {step}");
            }
            let taken = drain(&mut backlog, usize::MAX, usize::MAX);
            assert!(taken == numbered(&mut wanted, taken.len()), "seed {seed}");
            assert_eq!(pushed, wanted, "seed {seed}: nothing is left behind");
            assert_eq!(spool.used_bytes(), 0, "seed {seed}");
        }
    }

    #[test]
    fn a_full_spool_is_tried_again_once_the_client_takes_something() {
        let (_folder, spool) = spool(200 * KIB);
        let mut other = spool.create().unwrap();
        other.append(&vec![0; 130 * KIB]).unwrap();
        let buffering = Buffering::of(ResponseBuffering::Spool, 64 * KIB as u64, &spool);
        let mut next = 0;
        let mut backlog = Backlog::new(numbered(&mut next, 64 * KIB), buffering);
        fill(&mut backlog, &mut next, usize::MAX, 64 * KIB);
        assert!(!backlog.has_room(), "one piece in the file, one that found no room");
        drop(other);
        drain(&mut backlog, 64 * KIB + 1, usize::MAX);
        assert!(backlog.has_room());
    }
}
