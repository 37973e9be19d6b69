//! One request and its answer over a byte stream that speaks HTTP/1.1: to a worker, or to the
//! engine for origins.
//!
//! Everything it has read is kept in the exchange itself, so that any of its futures may be
//! dropped between two reads, and the exchange be finished by somebody else.

use std::io::{self, IoSlice};
use std::time::Duration;

use ostler_policy::http::answer::{Answer, AnswerIndex, AnswerInvalid, ToClient};
use ostler_policy::http::body::BodyDecoder;
use ostler_policy::http::chunked::ChunkError;
use ostler_policy::http::framing::Framing;
use ostler_policy::http::head::Version;
use ostler_policy::http::server_timing::Reported;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::net::UnixStream;

use crate::link::{RingExchange, RingReceiving, RingSending};

/// Room for an answer that is read at once.
const READ_BYTES: usize = 16 * 1024;

/// Interim answers to one request: nobody has a use for more.
const MAX_INTERIM: u32 = 32;

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
    /// The other side sends interim answers only.
    #[error("more than {MAX_INTERIM} interim answers")]
    Interim,
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
enum Upstream {
    /// A worker's socket.
    Worker(UnixStream),
    /// A cell of a worker's segment.
    Ring(RingExchange),
    /// The engine for origins, in this process.
    Origin(ReadHalf<DuplexStream>, WriteHalf<DuplexStream>),
}

/// One request and its answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    upstream: Upstream,
    received: Received,
    /// Whether the whole request was taken: only then can another one follow it.
    is_sent: bool,
}

/// What was received of the answer.
#[derive(Debug, Default)]
struct Received {
    /// What was read and not yet used: the answer's head stays in front until the body is read.
    input: Vec<u8>,
    /// How much of `input` is used.
    used: usize,
    index: AnswerIndex,
    body: BodyDecoder,
    answer: Option<Answer>,
    /// Interim answers (1xx) that were skipped.
    interim: u32,
    is_complete: bool,
}

/// The direction of the request.
#[derive(Debug)]
pub(crate) struct Sending<'e> {
    writer: Writer<'e>,
    is_sent: &'e mut bool,
}

/// The direction of the answer.
#[derive(Debug)]
pub(crate) struct Receiving<'e> {
    reader: Reader<'e>,
    received: &'e mut Received,
}

