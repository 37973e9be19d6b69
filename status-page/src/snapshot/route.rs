//! The part of a snapshot about routes: what each of them costs.

use serde::{Deserialize, Serialize};

use super::{Histogram, UnixTime};

/// One route, and what its requests have cost since the supervisor started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Route {
    /// Its methods, if it names some, its site, if that has a host, and its path.
    pub name: String,
    /// The pool that it leads to.
    pub pool: Option<String>,
    /// The origin that it leads to.
    pub origin: Option<String>,
    /// Rows that its requests hold now.
    pub busy: u64,
    /// Requests ended.
    pub requests_total: u64,
    /// Requests answered with 500 to 599, by whomever, or broken off by a worker or an origin.
    pub errors_total: u64,
    /// Requests refused with 503 before they had a row; they are errors, too.
    pub shed_total: u64,
    /// Bytes received from clients.
    pub bytes_received_total: u64,
    /// Bytes sent to clients.
    pub bytes_sent_total: u64,
    /// Time that its requests have held rows, those that still do included, in seconds.
    pub thread_s_total: f64,
    /// Processor time of its requests in the application, in seconds; 0 where workers do not tell.
    pub cpu_s_total: f64,
    /// What the application has reported.
    pub costs: Costs,
    /// Requests that made more database queries than [`super::Server::query_budget`].
    pub over_budget_total: u64,
    /// Waits in the queue.
    pub queue_wait: Histogram,
    /// Times in the application.
    pub run: Histogram,
    /// The last minute.
    pub window: RouteWindow,
    /// The last request that made too many queries.
    pub over_budget: Option<OverBudget>,
}

impl Route {
    /// Adds what another route cost. What is a share, or of one request alone, has no sum.
    pub fn add(&mut self, other: &Self) {
        self.busy += other.busy;
        self.requests_total += other.requests_total;
        self.errors_total += other.errors_total;
        self.shed_total += other.shed_total;
        self.bytes_received_total += other.bytes_received_total;
        self.bytes_sent_total += other.bytes_sent_total;
        self.thread_s_total += other.thread_s_total;
        self.cpu_s_total += other.cpu_s_total;
        self.costs.add(&other.costs);
        self.over_budget_total += other.over_budget_total;
        self.queue_wait.add(&other.queue_wait);
        self.run.add(&other.run);
        self.window.add(&other.window);
    }
}

/// What a route cost in the window that its pool's percentiles are about, too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct RouteWindow {
    /// Requests ended.
    pub requests: u64,
    /// Ended requests that were errors, those included that were refused.
    pub errors: u64,
    /// Ended requests that were refused with 503 before they had a row.
    pub shed: u64,
    /// Time that its requests held rows.
    pub thread_s: f64,
    /// Its part of the time that all routes of its pool held rows: 0 to 1.
    pub thread_share: f64,
    /// Processor time.
    pub cpu_s: f64,
    /// What the application reported.
    pub costs: Costs,
    /// Requests that made too many queries.
    pub over_budget: u64,
}

impl RouteWindow {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.shed += other.shed;
        self.thread_s += other.thread_s;
        self.cpu_s += other.cpu_s;
        self.costs.add(&other.costs);
        self.over_budget += other.over_budget;
    }
}

/// What an application reports of its requests: with `ostler_app::Cost`, or in `Server-Timing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Costs {
    /// Database queries.
    pub db_queries: u64,
    /// Time that database queries took, in milliseconds.
    pub db_ms: f64,
    /// Calls to other services.
    pub outbound_calls: u64,
    /// Time that calls to other services took, in milliseconds.
    pub outbound_ms: f64,
    /// Questions that a cache could answer.
    pub cache_hits: u64,
    /// Questions that a cache could not answer.
    pub cache_misses: u64,
    /// Time spent waiting for the lock of an interpreter, in milliseconds.
    pub lock_ms: f64,
}

impl Costs {
    fn add(&mut self, other: &Self) {
        self.db_queries += other.db_queries;
        self.db_ms += other.db_ms;
        self.outbound_calls += other.outbound_calls;
        self.outbound_ms += other.outbound_ms;
        self.cache_hits += other.cache_hits;
        self.cache_misses += other.cache_misses;
        self.lock_ms += other.lock_ms;
    }
}

/// A request that made too many database queries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct OverBudget {
    /// When it ended.
    pub at: UnixTime,
    /// Its id.
    pub id: String,
    /// Its method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Queries it made.
    pub queries: u64,
    /// Time that its queries took, in milliseconds.
    pub db_ms: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::BOUNDS_MS;

    #[test]
    fn a_sum_has_all_that_its_routes_have() {
        let counts = vec![2; BOUNDS_MS.len() + 1];
        let run = Histogram { counts, sum_ms: 1.5 };
        let costs = Costs { db_queries: 3, db_ms: 0.5, ..Costs::default() };
        let route = Route {
            requests_total: 2,
            thread_s_total: 0.25,
            costs,
            run: run.clone(),
            window: RouteWindow { requests: 1, costs, ..RouteWindow::default() },
            ..Route::default()
        };
        // Of waits in the queue, nothing is known.
        let mut sum = Route { queue_wait: run, ..Route::default() };
        sum.add(&route);
        sum.add(&route);
        assert_eq!((sum.requests_total, sum.thread_s_total, sum.costs.db_queries), (4, 0.5, 6));
        assert_eq!((sum.run.counts[0], sum.run.sum_ms), (4, 3.0));
        assert_eq!((sum.queue_wait.counts[0], sum.queue_wait.sum_ms), (2, 1.5));
        assert_eq!((sum.window.requests, sum.window.costs.db_queries), (2, 6));
    }
}
