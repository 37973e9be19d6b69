//! Passes an answer on to the client as it comes.
//!
//! The one relay of the proxy: workers and origins alike. What is at hand is gathered and
//! written at once; nothing waits for more while the client could have it.

use std::time::Duration;

use ostler_policy::http::answer::ClientBody;
use ostler_policy::http::chunked::{LAST_CHUNK, write_chunk};

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
    /// The other side broke off.
    Upstream(ExchangeError),
    /// The other side sent nothing for too long.
    Silent,
}

/// Writes what waits to be sent already, the head, and then the body of the answer.
///
/// # Errors
///
/// What [`RelayError`] says: the answer is truncated.
pub(crate) async fn relay(
    outgoing: &mut Outgoing<'_>,
    receiving: &mut Receiving<'_>,
    body: ClientBody,
    idle: Duration,
) -> Result<(), RelayError> {
    // One timer watches the client, the other one the other side.
    let mut silence = outgoing.timer.take();
    loop {
        let out = &mut *outgoing.out;
        let piece = receiving.buffered(|data| match body {
            ClientBody::Chunked => write_chunk(out, data),
            ClientBody::AsStated | ClientBody::UntilClose => out.extend_from_slice(data),
        });
        match piece.map_err(RelayError::Upstream)? {
            Some(Piece::End) => break,
            Some(Piece::Data) if outgoing.out.len() < GATHER_BYTES => {}
            Some(Piece::Data) => outgoing.flush().await.map_err(|_left| RelayError::Client)?,
            None => {
                outgoing.flush().await.map_err(|_left| RelayError::Client)?;
                let at = clock::now() + idle;
                let silence = silence.get_or_insert_with(|| Deadline::new(at));
                let filled = silence.run(at, receiving.fill()).await;
                filled.map_err(|_elapsed| RelayError::Silent)?.map_err(RelayError::Upstream)?;
            }
        }
    }
    *outgoing.timer = silence;
    if body == ClientBody::Chunked {
        outgoing.out.extend_from_slice(LAST_CHUNK);
    }
    outgoing.flush().await.map_err(|_left| RelayError::Client)
}
