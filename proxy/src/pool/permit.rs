//! The right to have one request inside one worker.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ostler_policy::admission::Place;
use ostler_policy::http::server_timing::Reported;
use ostler_policy::stuck::StuckThreads;
use ostler_segment::counter::Pool as Counter;
use ostler_segment::{Cost, Costs, RowTicket, Summary};
use ostler_supervisor::message::Unfit;
use tokio::time::timeout_at;

use super::{Pool, Worker};
use crate::clock;
use crate::ledger::{Charge, believed};

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
    /// Who pays for it, once it is started.
    charge: Option<Charge>,
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
        let (started, charge, patience, lateness) = (None, None, None, Lateness::InTime);
        Self { pool, worker, place, ticket, queued, started, charge, patience, lateness }
    }

    /// The row it is for.
    pub(crate) fn row(&self) -> u32 {
        self.place.row
    }

    /// Notes that the request goes over HTTP: then nobody else can know when its handler ends.
    pub(crate) fn note_http(&self) {
        self.worker.segment.row(self.place.row).note_http(self.ticket);
    }

    /// Shows the request in the scoreboard, as running from now on, and charges its route.
    pub(crate) fn start(&mut self, summary: &Summary<'_>, charge: Option<Charge>) {
        let row = self.worker.segment.row(self.place.row);
        let queued_us = u64::try_from(self.queued.as_micros()).unwrap_or(u64::MAX);
        let unix_us = u64::try_from(clock::unix_now().as_micros()).unwrap_or(u64::MAX);
        let route = charge.as_ref().map_or(0, |charge| charge.books.number);
        let now = clock::now();
        self.worker.runs.begin(self.place.row, route, now);
        let is_shown =
            row.describe(self.ticket, summary) && row.start(self.ticket, route, queued_us, unix_us);
        debug_assert!(is_shown, "a row is described by who claimed it");
        self.started = Some(now);
        Counter::QUEUE_WAIT.add(&self.pool.counters, queued_us);
        if let Some(charge) = &charge {
            charge.begin(self.queued);
        }
        self.charge = charge;
    }

    /// Shows in the scoreboard what the head of the answer reports, unless the application has
    /// said it itself.
    pub(crate) fn note_reported(&self, reported: &Reported) {
        let row = self.worker.segment.row(self.place.row);
        let said = row.costs();
        let note = |is_new: bool, numbers: [(Cost, u64); 2]| {
            let new = numbers.into_iter().filter(|(_, number)| is_new && *number != 0);
            new.for_each(|(cost, number)| row.add_cost(cost, number));
        };
        let is_new = said.db_queries == 0 && said.db_us == 0;
        note(is_new, [(Cost::DbQueries, reported.db_queries), (Cost::DbUs, reported.db_us)]);
        let is_new = said.outbound_calls == 0 && said.outbound_us == 0;
        let calls = (Cost::OutboundCalls, reported.outbound_calls);
        note(is_new, [calls, (Cost::OutboundUs, reported.outbound_us)]);
        let is_new = said.cache_hits == 0 && said.cache_misses == 0;
        let misses = (Cost::CacheMisses, reported.cache_misses);
        note(is_new, [(Cost::CacheHits, reported.cache_hits), misses]);
    }

    /// What the application has reported of the request so far.
    pub(crate) fn costs(&self) -> Costs {
        believed(self.worker.segment.row(self.place.row).costs())
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
        let mut bill = None;
        if let Some(ran) = ran {
            row.add_request(u64::try_from(ran.as_micros()).unwrap_or(u64::MAX));
            bill = self.charge.take().map(|charge| charge.bill((&row, self.ticket), ran));
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
        self.worker.runs.end(self.place.row);
        if let Some(bill) = bill {
            bill.settle();
        }
        self.pool.end_run(self.place, ran, now);
    }
}
