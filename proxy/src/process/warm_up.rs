//! Requests that a new worker answers before it gets traffic.

use std::time::{Duration, Instant};

use tokio::net::UnixStream;

use crate::clock;
use crate::exchange::Exchange;
use crate::pool::Worker;

/// How long a worker that does not listen yet is left alone.
const PAUSE: Duration = Duration::from_millis(20);

/// The name that a worker is asked under.
const AGENT: &str = "ostler-warm-up";

/// Requests each path in turn; all of it within `within`.
///
/// # Errors
///
/// What the operator is told: which path, and what it got.
pub(super) async fn run(
    worker: &Worker,
    paths: &[String],
    within: Duration,
    checks_status: bool,
) -> Result<(), String> {
    let until = clock::now() + within;
    for path in paths {
        let status = tokio::time::timeout_at(until.into(), request(worker, path, until)).await;
        match status {
            Ok(Ok(status)) if checks_status && 500 <= status => {
                return Err(format!("warm-up path {path} was answered with status {status}"));
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(format!("warm-up path {path}: {error}")),
            Err(_elapsed) => {
                return Err(format!("warm-up path {path} was not answered within {within:?}"));
            }
        }
    }
    Ok(())
}

/// Requests one path; a connection that is refused or closed at once is tried again, because the
/// program may not be there yet.
async fn request(worker: &Worker, path: &str, until: Instant) -> Result<u16, String> {
    loop {
        match attempt(worker, path, AGENT).await {
            Ok(status) => return Ok(status),
            Err(error) if worker.has_exited() || until <= clock::now() => return Err(error),
            Err(_early) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Requests a path over a connection of its own, and drops what comes after the head.
///
/// # Errors
///
/// What went wrong, for the operator.
pub(super) async fn attempt(worker: &Worker, path: &str, agent: &str) -> Result<u16, String> {
    let stream = UnixStream::connect(&worker.socket).await.map_err(|error| error.to_string())?;
    let mut exchange = Exchange::with_worker(stream);
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nuser-agent: {agent}\r\n\
         connection: close\r\n\r\n"
    );
    let (mut receiving, mut sending) = exchange.split();
    sending.send(head.as_bytes(), true).await;
    let answer = receiving.answer(false).await.map_err(|error| error.to_string())?;
    exchange.discard().await;
    Ok(answer.status)
}
