//! A request whose route names a pool: shed, collect, admit, hand over, relay.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ostler_policy::admission::RouteId;
use ostler_policy::http::forward::{Forward, write_request};
use ostler_policy::route::Route;
use ostler_segment::Summary;

use super::Request;
use super::converse::{Failed, Terms, Unanswered, converse, stated_framing};
use crate::backlog::Buffering;
use crate::body::Collected;
use crate::clock;
use crate::connection::{Client, Ending};
use crate::entry::Entry;
use crate::exchange::ExchangeError;
use crate::ledger::Charge;
use crate::link::{NotTaken, Running};
use crate::live::PoolTarget;
use crate::pool::{Patience, Wait, Worker};
use crate::reason::Reason;
use crate::relay::RelayError;
use crate::respond::{self, RequestError};

/// How often a request is tried on another worker, when one could not be reached at all.
const TRIES: u32 = 3;

/// A worker's sockets close a moment before its death is reported: how long that is waited for.
const DEATH_WAIT: Duration = Duration::from_millis(50);

/// Answers from a pool.
pub(super) async fn answer(
    client: &mut Client<'_>,
    request: &mut Request<'_>,
    entry: &mut Entry,
    (route, target): (&Route, &PoolTarget),
) -> Result<Ending, RequestError> {
    entry.pool.clone_from(&target.pool.name);
    let id = request.live.route_id(route);
    // The time of its head will do: what is predicted is not so exact.
    target.pool.shed_early(id, entry.started).map_err(RequestError::NotAdmitted)?;
    let (limits, spool) = (&request.live.config.limits, &request.live.spool);
    let collected = if route.config.request_buffering {
        let in_memory = usize::try_from(limits.body_in_memory.0).unwrap_or(usize::MAX);
        request.body.receive_all(client, in_memory, spool).await?
    } else {
        request.body.invite(client).await?;
        Collected::default()
    };
    let (word, in_memory) = (route.config.response_buffering, limits.response_in_memory.0);
    let buffering = Buffering::of(word, in_memory, spool);

    let is_collected = request.body.is_complete();
    let mut tries_left = TRIES;
    loop {
        tries_left -= 1;
        let mut running = hand_over(client, request, entry, (id, target)).await?;
        let begun = clock::now();
        let deadline = route.config.request_timeout.map(|limit| begun + limit);
        running.permit.patience = deadline.zip(target.stuck_grace).map(Patience::new);
        let terms = Terms {
            head: forwarded_head(request, entry, &running, &collected),
            collected: &collected,
            deadline,
            idle: target.response_idle,
            buffering,
            permit: Some(&running.permit),
        };
        let outcome = converse(client, request, entry, &mut running.exchange, terms).await;
        entry.ran = clock::now().saturating_duration_since(begun);
        entry.costs = running.permit.costs();
        match outcome {
            Ok(answered) => {
                // The permit is free, however slowly the client takes the rest.
                if let Some(unfinished) = running.finish() {
                    client.shared.tasks.spawn(unfinished.discard());
                }
                return Ok(answered.deliver(client, entry).await);
            }
            Err(failed) => {
                // Only what the worker has certainly not looked at is tried on another.
                let may_retry = is_collected && 0 < tries_left && is_unanswered(&failed);
                if !(may_retry && running.exchange.take_back()) {
                    return give_up(client, entry, running, failed).await;
                }
                target.pool.stop_granting(&running.permit.worker);
            }
        }
    }
}

/// Whether the worker gave no answer, for a reason of its own.
fn is_unanswered(failed: &Failed) -> bool {
    matches!(failed, Failed::Unanswered(Unanswered::Exchange(_)))
}