#[derive(Debug)]
enum Writer<'e> {
    Worker(&'e UnixStream),
    Ring(RingSending<'e>),
    Origin(&'e mut WriteHalf<DuplexStream>),
}

#[derive(Debug)]
enum Reader<'e> {
    Worker(&'e UnixStream),
    Ring(RingReceiving<'e>),
    Origin(&'e mut ReadHalf<DuplexStream>),
}

impl Exchange {
    /// An exchange with a worker.
    pub(crate) fn with_worker(stream: UnixStream) -> Self {
        Self::new(Upstream::Worker(stream))
    }

    /// An exchange with a worker, over the ring link.
    pub(crate) fn with_ring(ring: RingExchange) -> Self {
        Self::new(Upstream::Ring(ring))
    }

    /// An exchange with the engine for origins.
    pub(crate) fn with_origin(stream: DuplexStream) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self::new(Upstream::Origin(reader, writer))
    }

    fn new(upstream: Upstream) -> Self {
        Self { upstream, received: Received::default(), is_sent: false }
    }

    /// Both directions, to be used at the same time: an answer may begin before the request has
    /// ended.
    pub(crate) fn split(&mut self) -> (Receiving<'_>, Sending<'_>) {
        let (reader, writer) = match &mut self.upstream {
            Upstream::Worker(stream) => (Reader::Worker(stream), Writer::Worker(stream)),
            Upstream::Ring(ring) => {
                let (receiving, sending) = ring.split();
                (Reader::Ring(receiving), Writer::Ring(sending))
            }
            Upstream::Origin(reader, writer) => (Reader::Origin(reader), Writer::Origin(writer)),
        };
        let receiving = Receiving { reader, received: &mut self.received };
        (receiving, Sending { writer, is_sent: &mut self.is_sent })
    }

    /// Whether it runs over the ring link.
    pub(crate) fn is_ring(&self) -> bool {
        matches!(self.upstream, Upstream::Ring(_))
    }

    /// How a body that is framed so for HTTP is framed here: the ring link has an end of its own.
    pub(crate) fn framing(&self, http: Framing) -> Framing {
        if self.is_ring() && http == Framing::Chunked { Framing::UntilClose } else { http }
    }

    /// The protocol of the request line: over HTTP our own, over the ring link, where nothing depends
    /// on it, what the client speaks.
    pub(crate) fn version(&self, client: Version) -> Version {
        if self.is_ring() { client } else { Version::Http11 }
    }

    /// Over the ring link: gives the cell back if the handler has ended, and says whether it did.
    pub(crate) fn close_ring(&mut self) -> Option<bool> {
        match &mut self.upstream {
            Upstream::Ring(ring) => Some(ring.close()),
            Upstream::Worker(_) | Upstream::Origin(..) => None,
        }
    }

    /// Whether the other side has died without having looked at the request: then it may be tried
    /// elsewhere. Over HTTP nobody can tell.
    pub(crate) fn take_back(&mut self) -> bool {
        match &mut self.upstream {
            Upstream::Ring(ring) => ring.take_back(),
            Upstream::Worker(_) | Upstream::Origin(..) => false,
        }
    }

    /// Tells the other side that nobody waits for the answer, and drops the answer.
    ///
    /// Returns when the other side has ended the exchange: then its handler has ended. A handler
    /// that goes on sending is cut off after [`DISCARD_LIMIT`].
    pub(crate) async fn discard(mut self) {
        if let Upstream::Ring(ring) = self.upstream {
            return ring.discard().await;
        }
        let is_answered = self.received.answer.is_some();
        let (mut receiving, mut sending) = self.split();
        sending.end().await;
        if !is_answered && !receiving.drop_some().await {
            return;
        }
        let rest = async { while receiving.drop_some().await {} };
        if tokio::time::timeout(DISCARD_LIMIT, rest).await.is_err() {
            tracing::debug!("discarded_answer_cut_off");
        }
    }

    /// The connection to a worker, when it can carry another request.
    pub(crate) fn into_reusable(self) -> Option<UnixStream> {
        let Received { input, used, answer, is_complete, .. } = self.received;
        let keeps = answer.is_some_and(|answer| answer.keeps_connection);
        match self.upstream {
            Upstream::Worker(stream)
                if keeps && self.is_sent && is_complete && used == input.len() =>
            {
                Some(stream)
            }
            Upstream::Worker(_) | Upstream::Ring(_) | Upstream::Origin(..) => None,
        }
    }
}

impl Sending<'_> {
    /// Sends a part of the request, the last one or not. Returns whether it was taken: when it was not, the other
    /// side wants no more of it, and its answer says why.
    pub(crate) async fn send(&mut self, bytes: &[u8], is_last: bool) -> bool {
        let outcome = match &mut self.writer {
            Writer::Worker(stream) => write_all(stream, bytes).await,
            Writer::Ring(ring) => return ring.send(bytes, is_last).await,
            Writer::Origin(writer) => writer.write_all(bytes).await,
        };
        outcome.is_ok()
    }

    /// Sends a head and what follows it, as one.
    pub(crate) async fn send_both(&mut self, head: &[u8], body: &[u8], is_last: bool) -> bool {
        match &mut self.writer {
            Writer::Ring(ring) => ring.send_both(head, body, is_last).await,
            Writer::Worker(stream) => write_both(stream, head, body).await.is_ok(),
            Writer::Origin(writer) => {
                writer.write_all(head).await.is_ok() && writer.write_all(body).await.is_ok()
            }
        }
    }

    /// Notes that the request was sent to its end.
    pub(crate) fn complete(&mut self) {
        *self.is_sent = true;
    }

    /// Says that nothing more will be sent.
    async fn end(&mut self) {
        *self.is_sent = false;
        let outcome = match &mut self.writer {
            Writer::Worker(stream) => {
                rustix::net::shutdown(stream, rustix::net::Shutdown::Write).map_err(Into::into)
            }
            Writer::Origin(writer) => writer.shutdown().await,
            // Discarded otherwise.
            Writer::Ring(_) => Ok(()),
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "half_close_failed");
        }
    }
}

async fn write_all(stream: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(taken) => bytes = bytes.get(taken..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn write_both(stream: &UnixStream, head: &[u8], body: &[u8]) -> io::Result<()> {
    let written = match stream.try_write_vectored(&[IoSlice::new(head), IoSlice::new(body)]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        outcome => outcome?,
    };
    write_all(stream, head.get(written..).unwrap_or_default()).await?;
    write_all(stream, body.get(written.saturating_sub(head.len())..).unwrap_or_default()).await
}

impl Receiving<'_> {
    /// Waits for the head of the answer; interim answers (1xx) are skipped.
    ///
    /// # Errors
    ///
    /// What [`ExchangeError`] says.
    pub(crate) async fn answer(&mut self, to_head: bool) -> Result<Answer, ExchangeError> {
        loop {
            if let Some(answer) = self.received.head(to_head)? {
                return Ok(answer);
            }
            if self.read().await? == 0 {
                return Err(ExchangeError::Closed);
            }
        }
    }

    /// What the answer's head says that it cost. Called before the body is read.
    pub(crate) fn reported(&self) -> Option<Reported> {
        self.received.index.reported(&self.received.input)
    }

    /// Writes the answer's head for the client. Called once, before the body is read.
    pub(crate) fn write_head(&self, out: &mut Vec<u8>, to_client: &ToClient<'_>) {
        self.received.index.write(&self.received.input, out, to_client);
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
        let received = &mut *self.received;
        if received.is_complete {
            return Ok(Some(Piece::End));
        }
        let unused = received.input.get(received.used..).unwrap_or_default();
        let step = received.body.step(unused)?;
        let data = unused.get(step.consumed - step.data..step.consumed).unwrap_or_default();
        received.is_complete = step.is_end;
        if !data.is_empty() {
            take(data);
        }
        received.used += step.consumed;
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
        self.received.input.drain(..self.received.used);
        self.received.used = 0;
        if self.read().await? == 0 {
            self.received.is_complete = self.received.body.may_end_by_close();
            if !self.received.is_complete {
                return Err(ExchangeError::Closed);
            }
        }
        Ok(())
    }

    /// Reads and drops something; false when nothing more comes.
    async fn drop_some(&mut self) -> bool {
        self.received.input.clear();
        matches!(self.read().await, Ok(1..))
    }

    async fn read(&mut self) -> io::Result<usize> {
        let input = &mut self.received.input;
        if let Reader::Ring(ring) = &mut self.reader {
            return ring.read(input).await;
        }
        input.reserve(READ_BYTES);
        match &mut self.reader {
            Reader::Ring(ring) => ring.read(input).await,
            Reader::Worker(stream) => loop {
                match stream.try_read_buf(input) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        stream.readable().await?;
                    }
                    outcome => return outcome,
                }
            },
            Reader::Origin(reader) => reader.read_buf(input).await,
        }
    }
}

impl Received {
    /// The head of the answer, once it is there.
    fn head(&mut self, to_head: bool) -> Result<Option<Answer>, ExchangeError> {
        while !self.input.is_empty() {
            match self.index.parse(&self.input, to_head)? {
                Some(interim) if interim.status < 200 => {
                    self.interim += 1;
                    if MAX_INTERIM < self.interim {
                        return Err(ExchangeError::Interim);
                    }
                    self.input.drain(..interim.length);
                }
                Some(answer) => {
                    self.used = answer.length;
                    self.body = BodyDecoder::new(answer.framing);
                    self.is_complete = self.body.is_empty();
                    self.answer = Some(answer);
                    return Ok(Some(answer));
                }
                None => return Ok(None),
            }
        }
        Ok(None)
    }
}
