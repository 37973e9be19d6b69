//! One request and its answer over a byte stream that speaks HTTP/1.1: to a worker, or to the
//! engine for origins.
//!
//! Everything it has read is kept in the exchange itself, so that any of its futures may be
//! dropped between two reads, and the exchange be finished by somebody else.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ostler_policy::http::answer::{Answer, AnswerIndex, AnswerInvalid, ToClient};
use ostler_policy::http::body::BodyDecoder;
use ostler_policy::http::chunked::ChunkError;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf};
use tokio::net::UnixStream;

/// Room for an answer that is read at once.
const READ_BYTES: usize = 16 * 1024;

/// How long the rest of an answer is read that nobody waits for: long enough for an answer that
/// ends, so that the permit is given back when its handler has ended.
const DISCARD_LIMIT: Duration = Duration::from_secs(10);

/// Why there is no whole answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// The other side closed before the answer was complete.
    #[error("closed before the answer was complete")]
    Closed,
    /// Reading or writing failed.
    #[error("the connection broke")]
    Broken(#[from] io::Error),
    /// The answer cannot be passed on.
    #[error(transparent)]
    Invalid(#[from] AnswerInvalid),
    /// The answer's body is malformed.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
}

/// What the answer's body goes on with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// So many bytes were appended.
    Data,
    /// The body is complete.
    End,
}

/// The stream an exchange runs over.
#[derive(Debug)]
pub(crate) enum Upstream {
    /// A worker's socket.
    Worker(UnixStream),
    /// The engine for origins, in this process.
    Origin(DuplexStream),
}

/// One request and its answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    stream: Upstream,
    /// What was read and not yet used: the answer's head stays in front until the body is read.
    input: Vec<u8>,
    /// How much of `input` is used.
    used: usize,
    index: AnswerIndex,
    body: BodyDecoder,
    answer: Option<Answer>,
    is_complete: bool,
    /// Whether the whole request was sent.
    is_sent: bool,
}

impl Exchange {
    /// An exchange that begins on `stream`.
    pub(crate) fn new(stream: Upstream) -> Self {
        Self {
            stream,
            input: Vec::new(),
            used: 0,
            index: AnswerIndex::default(),
            body: BodyDecoder::Length(0),
            answer: None,
            is_complete: false,
            is_sent: true,
        }
    }

    /// Sends a part of the request. Stops early, without an error, when the other side has
    /// begun to answer or does not take any more: the answer then says why.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let mut sent = 0;
        let stream = &mut self.stream;
        let outcome = poll_fn(|context| {
            while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
                match Pin::new(&mut *stream).poll_write(context, rest) {
                    Poll::Ready(taken) => sent += taken?,
                    Poll::Pending => {
                        ready!(stream.poll_answered(context))?;
                        return Poll::Ready(Ok(()));
                    }
                }
            }
            Poll::Ready(Ok::<_, io::Error>(()))
        });
        let is_written = outcome.await.is_ok() && sent == bytes.len();
        self.is_sent = self.is_sent && is_written;
    }

    /// Whether everything given to [`Exchange::send`] was taken.
    pub(crate) fn is_sent(&self) -> bool {
        self.is_sent
    }

    /// Waits for the head of the answer; interim answers (1xx) are skipped.
    ///
    /// # Errors
    ///
    /// What [`ExchangeError`] says.
    pub(crate) async fn answer(&mut self, to_head: bool) -> Result<Answer, ExchangeError> {
        loop {
            if self.used < self.input.len() {
                let unused = self.input.get(self.used..).unwrap_or_default();
                match self.index.parse(unused, to_head)? {
                    Some(interim) if interim.status < 200 => {
                        self.used += interim.length;
                        continue;
                    }
                    Some(answer) => {
                        self.input.drain(..self.used);
                        self.used = answer.length;
                        self.body = BodyDecoder::new(answer.framing);
                        self.is_complete = self.body.is_empty();
                        self.answer = Some(answer);
                        return Ok(answer);
                    }
                    None => {}
                }
            }
            if self.read().await? == 0 {
                return Err(ExchangeError::Closed);
            }
        }
    }

    /// Writes the answer's head for the client. Called once, before the body is read.
    pub(crate) fn write_head(&self, out: &mut Vec<u8>, to_client: &ToClient<'_>) {
        self.index.write(&self.input, out, to_client);
    }

    /// Whether the whole answer was read.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Gives the next piece of the body to `take`, if it was read already.
    ///
    /// # Errors
    ///
    /// For a malformed body.
    pub(crate) fn buffered(
        &mut self,
        take: impl FnOnce(&[u8]),
    ) -> Result<Option<Piece>, ExchangeError> {
        if self.is_complete {
            return Ok(Some(Piece::End));
        }
        let unused = self.input.get(self.used..).unwrap_or_default();
        let step = self.body.step(unused)?;
        let data = unused.get(step.consumed - step.data..step.consumed).unwrap_or_default();
        self.is_complete = step.is_end;
        if !data.is_empty() {
            take(data);
        }
        self.used += step.consumed;
        Ok(match (step.data, step.is_end) {
            (0, false) => None,
            (0, true) => Some(Piece::End),
            (_, _) => Some(Piece::Data),
        })
    }

    /// Reads more of the body.
    ///
    /// # Errors
    ///
    /// What [`ExchangeError`] says; the body is then truncated.
    pub(crate) async fn fill(&mut self) -> Result<(), ExchangeError> {
        self.input.drain(..self.used);
        self.used = 0;
        if self.read().await? == 0 {
            self.is_complete = self.body.may_end_by_close();
            if !self.is_complete {
                return Err(ExchangeError::Closed);
            }
        }
        Ok(())
    }

    /// Tells the other side that nobody waits for the answer, and drops the answer.
    ///
    /// Returns when the other side has ended the exchange: then its handler has ended. A handler
    /// that goes on sending is cut off after [`DISCARD_LIMIT`].
    pub(crate) async fn discard(mut self) {
        if let Err(error) = self.stream.shutdown().await {
            tracing::debug!(%error, "half_close_failed");
        }
        if self.answer.is_none() {
            self.input.clear();
            if !matches!(self.read().await, Ok(1..)) {
                return;
            }
        }
        let rest = async {
            loop {
                self.input.clear();
                if !matches!(self.read().await, Ok(1..)) {
                    return;
                }
            }
        };
        if tokio::time::timeout(DISCARD_LIMIT, rest).await.is_err() {
            tracing::debug!("discarded_answer_cut_off");
        }
    }

    /// The connection, when it can carry another request.
    pub(crate) fn into_reusable(self) -> Option<UnixStream> {
        let keeps = self.answer.is_some_and(|answer| answer.keeps_connection);
        match self.stream {
            Upstream::Worker(stream)
                if keeps && self.is_sent && self.is_complete && self.used == self.input.len() =>
            {
                Some(stream)
            }
            Upstream::Worker(_) | Upstream::Origin(_) => None,
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        self.input.reserve(READ_BYTES);
        self.stream.read_buf(&mut self.input).await
    }
}

impl Upstream {
    /// Ready when the other side has sent something while it does not take any more.
    fn poll_answered(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Worker(stream) => stream.poll_read_ready(context),
            // The engine for origins reads on while it answers, or drops its side.
            Self::Origin(_) => Poll::Pending,
        }
    }
}

impl AsyncRead for Upstream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Worker(stream) => Pin::new(stream).poll_read(context, into),
            Self::Origin(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Upstream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Worker(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Origin(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Worker(stream) => Pin::new(stream).poll_flush(context),
            Self::Origin(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Worker(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Origin(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
