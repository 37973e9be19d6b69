//! The right to have one request inside one worker.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ostler_policy::admission::Place;
use ostler_policy::stuck::StuckThreads;
use ostler_segment::{RowTicket, Summary};
use ostler_supervisor::message::Unfit;
use tokio::time::timeout_at;

use super::{Pool, Worker};
use crate::clock;

/// How long a handler may take to notice that nobody waits for it: a service is cancelled, which
/// takes a turn of its event loop, and is not stuck.
const NOTICE_TIME: Duration = Duration::from_millis(100);

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
    /// For how long its handler may run on when nobody waits for the answer any more.
    pub(crate) patience: Option<Patience>,
    lateness: Lateness,
}

/// How late the handler is, where nobody waits for its answer any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lateness {
    InTime,
    Stuck,
    PastGrace,
}

/// From when on a handler that nobody waits for counts as stuck, and for how long it may be that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    stuck_at: Instant,
    grace: Duration,
}

impl Patience {
    /// Of a request whose answer must begin by `deadline`.
    pub(crate) fn new((deadline, grace): (Instant, Duration)) -> Self {
        Self { stuck_at: deadline + NOTICE_TIME, grace }
    }
}

impl Permit {
    pub(super) fn new(
        pool: Arc<Pool>,
        worker: Arc<Worker>,
        place: Place,
        ticket: RowTicket,
        queued: Duration,
    ) -> Self {
        let (started, patience, lateness) = (None, None, Lateness::InTime);
        Self { pool, worker, place, ticket, queued, started, patience, lateness }
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
            row.describe(self.ticket, summary) && row.start(self.ticket, 0, queued_us, unix_us);
        debug_assert!(is_shown, "a row is described by who claimed it");
        self.started = Some(clock::now());
    }

    /// Waits for the end of a handler that nobody waits for any more. One that is late is shown as
    /// stuck, and one that stays so has its worker reported.
    pub(crate) async fn outlast(&mut self, end: impl Future<Output = ()>) {
        let mut end = pin!(end);
        if let Some(Patience { stuck_at, grace }) = self.patience {
            // A handler that began its answer in time, and whose client left later, has to notice.
            let stuck_at = stuck_at.max(clock::now() + NOTICE_TIME);
            if timeout_at(stuck_at.into(), &mut end).await.is_ok() {
                return;
            }
            self.mark_stuck();
            if timeout_at((stuck_at + grace).into(), &mut end).await.is_ok() {
                return;
            }
            self.give_up_hope();
        }
        end.await;
    }

    fn mark_stuck(&mut self) {
        if self.worker.segment.row(self.place.row).mark_stuck(self.ticket) {
            self.lateness = Lateness::Stuck;
            self.report(self.worker.stuck(StuckThreads::marked));
        }
    }

    fn give_up_hope(&mut self) {
        if self.lateness == Lateness::Stuck {
            self.lateness = Lateness::PastGrace;
            self.worker.add_overdue();
            self.report(self.worker.stuck(StuckThreads::overdue));
        }
    }

    fn report(&self, unfit: Option<Unfit>) {
        if let Some(reason) = unfit {
            self.pool.unfit.add(self.worker.id.clone(), reason);
        }
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
        if self.lateness == Lateness::PastGrace {
            self.worker.end_overdue();
        }
        if Lateness::Stuck <= self.lateness {
            let _nothing = self.worker.stuck(|stuck| {
                stuck.ended();
                None
            });
        }
        if !row.release(self.ticket) {
            let (pool, slot) = (&self.pool.name, self.worker.id.slot);
            tracing::error!(%pool, slot, row = self.place.row, "row_changed_by_another");
        }
        self.pool.end_run(self.place, ran, now);
    }
}
