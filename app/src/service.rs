//! Runs a tower service with a bounded number of requests in flight.

mod from_ring;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::StatusCode;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower::ServiceExt;

use crate::connection::AtHalfClose;
use crate::failure::{FAILED, RequestLine};
use crate::{AnyError, Body, RunError, Worker, connection, context};

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
        let ring = worker.ring().map(|ring| from_ring::Loop::new(ring, threads)).transpose()?;
        let (acceptor, stop) = worker.begin()?;
        let (end, ended) = watch::channel(false);
        let from_ring = ring.map(|ring| ring.run(service.clone(), Arc::clone(&permits), ended));
        let from_ring = from_ring.map(spawn);
        let answer =
            move |request| context::answer(answer(service.clone(), Arc::clone(&permits), request));
        connection::serve(acceptor, stop, AtHalfClose::Cancel, answer).await;
        end.send_replace(true);
        if let Some(from_ring) = from_ring {
            // A panic there was reported; the requests inside it broke off.
            drop(from_ring.await);
        }
        Ok(())
    })
}

#[expect(clippy::disallowed_methods, reason = "it is waited for when the worker drains")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
    tokio::spawn(task)
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
    let permit = permits.acquire_owned().await.expect("the semaphore is never closed");
    let line = RequestLine::of(&request);
    let mut call = pin!(service.oneshot(request));
    let outcome = std::future::poll_fn(|context| {
        match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(context))) {
            Ok(poll) => poll.map(|result| result.map_err(Failure::Error)),
            Err(panic) => Poll::Ready(Err(Failure::Panic(panic))),
        }
    });
    match outcome.await {
        Ok(response) => {
            response.map(|body| Counted { body: Answer::Given(Box::pin(body)), _permit: permit })
        }
        Err(failure) => {
            match failure {
                Failure::Error(error) => line.report(format_args!("failed: {}", error.into())),
                Failure::Panic(panic) => line.report_panic(&*panic),
            }
            let body = Answer::Failed(Bytes::from_static(FAILED.as_bytes()));
            let mut response = http::Response::new(Counted { body, _permit: permit });
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

/// Why a service gave no response.
enum Failure<E> {
    Error(E),
    Panic(Box<dyn Any + Send>),
}

/// A response body that keeps its request in flight until its last byte is written.
struct Counted<B> {
    body: Answer<B>,
    _permit: OwnedSemaphorePermit,
}

enum Answer<B> {
    Given(Pin<Box<B>>),
    Failed(Bytes),
}

impl<B: hyper::body::Body<Error: Into<AnyError>>> hyper::body::Body for Counted<B> {
    type Data = Bytes;
    type Error = AnyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnyError>>> {
        match &mut self.body {
            Answer::Given(body) => body.as_mut().poll_frame(context).map(|frame| {
                let to_bytes = |mut data: B::Data| data.copy_to_bytes(data.remaining());
                frame.map(|frame| frame.map(|it| it.map_data(to_bytes)).map_err(Into::into))
            }),
            Answer::Failed(text) => {
                let text = std::mem::take(text);
                Poll::Ready((!text.is_empty()).then(|| Ok(Frame::data(text))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Answer::Given(body) => body.is_end_stream(),
            Answer::Failed(text) => text.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Answer::Given(body) => body.size_hint(),
            Answer::Failed(text) => SizeHint::with_exact(text.len() as u64),
        }
    }
}
