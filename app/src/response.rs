//! The body of a response from a blocking handler: bytes, or written piece by piece.
//!
//! What is written piece by piece is made on the handler's own thread after the head was sent,
//! so a response keeps its thread until its last piece. A few pieces wait at most for the client
//! to take them; then the writer waits.

use std::fmt;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc;

use crate::body::Body;
use crate::ring::Answer;

/// Pieces that wait for the client: enough that a reader and a writer take turns without stalls.
const WAITING_PIECES: usize = 4;

/// What is gathered before a piece is sent unasked: a few of them fit a socket's buffer.
const PIECE_BYTES: usize = 32 * 1024;

pub(crate) type Produce = Box<dyn FnOnce(&mut BodyWriter) -> io::Result<()> + Send>;

/// The body of a response from a blocking handler.
pub struct ResponseBody(pub(crate) Source);

pub(crate) enum Source {
    Complete(Bytes),
    Request(Body),
    Produced(Produce),
}

impl ResponseBody {
    /// A body of no bytes.
    pub fn empty() -> Self {
        Self::from(Bytes::new())
    }

    /// The bytes, where they are all there. For tests of a handler.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match &self.0 {
            Source::Complete(bytes) => Some(bytes),
            Source::Request(_) | Source::Produced(_) => None,
        }
    }

    /// A body that `produce` writes, on the handler's thread, after the head was sent.
    ///
    /// Writes are gathered into pieces of 32 KiB: [`Write::flush`] sends what there is. When
    /// `produce` returns an error, or panics, the connection is broken off, so that the response
    /// does not look complete.
    ///
    /// ```
    /// use std::io::Write;
    /// use ostler_app::{Response, ResponseBody};
    ///
    /// let response = Response::new(ResponseBody::from_writer(|body| {
    ///     (0..1000).try_for_each(|row| writeln!(body, "row {row}"))
    /// }));
    /// ```
    pub fn from_writer<P>(produce: P) -> Self
    where
        P: FnOnce(&mut BodyWriter) -> io::Result<()> + Send + 'static,
    {
        Self(Source::Produced(Box::new(produce)))
    }

    /// A body that is read from `reader`, on the handler's thread, as the client takes it.
    ///
    /// What a read gives is sent at once.
    pub fn from_reader<R: Read + Send + 'static>(mut reader: R) -> Self {
        Self::from_writer(move |body| {
            let mut buffer = vec![0; PIECE_BYTES];
            loop {
                match reader.read(&mut buffer) {
                    Ok(0) => return Ok(()),
                    Ok(count) => body.write_piece(Bytes::copy_from_slice(&buffer[..count]))?,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        })
    }

    /// A body of pieces that are made, on the handler's thread, as the client takes them.
    ///
    /// Each is sent at once.
    pub fn from_pieces<I>(pieces: I) -> Self
    where
        I: IntoIterator<Item: Into<Bytes>> + Send + 'static,
    {
        Self::from_writer(move |body| {
            pieces.into_iter().try_for_each(|piece| body.write_piece(piece.into()))
        })
    }
}

impl<T: Into<Bytes>> From<T> for ResponseBody {
    fn from(bytes: T) -> Self {
        Self(Source::Complete(bytes.into()))
    }
}

impl From<Body> for ResponseBody {
    /// Sends a request's body back as it comes. The handler's thread is free meanwhile.
    fn from(body: Body) -> Self {
        Self(Source::Request(body))
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Complete(bytes) => write!(formatter, "ResponseBody({} bytes)", bytes.len()),
            Source::Request(body) => write!(formatter, "ResponseBody({body:?})"),
            Source::Produced(_) => formatter.write_str("ResponseBody(written piece by piece)"),
        }
    }
}

/// Where a blocking handler writes a body piece by piece.
///
/// It gathers what is written; what is flushed is sent at once. Sending waits while the client
/// takes nothing, and fails with [`io::ErrorKind::BrokenPipe`] when the client has left.
#[derive(Debug)]
pub struct BodyWriter {
    gathered: BytesMut,
    way: Way,
}

/// How a body gets to the client.
#[derive(Debug)]
enum Way {
    /// To the event loop, for a connection.
    Pieces(mpsc::Sender<io::Result<Bytes>>),
    /// Into the answer's cell.
    Ring(Answer),
    /// Nowhere: the answer has no body, or has had its end. Its cell is given back with this.
    #[expect(dead_code, reason = "the cell is held, and given back, by what is in here")]
    Nowhere(Option<Answer>),
}

