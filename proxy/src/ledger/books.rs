//! The books of one route.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ostler_segment::counter::{Durations, Route as Counter, RouteCounters};
use ostler_segment::{Costs, CounterPage};
use ostler_status::OverBudget;

use super::Figures;
use crate::entry::Entry;
use crate::reason::Reason;
use crate::shared::Complaints;

/// One route, and where its costs are counted.
#[derive(Debug)]
pub(crate) struct RouteBooks {
    /// Stands in the rows that its requests hold.
    pub(crate) number: u32,
    pub(crate) name: Arc<str>,
    /// Its name in quotes, as the access log has it.
    pub(crate) quoted: String,
    page: Arc<CounterPage>,
    over_budget: Mutex<Option<OverBudget>>,
    /// Of requests that make too many queries.
    complaints: Complaints,
}

impl RouteBooks {
    /// The books of a route whose counters are in this page.
    pub(super) fn new(number: usize, name: &str, page: Arc<CounterPage>) -> Self {
        Self {
            number: u32::try_from(number).unwrap_or(0),
            name: Arc::from(name),
            quoted: format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")),
            page,
            over_budget: Mutex::default(),
            complaints: Complaints::new(),
        }
    }

    /// The counters.
    pub(crate) fn counters(&self) -> RouteCounters<'_> {
        RouteCounters::new(&self.page, self.number as usize)
    }

    /// Counts a request that has ended, with the bytes of it.
    pub(crate) fn count(&self, entry: &Entry, (received, sent): (u64, u64)) {
        let counters = self.counters();
        counters.add(Counter::RequestsTotal, 1);
        counters.add(Counter::BytesReceived, received);
        counters.add(Counter::BytesSent, sent);
        if entry.is_error() {
            counters.add(Counter::ErrorsTotal, 1);
        }
        if entry.reason.is_some_and(Reason::is_shed) {
            counters.add(Counter::ShedTotal, 1);
        }
    }

    /// Counts a wait for a row.
    pub(super) fn add_wait(&self, waited: Duration) {
        let (page, waits) = self.counters().histogram(Counter::QUEUE_WAIT);
        waits.add(page, micros(waited));
    }

    /// Counts a request that gave its row back after so long, its processor time, and what the
    /// application reported.
    pub(super) fn add_run(&self, ran: Duration, cpu_us: u64, costs: &Costs) {
        let counters = self.counters();
        let (page, run) = counters.histogram(Counter::RUN);
        run.add(page, micros(ran));
        if cpu_us != 0 {
            counters.add(Counter::CpuUs, cpu_us);
        }
        if *costs == Costs::default() {
            return;
        }
        for (counter, amount) in [
            (Counter::DbQueries, costs.db_queries),
            (Counter::DbUs, costs.db_us),
            (Counter::OutboundCalls, costs.outbound_calls),
            (Counter::OutboundUs, costs.outbound_us),
            (Counter::CacheHits, costs.cache_hits),
            (Counter::CacheMisses, costs.cache_misses),
            (Counter::LockUs, costs.lock_us),
        ] {
            counters.add(counter, amount);
        }
    }

    /// Counts and keeps a request that made too many queries; says so, once a minute.
    pub(super) fn add_over_budget(&self, request: OverBudget, budget: u64) {
        self.counters().add(Counter::OverBudget, 1);
        if self.complaints.is_due() {
            let (route, queries, id) = (&*self.name, request.queries, &*request.id);
            tracing::warn!(route, queries, budget, id, "too_many_queries");
        }
        *self.over_budget.lock().unwrap_or_else(PoisonError::into_inner) = Some(request);
    }

    /// The last request that made too many queries.
    pub(crate) fn last_over_budget(&self) -> Option<OverBudget> {
        self.over_budget.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a row, and times in rows.
    pub(crate) fn histograms(&self) -> [Durations; 2] {
        [Counter::QUEUE_WAIT, Counter::RUN].map(|histogram| {
            let (page, histogram) = self.counters().histogram(histogram);
            histogram.read(page)
        })
    }

    /// Returns what is to be shown as its time in rows, of which so much is known. It never goes
    /// back: neither when a request ends at this moment, nor when the proxy process died that held
    /// its row.
    pub(super) fn show_thread_us(&self, known_us: u64) -> u64 {
        self.counters().raise(Counter::ThreadUsShown, known_us)
    }

    /// What requests have cost that have given their rows back.
    pub(super) fn figures(&self) -> Figures {
        let counters = self.counters();
        let get = |counter: Counter| counters.get(counter);
        let (page, run) = counters.histogram(Counter::RUN);
        Figures {
            requests: get(Counter::RequestsTotal),
            errors: get(Counter::ErrorsTotal),
            shed: get(Counter::ShedTotal),
            thread_us: run.sum_us(page),
            cpu_us: get(Counter::CpuUs),
            over_budget: get(Counter::OverBudget),
            costs: Costs {
                db_queries: get(Counter::DbQueries),
                db_us: get(Counter::DbUs),
                outbound_calls: get(Counter::OutboundCalls),
                outbound_us: get(Counter::OutboundUs),
                cache_hits: get(Counter::CacheHits),
                cache_misses: get(Counter::CacheMisses),
                lock_us: get(Counter::LockUs),
            },
        }
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
