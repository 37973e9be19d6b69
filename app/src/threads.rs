//! Runs a blocking handler on a fixed number of threads.
//!
//! Requests come to whichever thread is free: over the ring link straight from the proxy, and
//! from sockets by way of the thread that runs their event loop. A thread ends only when the
//! queue is closed: whatever the handler does with it, short of ending the process.
//!
//! The threads are this module's own, or somebody else's, such as those of an interpreter.

mod from_ring;
mod turns;

use std::io::{self, Write as _};
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
use crate::reply::Reply;
use crate::request_head::{HeadInvalid, RequestHead};
use crate::response::{BodyWriter, Outgoing, Produce, ResponseBody, Source};
use crate::ring::{Ring, Taken, start_clock};
use crate::threads::turns::Turns;
use crate::{Body, Request, Response, RunError, Worker, connection, report};

/// A request on its way from a socket to a thread.
#[derive(Debug)]
struct Job {
    request: Request,
    reply: oneshot::Sender<http::Response<Outgoing>>,
}

/// Where threads find their work: see [`Worker::lend_threads`].
#[derive(Clone, Debug)]
pub struct ThreadQueue(Arc<Queue>);

/// A request that its client was told of with 504, and whose handler still runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StuckRequest {
    /// The thread that has it, as the kernel numbers it.
    pub tid: u32,
    /// Its row, and which request in that it is.
    pub row: (u32, u32),
}

/// Takes what comes over sockets to the threads, and ends them: see [`Worker::lend_threads`].
#[derive(Debug)]
#[must_use = "the worker serves while this runs"]
pub struct EventLoop {
    worker: Worker,
    sender: async_channel::Sender<Job>,
    closes: Closes,
}

/// What keeps threads from running at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locks {
    /// Nothing but what they share in their handler.
    OfTheirOwn,
    /// The lock of an interpreter.
    One,
}

impl Locks {
    fn turns(self) -> Option<Turns> {
        (self == Self::One).then(Turns::default)
    }
}

/// Where the threads find their work.
#[derive(Debug)]
struct Queue {
    jobs: async_channel::Receiver<Job>,
    ring: Option<Arc<Ring>>,
    /// Where the threads share a lock.
    turns: Option<Turns>,
}

/// What a thread does next.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
enum Work {
    Job(Job),
    Taken(Taken),
}

/// A request, as its link has it.
enum Arrived {
    Connection(Request),
    Ring(RequestHead, Body),
}

impl Arrived {
    fn into_request(self) -> Result<Request, HeadInvalid> {
        match self {
            Self::Connection(request) => Ok(request),
            Self::Ring(head, body) => Ok(Request::from_parts(head.into_parts()?, body)),
        }
    }

    fn into_head(self) -> (RequestHead, Body) {
        match self {
            Self::Connection(request) => RequestHead::of_request(request),
            Self::Ring(head, body) => (head, body),
        }
    }
}

/// Runs `worker` until drained.
pub(crate) fn run<H>(worker: Worker, threads: usize, handler: &H) -> Result<(), RunError>
where
    H: Fn(Request) -> Response + Sync,
{
    let (queue, event_loop) = lend(worker, Locks::OfTheirOwn);
    thread::scope(|scope| {
        let queue = &queue;
        let spawned = (0..threads).try_for_each(|number| {
            let builder = thread::Builder::new().name(format!("ostler-{number}"));
            let answer = |arrived: Arrived, reply| match arrived.into_request() {
                Ok(request) => respond(handler, request, reply),
                // The proxy sends none like that.
                Err(_invalid) => drop::<Reply>(reply),
            };
            let work = move || work(&queue.0, &answer);
            builder.spawn_scoped(scope, work).map(drop)
        });
        // The threads end when the queue is empty, and the scope when they have.
        match spawned {
            Ok(()) => event_loop.run(),
            Err(error) => {
                drop(event_loop);
                Err(RunError::Start(error))
            }
        }
    })
}

