//! A request whose route names servers: through the engine for origins.

use std::sync::Arc;

use ostler_conf::ResponseBuffering;
use ostler_policy::http::forward::{Forward, write_request};
use ostler_policy::http::head::Version;

use super::Request;
use super::converse::{Failed, Terms, Unanswered, converse};
use crate::backlog::Buffering;
use crate::body::Collected;
use crate::connection::{Client, Ending};
use crate::entry::Entry;
use crate::origin::{OriginFailure, ServersOrigin};
use crate::reason::Reason;
use crate::relay::RelayError;
use crate::respond::{self, RequestError};

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
        version: Version::Http11,
        // The engine puts the origin's own in its place, where that is wanted.
        host: request.host,
        body: request.framing,
        request_id: &entry.id,
        forwarded_for: &request.client.forwarded_for,
        forwarded_proto: request.client.proto,
        forwarded_host: request.client.host,
        forwarded: &request.client.forwarded,
        closes: true,
    };
    write_request(&mut head, &request.head, &forward);
    request.body.invite(client).await?;
    // The engine keeps the deadlines: for a connect, and to the first byte of the response.
    let in_memory = request.live.config.limits.response_in_memory.0;
    let buffering = Buffering::of(ResponseBuffering::Spool, in_memory, &request.live.spool);
    let collected = &Collected::default();
    let (deadline, permit) = (None, None);
    let terms = Terms { head, collected, deadline, idle: origin.idle, buffering, permit };
    match converse(client, request, entry, &mut exchange, terms).await {
        Ok(answered) => {
            // The server has done its part.
            drop(exchange);
            Ok(answered.deliver(client, entry).await)
        }
        Err(Failed::Unanswered(Unanswered::Body(error))) => Err(RequestError::Body(error)),
        Err(Failed::Unanswered(_)) => Err(match outcome.failure() {
            OriginFailure::Connect => RequestError::OriginConnect,
            OriginFailure::Timeout => RequestError::OriginTimeout,
            OriginFailure::Broken => RequestError::OriginBroken,
        }),
        Err(Failed::Truncated(broken)) => {
            entry.reason = Some(match broken {
                RelayError::Client => Reason::ClientLeft,
                RelayError::Body(error) => respond::verdict(&error.into()).2,
                RelayError::Lost => Reason::NoResources,
                RelayError::Silent => Reason::OriginTimeout,
                RelayError::Upstream(_) => Reason::OriginBroken,
            });
            Ok(Ending::Abort)
        }
    }
}
