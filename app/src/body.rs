//! The body of a request: read by a thread as it likes, or polled by a service.
//!
//! A small body whose length is known is complete before the application sees the request.
//! Any other is taken from the socket only as fast as the application reads it, so that memory
//! stays bounded without a limit of our own.

use std::fmt;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::runtime::Handle;

use crate::ring::Upload;

/// Largest body that is complete before the application is called: the default of the proxy's
/// `body-in-memory`, below which a body comes from it in one go.
pub(crate) const COMPLETE_BYTES: u64 = 64 * 1024;

/// The body of a request.
///
/// In a blocking handler it is a [`Read`]. In a service it is a [`hyper::body::Body`]; reading it
/// with [`Read`] there panics, except on a thread that may block.
pub struct Body(Inner);

enum Inner {
    Complete(Bytes),
    Streamed {
        rest: Bytes,
        incoming: Incoming,
        runtime: Handle,
    },
    /// Over the ring link; how much is left beside `rest`, where that is known.
    Uploaded {
        rest: Bytes,
        left: Option<u64>,
        upload: Upload,
    },
}

impl Body {
    /// Waits for the body if it is small, and else leaves it in the connection.
    pub(crate) async fn receive(incoming: Incoming) -> Result<Self, hyper::Error> {
        match incoming.size_hint().exact() {
            Some(0) => Ok(Self::from(Bytes::new())),
            Some(length) if length <= COMPLETE_BYTES => {
                Ok(Self::from(incoming.collect().await?.to_bytes()))
            }
            Some(_) | None => {
                let runtime = Handle::current();
                Ok(Self(Inner::Streamed { rest: Bytes::new(), incoming, runtime }))
            }
        }
    }

    /// A body over the ring link of which `rest` has come.
    pub(crate) fn uploaded(rest: Bytes, left: Option<u64>, upload: Upload) -> Self {
        Self(Inner::Uploaded { rest, left, upload })
    }

    /// The bytes, where all of them are there; what is still to come stays a body.
    ///
    /// # Errors
    ///
    /// The body, where it is still to come.
    pub fn into_bytes(self) -> Result<Bytes, Self> {
        match self.0 {
            Inner::Complete(bytes) => Ok(bytes),
            Inner::Streamed { .. } | Inner::Uploaded { .. } => Err(self),
        }
    }

    /// Waits, on a thread that may block, for the next piece of the body; empty at its end. What it
    /// gives is not copied.
    ///
    /// # Errors
    ///
    /// The client left.
    pub fn next_piece(&mut self) -> io::Result<Bytes> {
        Ok(std::mem::take(self.waited_for()?))
    }

    /// What has come and was not taken; empty at the end of the body.
    fn waited_for(&mut self) -> io::Result<&mut Bytes> {
        match &mut self.0 {
            Inner::Complete(bytes) => Ok(bytes),
            Inner::Streamed { rest, incoming, runtime } => {
                while rest.is_empty() {
                    let Some(frame) = runtime.block_on(incoming.frame()) else { break };
                    // Trailers carry nothing that a reader could get.
                    *rest = frame.map_err(broken)?.into_data().unwrap_or_default();
                }
                Ok(rest)
            }
            Inner::Uploaded { rest, left, upload } => {
                if rest.is_empty() {
                    *rest = upload.read()?;
                    count_down(left, rest.len());
                }
                Ok(rest)
            }
        }
    }

    /// Length in bytes, where the request says it. After some was read: what is left.
    pub fn length(&self) -> Option<u64> {
        self.size_hint().exact()
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    /// A body that is there already, for a test that calls a handler.
    fn from(bytes: T) -> Self {
        Self(Inner::Complete(bytes.into()))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Body").field("length", &self.length()).finish_non_exhaustive()
    }
}

impl Read for Body {
    /// Waits until some of the body has come. The error is that the client left.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let bytes = self.waited_for()?;
        let count = bytes.len().min(buffer.len());
        bytes.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let bytes = match &mut self.0 {
            Inner::Complete(bytes) => bytes,
            Inner::Streamed { rest, incoming, .. } if rest.is_empty() => {
                let polled = Pin::new(incoming).poll_frame(context);
                return polled.map(|frame| frame.map(|frame| frame.map_err(broken)));
            }
            Inner::Uploaded { rest, left, upload } if rest.is_empty() => {
                let piece = ready!(upload.poll_piece(context))?;
                count_down(left, piece.len());
                return Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))));
            }
            Inner::Streamed { rest, .. } | Inner::Uploaded { rest, .. } => rest,
        };
        let bytes = std::mem::take(bytes);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Complete(bytes) => bytes.is_empty(),
            Inner::Streamed { rest, incoming, .. } => rest.is_empty() && incoming.is_end_stream(),
            Inner::Uploaded { rest, left, .. } => rest.is_empty() && *left == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Complete(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Streamed { rest, incoming, .. } => {
                let (rest, hint) = (rest.len() as u64, incoming.size_hint());
                let mut sum = SizeHint::new();
                sum.set_lower(hint.lower().saturating_add(rest));
                if let Some(upper) = hint.upper() {
                    sum.set_upper(upper.saturating_add(rest));
                }
                sum
            }
            Inner::Uploaded { rest, left, .. } => match left {
                Some(left) => SizeHint::with_exact(left.saturating_add(rest.len() as u64)),
                None => SizeHint::default(),
            },
        }
    }
}

fn count_down(left: &mut Option<u64>, length: usize) {
    *left = left.map(|left| left.saturating_sub(length as u64));
}

fn broken(error: hyper::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complete_body_is_read_in_pieces_and_knows_what_is_left() {
        let mut body = Body::from("hay and oats");
        assert_eq!(body.length(), Some(12));

        let mut piece = [0; 5];
        assert_eq!(body.read(&mut piece).unwrap(), 5);
        assert_eq!((&piece, body.length()), (b"hay a", Some(7)));

        let mut rest = String::new();
        body.read_to_string(&mut rest).unwrap();
        assert_eq!((rest.as_str(), body.length()), ("nd oats", Some(0)));
        assert!(body.is_end_stream());
    }
}
