//! The chunked transfer coding, read strictly and written (RFC 9112 §7.1).
//!
//! ```text
//! state       byte                      next
//! SizeStart   hex digit                 Size
//! Size        hex digit | ; | CR        Size | Extension | SizeLf
//! Extension   CR | any but LF, NUL      SizeLf | Extension
//! SizeLf      LF                        Data, or Trailer when the size was 0
//! Data        (all of the chunk)        DataCr
//! DataCr      CR                        DataLf
//! DataLf      LF                        SizeStart
//! Trailer     up to the empty line      Done
//! ```
//!
//! Every other byte is an error. Extensions and trailers are read, bounded, checked and dropped.

use super::fields::{Known, recognise};

/// Bytes of extensions allowed behind all chunk sizes of one body, and bytes of its trailers.
///
/// Nobody sends long ones but to make a reader work (CVE-2023-39326 and its relatives).
pub const MAX_OVERHEAD_BYTES: usize = 8_192;

/// Fields allowed in a trailer section.
const MAX_TRAILERS: usize = 32;

/// A chunk of 2^60 bytes is a mistake or an attack; so is a size line of many zeros.
const MAX_SIZE_DIGITS: u8 = 15;

/// Why a chunked body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("chunked coding: {0}")]
pub struct ChunkError(&'static str);

/// Reads one chunked body, however its bytes are cut.
#[derive(Debug, Default)]
pub struct ChunkedDecoder {
    state: State,
    overhead: usize,
    /// The trailer section so far; empty for nearly every body, so it costs nothing.
    trailer: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    SizeStart,
    Size {
        size: u64,
        digits: u8,
    },
    Extension {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    Trailer,
    Done,
}

/// What one step found at the beginning of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that are used up.
    pub consumed: usize,
    /// How many of them, at the end of the consumed part, are data of the body.
    pub data: usize,
    /// The body is complete; what follows belongs to the next message.
    pub is_end: bool,
}

impl ChunkedDecoder {
    /// Reads on until data is found, the body ends, or the input is used up.
    ///
    /// # Errors
    ///
    /// For anything but well-formed chunks. The connection cannot be used any further.
    pub fn step(&mut self, input: &[u8]) -> Result<Step, ChunkError> {
        let mut consumed = 0_usize;
        while let Some(rest) = input.get(consumed..).filter(|rest| !rest.is_empty()) {
            match self.state {
                State::Data { left } => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    let left = left.saturating_sub(take as u64);
                    self.state = if left == 0 { State::DataCr } else { State::Data { left } };
                    let consumed = consumed.saturating_add(take);
                    return Ok(Step { consumed, data: take, is_end: false });
                }
                State::Trailer => consumed = consumed.saturating_add(self.trailer(rest)?),
                State::Done => break,
                State::SizeStart
                | State::Size { .. }
                | State::Extension { .. }
                | State::SizeLf { .. }
                | State::DataCr
                | State::DataLf => {
                    self.state = self.line_byte(rest.first().copied().unwrap_or_default())?;
                    consumed = consumed.saturating_add(1);
                }
            }
        }
        Ok(Step { consumed, data: 0, is_end: self.state == State::Done })
    }

    /// The next state after one byte of a size line or of the CRLF behind data.
    fn line_byte(&mut self, byte: u8) -> Result<State, ChunkError> {
        let digit = char::from(byte).to_digit(16).map(u64::from);
        match (self.state, byte, digit) {
            (State::SizeStart, _, Some(size)) => Ok(State::Size { size, digits: 1 }),
            (State::Size { size, digits }, _, Some(digit)) if digits < MAX_SIZE_DIGITS => {
                Ok(State::Size { size: (size << 4) | digit, digits: digits.saturating_add(1) })
            }
            (State::Size { .. }, _, Some(_)) => Err(ChunkError("the size has too many digits")),
            (State::Size { size, .. }, b';', _) => Ok(State::Extension { size }),
            (State::Size { size, .. } | State::Extension { size }, b'\r', _) => {
                Ok(State::SizeLf { size })
            }
            (State::Extension { .. }, b'\n' | 0, _) => Err(ChunkError("a bare LF or zero byte")),
            (State::Extension { size }, ..) => {
                self.count_overhead()?;
                Ok(State::Extension { size })
            }
            (State::SizeLf { size: 0 }, b'\n', _) => Ok(State::Trailer),
            (State::SizeLf { size }, b'\n', _) => Ok(State::Data { left: size }),
            (State::DataCr, b'\r', _) => Ok(State::DataLf),
            (State::DataLf, b'\n', _) => Ok(State::SizeStart),
            (State::SizeStart | State::Size { .. }, ..) => Err(ChunkError("the size is malformed")),
            (State::SizeLf { .. }, ..) => Err(ChunkError("a bare CR behind the size")),
            (State::DataCr | State::DataLf, ..) => Err(ChunkError("no CRLF behind the data")),
            (State::Data { .. } | State::Trailer | State::Done, ..) => {
                Err(ChunkError("a size line where none can be"))
            }
        }
    }

    /// Collects the trailer section up to its empty line; returns how many bytes it used.
    fn trailer(&mut self, rest: &[u8]) -> Result<usize, ChunkError> {
        let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at.saturating_add(1));
        let part = rest.get(..length).unwrap_or_default();
        if MAX_OVERHEAD_BYTES < self.trailer.len().saturating_add(part.len()) {
            return Err(ChunkError("the trailer section is too large"));
        }
        let is_line_start = self.trailer.is_empty() || self.trailer.ends_with(b"\r\n");
        self.trailer.extend_from_slice(part);
        if self.trailer.ends_with(b"\n") && !self.trailer.ends_with(b"\r\n") {
            return Err(ChunkError("a trailer line ends in a bare LF"));
        }
        if self.trailer == b"\r\n" || self.trailer.ends_with(b"\r\n\r\n") {
            check_trailers(&self.trailer)?;
            self.state = State::Done;
        } else if is_line_start && matches!(part.first(), Some(b' ' | b'\t')) {
            return Err(ChunkError("a folded trailer line"));
        }
        Ok(length)
    }

    fn count_overhead(&mut self) -> Result<(), ChunkError> {
        self.overhead = self.overhead.saturating_add(1);
        if MAX_OVERHEAD_BYTES < self.overhead {
            return Err(ChunkError("the chunk extensions are too long"));
        }
        Ok(())
    }
}

