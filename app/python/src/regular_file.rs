//! A file that is sent without its bytes passing through Python (`wsgi.file_wrapper`).

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;

use ostler_app::BodyWriter;

use crate::answering::AnswerError;

/// What is read at once.
const PIECE_BYTES: u64 = 64 * 1024;

/// A part of a regular file, from some place on.
pub(crate) struct RegularFile {
    file: File,
    offset: u64,
    length: u64,
}

impl RegularFile {
    /// Opens, once more, what a descriptor of Python's stands for, so that it may close its own.
    ///
    /// # Errors
    ///
    /// This process may not open it any more.
    pub(crate) fn of_descriptor(descriptor: i32, offset: u64, length: u64) -> io::Result<Self> {
        let file = File::open(format!("/proc/self/fd/{descriptor}"))?;
        Ok(Self { file, offset, length })
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Writes so many bytes of it, and returns how many there were.
    pub(crate) fn send(&self, wanted: u64, to: &mut BodyWriter) -> Result<u64, AnswerError> {
        let mut piece = vec![0; usize::try_from(wanted.min(PIECE_BYTES)).unwrap_or(usize::MAX)];
        let mut sent = 0;
        while sent < wanted {
            let size = usize::try_from(wanted - sent).unwrap_or(usize::MAX).min(piece.len());
            let room = piece.get_mut(..size).unwrap_or_default();
            let count = self.file.read_at(room, self.offset + sent).map_err(AnswerError::File)?;
            if count == 0 {
                break;
            }
            let read = piece.get(..count).unwrap_or_default();
            to.write_all(read).map_err(|_gone| AnswerError::Left)?;
            sent += count as u64;
        }
        Ok(sent)
    }
}
