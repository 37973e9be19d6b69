//! How a request gets to a worker and its answer back.
//!
//! One operation, whatever the link: begin an exchange under a permit. It fails only while the
//! request was certainly not taken, so that it may be tried on another worker.

mod http;

use std::io;
use std::time::Duration;

use crate::exchange::Exchange;
use crate::pool::Permit;

/// A way to a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Link {
    /// HTTP/1.1 over the worker's UNIX socket: what every program can speak.
    Http(HttpLink),
}

/// The HTTP link's settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HttpLink {
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
    /// Whether connections to the worker are to close after each request.
    pub(crate) fn closes(self) -> bool {
        match self {
            Self::Http(link) => link.keepalive.is_zero(),
        }
    }

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
        match self {
            Self::Http(link) => match http::connect(link, &permit.worker, event_loop).await {
                Ok(exchange) => Ok(Running { exchange, permit, link: self, event_loop }),
                Err(error) => Err(NotTaken { error, permit }),
            },
        }
    }
}

impl Running {
    /// Ends an exchange whose answer was read to its end.
    pub(crate) fn finish(self) {
        match self.link {
            Link::Http(link) => {
                http::keep(link, &self.permit.worker, self.event_loop, self.exchange);
            }
        }
    }

    /// Lets the handler end, drops what it answers, and gives the permit back only then.
    pub(crate) async fn discard(self) {
        self.exchange.discard().await;
        drop(self.permit);
    }
}
