//! Runs a blocking handler on a fixed number of threads.
//!
//! Requests come to whichever thread is free: over the ring link straight from the proxy, and
//! from sockets by way of the calling thread, which runs their event loop. A thread ends only
//! when the queue is closed: whatever the handler does with it, short of ending the process.

mod from_ring;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use http::StatusCode;
use ostler_segment::LinkKind;
use tokio::sync::oneshot;

use crate::connection::AtHalfClose;
use crate::context::Context;
use crate::failure::{FAILED, RequestLine};
use crate::response::{BodyWriter, Outgoing, Produce, ResponseBody, Source};
use crate::ring::{Ring, Taken, start_clock};
use crate::{Request, Response, RunError, Worker, connection, report};

/// A request on its way from a socket to a thread.
struct Job {
    request: Request,
    reply: oneshot::Sender<http::Response<Outgoing>>,
}

/// Where the threads find their work.
struct Queue {
    jobs: async_channel::Receiver<Job>,
    ring: Option<Arc<Ring>>,
}

/// What a thread does next.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
enum Work {
    Job(Job),
    Taken(Taken),
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
    let (sender, jobs) = async_channel::bounded(waiting);
    let ring = worker.ring();
    if let Some(ring) = &ring {
        ring.announce(LinkKind::Threads);
    }
    let queue = Queue { jobs, ring };
    thread::scope(|scope| {
        let queue = &queue;
        let result = (0..threads)
            .try_for_each(|number| {
                let builder = thread::Builder::new().name(format!("ostler-{number}"));
                builder.spawn_scoped(scope, move || work(queue, handler)).map(drop)
            })
            .map_err(RunError::Start)
            .and_then(|()| run_event_loop(worker, sender, queue.ring.clone()));
        // The threads end when the queue is empty, and the scope when they have.
        queue.close();
        result
    })
}

fn run_event_loop(
    worker: Worker,
    jobs: async_channel::Sender<Job>,
    ring: Option<Arc<Ring>>,
) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RunError::Start)?;
    runtime.block_on(async {
        let (acceptor, stop) = worker.begin()?;
        let answer = move |request| {
            let (jobs, ring) = (jobs.clone(), ring.clone());
            async move { hand_over(&jobs, ring, request).await }
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
    jobs: &async_channel::Sender<Job>,
    ring: Option<Arc<Ring>>,
    request: Request,
) -> http::Response<Outgoing> {
    let (reply, answer) = oneshot::channel();
    if jobs.send(Job { request, reply }).await.is_err() {
        return failed();
    }
    if let Some(ring) = ring {
        ring.force();
    }
    answer.await.unwrap_or_else(|_| failed())
}

impl Queue {
    /// Waits for something to do; `None` when there will never be anything again.
    fn next(&self, start: &mut u32) -> Option<Work> {
        let Some(ring) = &self.ring else { return self.jobs.recv_blocking().ok().map(Work::Job) };
        loop {
            if let Ok(job) = self.jobs.try_recv() {
                ring.bell().busy(|| self.has_work(ring));
                return Some(Work::Job(job));
            }
            if let Some(taken) = ring.take(*start) {
                *start = taken.row().wrapping_add(1);
                ring.bell().busy(|| self.has_work(ring));
                return Some(Work::Taken(taken));
            }
            if self.jobs.is_closed() && !self.has_work(ring) {
                return None;
            }
            ring.bell().sleep(|| self.has_work(ring) || self.jobs.is_closed());
        }
    }

    fn has_work(&self, ring: &Ring) -> bool {
        ring.has_queued() || !self.jobs.is_empty()
    }

    fn close(&self) {
        self.jobs.close();
        if let Some(ring) = &self.ring {
            ring.bell().wake_all();
        }
    }
}

/// The life of a thread.
fn work<H: Fn(Request) -> Response>(queue: &Queue, handler: &H) {
    let tid = rustix::thread::gettid().as_raw_pid().unsigned_abs();
    start_clock();
    let mut start = 0;
    while let Some(work) = queue.next(&mut start) {
        match work {
            Work::Job(Job { request, reply }) if !reply.is_closed() => {
                let line = RequestLine::of(&request);
                let run = AssertUnwindSafe(|| run_job(request, reply, &line, handler));
                if let Err(panic) = catch_unwind(run) {
                    line.report_panic(&*panic);
                }
            }
            // Whoever wanted it has left.
            Work::Job(_) => {}
            Work::Taken(taken) => {
                taken.show_thread(tid);
                let run = AssertUnwindSafe(|| from_ring::run(taken, handler));
                if catch_unwind(run).is_err() {
                    report(format_args!("what a handler left behind panicked"));
                }
            }
        }
    }
}

/// Runs the handler for one request, and writes the body if that is made piece by piece.
fn run_job<H: Fn(Request) -> Response>(
    request: Request,
    reply: oneshot::Sender<http::Response<Outgoing>>,
    line: &RequestLine,
    handler: &H,
) {
    let context = Context::gathering();
    let (mut head, body) = context.run(|| call(request, line, handler)).into_parts();
    context.write_to(&mut head.headers);
    // A reply that nobody waits for is dropped: the client left.
    match body.0 {
        Source::Complete(bytes) => {
            drop(reply.send(http::Response::from_parts(head, Outgoing::Complete(bytes))));
        }
        Source::Request(body) => {
            drop(reply.send(http::Response::from_parts(head, Outgoing::Request(body))));
        }
        Source::Produced(produce) => {
            let (writer, pieces) = Outgoing::pieces();
            if reply.send(http::Response::from_parts(head, pieces)).is_ok() {
                write_body(produce, writer, line);
            }
        }
    }
}

/// Calls the handler. A panic is answered like any other failure.
fn call<H: Fn(Request) -> Response>(request: Request, line: &RequestLine, handler: &H) -> Response {
    match catch_unwind(AssertUnwindSafe(|| handler(request))) {
        Ok(response) => response,
        Err(panic) => {
            line.report_panic(&*panic);
            failed().map(|_| ResponseBody::from(FAILED))
        }
    }
}

/// Writes a body that is made piece by piece.
fn write_body(produce: Produce, mut writer: BodyWriter, line: &RequestLine) {
    match catch_unwind(AssertUnwindSafe(|| produce(&mut writer))) {
        Ok(Ok(())) => {
            if let Err(error) = writer.finish() {
                line.report_broken_off(&error);
            }
        }
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

fn failed() -> http::Response<Outgoing> {
    let mut response =
        http::Response::new(Outgoing::Complete(Bytes::from_static(FAILED.as_bytes())));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}
