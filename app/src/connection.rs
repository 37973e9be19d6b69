//! The connections of a worker: accepted, served as HTTP/1.1, and drained.
//!
//! The peer is the proxy, which checked and limited everything and keeps connections open as it
//! likes. So there are no limits and no clocks here. A peer that closes its side has lost interest
//! in the answer; [`AtHalfClose`] says what becomes of it.

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use crate::listen::{Accepted, Acceptor};
use crate::request::Peer;
use crate::worker::Stop;
use crate::{AnyError, Body, report};

/// Most fields of a head. The proxy has a limit of its own, which is lower, and adds fields.
const MAX_FIELDS: usize = 1024;

/// Wait before accepting again when descriptors or memory are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What becomes of a request whose peer closes its side of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtHalfClose {
    /// Its future is dropped and the connection closed: the request has ended.
    Cancel,
    /// It runs to its end, and the connection stays open until then: a thread cannot be stopped,
    /// and the peer has to know for how long it is taken.
    Finish,
}

/// Serves what `acceptor` accepts until `stop` says to end, then drains and returns.
///
/// Draining: no more connections, idle ones close at once, others after their running request.
pub(crate) async fn serve<A, F, B>(
    acceptor: Acceptor,
    stop: Stop,
    at_half_close: AtHalfClose,
    answer: A,
) where
    A: Fn(http::Request<Body>) -> F + Clone + Send + 'static,
    F: Future<Output = http::Response<B>> + Send + 'static,
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<AnyError>,
{
    let draining = GracefulShutdown::new();
    let mut server = http1::Builder::new();
    server.max_headers(MAX_FIELDS).half_close(at_half_close == AtHalfClose::Finish);
    let mut connections = JoinSet::new();
    let mut stopped = pin!(stop.requested());
    loop {
        tokio::select! {
            () = &mut stopped => break,
            accepted = acceptor.accept() => match accepted {
                Ok(Accepted::Unix(stream)) => {
                    let (link, watcher) = ((stream, None), draining.watcher());
                    connections.spawn(converse(server.clone(), link, watcher, answer.clone()));
                }
                Ok(Accepted::Tcp(stream, peer)) => {
                    let (link, watcher) = ((stream, Some(peer)), draining.watcher());
                    connections.spawn(converse(server.clone(), link, watcher, answer.clone()));
                }
                Err(error) => pause(&error).await,
            },
            // One that panicked has said so; the others need no word.
            Some(_) = connections.join_next() => {}
        }
    }
    drop(acceptor);
    draining.shutdown().await;
    while connections.join_next().await.is_some() {}
}

/// Serves one connection until it ends, on whichever side.
async fn converse<T, A, F, B>(
    server: http1::Builder,
    (stream, peer): (T, Option<IpAddr>),
    draining: Watcher,
    answer: A,
) where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    A: Fn(http::Request<Body>) -> F + Clone + Send + 'static,
    F: Future<Output = http::Response<B>> + Send + 'static,
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<AnyError>,
{
    let service = service_fn(move |request| {
        let answer = answer.clone();
        async move {
            let request = receive(request, peer).await?;
            Ok::<_, hyper::Error>(answer(request).await)
        }
    });
    let connection = server.serve_connection(TokioIo::new(stream), service);
    // An error is a client that left, or a body that was broken off: whoever did it knows.
    drop(draining.watch(connection).await);
}

/// Makes the request that the application sees.
async fn receive(
    request: http::Request<Incoming>,
    peer: Option<IpAddr>,
) -> Result<http::Request<Body>, hyper::Error> {
    let (mut parts, incoming) = request.into_parts();
    if let Some(address) = peer {
        parts.extensions.insert(Peer(address));
    }
    Ok(http::Request::from_parts(parts, Body::receive(incoming).await?))
}

async fn pause(error: &io::Error) {
    // The peer of a connection that was never accepted may leave; that is not our business.
    if error.kind() != io::ErrorKind::ConnectionAborted {
        report(format_args!("cannot accept: {error}"));
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}
