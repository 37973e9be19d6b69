//! One request over one exchange: sends it, and passes the answer on as it comes.
//!
//! Both directions run at once: an answer may begin before the request has ended, and neither
//! waits for the other. The same for workers and origins; who may retry and what an error means
//! is theirs to say.

use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use ostler_policy::http::answer::{Answer, ClientBody, ToClient};
use ostler_policy::http::chunked::{LAST_CHUNK, write_chunk};
use ostler_policy::http::framing::Framing;
use ostler_segment::counter::Server as Counter;

use super::{Request, left};
use crate::backlog::{Backlog, Buffering};
use crate::body::{BodyError, Collected, RequestBody};
use crate::clock;
use crate::connection::{Client, Ending, Incoming, Outgoing};
use crate::deadline::Deadline;
use crate::entry::Entry;
use crate::exchange::{Exchange, ExchangeError, Receiving, Sending};
use crate::pool::Permit;
use crate::reason::Reason;
use crate::relay::{self, RelayError};
use crate::shared::Phase;
use crate::spool::SpoolFile;

/// Why the client did not get the whole answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// There was none: the client can still be told.
    Unanswered(Unanswered),
    /// It broke off: the client must notice.
    Truncated(RelayError),
}

/// Why there is no answer's head.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The rest of the request's body could not be received.
    Body(BodyError),
    /// The other side gave none.
    Exchange(ExchangeError),
    /// It took too long.
    Elapsed,
}

/// What is sent before the rest of the body, and how long is waited.
#[derive(Debug)]
pub(super) struct Terms<'t> {
    pub(super) head: Vec<u8>,
    pub(super) collected: &'t Collected,
    /// For the head of the answer.
    pub(super) deadline: Option<Instant>,
    /// Between two pieces of its body.
    pub(super) idle: Duration,
    /// For what the client does not take at once.
    pub(super) buffering: Buffering<'t>,
    /// Of the row that shows what the answer reports.
    pub(super) permit: Option<&'t Permit>,
}

/// An answer that was read to its end. The other side has done its part.
#[derive(Debug)]
pub(super) struct Answered {
    ending: Ending,
    /// What the client has not taken yet.
    rest: Option<Box<Backlog>>,
}

impl Answered {
    /// Delivers the rest. How the connection goes on.
    pub(super) async fn deliver(self, client: &mut Client<'_>, entry: &mut Entry) -> Ending {
        let Some(rest) = self.rest else { return self.ending };
        match Box::pin(relay::deliver(&mut client.split().1, rest)).await {
            Ok(()) => self.ending,
            Err(RelayError::Lost) => {
                entry.reason = Some(Reason::NoResources);
                Ending::Abort
            }
            Err(_left) => left(entry),
        }
    }
}

/// How the body is stated to the other side: what was collected as a whole has a length.
pub(super) fn stated_framing(request: &Request<'_>, collected: &Collected) -> Framing {
    if request.framing != Framing::Empty && request.body.is_complete() {
        Framing::Length(collected.length())
    } else {
        request.framing
    }
}

/// Sends the request and relays the answer, until that was read to its end.
pub(super) async fn converse(
    client: &mut Client<'_>,
    request: &mut Request<'_>,
    entry: &mut Entry,
    exchange: &mut Exchange,
    terms: Terms<'_>,
) -> Result<Answered, Failed> {
    let (closes, rest) = run(client, request, entry, exchange, terms).await?;
    let ending = request.ending();
    // What the client was told when the answer began is what happens.
    let is_over = closes && ending == Ending::Keep;
    let ending = if is_over { Ending::Close(Counter::ClosedClient) } else { ending };
    Ok(Answered { ending, rest })
}

/// Runs both directions. Whether the client was told that its connection closes, and what it has
/// not taken yet.
async fn run(
    client: &mut Client<'_>,
    request: &mut Request<'_>,
    entry: &mut Entry,
    exchange: &mut Exchange,
    terms: Terms<'_>,
) -> Result<(bool, Option<Box<Backlog>>), Failed> {
    let framing = exchange.framing(stated_framing(request, terms.collected));
    let is_head = request.is_head();
    let (persistence, version) = (request.persistence, request.head.version());
    let (shared, listener) = (client.shared, client.listener);
    let (mut receiving, sending) = exchange.split();
    let (incoming, mut outgoing) = client.split();
    let begin = (&terms.head[..], terms.collected);
    let is_received = request.body.is_complete();
    let body = &mut request.body;
    let mut upload = Upload::Running(pin!(upload(incoming, body, sending, (framing, begin))));

    let wait = answer(&mut receiving, &mut upload, is_head);
    let answer = until(&mut outgoing, terms.deadline, wait).await.map_err(Failed::Unanswered)?;
    entry.status = answer.status;
    if let Some((permit, reported)) = terms.permit.zip(receiving.reported()) {
        permit.note_reported(&reported);
    }
    let body = ClientBody::choose(answer.framing, version);
    let closes = persistence.closes()
        || body == ClientBody::UntilClose
        || !(is_received || upload.is_whole())
        || listener.is_closed()
        || *shared.phase.borrow() == Phase::Draining;
    let to_client = ToClient { body, version, closes, date: &clock::http_date() };
    receiving.write_head(outgoing.out, &to_client);
    let relaying = relay::Terms { body, idle: terms.idle, buffering: terms.buffering };
    let relay = relay::relay(&mut outgoing, &mut receiving, relaying);
    let rest = beside(&mut upload, relay).await.map_err(Failed::Truncated)?;
    Ok((closes, rest))
}