impl BodyWriter {
    /// Whether the answer has a body that is still to be written. If not, writing fails.
    pub fn is_wanted(&self) -> bool {
        match &self.way {
            Way::Pieces(pieces) => !pieces.is_closed(),
            Way::Ring(answer) => !answer.taken().is_left(),
            Way::Nowhere(_) => false,
        }
    }

    /// Sends what was gathered, and then a piece, without copying it.
    ///
    /// # Errors
    ///
    /// The client has left.
    pub fn write_piece(&mut self, piece: Bytes) -> io::Result<()> {
        self.send_gathered()?;
        self.send(piece)
    }

    /// Sends a last piece and completes the response. The request runs until this is dropped.
    ///
    /// # Errors
    ///
    /// The client has left.
    pub fn end(&mut self, last: &[u8]) -> io::Result<()> {
        let way = std::mem::replace(&mut self.way, Way::Nowhere(None));
        let gathered = self.gathered.split();
        match way {
            Way::Pieces(pieces) => {
                let last = [gathered.freeze(), Bytes::copy_from_slice(last)];
                last.into_iter()
                    .filter(|piece| !piece.is_empty())
                    .try_for_each(|piece| pieces.blocking_send(Ok(piece)))
                    .map_err(|_unsent| io::ErrorKind::BrokenPipe.into())
            }
            Way::Ring(mut answer) => {
                let written =
                    answer.write_all(&gathered, false).and_then(|()| answer.write_all(last, true));
                answer.flush();
                self.way = Way::Nowhere(Some(answer));
                written
            }
            nowhere @ Way::Nowhere(_) => {
                self.way = nowhere;
                Ok(())
            }
        }
    }

    /// Completes the response.
    ///
    /// # Errors
    ///
    /// The client has left.
    pub fn finish(mut self) -> io::Result<()> {
        self.end(&[])
    }

    /// A body that goes into a cell, behind its head.
    pub(crate) fn into_ring(answer: Answer) -> Self {
        Self { gathered: BytesMut::new(), way: Way::Ring(answer) }
    }

    /// No body.
    pub(crate) fn of_nothing(answer: Answer) -> Self {
        Self { gathered: BytesMut::new(), way: Way::Nowhere(Some(answer)) }
    }

    fn send_gathered(&mut self) -> io::Result<()> {
        let piece = self.gathered.split().freeze();
        if piece.is_empty() { Ok(()) } else { self.send(piece) }
    }

    fn send(&mut self, piece: Bytes) -> io::Result<()> {
        match &mut self.way {
            Way::Pieces(_) if piece.is_empty() => Ok(()),
            Way::Pieces(pieces) => {
                pieces.blocking_send(Ok(piece)).map_err(|_unsent| io::ErrorKind::BrokenPipe.into())
            }
            Way::Ring(answer) => {
                answer.write_all(&piece, false)?;
                answer.flush();
                Ok(())
            }
            Way::Nowhere(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Breaks the response off.
    pub fn abort(self, error: io::Error) {
        match self.way {
            // When the client has left there is nobody to tell.
            Way::Pieces(pieces) => drop(pieces.blocking_send(Err(error))),
            // An answer that is dropped before its end is broken off.
            Way::Ring(_) | Way::Nowhere(_) => {}
        }
    }
}

impl Write for BodyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Way::Ring(answer) = &mut self.way
            && self.gathered.is_empty()
            && PIECE_BYTES <= bytes.len()
        {
            answer.write_all(bytes, false)?;
            answer.flush();
            return Ok(bytes.len());
        }
        let length = bytes.len().min(PIECE_BYTES - self.gathered.len());
        self.gathered.extend_from_slice(&bytes[..length]);
        if PIECE_BYTES <= self.gathered.len() {
            self.flush()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = self.gathered.split().freeze();
        self.send(piece)
    }
}

/// A body on its way from a thread to the event loop.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Complete(Bytes),
    Request(Body),
    Pieces(mpsc::Receiver<io::Result<Bytes>>),
}

impl Outgoing {
    /// A body that is written through the writer beside it.
    pub(crate) fn pieces() -> (BodyWriter, Self) {
        let (pieces, receiver) = mpsc::channel(WAITING_PIECES);
        (BodyWriter { gathered: BytesMut::new(), way: Way::Pieces(pieces) }, Self::Pieces(receiver))
    }
}

impl hyper::body::Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Complete(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Request(body) => Pin::new(body).poll_frame(context),
            Self::Pieces(pieces) => {
                pieces.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Complete(bytes) => bytes.is_empty(),
            Self::Request(body) => body.is_end_stream(),
            Self::Pieces(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Complete(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Request(body) => body.size_hint(),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}
