//! One direction of a cell: a ring of bytes with one writer and one reader.
//!
//! The counter `written` belongs to the writer, `read` to the reader; both only grow while the
//! cell is in use. The two highest bits of `written` say how the stream ended.
//!
//! **Memory order.** The writer copies bytes in (relaxed), then stores `written` (release); the
//! reader loads `written` (acquire), then copies bytes out (relaxed), then stores `read`
//! (release), which the writer loads (acquire) before it writes over them. So each side sees what
//! the other did before it counted it.
//!
//! **Trust.** Each side keeps its own counter to itself and only publishes it. The other one's is
//! checked: a count that cannot be is [`StreamBroken`], and no count makes anyone read or write
//! outside the ring.

use crate::atomic::{AtomicU64, Ordering};
use crate::bytes;

/// The stream is complete.
const END: u64 = 1 << 63;
/// The stream broke off.
const ABORTED: u64 = 1 << 62;
const COUNT: u64 = ABORTED - 1;

/// The other side broke the stream off, or its counters make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream was broken off")]
pub struct StreamBroken;

/// What a reader finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// So many bytes were appended: at least one.
    Bytes(usize),
    /// Nothing at the moment.
    Nothing,
    /// The stream is complete, and all of it was read.
    End,
}

/// The words of a stream.
#[derive(Clone, Copy)]
pub(crate) struct Stream<'a> {
    pub(crate) written: &'a AtomicU64,
    pub(crate) read: &'a AtomicU64,
    /// A power of two of bytes.
    pub(crate) ring: &'a [AtomicU64],
}

impl Stream<'_> {
    fn size(self) -> usize {
        self.ring.len() * bytes::WORD
    }

    /// Makes the stream empty. Only while nobody else uses it.
    pub(crate) fn reset(self) {
        self.written.store(0, Ordering::Relaxed);
        self.read.store(0, Ordering::Relaxed);
    }
}

/// The writer's side: how much it wrote.
#[derive(Debug, Default)]
pub struct WriteEnd {
    written: u64,
    /// How it ended, as in the counter.
    flags: u64,
}

impl WriteEnd {
    /// Writes as much as there is room for, and returns how much that was.
    ///
    /// With `is_last` the stream is complete once everything was taken.
    pub(crate) fn write(&mut self, stream: Stream<'_>, bytes: &[u8], is_last: bool) -> usize {
        let taken = bytes.len().min(self.room(stream));
        let (now, rest) = bytes.split_at(taken);
        let at = position(self.written, stream.size());
        let (until_end, from_start) = now.split_at(taken.min(stream.size() - at));
        bytes::write(stream.ring, at, until_end);
        bytes::write(stream.ring, 0, from_start);
        self.written += taken as u64;
        if is_last && rest.is_empty() {
            self.flags |= END;
        }
        self.publish(stream);
        taken
    }

    /// Breaks the stream off, unless it is complete.
    pub(crate) fn abort(&mut self, stream: Stream<'_>) {
        if !self.is_ended() {
            self.flags |= ABORTED;
            self.publish(stream);
        }
    }

    /// Tells whether everything was written.
    pub fn is_ended(&self) -> bool {
        self.flags & END != 0
    }

    /// Returns how many bytes can be written. None while the reader's counter makes no sense.
    pub(crate) fn room(&self, stream: Stream<'_>) -> usize {
        let waiting = self.written.wrapping_sub(stream.read.load(Ordering::Acquire));
        let waiting = usize::try_from(waiting).unwrap_or(usize::MAX);
        stream.size().saturating_sub(waiting)
    }

    fn publish(&self, stream: Stream<'_>) {
        stream.written.store(self.written | self.flags, Ordering::Release);
    }
}

/// The reader's side: how much it read.
#[derive(Debug, Default)]
pub struct ReadEnd {
    read: u64,
}

impl ReadEnd {
    /// Appends what is there to `out`, at most `limit` bytes.
    pub(crate) fn read(
        &mut self,
        stream: Stream<'_>,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<Found, StreamBroken> {
        let waiting = self.waiting(stream)?;
        let (count, flags) = waiting;
        let count = count.min(limit);
        if count == 0 {
            return match flags {
                END => Ok(Found::End),
                0 => Ok(Found::Nothing),
                _ => Err(StreamBroken),
            };
        }
        let at = position(self.read, stream.size());
        let until_end = count.min(stream.size() - at);
        bytes::append(stream.ring, at, until_end, out);
        bytes::append(stream.ring, 0, count - until_end, out);
        self.read += count as u64;
        stream.read.store(self.read, Ordering::Release);
        Ok(Found::Bytes(count))
    }

    /// Tells whether a read would find bytes, an end, or a broken stream.
    pub(crate) fn is_ready(&self, stream: Stream<'_>) -> bool {
        self.waiting(stream) != Ok((0, 0))
    }

