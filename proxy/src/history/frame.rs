//! A frame of the history's file: a head of 24 bytes, then its payload.
//!
//! ```text
//! 0  magic     u32   "OSTf"
//! 4  length    u24   bytes of the payload
//! 7  kind      u8
//! 8  checksum  u32   CRC-32 of kind, length, sequence, time and payload
//! 12 sequence  u32   one more than that of the frame before
//! 16 time      u64   milliseconds since 1970
//! ```
//!
//! Numbers are little-endian. The checksum of a wrap mark leaves its payload out: that is whatever
//! lies there.

use crc32fast::Hasher;

/// Where a frame may begin.
pub(super) const MAGIC: [u8; 4] = *b"OSTf";

/// Bytes of a head.
pub(super) const HEAD: usize = 24;

/// Largest payload, in bytes: some hundred thousand rows. Less than a ring of the smallest size.
pub(super) const MAX_PAYLOAD: usize = 512 * 1024 - HEAD;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A snapshot on its own.
    Key,
    /// A snapshot that needs the key frame before it.
    Delta,
    /// Steps of the minute before the next key frame.
    Minute,
    /// Nothing more up to the end of the file.
    Wrap,
}

impl Kind {
    const ALL: [(Self, u8); 4] =
        [(Self::Key, 1), (Self::Delta, 2), (Self::Minute, 3), (Self::Wrap, 4)];

    fn number(self) -> u8 {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or(0, |(_, number)| *number)
    }

    fn of(number: u8) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == number).map(|(kind, _)| *kind)
    }
}

/// What a head says of its frame, apart from the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) sequence: u32,
    pub(super) time_ms: u64,
    /// Bytes of the payload.
    pub(super) length: usize,
}

impl Head {
    /// Bytes of the whole frame.
    pub(super) fn size(&self) -> u64 {
        (HEAD + self.length) as u64
    }

    /// Returns the frame. `None` if the payload is too long.
    pub(super) fn frame(&self, payload: &[u8]) -> Option<Vec<u8>> {
        let is_wrap = self.kind == Kind::Wrap;
        if !is_wrap && (MAX_PAYLOAD < payload.len() || payload.len() != self.length) {
            return None;
        }
        let length = u32::try_from(self.length).ok().filter(|length| *length < 1 << 24)?;
        let mut frame = Vec::with_capacity(HEAD + payload.len());
        frame.extend(MAGIC);
        frame.extend((length | u32::from(self.kind.number()) << 24).to_le_bytes());
        frame.extend([0; 4]);
        frame.extend(self.sequence.to_le_bytes());
        frame.extend(self.time_ms.to_le_bytes());
        let sum = checksum(&frame, payload);
        frame.splice(8..12, sum.to_le_bytes());
        frame.extend(payload);
        Some(frame)
    }
}

/// Reads the frame that begins with these bytes. `None`: there is no whole and sound one.
pub(super) fn read(bytes: &[u8]) -> Option<(Head, &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    if head.get(..4)? != MAGIC {
        return None;
    }
    let word = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let sized = word(4)?;
    let length = usize::try_from(sized & 0x00ff_ffff).ok()?;
    let kind = Kind::of(u8::try_from(sized >> 24).ok()?)?;
    let payload = match kind {
        Kind::Wrap => &[],
        Kind::Key | Kind::Delta | Kind::Minute if length <= MAX_PAYLOAD => rest.get(..length)?,
        Kind::Key | Kind::Delta | Kind::Minute => return None,
    };
    if word(8)? != checksum(head, payload) {
        return None;
    }
    let time_ms = u64::from_le_bytes(head.get(16..24)?.try_into().ok()?);
    Some((Head { kind, sequence: word(12)?, time_ms, length }, payload))
}

fn checksum(head: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(head.get(4..8).unwrap_or_default());
    hasher.update(head.get(12..24).unwrap_or_default());
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_written_and_not_if_a_bit_of_it_is_wrong() {
        let payload = b"what was";
        let head = Head { kind: Kind::Delta, sequence: 7, time_ms: 1_767_225_600_123, length: 8 };
        let mut frame = head.frame(payload).unwrap();
        frame.extend(b"more");
        assert_eq!(read(&frame), Some((head, &payload[..])));
        for bit in 0..(HEAD + 8) * 8 {
            let mut broken = frame.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&broken), None, "bit {bit}");
        }
        for length in 0..HEAD + 8 {
            assert_eq!(read(&frame[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn a_wrap_mark_is_whole_without_what_it_covers() {
        let head = Head { kind: Kind::Wrap, sequence: 7, time_ms: 1, length: 1_000_000 };
        let frame = head.frame(&[]).unwrap();
        assert_eq!((frame.len(), read(&frame)), (HEAD, Some((head, &[][..]))));
        let long = Head { kind: Kind::Key, length: MAX_PAYLOAD + 1, ..head };
        assert_eq!(long.frame(&vec![0; MAX_PAYLOAD + 1]), None);
    }
}
