//! What is known of one request: filled along its path, used once at its end.
//!
//! Access log, counters and scoreboard all come from it, so they cannot disagree.

use std::time::{Duration, Instant};

use ostler_policy::forwarded;

use crate::clock;
use crate::reason::Reason;

/// One request.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) started: Instant,
    /// The client's address.
    pub(crate) client: String,
    /// The site that was found; empty: none.
    pub(crate) site: String,
    /// The pool that answered; empty: none.
    pub(crate) pool: String,
    /// Time in the pool's queue.
    pub(crate) queued: Duration,
    /// Time from hand-over to the last byte.
    pub(crate) ran: Duration,
    pub(crate) status: u16,
    pub(crate) reason: Option<Reason>,
}

impl Entry {
    /// A request that begins now.
    pub(crate) fn begin(id: String) -> Self {
        Self {
            id,
            started: clock::now(),
            client: String::new(),
            site: String::new(),
            pool: String::new(),
            queued: Duration::ZERO,
            ran: Duration::ZERO,
            status: 0,
            reason: None,
        }
    }

    /// Notes who the client is, and the id that a trusted proxy gave the request.
    pub(crate) fn note_client(&mut self, client: &mut forwarded::Client) {
        self.client.clone_from(&client.address);
        if let Some(id) = client.request_id.take() {
            self.id = id;
        }
    }

    /// Notes that the request ended other than its route promised.
    pub(crate) fn fail(&mut self, status: u16, reason: Reason) {
        self.status = status;
        self.reason = Some(reason);
    }
}