/// Runs `work` until a deadline, if there is one.
async fn until<T>(
    outgoing: &mut Outgoing<'_>,
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, Unanswered>>,
) -> Result<T, Unanswered> {
    match deadline {
        None => work.await,
        Some(at) => {
            let timer = outgoing.timer.get_or_insert_with(|| Deadline::new(at));
            timer.run(at, work).await.unwrap_or(Err(Unanswered::Elapsed))
        }
    }
}

/// The request's way to the other side.
enum Upload<'u, F> {
    Running(Pin<&'u mut F>),
    /// It ended; whether the whole body was received and taken.
    Ended(bool),
}

impl<F: Future<Output = Result<bool, BodyError>>> Upload<'_, F> {
    /// Goes on with the upload; for ever once it has ended.
    async fn go_on(&mut self) -> Result<(), BodyError> {
        match self {
            Self::Running(upload) => {
                let is_whole = upload.as_mut().await?;
                *self = Self::Ended(is_whole);
                Ok(())
            }
            Self::Ended(_) => std::future::pending().await,
        }
    }

    fn is_whole(&self) -> bool {
        matches!(self, Self::Ended(true))
    }
}

/// Waits for the head of the answer while the request is sent.
async fn answer<F: Future<Output = Result<bool, BodyError>>>(
    receiving: &mut Receiving<'_>,
    upload: &mut Upload<'_, F>,
    is_head: bool,
) -> Result<Answer, Unanswered> {
    let mut answer = pin!(receiving.answer(is_head));
    loop {
        tokio::select! {
            biased;
            sent = upload.go_on() => sent.map_err(Unanswered::Body)?,
            answer = &mut answer => return answer.map_err(Unanswered::Exchange),
        }
    }
}

/// Relays the answer while the rest of the request is sent.
async fn beside<F: Future<Output = Result<bool, BodyError>>, T>(
    upload: &mut Upload<'_, F>,
    relay: impl Future<Output = Result<T, RelayError>>,
) -> Result<T, RelayError> {
    let mut relay = pin!(relay);
    loop {
        tokio::select! {
            biased;
            done = &mut relay => return done,
            sent = upload.go_on() => sent.map_err(RelayError::Body)?,
        }
    }
}

/// Sends what is there, and the rest of the body as it comes from the client.
///
/// Returns whether the whole body was received and taken.
async fn upload(
    mut incoming: Incoming<'_>,
    body: &mut RequestBody,
    mut sending: Sending<'_>,
    (framing, (head, collected)): (Framing, (&[u8], &Collected)),
) -> Result<bool, BodyError> {
    let Collected { memory, file } = collected;
    let is_last = body.is_complete() && file.is_none();
    let mut is_taken = sending.send_both(head, memory, is_last).await;
    if let Some(file) = file.as_ref().filter(|_| is_taken) {
        is_taken = send_file(&mut sending, file).await?;
    }
    let (mut piece, mut framed) = (Vec::new(), Vec::new());
    while is_taken && !body.is_complete() {
        piece.clear();
        body.read(&mut incoming, &mut piece).await?;
        framed.clear();
        frame(framing, &mut framed, &piece);
        if body.is_complete() && framing == Framing::Chunked {
            framed.extend_from_slice(LAST_CHUNK);
        }
        is_taken = sending.send(&framed, body.is_complete()).await;
    }
    let is_whole = is_taken && body.is_complete();
    if is_whole {
        sending.complete();
    }
    Ok(is_whole)
}

/// Sends the rest of a body that was received as a whole. Returns whether it was taken.
async fn send_file(sending: &mut Sending<'_>, file: &SpoolFile) -> Result<bool, BodyError> {
    let (mut piece, mut at) = (Vec::new(), 0);
    while at < file.length() {
        // A worker that takes all at once must not keep the loop from other connections.
        tokio::task::coop::consume_budget().await;
        piece.clear();
        at += file.read_at(at, &mut piece)? as u64;
        if !sending.send(&piece, at == file.length()).await {
            return Ok(false);
        }
    }
    Ok(true)
}

fn frame(framing: Framing, out: &mut Vec<u8>, data: &[u8]) {
    match framing {
        Framing::Chunked => write_chunk(out, data),
        Framing::Empty | Framing::Length(_) | Framing::UntilClose => out.extend_from_slice(data),
    }
}