/// Waits for a permit, and begins an exchange with its worker. A worker that cannot be reached
/// was certainly not handed the request, so another is tried.
async fn hand_over(
    client: &mut Client<'_>,
    request: &Request<'_>,
    entry: &mut Entry,
    (route, target): (RouteId, &PoolTarget),
) -> Result<Running, RequestError> {
    let mut failure = io::Error::from(io::ErrorKind::NotConnected);
    for _ in 0..TRIES {
        let arrived = clock::now();
        let wait = Wait { route, arrived, queue_timeout: target.queue_timeout };
        let admitted = target.pool.admit(client, entry, wait).await;
        let mut permit = admitted.map_err(|refused| {
            let waited = clock::now().saturating_duration_since(arrived);
            entry.queued = entry.queued.saturating_add(waited);
            RequestError::NotAdmitted(refused)
        })?;
        entry.queued = entry.queued.saturating_add(permit.queued);
        let query_budget = u64::from(request.live.config.status.query_budget);
        let charge = entry.route.clone().map(|books| Charge { books, query_budget });
        permit.start(&summary(request, entry), charge);
        match target.link.begin(permit, client.event_loop).await {
            Ok(running) => return Ok(running),
            Err(NotTaken { error, permit }) => {
                // Nobody listens there any more: no other request shall be sent there either.
                if is_nobody_there(&error) {
                    target.pool.stop_granting(&permit.worker);
                }
                failure = error;
            }
        }
    }
    match rustix::io::Errno::from_io_error(&failure) {
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE | rustix::io::Errno::NOMEM) => {
            Err(RequestError::NoResources(failure))
        }
        _ => Err(RequestError::WorkerUnreachable(failure)),
    }
}

/// What the scoreboard shows of a request.
fn summary<'r>(request: &'r Request<'_>, entry: &'r Entry) -> Summary<'r> {
    Summary {
        id: &entry.id,
        method: request.head.method(),
        target: request.target.origin_form,
        host: request.host,
        site: &entry.site,
        client: &entry.client,
        protocol: request.head.version().as_str(),
    }
}

fn is_nobody_there(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
}

fn forwarded_head(
    request: &Request<'_>,
    entry: &Entry,
    running: &Running,
    collected: &Collected,
) -> Vec<u8> {
    let mut head = Vec::with_capacity(1024);
    let forward = Forward {
        target: request.target.origin_form,
        version: running.exchange.version(request.head.version()),
        host: request.host,
        body: running.exchange.framing(stated_framing(request, collected)),
        request_id: &entry.id,
        forwarded_for: &request.client.forwarded_for,
        forwarded_proto: request.client.proto,
        forwarded_host: request.client.host,
        forwarded: &request.client.forwarded,
        closes: running.closes(),
    };
    write_request(&mut head, &request.head, &forward);
    head
}

/// Ends an exchange that failed. The permit is given back when the handler has ended; where its
/// worker has died, not before that is known, so that nobody is sent after it.
async fn give_up(
    client: &Client<'_>,
    entry: &mut Entry,
    running: Running,
    failed: Failed,
) -> Result<Ending, RequestError> {
    let worker = Arc::clone(&running.permit.worker);
    let outcome = match failed {
        Failed::Unanswered(unanswered) => Err(unanswered_error(unanswered, &worker).await),
        Failed::Truncated(broken) => {
            entry.reason = Some(broken_reason(broken, &worker).await);
            Ok(Ending::Abort)
        }
    };
    if worker.has_exited() {
        running.permit.pool.stop_granting(&worker);
    }
    client.shared.tasks.spawn(running.discard());
    outcome
}

async fn broken_reason(broken: RelayError, worker: &Worker) -> Reason {
    match broken {
        RelayError::Client => Reason::ClientLeft,
        RelayError::Body(error) => respond::verdict(&error.into()).2,
        RelayError::Lost => Reason::NoResources,
        RelayError::Silent => Reason::RequestTimeout,
        RelayError::Upstream(error) if is_invalid(&error) => Reason::WorkerBadResponse,
        RelayError::Upstream(_) if worker.exits_within(DEATH_WAIT).await => Reason::WorkerExited,
        RelayError::Upstream(_) => Reason::WorkerClosed,
    }
}

/// Whether the worker answered, but not in HTTP.
fn is_invalid(error: &ExchangeError) -> bool {
    match error {
        ExchangeError::Invalid(_) | ExchangeError::Chunk(_) | ExchangeError::Interim => true,
        ExchangeError::Closed | ExchangeError::Broken(_) => false,
    }
}

async fn unanswered_error(unanswered: Unanswered, worker: &Worker) -> RequestError {
    match unanswered {
        Unanswered::Elapsed => RequestError::RequestTimeout,
        Unanswered::Body(error) => RequestError::Body(error),
        Unanswered::Exchange(error) if is_invalid(&error) => RequestError::WorkerBadResponse(error),
        Unanswered::Exchange(_) if worker.exits_within(DEATH_WAIT).await => {
            RequestError::WorkerExited
        }
        Unanswered::Exchange(error) => RequestError::WorkerClosed(error),
    }
}
