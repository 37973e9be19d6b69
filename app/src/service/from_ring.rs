//! Requests over the ring link, in an event loop.
//!
//! One task takes the requests. Where their futures are ready at once or nearly so, it polls each
//! of them first itself: a task of their own would cost more than they do. Where that takes long,
//! each gets a task at once, so that all threads of the runtime share them.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use hyper::body::Body as _;
use ostler_segment::LinkKind;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::answer;
use crate::failure::RequestLine;
use crate::ring::{Answer, Reader, Received, Ring, Taken};
use crate::{AnyError, Body, RunError};

/// Requests that are taken before others get the thread.
const AT_ONCE: u32 = 64;

/// The task that takes requests from a ring.
pub(super) struct Loop {
    ring: Arc<Ring>,
    bell: AsyncFd<OwnedFd>,
    running: JoinSet<()>,
    /// Where to look for the next request.
    start: u32,
    /// Whether other threads could take requests meanwhile.
    has_threads: bool,
}

#[expect(deprecated, reason = "what can go wrong with a borrowed descriptor cannot with this")]
fn watch_descriptor(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Loop {
    /// Prepares the link, and tells the proxy that it can be used. Within a runtime.
    pub(super) fn new(ring: Arc<Ring>, threads: usize) -> Result<Self, RunError> {
        let bell = ring.bell_descriptor().and_then(watch_descriptor).map_err(RunError::Start)?;
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
        loop {
            self.ring.pass_news_on();
            let mut count = 0;
            while count < AT_ONCE
                && let Some(taken) = self.ring.take(self.start)
            {
                self.start = taken.row().wrapping_add(1);
                let (service, permits) = (service.clone(), Arc::clone(&permits));
                self.begin(Box::pin(converse(taken, service, permits))).await;
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
                // A bell that rings again is heard again: what was written need not be read.
                heard = self.bell.readable() => match heard {
                    Ok(mut heard) => heard.clear_ready(),
                    Err(_) => return,
                },
                _ = ended.changed() => {}
                Some(_) = self.running.join_next() => {}
            }
        }
    }

    /// Begins with a request, here or in a task of its own.
    #[expect(clippy::disallowed_methods, reason = "what a handler takes is measured here")]
    async fn begin(&mut self, mut running: Running) {
        let bell = self.ring.bell();
        if self.has_threads && !bell.is_short() {
            let ring = Arc::clone(&self.ring);
            self.running.spawn(async move {
                let begun = Instant::now();
                let done = poll_once(&mut running).await;
                ring.bell().note_handler(begun.elapsed());
                if !done {
                    running.await;
                }
            });
            return;
        }
        let begun = self.has_threads.then(Instant::now);
        let done = poll_once(&mut running).await;
        if let Some(begun) = begun {
            bell.note_handler(begun.elapsed());
        }
        if !done {
            self.running.spawn(running);
        }
    }
}

/// Polls once; whether that was enough.
async fn poll_once(running: &mut Running) -> bool {
    std::future::poll_fn(|context| Poll::Ready(running.as_mut().poll(context).is_ready())).await
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
    let Received { request, upload } = received;
    writer.belongs_to(&request, upload);
    let line = RequestLine::of(&request);
    let call = answer(service, permits, request);
    let Some(response) = unless_left(&taken, call).await else { return };
    let (head, body) = response.into_parts();
    let head = writer.head(&head, body.size_hint().exact());
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
async fn write<B>(writer: &mut Answer, head: &[u8], body: B) -> io::Result<()>
where
    B: hyper::body::Body<Data = Bytes, Error = AnyError>,
{
    let mut body = pin!(body);
    write_all(writer, head, body.is_end_stream()).await?;
    while !body.is_end_stream() {
        match next_frame(writer, body.as_mut()).await? {
            Some(data) => write_all(writer, &data, body.is_end_stream()).await?,
            None => return write_all(writer, &[], true).await,
        }
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
