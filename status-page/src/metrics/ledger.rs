//! The metrics of the cost ledger: what each route has cost since the supervisor started.
//!
//! Routes are those of the configuration, so clients cannot add to them. A route is told of from
//! its first request on; those past the limit are told of together.

use std::collections::BTreeMap;

use super::collector::{Sample, SnapshotCollector, number, sample};
use crate::snapshot::{Route, Snapshot};

/// Routes, in the order of the configuration, that have series of their own. The position decides,
/// so that no series ever begins to count for other routes.
const ROUTES: usize = 300;

/// The rest of them, together.
const OTHERS: &str = "(others)";

/// Labels of every family: the route, and the pool it leads to, which may be none.
const LABELS: [&str; 2] = ["route", "pool"];

/// Adds the families of all routes.
pub(super) fn write(metrics: &mut SnapshotCollector, snapshot: &Snapshot) {
    let routes = told_of(&snapshot.routes);
    let each = |value: fn(&Route) -> f64| -> Vec<Sample> {
        routes.iter().map(|(&labels, route)| sample(labels, value(route))).collect()
    };
    metrics.gauge("ostler_route_busy", "Rows in use.", &LABELS, each(|route| number(route.busy)));
    for (name, help, value) in requests().into_iter().chain(costs()) {
        metrics.counter(name, help, &LABELS, each(value));
    }
    metrics.histogram(
        "ostler_route_queue_wait_seconds",
        "Waits in the queue.",
        LABELS,
        routes.iter().map(|(&labels, route)| (labels, &route.queue_wait)),
    );
    metrics.histogram(
        "ostler_route_run_seconds",
        "Times in the application.",
        LABELS,
        routes.iter().map(|(&labels, route)| (labels, &route.run)),
    );
}

type Family = (&'static str, &'static str, fn(&Route) -> f64);

fn requests() -> [Family; 6] {
    [
        ("ostler_route_requests_total", "Requests ended.", |route| number(route.requests_total)),
        (
            "ostler_route_errors_total",
            "Requests answered with 500 to 599, or broken off.",
            |route| number(route.errors_total),
        ),
        ("ostler_route_shed_total", "Requests shed.", |route| number(route.shed_total)),
        ("ostler_route_received_bytes_total", "Bytes received from clients.", |route| {
            number(route.bytes_received_total)
        }),
        ("ostler_route_sent_bytes_total", "Bytes sent to clients.", |route| {
            number(route.bytes_sent_total)
        }),
        ("ostler_route_over_budget_total", "Requests with too many database queries.", |route| {
            number(route.over_budget_total)
        }),
    ]
}

fn costs() -> [Family; 9] {
    [
        ("ostler_route_thread_seconds_total", "Time its requests held rows.", |route| {
            route.thread_s_total
        }),
        ("ostler_route_cpu_seconds_total", "Processor time in the application.", |route| {
            route.cpu_s_total
        }),
        ("ostler_route_db_queries_total", "Database queries.", |route| {
            number(route.costs.db_queries)
        }),
        ("ostler_route_db_seconds_total", "Time of database queries.", |route| {
            route.costs.db_ms / 1_000.0
        }),
        ("ostler_route_outbound_calls_total", "Calls to other services.", |route| {
            number(route.costs.outbound_calls)
        }),
        ("ostler_route_outbound_seconds_total", "Time of calls to other services.", |route| {
            route.costs.outbound_ms / 1_000.0
        }),
        ("ostler_route_cache_hits_total", "Questions that a cache could answer.", |route| {
            number(route.costs.cache_hits)
        }),
        ("ostler_route_cache_misses_total", "Questions that a cache could not answer.", |route| {
            number(route.costs.cache_misses)
        }),
        ("ostler_route_lock_seconds_total", "Waits for an interpreter's lock.", |route| {
            route.costs.lock_ms / 1_000.0
        }),
    ]
}

/// Returns the routes that are told of by their labels, each of which is there once.
fn told_of(routes: &[Route]) -> BTreeMap<[&str; 2], Route> {
    let mut told_of: BTreeMap<[&str; 2], Route> = BTreeMap::new();
    for (position, route) in routes.iter().enumerate() {
        if route.requests_total == 0 && route.busy == 0 {
            continue;
        }
        let labels = if position < ROUTES {
            [route.name.as_str(), route.pool.as_deref().unwrap_or_default()]
        } else {
            [OTHERS, ""]
        };
        told_of.entry(labels).or_default().add(route);
    }
    told_of
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{BOUNDS_MS, Histogram};

    #[test]
    fn routes_past_the_limit_are_told_of_together_and_unused_ones_not_at_all() {
        let route = |name: &str, requests_total| Route {
            name: name.to_owned(),
            pool: Some("web".to_owned()),
            requests_total,
            run: Histogram { counts: vec![requests_total; BOUNDS_MS.len() + 1], sum_ms: 2.0 },
            ..Route::default()
        };
        let mut routes = vec![route("/a", 1), route("/unused", 0), route("/a", 2)];
        routes.resize(ROUTES, Route::default());
        routes.extend([route("/b", 4), route("/c", 8)]);
        let told_of = told_of(&routes);
        let totals: Vec<_> =
            told_of.iter().map(|(labels, route)| (*labels, route.requests_total)).collect();
        assert_eq!(totals, [([OTHERS, ""], 12), (["/a", "web"], 3)]);
        assert_eq!(told_of[&[OTHERS, ""]].run.counts, vec![12; BOUNDS_MS.len() + 1]);
        assert!((told_of[&["/a", "web"]].run.sum_ms - 4.0).abs() < 1e-9);
    }
}
