//! A request whose route names servers: through the engine for origins.

use std::sync::Arc;

use ostler_policy::http::forward::{Forward, write_request};

use super::Request;
use super::converse::{Unanswered, converse, deliver};
use crate::connection::{Client, Ending};
use crate::entry::Entry;
use crate::origin::{OriginFailure, ServersOrigin};
use crate::relay::RelayError;
use crate::respond::RequestError;

/// Answers from the servers of an origin. `target` is what they are asked for.
pub(super) async fn answer(
    client: &mut Client<'_>,
    request: &mut Request<'_>,
    entry: &mut Entry,
    (origin, target): (&Arc<ServersOrigin>, &str),
) -> Result<Ending, RequestError> {
    let (mut exchange, outcome) = origin.call(request.host, &client.shared.tasks);
    let mut head = Vec::with_capacity(1024);
    let forward = Forward {
        target,
        // The engine puts the origin's own in its place, where that is wanted.
        host: request.host,
        body: request.framing,
        request_id: &entry.id,
        forwarded_for: &request.client.forwarded_for,
        forwarded_proto: &request.client.proto,
        forwarded_host: &request.client.host,
        forwarded: &request.client.forwarded,
        closes: true,
    };
    write_request(&mut head, &request.head, &forward);
    // The engine keeps the deadlines: for a connect, and to the first byte of the response.
    let answer = converse(client, request, &mut exchange, (head, &[]), None).await;
    let answer = answer.map_err(|unanswered| match unanswered {
        Unanswered::Body(error) => RequestError::Body(error),
        Unanswered::Exchange(_) | Unanswered::Elapsed => match outcome.failure() {
            OriginFailure::Connect => RequestError::OriginConnect,
            OriginFailure::Timeout => RequestError::OriginTimeout,
            OriginFailure::Broken => RequestError::OriginBroken,
        },
    })?;
    let delivered = deliver(client, request, entry, (&mut exchange, answer), origin.idle).await;
    Ok(delivered.unwrap_or_else(|broken| {
        entry.reason = Some(match broken {
            RelayError::Client => crate::reason::Reason::ClientLeft,
            RelayError::Upstream(_) => crate::reason::Reason::OriginBroken,
            RelayError::Silent => crate::reason::Reason::OriginTimeout,
        });
        match broken {
            RelayError::Client => Ending::Close(ostler_segment::counter::Server::ClosedClient),
            RelayError::Upstream(_) | RelayError::Silent => Ending::Abort,
        }
    }))
}
