//! Runs a blocking handler on a fixed number of threads.
//!
//! The calling thread runs the event loop, which does all work on sockets. A request goes through
//! a bounded queue to whichever thread is free, and its answer comes back. A thread ends only
//! when the queue is closed: whatever the handler does with it, short of ending the process.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use bytes::Bytes;
use http::StatusCode;
use tokio::sync::oneshot;

use crate::connection::AtHalfClose;
use crate::failure::{FAILED, RequestLine};
use crate::response::{Outgoing, ResponseBody, Source};
use crate::{Request, Response, RunError, Worker, connection};

/// A request on its way to a thread.
struct Job {
    request: Request,
    reply: oneshot::Sender<http::Response<Outgoing>>,
}

/// Runs `worker` until drained, with `waiting` places in the queue.
pub(crate) fn run<H>(
    worker: Worker,
    threads: usize,
    waiting: usize,
    handler: &H,
) -> Result<(), RunError>
where
    H: Fn(Request) -> Response + Sync,
{
    let (queue, jobs) = async_channel::bounded(waiting);
    thread::scope(|scope| {
        let result = (0..threads)
            .try_for_each(|number| {
                let jobs = jobs.clone();
                let builder = thread::Builder::new().name(format!("ostler-{number}"));
                builder.spawn_scoped(scope, move || work(&jobs, handler)).map(drop)
            })
            .map_err(RunError::Start)
            .and_then(|()| run_event_loop(worker, queue));
        // The threads end when the queue is empty, and the scope when they have.
        jobs.close();
        result
    })
}

fn run_event_loop(worker: Worker, queue: async_channel::Sender<Job>) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RunError::Start)?;
    runtime.block_on(async {
        let (acceptor, stop) = worker.begin()?;
        let answer = move |request| {
            let queue = queue.clone();
            async move { hand_over(&queue, request).await }
        };
        connection::serve(acceptor, stop, AtHalfClose::Finish, answer).await;
        Ok(())
    })
}

/// Gives a request to a thread and waits for the answer.
///
/// When the connection breaks, this is dropped: in the queue the request is skipped, in a thread
/// its answer is.
async fn hand_over(
    queue: &async_channel::Sender<Job>,
    request: Request,
) -> http::Response<Outgoing> {
    let (reply, answer) = oneshot::channel();
    match queue.send(Job { request, reply }).await {
        Ok(()) => answer.await.unwrap_or_else(|_| failed()),
        Err(_) => failed(),
    }
}

/// The life of a thread.
fn work<H: Fn(Request) -> Response>(jobs: &async_channel::Receiver<Job>, handler: &H) {
    while let Ok(Job { request, reply }) = jobs.recv_blocking() {
        if !reply.is_closed() {
            let line = RequestLine::of(&request);
            let sent = catch_unwind(AssertUnwindSafe(|| run_one(request, reply, &line, handler)));
            if let Err(panic) = sent {
                line.report_panic(&*panic);
            }
        }
    }
}

/// Runs the handler for one request, and writes the body if that is made piece by piece.
fn run_one<H: Fn(Request) -> Response>(
    request: Request,
    reply: oneshot::Sender<http::Response<Outgoing>>,
    line: &RequestLine,
    handler: &H,
) {
    let response = match catch_unwind(AssertUnwindSafe(|| handler(request))) {
        Ok(response) => response,
        Err(panic) => {
            line.report_panic(&*panic);
            failed().map(|_| ResponseBody::from(FAILED))
        }
    };
    let (head, body) = response.into_parts();
    // A reply that nobody waits for is dropped: the client left.
    match body.0 {
        Source::Complete(bytes) => {
            drop(reply.send(http::Response::from_parts(head, Outgoing::Complete(bytes))));
        }
        Source::Request(body) => {
            drop(reply.send(http::Response::from_parts(head, Outgoing::Request(body))));
        }
        Source::Produced(produce) => {
            let (mut writer, pieces) = Outgoing::pieces();
            if reply.send(http::Response::from_parts(head, pieces)).is_err() {
                return;
            }
            match catch_unwind(AssertUnwindSafe(|| {
                produce(&mut writer).and_then(|()| writer.flush())
            })) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    line.report_broken_off(&error);
                    writer.abort(error);
                }
                Err(panic) => {
                    line.report_panic(&*panic);
                    writer.abort(io::Error::other("the handler panicked"));
                }
            }
        }
    }
}

fn failed() -> http::Response<Outgoing> {
    let mut response =
        http::Response::new(Outgoing::Complete(Bytes::from_static(FAILED.as_bytes())));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}
