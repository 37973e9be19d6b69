//! Sends a request over an exchange, receives the answer's head, and delivers the answer.
//!
//! The same for workers and origins; who may retry and what an error means is theirs to say.

use std::time::{Duration, Instant};

use ostler_policy::http::answer::{Answer, ClientBody};
use ostler_policy::http::chunked::{LAST_CHUNK, write_chunk};
use ostler_policy::http::framing::Framing;

use super::Request;
use crate::body::BodyError;
use crate::clock;
use crate::connection::{Client, Ending};
use crate::deadline::Deadline;
use crate::entry::Entry;
use crate::exchange::{Exchange, ExchangeError};
use crate::relay::{self, RelayError};

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

/// How the body is stated to the other side: what was collected as a whole has a length.
pub(super) fn stated_framing(request: &Request<'_>, collected: &[u8]) -> Framing {
    match request.framing {
        Framing::Empty => Framing::Empty,
        _ if request.body.is_complete() => Framing::Length(collected.len() as u64),
        framing => framing,
    }
}

/// Sends `head`, what was collected of the body, and the rest as it comes; then waits for the
/// head of the answer, all of it until `deadline`.
pub(super) async fn converse(
    client: &mut Client<'_>,
    request: &mut Request<'_>,
    exchange: &mut Exchange,
    (head, collected): (Vec<u8>, &[u8]),
    deadline: Option<Instant>,
) -> Result<Answer, Unanswered> {
    let timer = client.timer.take();
    let is_head = request.is_head();
    let work = async {
        send(client, request, exchange, head, collected).await.map_err(Unanswered::Body)?;
        exchange.answer(is_head).await.map_err(Unanswered::Exchange)
    };
    let Some(deadline) = deadline else {
        return work.await;
    };
    let mut timer = timer.unwrap_or_else(|| Deadline::new(deadline));
    let outcome = timer.run(deadline, work).await;
    client.timer = Some(timer);
    outcome.unwrap_or(Err(Unanswered::Elapsed))
}

async fn send(
    client: &mut Client<'_>,
    request: &mut Request<'_>,
    exchange: &mut Exchange,
    mut head: Vec<u8>,
    collected: &[u8],
) -> Result<(), BodyError> {
    let framing = stated_framing(request, collected);
    frame(framing, &mut head, collected);
    exchange.send(&head).await;
    let (mut piece, mut framed) = (Vec::new(), Vec::new());
    while !request.body.is_complete() && exchange.is_sent() {
        piece.clear();
        request.body.read(client, &mut piece).await?;
        framed.clear();
        frame(framing, &mut framed, &piece);
        if request.body.is_complete() && framing == Framing::Chunked {
            framed.extend_from_slice(LAST_CHUNK);
        }
        exchange.send(&framed).await;
    }
    Ok(())
}

fn frame(framing: Framing, out: &mut Vec<u8>, data: &[u8]) {
    match framing {
        Framing::Chunked => write_chunk(out, data),
        Framing::Empty | Framing::Length(_) | Framing::UntilClose => out.extend_from_slice(data),
    }
}

/// Passes an answer on to the client. How the connection goes on, or why the answer is truncated.
pub(super) async fn deliver(
    client: &mut Client<'_>,
    request: &Request<'_>,
    entry: &mut Entry,
    (exchange, answer): (&mut Exchange, Answer),
    idle: Duration,
) -> Result<Ending, RelayError> {
    entry.status = answer.status;
    let body = ClientBody::choose(answer.framing, request.head.version());
    let to_client_date = clock::http_date();
    exchange.write_head(&mut client.out, &request.to_client(body, &to_client_date));
    relay::relay(client, exchange, body, idle).await?;
    Ok(match (body, request.ending()) {
        (ClientBody::UntilClose, Ending::Keep) => {
            Ending::Close(ostler_segment::counter::Server::ClosedClient)
        }
        (_, ending) => ending,
    })
}