/// Takes a worker apart, into what its threads need and the event loop.
pub(crate) fn lend(worker: Worker, locks: Locks) -> (ThreadQueue, EventLoop) {
    let (sender, jobs) = async_channel::bounded(worker.waiting());
    let ring = worker.ring();
    if let Some(ring) = &ring {
        ring.announce(LinkKind::Threads);
    }
    let queue = Arc::new(Queue { jobs, ring, turns: locks.turns() });
    let closes = Closes(Arc::clone(&queue));
    (ThreadQueue(queue), EventLoop { worker, sender, closes })
}

impl ThreadQueue {
    /// The life of a thread: gives requests to `handler`, one after the other, until the worker is
    /// drained. A panic in it does not cost the thread.
    pub fn work<H: Fn(RequestHead, Body, Reply)>(&self, handler: &H) {
        work(&self.0, &|arrived: Arrived, reply| {
            let (head, body) = arrived.into_head();
            handler(head, body, reply);
        });
    }

    /// The requests over the ring link that take longer than their `request-timeout`.
    pub fn stuck(&self) -> Vec<StuckRequest> {
        self.0.ring.as_ref().map(|ring| ring.stuck()).unwrap_or_default()
    }
}

impl EventLoop {
    /// Reports readiness, takes what comes over sockets to the threads, and returns when the worker
    /// was told to end and its connections have. The threads end with it, once all is done.
    ///
    /// # Errors
    ///
    /// When readiness or the event loop fails. Nothing was served then.
    pub fn run(self) -> Result<(), RunError> {
        let ring = self.closes.0.ring.clone();
        run_event_loop(self.worker, self.sender, ring)
    }
}

/// Ends the threads when it is dropped.
#[derive(Debug)]
struct Closes(Arc<Queue>);

impl Drop for Closes {
    fn drop(&mut self) {
        self.0.close();
    }
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
            if self.is_others_turn(ring) {
                ring.bell().rest(|| self.jobs.is_closed());
                continue;
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

    /// Whether what is queued is left to a thread that runs and is about to come back for it.
    fn is_others_turn(&self, ring: &Ring) -> bool {
        let is_theirs = |turns: &Turns| ring.bell().is_short() && turns.is_taken();
        !self.jobs.is_closed() && ring.has_queued() && self.turns.as_ref().is_some_and(is_theirs)
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
fn work<H: Fn(Arrived, Reply)>(queue: &Queue, handler: &H) {
    let tid = rustix::thread::gettid().as_raw_pid().unsigned_abs();
    start_clock();
    let turns = queue.turns.as_ref().and_then(|turns| Some((turns, turns.add()?)));
    let turns = turns.as_ref().map(|(turns, runner)| (*turns, &**runner));
    let mut start = 0;
    while let Some(work) = queue.next(&mut start) {
        let run = AssertUnwindSafe(|| match work {
            // Whoever wanted it has left.
            Work::Job(job) if job.reply.is_closed() => {}
            Work::Job(Job { request, reply }) => {
                let context = Context::gathering();
                let reply = Reply::on_connection(reply, context.clone());
                context.run(|| handler(Arrived::Connection(request), reply));
            }
            Work::Taken(taken) => {
                taken.show_thread(tid);
                from_ring::run(taken, turns, handler);
            }
        });
        if catch_unwind(run).is_err() {
            report(format_args!("what a handler left behind panicked"));
        }
    }
}

/// Calls a blocking handler for one request, and writes the body if that is made piece by piece.
fn respond<H: Fn(Request) -> Response>(handler: &H, request: Request, reply: Reply) {
    let line = RequestLine::of(&request);
    let (head, body) = call(request, &line, handler).into_parts();
    match body.0 {
        Source::Complete(bytes) => reply.complete(head, bytes),
        Source::Request(body) => {
            if let Err(error) = reply.send_back(head, body) {
                line.report_broken_off(&error);
            }
        }
        Source::Produced(produce) => {
            let writer = reply.start(head, None);
            if writer.is_wanted() {
                write_body(produce, writer, &line);
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
    let produce = AssertUnwindSafe(|| {
        // The head need not wait for the first piece.
        writer.flush()?;
        produce(&mut writer)
    });
    match catch_unwind(produce) {
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
