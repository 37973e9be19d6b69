//! How a request gets to a worker and its answer back.
//!
//! One operation, whatever the link: begin an exchange under a permit. It fails only while the
//! request was certainly not taken, so that it may be tried on another worker.

mod http;
mod ring;

use std::io;
use std::time::Duration;

use crate::exchange::Exchange;
use crate::pool::Permit;

pub(crate) use ring::{
    Ring, RingExchange, RingReceiving, RingSending, after_sleep, before_sleep, watch_descriptor,
};

/// A way to a worker: through its segment where the worker knows that, and else HTTP/1.1 over its
/// UNIX socket, which every program can speak.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// `worker-keepalive`: how long an idle connection is kept; zero: not at all.
    pub(crate) keepalive: Duration,
}

/// An exchange with a worker, and the permit it runs under.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) exchange: Exchange,
    pub(crate) permit: Permit,
    link: Link,
    event_loop: usize,
}

/// The worker could not be reached: nothing was sent.
#[derive(Debug)]
pub(crate) struct NotTaken {
    pub(crate) error: io::Error,
    /// Given back when it is dropped.
    pub(crate) permit: Permit,
}

impl Link {
    /// Begins an exchange with the worker of `permit`.
    ///
    /// # Errors
    ///
    /// `NotTaken` when no connection is to be had.
    pub(crate) async fn begin(
        self,
        permit: Permit,
        event_loop: usize,
    ) -> Result<Running, NotTaken> {
        let ring = permit.worker.ring.as_ref();
        if let Some(opened) = ring.and_then(|ring| ring.open(event_loop, permit.row())) {
            let exchange = Exchange::with_ring(opened);
            return Ok(Running { exchange, permit, link: self, event_loop });
        }
        permit.note_http();
        match http::connect(self, &permit.worker, event_loop).await {
            Ok(exchange) => Ok(Running { exchange, permit, link: self, event_loop }),
            Err(error) => Err(NotTaken { error, permit }),
        }
    }
}

impl Running {
    /// Whether the worker is to close the connection after this request.
    pub(crate) fn closes(&self) -> bool {
        self.link.keepalive.is_zero() && !self.exchange.is_ring()
    }

    /// Ends an exchange whose answer was read to its end. Where its handler has not ended yet, it
    /// is given back, to be discarded.
    #[must_use = "an exchange whose handler runs is to be discarded"]
    pub(crate) fn finish(mut self) -> Option<Self> {
        match self.exchange.close_ring() {
            Some(true) => None,
            Some(false) => Some(self),
            None => {
                http::keep(self.link, &self.permit.worker, self.event_loop, self.exchange);
                None
            }
        }
    }

    /// Lets the handler end, drops what it answers, and gives the permit back only then; where its
    /// worker has died, when the supervisor has seen what was inside.
    pub(crate) async fn discard(self) {
        let Self { exchange, mut permit, .. } = self;
        permit.outlast(exchange.discard()).await;
        permit.worker.is_buried().await;
        drop(permit);
    }
}
