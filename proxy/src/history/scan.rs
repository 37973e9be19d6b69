//! Finds the frames of a file whose content nobody vouches for.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use memchr::memmem;

use super::frame::{self, HEAD, Kind, MAGIC, MAX_PAYLOAD};
use super::ring::Index;

/// Bytes that are read at one time; much more than the longest frame.
const WINDOW: usize = 4 * 1024 * 1024;

/// Returns what is where between two places of a file.
///
/// Goes from frame to frame. Where none begins, it looks for the next place where one may: behind
/// the newest frame lie the remains of an old one.
pub(super) fn index(file: &File, area: Range<u64>) -> io::Result<Index> {
    let mut index = Index::default();
    let mut newest: Option<(u32, u64)> = None;
    let mut window = Window { file, end: area.end, start: area.start, bytes: Vec::new() };
    let mut at = area.start;
    while at < area.end {
        let bytes = window.from(at)?;
        let Some((head, _)) = frame::read(bytes) else {
            // Not here: at the earliest one byte further, or where the window ends.
            let rest = bytes.get(1..).unwrap_or_default();
            let skipped = memmem::find(rest, &MAGIC)
                .unwrap_or_else(|| rest.len().saturating_sub(MAGIC.len() - 1));
            at += 1 + skipped as u64;
            continue;
        };
        let end = at.saturating_add(head.size());
        if head.kind == Kind::Wrap {
            // One that says another length than up to the end is none.
            at = if end == area.end { end } else { at + 1 };
            continue;
        }
        index.note(head, at..end);
        let is_newer = |(newest, _)| head.sequence.wrapping_sub(newest) < u32::MAX / 2;
        if newest.is_none_or(is_newer) {
            newest = Some((head.sequence, end));
        }
        at = end;
    }
    Ok(index.rotated(newest))
}

/// A part of the file in memory.
struct Window<'f> {
    file: &'f File,
    end: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// Returns the bytes from a place on: at least the longest frame, or up to the end.
    fn from(&mut self, at: u64) -> io::Result<&[u8]> {
        let have = self.start.saturating_add(self.bytes.len() as u64);
        let wanted = at.saturating_add((HEAD + MAX_PAYLOAD) as u64).min(self.end);
        if at < self.start || have < wanted {
            let length = (self.end.saturating_sub(at)).min(WINDOW as u64);
            self.bytes.resize(usize::try_from(length).unwrap_or(0), 0);
            self.file.read_exact_at(&mut self.bytes, at)?;
            self.start = at;
        }
        let skipped = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        Ok(self.bytes.get(skipped..).unwrap_or_default())
    }
}
