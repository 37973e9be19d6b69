//! A server with nothing in it but hyper on one thread: what no proxy can be faster than.

use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::task::{JoinSet, LocalSet};

use crate::answer;

/// Serves on this address until the process is ended.
///
/// # Errors
///
/// When the address cannot be listened on.
pub(crate) fn run(address: &str) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, accept(address))
}

async fn accept(address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let serve = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(serve));
        // A client that leaves is none of a bare server's business.
        connections.spawn_local(async { drop(serve.await) });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(
    request: http::Request<Incoming>,
) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    if request.method() == http::Method::POST {
        let body = request.into_body().collect().await.map(|body| body.to_bytes().len());
        return Ok(answer::length(body.unwrap_or_default() as u64).into_response());
    }
    Ok(answer::to(&path).into_response())
}
