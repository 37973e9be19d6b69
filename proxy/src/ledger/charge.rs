//! Who pays for a row: the route of the request in it.

use std::sync::Arc;
use std::time::Duration;

use ostler_segment::{Costs, Row, RowTicket};
use ostler_status::{OverBudget, UnixTime};

use super::RouteBooks;
use crate::clock;

/// The largest number that is believed of a worker, which can write anything: of queries, or of
/// microseconds eleven days of them.
const MAX_NUMBER: u64 = 1_000_000_000_000;

/// A route that pays, and how many queries one of its requests may make.
#[derive(Clone, Debug)]
pub(crate) struct Charge {
    pub(crate) books: Arc<RouteBooks>,
    /// `status.query-budget`; 0: as many as it likes.
    pub(crate) query_budget: u64,
}

/// What a request cost, to be counted once its row is given back.
#[derive(Debug)]
#[must_use = "what is not counted is lost"]
pub(crate) struct Bill {
    charge: Charge,
    ran: Duration,
    /// Processor time of its thread, in microseconds; 0 where the worker did not tell.
    cpu_us: u64,
    costs: Costs,
    over_budget: Option<Box<OverBudget>>,
}

impl Charge {
    /// Counts a wait for the row.
    pub(crate) fn begin(&self, waited: Duration) {
        self.books.add_wait(waited);
    }

    /// Reads what the request in a row cost, as long as the row is held.
    pub(crate) fn bill(self, (row, ticket): (&Row<'_>, RowTicket), ran: Duration) -> Bill {
        let costs = believed(row.costs());
        let cpu_us = row.request_cpu_us(ticket).unwrap_or(0).min(MAX_NUMBER);
        let is_over = self.query_budget != 0 && self.query_budget < costs.db_queries;
        let over_budget = is_over.then(|| Box::new(over_budget(row, &costs)));
        Bill { charge: self, ran, cpu_us, costs, over_budget }
    }
}

impl Bill {
    /// Counts it. Not before the row is given back: who looks at counters and rows is to find the
    /// request in one of them at the most.
    pub(crate) fn settle(self) {
        let Charge { books, query_budget } = &self.charge;
        books.add_run(self.ran, self.cpu_us, &self.costs);
        if let Some(request) = self.over_budget {
            books.add_over_budget(*request, *query_budget);
        }
    }
}

/// What is believed of what a worker wrote.
pub(crate) fn believed(costs: Costs) -> Costs {
    Costs::read(|cost| costs.get(cost).min(MAX_NUMBER))
}

fn over_budget(row: &Row<'_>, costs: &Costs) -> OverBudget {
    let request = row.snapshot().and_then(|row| row.request).map(|request| request.summary);
    let summary = request.unwrap_or_default();
    OverBudget {
        at: UnixTime::from_ms(u64::try_from(clock::unix_now().as_millis()).unwrap_or(u64::MAX)),
        id: summary.id,
        method: summary.method,
        target: summary.target,
        queries: costs.db_queries,
        db_ms: Duration::from_micros(costs.db_us).as_secs_f64() * 1_000.0,
    }
}
