//! The sample with all that it may have beside: routes and what they cost, histograms, caches.

use ostler_status::{BOUNDS_MS, Cache, Costs, Histogram, Pool, Route, RouteWindow, Snapshot};

use crate::sample;

/// A server that tells everything there is to tell.
pub(crate) fn snapshot() -> Snapshot {
    let mut snapshot = sample::snapshot();
    snapshot.server.query_budget = 20;
    for pool in snapshot.pools.values_mut() {
        let full_since = pool.full_since;
        *pool = Pool {
            queue_wait: histogram(&[(0, 90), (7, 9), (16, 1)], 1_500.0),
            run: histogram(&[(3, 100)], 400.0),
            queue_full_since: full_since,
            ..pool.clone()
        };
    }
    snapshot.origins.get_mut("cdn").unwrap().cache =
        Some(Cache { bytes: 4_096, hits_total: 7, misses_total: 2 });
    snapshot.routes = vec![route("www.example.com/", "web"), route("/api/", "api")];
    // Nobody has asked for it.
    snapshot.routes.push(Route { name: "/unused".to_owned(), ..Route::default() });
    snapshot
}

fn route(name: &str, pool: &str) -> Route {
    let costs = Costs {
        db_queries: 4_200,
        db_ms: 2_500.0,
        outbound_calls: 3,
        outbound_ms: 750.0,
        cache_hits: 11,
        cache_misses: 5,
        lock_ms: 0.5,
    };
    Route {
        name: name.to_owned(),
        pool: Some(pool.to_owned()),
        busy: 4,
        requests_total: 100,
        errors_total: 3,
        shed_total: 2,
        bytes_received_total: 1_000,
        bytes_sent_total: 90_000,
        thread_s_total: 12.5,
        cpu_s_total: 3.25,
        costs,
        over_budget_total: 6,
        queue_wait: histogram(&[(0, 100)], 10.0),
        run: histogram(&[(2, 99), (16, 1)], 70_000.0),
        window: RouteWindow { requests: 10, costs, ..RouteWindow::default() },
        ..Route::default()
    }
}

fn histogram(counts: &[(usize, u64)], sum_ms: f64) -> Histogram {
    let mut histogram = Histogram { counts: vec![0; BOUNDS_MS.len() + 1], sum_ms };
    for &(bucket, count) in counts {
        histogram.counts[bucket] = count;
    }
    histogram
}
