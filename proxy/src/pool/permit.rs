//! The right to have one request inside one worker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ostler_policy::admission::Place;
use ostler_segment::{RowTicket, Summary};

use super::{Pool, Worker};
use crate::clock;

/// A claimed row of a worker. Given back when it is dropped: when the handler has ended, not when
/// the client has.
#[derive(Debug)]
pub(crate) struct Permit {
    pub(crate) pool: Arc<Pool>,
    pub(crate) worker: Arc<Worker>,
    place: Place,
    ticket: RowTicket,
    /// How long the request waited for it.
    pub(crate) queued: Duration,
    started: Option<Instant>,
}

impl Permit {
    pub(super) fn new(
        pool: Arc<Pool>,
        worker: Arc<Worker>,
        place: Place,
        ticket: RowTicket,
        queued: Duration,
    ) -> Self {
        Self { pool, worker, place, ticket, queued, started: None }
    }

    /// The row it is for.
    pub(crate) fn row(&self) -> u32 {
        self.place.row
    }

    /// Notes that the request goes over HTTP: then nobody else can know when its handler ends.
    pub(crate) fn note_http(&self) {
        self.worker.segment.row(self.place.row).note_http(self.ticket);
    }

    /// Shows the request in the scoreboard, as running from now on.
    pub(crate) fn start(&mut self, summary: &Summary<'_>) {
        let row = self.worker.segment.row(self.place.row);
        let queued_us = u64::try_from(self.queued.as_micros()).unwrap_or(u64::MAX);
        let unix_us = u64::try_from(clock::unix_now().as_micros()).unwrap_or(u64::MAX);
        let is_shown =
            row.describe(self.ticket, summary) && row.start(self.ticket, queued_us, unix_us);
        debug_assert!(is_shown, "a row is described by who claimed it");
        self.started = Some(clock::now());
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let row = self.worker.segment.row(self.place.row);
        let now = clock::now();
        let ran = self.started.map(|started| now.saturating_duration_since(started));
        if let Some(ran) = ran {
            row.add_request(u64::try_from(ran.as_micros()).unwrap_or(u64::MAX));
        }
        if !row.release(self.ticket) {
            let (pool, slot) = (&self.pool.name, self.worker.id.slot);
            tracing::error!(%pool, slot, row = self.place.row, "row_changed_by_another");
        }
        self.pool.end_run(self.place, ran, now);
    }
}
