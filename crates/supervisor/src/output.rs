//! What processes print, line by line.
//!
//! A line longer than [`MAX_LINE`] comes in pieces. A process that prints faster than the log is
//! written does not wait, and loses lines, which the log counts: a worker that waited for who reads
//! the log would hold up requests.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

/// Longest line, in bytes. Longer than a stack frame of any language, shorter than a page of log.
pub(crate) const MAX_LINE: usize = 8 * 1024;

/// Lines kept of what a process complained about last, and their bytes: the whole traceback of an
/// application in a framework, which has some sixty lines.
const TAIL: (usize, usize) = (100, 16 * 1024);

/// Lines kept of all that a process printed last, and their bytes.
const OUTPUT_TAIL: (usize, usize) = (20, 4 * 1024);

/// The last lines a process printed, shared by who reads them and who tells of its end.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    kept: Arc<Mutex<VecDeque<String>>>,
    most_lines: usize,
    most_bytes: usize,
}

impl Default for Tail {
    fn default() -> Self {
        Self::keeping(TAIL)
    }
}

impl Tail {
    /// Keeps what is put down with every post-mortem.
    pub(crate) fn of_output() -> Self {
        Self::keeping(OUTPUT_TAIL)
    }

    fn keeping((most_lines, most_bytes): (usize, usize)) -> Self {
        Self { kept: Arc::default(), most_lines, most_bytes }
    }

    fn push(&self, line: &str) {
        let line = line.get(..line.floor_char_boundary(self.most_bytes)).unwrap_or_default();
        let mut lines = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_back(line.to_owned());
        let mut bytes: usize = lines.iter().map(String::len).sum();
        while self.most_lines < lines.len() || self.most_bytes < bytes {
            bytes -= lines.pop_front().map_or(bytes, |line| line.len());
        }
    }

    /// Returns the lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect()
    }
}

/// Where a line came from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A worker.
    Worker {
        /// Its pool.
        pool: String,
        /// Its slot.
        slot: u32,
        /// `stdout` or `stderr`.
        stream: &'static str,
        /// Where to keep the last lines.
        tails: Vec<Tail>,
    },
    /// The proxy process, which formats its lines itself.
    Proxy,
}

/// Keeps the last lines of what a process prints, until it and all that share the pipe have closed
/// it.
pub(crate) async fn keep(stream: OwnedFd, tail: &Tail) {
    if let Err(error) = read_lines(stream, |line| tail.push(line)).await {
        tail.push(&format!("what it printed cannot be read: {error}"));
    }
}

/// Logs what a process prints, until it and all that share the pipe have closed it.
pub(crate) async fn forward(stream: OwnedFd, source: Source) {
    if let Err(error) = read_lines(stream, |line| log(&source, line)).await {
        tracing::warn!(%error, ?source, "output_lost");
    }
}

async fn read_lines(stream: OwnedFd, mut each: impl FnMut(&str)) -> io::Result<()> {
    let mut stream = pipe::Receiver::from_owned_fd(stream)?;
    let mut lines = Lines::default();
    let mut buffer = vec![0; MAX_LINE];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            lines.finish(each);
            return Ok(());
        }
        lines.push(buffer.get(..length).unwrap_or_default(), &mut each);
    }
}

fn log(source: &Source, line: &str) {
    match source {
        Source::Worker { pool, slot, stream, tails } => {
            crate::log::worker_output(pool, *slot, stream, line);
            for tail in tails {
                tail.push(line);
            }
        }
        Source::Proxy => crate::log::raw(line),
    }
}

/// Cuts bytes into lines.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&str)) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, is_whole) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            for part in text.chunks(MAX_LINE) {
                if MAX_LINE < self.rest.len() + part.len() {
                    self.emit(&mut each);
                }
                self.rest.extend_from_slice(part);
            }
            if is_whole {
                self.emit(&mut each);
            }
        }
    }

    fn finish(&mut self, mut each: impl FnMut(&str)) {
        if !self.rest.is_empty() {
            self.emit(&mut each);
        }
    }

    fn emit(&mut self, each: &mut impl FnMut(&str)) {
        let line = self.rest.strip_suffix(b"\r").unwrap_or(&self.rest);
        each(&String::from_utf8_lossy(line));
        self.rest.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_lines_however_they_are_cut() {
        check(&[b"one\ntwo\n"], &["one", "two"]);
        check(&[b"on", b"e\ntw", b"o"], &["one", "two"]);
        check(&[b"\n\na\r\n"], &["", "", "a"]);
        check(&[b"\xff\n"], &["\u{fffd}"]);
        check(&[], &[]);
    }

    #[test]
    fn a_line_without_end_comes_in_bounded_pieces() {
        let mut pieces = Vec::new();
        let mut lines = Lines::default();
        for _ in 0..10 {
            lines.push(&[b'x'; 3000], |line| pieces.push(line.len()));
        }
        lines.finish(|line| pieces.push(line.len()));
        assert!(pieces.iter().all(|&length| length <= MAX_LINE), "{pieces:?}");
        assert_eq!(pieces.iter().sum::<usize>(), 30_000);
    }

    #[test]
    fn a_tail_keeps_so_many_lines_and_so_many_bytes() {
        for kept in [TAIL, OUTPUT_TAIL] {
            let (most_lines, most_bytes) = kept;
            let tail = Tail::keeping(kept);
            for length in [1, 100, 3000, MAX_LINE, 0, 9] {
                (0..200).for_each(|_| tail.push(&"x".repeat(length)));
                let lines = tail.lines();
                let bytes: usize = lines.iter().map(String::len).sum();
                assert!(!lines.is_empty() && lines.len() <= most_lines && bytes <= most_bytes);
            }
            tail.push("last");
            assert_eq!(tail.lines().len(), most_lines);
            assert_eq!(tail.lines().last().map(String::as_str), Some("last"));
        }
    }

    #[track_caller]
    fn check(pieces: &[&[u8]], expected: &[&str]) {
        let mut found = Vec::new();
        let mut lines = Lines::default();
        for piece in pieces {
            lines.push(piece, |line| found.push(line.to_owned()));
        }
        lines.finish(|line| found.push(line.to_owned()));
        assert_eq!(found, expected, "{pieces:?}");
    }
}
