//! Reads a body of any framing, in either direction.

use super::chunked::{ChunkError, ChunkedDecoder, Step};
use super::framing::Framing;

/// The state of one body that is being read.
#[derive(Debug)]
pub enum BodyDecoder {
    /// So many bytes are still to come.
    Length(u64),
    /// Chunked coding.
    Chunked(Box<ChunkedDecoder>),
    /// All there is until the connection closes.
    UntilClose,
}

impl Default for BodyDecoder {
    fn default() -> Self {
        Self::Length(0)
    }
}

impl BodyDecoder {
    /// A decoder for a body that is framed so.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::Empty => Self::Length(0),
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Box::default()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Reads the beginning of `input`: some data, or the end of the body.
    ///
    /// Called again with what was not consumed; with nothing consumed, more input is needed.
    ///
    /// # Errors
    ///
    /// For malformed chunked coding.
    pub fn step(&mut self, input: &[u8]) -> Result<Step, ChunkError> {
        match self {
            Self::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left = left.saturating_sub(take as u64);
                Ok(Step { consumed: take, data: take, is_end: *left == 0 })
            }
            Self::Chunked(decoder) => decoder.step(input),
            Self::UntilClose => {
                Ok(Step { consumed: input.len(), data: input.len(), is_end: false })
            }
        }
    }

    /// Whether nothing is left to read, known without any input.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Length(0))
    }

    /// Whether a connection that closes here ends the body as it should.
    #[must_use]
    pub fn may_end_by_close(&self) -> bool {
        matches!(self, Self::UntilClose | Self::Length(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_ends_exactly_where_it_says() {
        let mut body = BodyDecoder::new(Framing::Length(5));
        assert_eq!(body.step(b"abc"), Ok(Step { consumed: 3, data: 3, is_end: false }));
        assert_eq!(body.step(b"deGET"), Ok(Step { consumed: 2, data: 2, is_end: true }));
        assert!(body.is_empty());
    }

    #[test]
    fn only_a_body_without_length_may_end_by_closing() {
        assert!(BodyDecoder::new(Framing::UntilClose).may_end_by_close());
        assert!(BodyDecoder::new(Framing::Empty).may_end_by_close());
        assert!(!BodyDecoder::new(Framing::Length(1)).may_end_by_close());
        assert!(!BodyDecoder::new(Framing::Chunked).may_end_by_close());
    }
}