/// Trailers are dropped, but those that would change what the message is are refused
/// (RFC 9110 §6.5.1).
fn check_trailers(section: &[u8]) -> Result<(), ChunkError> {
    let mut room = [httparse::EMPTY_HEADER; MAX_TRAILERS];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(section, &mut room)
    else {
        return Err(ChunkError("a trailer field is malformed, or there are too many"));
    };
    let is_forbidden = fields.iter().any(|field| {
        matches!(
            recognise(field.name.as_bytes()),
            Known::ContentLength | Known::TransferEncoding | Known::Host
        )
    });
    if is_forbidden { Err(ChunkError("a field that must not be a trailer")) } else { Ok(()) }
}

/// What ends a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Appends one chunk. Nothing for no data: an empty chunk would end the body.
pub fn write_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    let length = data.len();
    let significant = usize::BITS.saturating_sub(length.leading_zeros()).div_ceil(4);
    out.extend((0..significant).rev().map(|place| {
        let digit = (length >> place.saturating_mul(4)) & 0xf;
        DIGITS.get(digit).copied().unwrap_or(b'0')
    }));
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Data, and what is left over behind the end; `None` while there is none.
    type Decoded = Result<Option<(Vec<u8>, Vec<u8>)>, ChunkError>;

    /// Decodes `input` in pieces of `cut` bytes.
    #[expect(clippy::arithmetic_side_effects, reason = "a panic fails the test, as it should")]
    fn decode(input: &[u8], cut: usize) -> Decoded {
        let mut decoder = ChunkedDecoder::default();
        let (mut pending, mut data) = (Vec::new(), Vec::new());
        for (index, piece) in input.chunks(cut).enumerate() {
            pending.extend_from_slice(piece);
            loop {
                let step = decoder.step(&pending)?;
                data.extend_from_slice(&pending[step.consumed - step.data..step.consumed]);
                pending.drain(..step.consumed);
                if step.is_end {
                    pending.extend(input.chunks(cut).skip(index + 1).flatten());
                    return Ok(Some((data, pending)));
                }
                if step.data == 0 {
                    break;
                }
            }
        }
        Ok(None)
    }

    #[test]
    fn chunks_extensions_and_trailers_are_read_wherever_they_are_cut() {
        let input = b"5;a=b\r\nhello\r\n0A\r\n0123456789\r\n0\r\nx: y\r\nz: w\r\n\r\nGET";
        for cut in 1..=input.len() {
            let expected = (b"hello0123456789".to_vec(), b"GET".to_vec());
            assert_eq!(decode(input, cut), Ok(Some(expected)), "cut {cut}");
        }
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for input in [
            "\r\n",
            " 5\r\nhello\r\n",
            "5 \r\nhello\r\n",
            "-5\r\n",
            "+5\r\n",
            "0x5\r\n",
            "g\r\n",
            "5\nhello\r\n",
            "5\r\nhello\n",
            "5\r\nhelloo\r\n",
            "5\rX",
            "5;a\nb\r\n",
            ";a\r\n",
            "0\r\nx: y\n\r\n",
            "0\r\n\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\nx : y\r\n\r\n",
            "0\r\n folded: y\r\n\r\n",
            "0\r\ncontent-length: 5\r\n\r\n",
            "0\r\nhost: a\r\n\r\n",
            "1000000000000000\r\n",
            "0\r\ntransfer-encoding: chunked\r\n\r\n",
        ] {
            for cut in [1, 3, 100] {
                assert!(decode(input.as_bytes(), cut).is_err(), "{input:?} cut {cut}");
            }
        }
    }

    #[test]
    fn endless_extensions_and_trailers_are_refused() {
        let extension = format!("5;{}", "a".repeat(9_000));
        assert!(decode(extension.as_bytes(), 100).is_err());
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(2_000));
        assert!(decode(trailers.as_bytes(), 100).is_err());
        let trailer = format!("0\r\na: {}", "b".repeat(9_000));
        assert!(decode(trailer.as_bytes(), 100).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8),
            cut in 1_usize..64,
        ) {
            let mut coded = Vec::new();
            for piece in &pieces {
                write_chunk(&mut coded, piece);
            }
            coded.extend_from_slice(LAST_CHUNK);
            prop_assert_eq!(decode(&coded, cut), Ok(Some((pieces.concat(), Vec::new()))));
        }

        #[test]
        fn no_input_makes_the_decoder_panic_or_stand_still(
            input in proptest::collection::vec(any::<u8>(), 0..200),
            cut in 1_usize..16,
        ) {
            let _outcome = decode(&input, cut);
        }
    }
}
