//! Runs a tower service with a bounded number of requests in flight.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{Either, Full};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;

use crate::failure::{FAILED, RequestLine};
use crate::{AnyError, Body, RunError, Worker, connection};

/// Runs `worker` until drained.
pub(crate) fn run<S, B>(
    worker: Worker,
    threads: usize,
    concurrency: usize,
    service: S,
) -> Result<(), RunError>
where
    S: tower::Service<http::Request<Body>, Response = http::Response<B>>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<AnyError>,
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<AnyError>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("ostler")
        .enable_all()
        .build()
        .map_err(RunError::Start)?;
    let permits = Arc::new(Semaphore::new(concurrency.min(Semaphore::MAX_PERMITS)));
    runtime.block_on(async {
        let (acceptor, stop) = worker.begin()?;
        let answer = move |request| answer(service.clone(), Arc::clone(&permits), request);
        connection::serve(acceptor, stop, answer).await;
        Ok(())
    })
}

/// Answers one request when there is a permit. Never fails: an error becomes a response.
async fn answer<S, B>(
    service: S,
    permits: Arc<Semaphore>,
    request: http::Request<Body>,
) -> http::Response<Counted<B>>
where
    S: tower::Service<http::Request<Body>, Response = http::Response<B>>,
    S::Error: Into<AnyError>,
    B: hyper::body::Body,
{
    let permit = permits.acquire_owned().await.ok();
    let line = RequestLine::of(&request);
    let mut call = pin!(service.oneshot(request));
    let outcome = std::future::poll_fn(|context| {
        match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(context))) {
            Ok(poll) => poll.map(|result| result.map_err(Failure::Error)),
            Err(panic) => Poll::Ready(Err(Failure::Panic(panic))),
        }
    });
    let response = match outcome.await {
        Ok(response) => response.map(Either::Left),
        Err(failure) => {
            match failure {
                Failure::Error(error) => line.report(format_args!("failed: {}", error.into())),
                Failure::Panic(panic) => line.report_panic(&*panic),
            }
            let mut response = http::Response::new(Either::Right(Full::from(FAILED)));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    };
    response.map(|body| Counted { body: Box::pin(body), _permit: permit })
}
