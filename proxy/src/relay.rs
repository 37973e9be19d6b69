//! Passes an answer on to the client as it comes.
//!
//! The one relay of the proxy: workers and origins alike. What is at hand is gathered and
//! written at once; nothing waits for more while the client could have it. What the client does
//! not take is kept in a [`Backlog`], so that the other side can go on and end: the relay is over
//! with the answer's last byte read, and the rest is delivered without the other side.

use std::time::{Duration, Instant};

use ostler_policy::http::answer::ClientBody;
use ostler_policy::http::chunked::{LAST_CHUNK, write_chunk};

use crate::backlog::{Backlog, Buffering};
use crate::body::BodyError;
use crate::clock;
use crate::connection::Outgoing;
use crate::deadline::Deadline;
use crate::exchange::{ExchangeError, Piece, Receiving};

/// How much is gathered before it is written.
const GATHER_BYTES: usize = 64 * 1024;

/// Why the client did not get the whole answer.
#[derive(Debug)]
pub(crate) enum RelayError {
    /// The client left, or takes nothing.
    Client,
    /// The rest of the request's body could not be received.
    Body(BodyError),
    /// What was kept for the client is lost, which was logged.
    Lost,
    /// The other side broke off.
    Upstream(ExchangeError),
    /// The other side sent nothing for too long.
    Silent,
}

/// How an answer is passed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms<'t> {
    pub(crate) body: ClientBody,
    /// How long the other side may be silent.
    pub(crate) idle: Duration,
    pub(crate) buffering: Buffering<'t>,
}

/// Writes what waits to be sent already, the head, and then the body of the answer.
///
/// Returns when the answer was read to its end, with what the client has not taken of it.
///
/// # Errors
///
/// What [`RelayError`] says: the answer is truncated.
pub(crate) async fn relay(
    outgoing: &mut Outgoing<'_>,
    receiving: &mut Receiving<'_>,
    terms: Terms<'_>,
) -> Result<Option<Box<Backlog>>, RelayError> {
    // One timer watches the client, the other one the other side.
    let mut silence = outgoing.timer.take();
    let rest = loop {
        let out = &mut *outgoing.out;
        let piece = receiving.buffered(|data| append(terms.body, data, out));
        let piece = piece.map_err(RelayError::Upstream)?;
        if piece == Some(Piece::Data) && outgoing.out.len() < GATHER_BYTES {
            continue;
        }
        if piece == Some(Piece::End) && terms.body == ClientBody::Chunked {
            outgoing.out.extend_from_slice(LAST_CHUNK);
        }
        let is_taken = outgoing.try_flush().map_err(|_left| RelayError::Client)?;
        let mut backlog = || Box::new(Backlog::new(std::mem::take(outgoing.out), terms.buffering));
        match piece {
            Some(Piece::End) if is_taken => break None,
            Some(Piece::End) => break Some(backlog()),
            Some(Piece::Data) if is_taken => {}
            None if is_taken => {
                let at = clock::now() + terms.idle;
                fill(receiving, &mut silence, at).await?;
            }
            Some(Piece::Data) | None => {
                let backlog = backlog();
                // On the heap: most answers never wait for their clients.
                let behind =
                    Box::pin(run_ahead(outgoing, receiving, terms, (backlog, &mut silence)));
                if let Some(rest) = behind.await? {
                    break Some(rest);
                }
            }
        }
    };
    *outgoing.timer = silence;
    Ok(rest)
}

/// Delivers what is left of an answer that was read to its end.
///
/// # Errors
///
/// What [`RelayError`] says: the answer is truncated.
pub(crate) async fn deliver(
    outgoing: &mut Outgoing<'_>,
    mut backlog: Box<Backlog>,
) -> Result<(), RelayError> {
    while !write(outgoing, &mut backlog).await? {
        outgoing.writable().await.map_err(|_left| RelayError::Client)?;
    }
    *outgoing.out = backlog.into_memory();
    Ok(())
}

/// Reads on while the client takes nothing, as far as there is room. Returns the backlog at the
/// end of the answer, and `None` when the client has caught up.
async fn run_ahead(
    outgoing: &mut Outgoing<'_>,
    receiving: &mut Receiving<'_>,
    terms: Terms<'_>,
    (mut backlog, silence): (Box<Backlog>, &mut Option<Deadline>),
) -> Result<Option<Box<Backlog>>, RelayError> {
    let mut heard = clock::now();
    loop {
        let found = take_in(&mut backlog, receiving, terms.body)?;
        if found == Found::End {
            return Ok(Some(backlog));
        }
        if write(outgoing, &mut backlog).await? {
            *outgoing.out = backlog.into_memory();
            return Ok(None);
        }
        if found == Found::NoRoom {
            // Silence counts while the other side is listened to.
            heard = clock::now();
        }
        tokio::select! {
            biased;
            able = outgoing.writable() => able.map_err(|_left| RelayError::Client)?,
            filled = fill(receiving, silence, heard + terms.idle), if found == Found::Nothing => {
                filled?;
                heard = clock::now();
            }
        }
    }
}

/// What ended [`take_in`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// The answer is complete.
    End,
    /// Nothing more was read yet.
    Nothing,
    /// The backlog has no room.
    NoRoom,
}

/// Moves what was read of the answer into the backlog.
fn take_in(
    backlog: &mut Backlog,
    receiving: &mut Receiving<'_>,
    body: ClientBody,
) -> Result<Found, RelayError> {
    while backlog.has_room() {
        let end = backlog.end();
        let piece = receiving.buffered(|data| append(body, data, end));
        match piece.map_err(RelayError::Upstream)? {
            Some(Piece::Data) => backlog.settle(),
            Some(Piece::End) => {
                if body == ClientBody::Chunked {
                    backlog.end().extend_from_slice(LAST_CHUNK);
                }
                return Ok(Found::End);
            }
            None => return Ok(Found::Nothing),
        }
    }
    Ok(Found::NoRoom)
}

/// Writes what the client takes; returns whether that was all.
async fn write(outgoing: &mut Outgoing<'_>, backlog: &mut Backlog) -> Result<bool, RelayError> {
    // A client that takes all that is spooled must not keep the loop from the others.
    tokio::task::coop::consume_budget().await;
    while !backlog.next().is_empty() || backlog.refill().map_err(|_logged| RelayError::Lost)? {
        match outgoing.try_write(backlog.next()).map_err(|_left| RelayError::Client)? {
            0 => return Ok(false),
            count => backlog.take(count),
        }
        tokio::task::coop::consume_budget().await;
    }
    Ok(true)
}

/// Reads more of the answer, until `at`.
async fn fill(
    receiving: &mut Receiving<'_>,
    silence: &mut Option<Deadline>,
    at: Instant,
) -> Result<(), RelayError> {
    let silence = silence.get_or_insert_with(|| Deadline::new(at));
    let filled = silence.run(at, receiving.fill()).await;
    filled.map_err(|_elapsed| RelayError::Silent)?.map_err(RelayError::Upstream)
}

fn append(body: ClientBody, data: &[u8], out: &mut Vec<u8>) {
    match body {
        ClientBody::Chunked => write_chunk(out, data),
        ClientBody::AsStated | ClientBody::UntilClose => out.extend_from_slice(data),
    }
}
