//! The HTTP link: HTTP/1.1 over the worker's UNIX socket.
//!
//! Never more requests than permits, so never more than rows. A kept connection is looked at
//! before it is used: one that the worker has closed is not.

use std::io;

use tokio::net::UnixStream;

use super::Link;
use crate::clock;
use crate::exchange::Exchange;
use crate::pool::Worker;

/// Opens an exchange, on a kept connection if there is one.
pub(super) async fn connect(
    link: Link,
    worker: &Worker,
    event_loop: usize,
) -> io::Result<Exchange> {
    let kept = worker.take_kept(event_loop, link.keepalive, clock::now());
    let stream = match kept {
        Some(stream) => stream,
        None => UnixStream::connect(&worker.socket).await?,
    };
    Ok(Exchange::with_worker(stream))
}

/// Keeps the connection of a finished exchange, if it can be used again.
pub(super) fn keep(link: Link, worker: &Worker, event_loop: usize, exchange: Exchange) {
    if !link.keepalive.is_zero()
        && let Some(stream) = exchange.into_reusable()
    {
        worker.keep(event_loop, stream, clock::now());
    }
}
