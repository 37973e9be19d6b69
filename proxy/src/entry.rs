//! What is known of one request: filled along its path, used once at its end.
//!
//! Access log, counters and scoreboard all come from it, so they cannot disagree.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ostler_policy::forwarded;
use ostler_segment::Costs;

use crate::clock;
use crate::ledger::RouteBooks;
use crate::pool::Blame;
use crate::reason::Reason;
use crate::shared::RequestIds;

/// One request. Kept from request to request of a connection, so that its texts need no new memory.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) started: Instant,
    /// The client's address.
    pub(crate) client: String,
    /// The site that was found; empty: none.
    pub(crate) site: String,
    /// The route that was found.
    pub(crate) route: Option<Arc<RouteBooks>>,
    /// The pool that answered; empty: none.
    pub(crate) pool: String,
    /// Time in the pool's queue.
    pub(crate) queued: Duration,
    /// Time from hand-over to the last byte.
    pub(crate) ran: Duration,
    pub(crate) status: u16,
    pub(crate) reason: Option<Reason>,
    /// What the application reported of it.
    pub(crate) costs: Costs,
    /// Who held the pool's rows while it waited, if it waited long.
    pub(crate) held: Option<Arc<Blame>>,
}

impl Entry {
    /// No request yet.
    pub(crate) fn new() -> Self {
        Self {
            id: String::new(),
            started: clock::now(),
            client: String::new(),
            site: String::new(),
            route: None,
            pool: String::new(),
            queued: Duration::ZERO,
            ran: Duration::ZERO,
            status: 0,
            reason: None,
            costs: Costs::default(),
            held: None,
        }
    }

    /// Forgets the request before, for one that begins now.
    pub(crate) fn begin(&mut self, ids: &RequestIds) {
        ids.write_next(&mut self.id);
        for text in [&mut self.client, &mut self.site, &mut self.pool] {
            text.clear();
        }
        self.started = clock::now();
        (self.queued, self.ran) = (Duration::ZERO, Duration::ZERO);
        (self.status, self.reason, self.held) = (0, None, None);
        (self.route, self.costs) = (None, Costs::default());
    }

    /// Notes who the client is, and the id that a trusted proxy gave the request.
    pub(crate) fn note_client(&mut self, client: &forwarded::Client<'_>) {
        self.client.clone_from(&client.address);
        if let Some(id) = client.request_id {
            id.clone_into(&mut self.id);
        }
    }

    /// Whether it ended in an error that is not the client's: answered with 500 to 599, or broken
    /// off by a worker or an origin.
    pub(crate) fn is_error(&self) -> bool {
        500 <= self.status || self.reason.is_some_and(Reason::is_upstream)
    }

    /// Notes that the request ended other than its route promised.
    pub(crate) fn fail(&mut self, status: u16, reason: Reason) {
        self.status = status;
        self.reason = Some(reason);
    }
}
