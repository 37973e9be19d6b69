//! A response body that gives a piece every so often.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::time::{Instant, Interval, interval_at};

/// Gives a piece at each tick until none are left.
#[derive(Debug)]
pub(crate) struct Ticks {
    left: u32,
    /// None: without pauses.
    interval: Option<Interval>,
    piece: &'static [u8],
}

impl Ticks {
    pub(crate) fn new(count: u32, pause: Duration, piece: &'static [u8]) -> Self {
        let interval = (!pause.is_zero()).then(|| interval_at(Instant::now() + pause, pause));
        Self { left: count, interval, piece }
    }
}

impl Body for Ticks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if let Some(interval) = &mut self.interval
            && interval.poll_tick(context).is_pending()
        {
            return Poll::Pending;
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(self.piece)))))
    }
}