    /// Tells whether the stream is complete, and all of it was read.
    pub(crate) fn is_at_end(&self, stream: Stream<'_>) -> bool {
        self.waiting(stream) == Ok((0, END))
    }

    /// How many bytes wait to be read, and how the stream ended.
    fn waiting(&self, stream: Stream<'_>) -> Result<(usize, u64), StreamBroken> {
        let written = stream.written.load(Ordering::Acquire);
        let waiting = (written & COUNT).wrapping_sub(self.read);
        let waiting = usize::try_from(waiting).map_err(|_too_many| StreamBroken)?;
        if stream.size() < waiting {
            return Err(StreamBroken);
        }
        Ok((waiting, written & !COUNT))
    }
}

/// Where in the ring a count is.
fn position(count: u64, size: usize) -> usize {
    usize::try_from(count & (size as u64).wrapping_sub(1)).unwrap_or(0)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    struct Memory(Vec<AtomicU64>);

    impl Memory {
        fn new(ring_words: usize) -> Self {
            Self((0..ring_words + 2).map(|_| AtomicU64::new(0)).collect())
        }

        fn stream(&self) -> Stream<'_> {
            let (control, ring) = self.0.split_at(2);
            Stream { written: &control[0], read: &control[1], ring }
        }
    }

    #[test]
    fn bytes_come_out_in_order_and_a_full_ring_takes_no_more() {
        let memory = Memory::new(4);
        let (mut writer, mut reader, mut out) =
            (WriteEnd::default(), ReadEnd::default(), Vec::new());
        assert_eq!(reader.read(memory.stream(), 99, &mut out), Ok(Found::Nothing));
        assert_eq!(writer.write(memory.stream(), &[1; 30], false), 30);
        assert_eq!(writer.write(memory.stream(), &[2; 30], false), 2);
        assert_eq!(reader.read(memory.stream(), 29, &mut out), Ok(Found::Bytes(29)));
        assert_eq!(writer.write(memory.stream(), &[2; 28], true), 28);
        assert!(writer.is_ended());
        assert_eq!(reader.read(memory.stream(), 99, &mut out), Ok(Found::Bytes(31)));
        assert_eq!(reader.read(memory.stream(), 99, &mut out), Ok(Found::End));
        assert_eq!(out, [[1; 30], [2; 30]].concat());
    }

    #[test]
    fn the_end_comes_with_the_last_bytes_and_not_before_they_are_taken() {
        let memory = Memory::new(1);
        let (mut writer, mut reader, mut out) =
            (WriteEnd::default(), ReadEnd::default(), Vec::new());
        assert_eq!(writer.write(memory.stream(), &[7; 9], true), 8);
        assert!(!writer.is_ended());
        assert_eq!(reader.read(memory.stream(), 99, &mut out), Ok(Found::Bytes(8)));
        assert_eq!(reader.read(memory.stream(), 99, &mut out), Ok(Found::Nothing));
        assert_eq!(writer.write(memory.stream(), &[7], true), 1);
        assert_eq!(reader.read(memory.stream(), 99, &mut out), Ok(Found::Bytes(1)));
        assert_eq!(reader.read(memory.stream(), 99, &mut out), Ok(Found::End));
    }

    #[test]
    fn what_was_written_before_a_break_is_read_first() {
        let memory = Memory::new(4);
        let (mut writer, mut reader, mut out) =
            (WriteEnd::default(), ReadEnd::default(), Vec::new());
        writer.write(memory.stream(), b"half", false);
        writer.abort(memory.stream());
        assert_eq!(reader.read(memory.stream(), 99, &mut out), Ok(Found::Bytes(4)));
        assert_eq!(reader.read(memory.stream(), 99, &mut out), Err(StreamBroken));
    }

    #[test]
    fn a_complete_stream_cannot_be_broken_off() {
        let memory = Memory::new(4);
        let (mut writer, mut reader, mut out) =
            (WriteEnd::default(), ReadEnd::default(), Vec::new());
        writer.write(memory.stream(), b"", true);
        writer.abort(memory.stream());
        assert_eq!(reader.read(memory.stream(), 99, &mut out), Ok(Found::End));
    }

    #[test]
    fn counters_that_cannot_be_are_a_broken_stream_or_no_room() {
        let too_many = COUNT >> 1;
        for written in [33, 1 << 40, COUNT, COUNT | END, END | too_many, u64::MAX, ABORTED] {
            let memory = Memory::new(4);
            memory.stream().written.store(written, Ordering::Relaxed);
            let found = ReadEnd::default().read(memory.stream(), 99, &mut Vec::new());
            assert_eq!(found, Err(StreamBroken), "written {written:x}");
        }
        for read in [1, u64::MAX / 2, u64::MAX - 40] {
            let memory = Memory::new(4);
            memory.stream().read.store(read, Ordering::Relaxed);
            assert_eq!(WriteEnd::default().write(memory.stream(), b"a", false), 0, "read {read:x}");
        }
    }
}
