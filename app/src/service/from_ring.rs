//! Requests over the ring link, in an event loop.
//!
//! One task takes the requests, and gives each a task of its own, so that all threads of the
//! runtime share them. Where there is only one thread, it first polls each of them itself: many
//! are answered at once, and nobody else could run meanwhile anyway.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use hyper::body::Body as _;
use ostler_segment::LinkKind;
use tokio::net::unix::pipe;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::answer;
use crate::context::Context;
use crate::failure::RequestLine;
use crate::response_head::ResponseHead;
use crate::ring::{Answer, Reader, Received, Ring, Taken};
use crate::{AnyError, Body, RunError};

/// Requests that are taken before others get the thread.
const AT_ONCE: u32 = 64;

/// The task that takes requests from a ring.
pub(super) struct Loop {
    ring: Arc<Ring>,
    bell: pipe::Receiver,
    running: JoinSet<()>,
    /// Where to look for the next request.
    start: u32,
    /// Whether other threads could take requests meanwhile.
    has_threads: bool,
}

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Loop {
    /// Prepares the link, and tells the proxy that it can be used. Within a runtime.
    pub(super) fn new(ring: Arc<Ring>, threads: usize) -> Result<Self, RunError> {
        let bell = ring.pipe().and_then(pipe::Receiver::from_owned_fd).map_err(RunError::Start)?;
        ring.announce(LinkKind::Service);
        Ok(Self { ring, bell, running: JoinSet::new(), start: 0, has_threads: 1 < threads })
    }

    /// Answers requests until `ended`, and then those that are still there.
    pub(super) async fn run<S, B>(
        mut self,
        service: S,
        permits: Arc<Semaphore>,
        mut ended: watch::Receiver<bool>,
    ) where
        S: tower::Service<http::Request<Body>, Response = http::Response<B>>,
        S: Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<AnyError>,
        B: hyper::body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<AnyError>,
    {
        let mut has_proxy = true;
        loop {
            self.ring.pass_news_on();
            let mut count = 0;
            while count < AT_ONCE
                && let Some(taken) = self.ring.take(self.start)
            {
                self.start = taken.row().wrapping_add(1);
                let (service, permits) = (service.clone(), Arc::clone(&permits));
                let context = Context::of(&taken);
                let running = context.scope(converse(taken, service, permits));
                self.begin(Box::pin(running)).await;
                count += 1;
            }
            while self.running.try_join_next().is_some() {}
            if count == AT_ONCE {
                tokio::task::yield_now().await;
                continue;
            }
            let ring = &self.ring;
            if ring.bell().stop_looking(|| ring.has_queued() || ring.has_news()) {
                continue;
            }
            if *ended.borrow() && self.running.is_empty() {
                return;
            }
            tokio::select! {
                heard = self.bell.readable(), if has_proxy => {
                    has_proxy = heard.is_ok() && self.hear();
                }
                Ok(()) = ended.changed() => {}
                Some(_) = self.running.join_next() => {}
            }
        }
    }

    /// Takes the rings out of the pipe. False when nobody is left who could ring.
    fn hear(&self) -> bool {
        let mut rings = [0; 512];
        loop {
            match self.bell.try_read(&mut rings) {
                Ok(0) => return false,
                Ok(count) if count == rings.len() => {}
                Ok(_) | Err(_) => return true,
            }
        }
    }

    /// Begins with a request, here or in a task of its own.
    async fn begin(&mut self, mut running: Running) {
        if self.has_threads || !poll_once(&mut running).await {
            self.running.spawn(running);
        }
    }
}

/// Polls once; whether that was enough. One that panics, as the body of a response may, is over.
async fn poll_once(running: &mut Running) -> bool {
    std::future::poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(context).is_ready()));
        Poll::Ready(polled.unwrap_or(true))
    })
    .await
}

/// Answers one request.
async fn converse<S, B>(taken: Taken, service: S, permits: Arc<Semaphore>)
where
    S: tower::Service<http::Request<Body>, Response = http::Response<B>>,
    S::Error: Into<AnyError>,
    B: hyper::body::Body,
    B::Error: Into<AnyError>,
{
    let mut writer = Answer::new(taken.clone());
    // One that the proxy broke off is nobody's concern.
    let Ok(received) = Reader::new(taken.clone()).receive_in_task().await else { return };
    let Received { head, body, upload } = received;
    writer.belongs_to(head.method() == b"HEAD", upload);
    let Ok(head) = head.into_parts() else { return };
    let request = http::Request::from_parts(head, body);
    let line = RequestLine::of(&request);
    let call = answer(service, permits, request);
    let Some(response) = unless_left(&taken, call).await else { return };
    let (head, body) = response.into_parts();
    let head = ResponseHead::of_parts(&head);
    let has_body = writer.has_body(&head);
    let head = writer.head(head, body.size_hint().exact());
    let body = has_body.then_some(body);
    if let Err(error) = write(&mut writer, &head, body).await {
        line.report_broken_off(&error);
    }
}

/// Waits for `call`; `None` when the client left before.
async fn unless_left<T>(taken: &Taken, call: impl Future<Output = T>) -> Option<T> {
    let mut call = pin!(call);
    std::future::poll_fn(|context| match call.as_mut().poll(context) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending if taken.watch(context) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Writes the answer as its body comes.
async fn write<B>(writer: &mut Answer, head: &[u8], body: Option<B>) -> io::Result<()>
where
    B: hyper::body::Body<Data = Bytes, Error = AnyError>,
{
    let Some(body) = body else { return write_all(writer, head, true).await };
    let mut body = pin!(body);
    let mut is_last = body.is_end_stream();
    write_all(writer, head, is_last).await?;
    // What was not said with the last piece is said alone: a body may end after it was asked.
    while !is_last {
        let data = next_frame(writer, body.as_mut()).await?;
        is_last = data.is_none() || body.is_end_stream();
        write_all(writer, &data.unwrap_or_default(), is_last).await?;
    }
    Ok(())
}

/// Waits for the next piece of a body. The client gets what was written before meanwhile.
async fn next_frame<B>(writer: &Answer, mut body: Pin<&mut B>) -> io::Result<Option<Bytes>>
where
    B: hyper::body::Body<Data = Bytes, Error = AnyError>,
{
    std::future::poll_fn(|context| {
        let Poll::Ready(frame) = body.as_mut().poll_frame(context) else {
            writer.flush();
            let has_left = writer.taken().watch(context);
            let left = || Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            return if has_left { left() } else { Poll::Pending };
        };
        // Trailers are not passed on.
        let data = frame.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default()));
        Poll::Ready(data.transpose().map_err(io::Error::other))
    })
    .await
}

async fn write_all(writer: &mut Answer, mut bytes: &[u8], is_last: bool) -> io::Result<()> {
    std::future::poll_fn(|context| writer.poll_write_all(context, &mut bytes, is_last)).await
}
