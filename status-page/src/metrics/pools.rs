//! The metrics of pools: how full they are, what waits, what was refused, and how long it took.

use super::collector::{Sample, SnapshotCollector, number, sample};
use crate::moment::UnixTime;
use crate::snapshot::{Pool, Snapshot};

fn each_pool(snapshot: &Snapshot, value: impl Fn(&Pool) -> f64) -> Vec<Sample> {
    snapshot.pools.iter().map(|(name, pool)| sample([name], value(pool))).collect()
}

/// Adds the families of all pools.
pub(super) fn write(metrics: &mut SnapshotCollector, snapshot: &Snapshot) {
    states(metrics, snapshot);
    since(metrics, snapshot);
    queues(metrics, snapshot);
    totals(metrics, snapshot);
    times(metrics, snapshot);
}

fn states(metrics: &mut SnapshotCollector, snapshot: &Snapshot) {
    type Value = fn(&Pool) -> f64;
    let gauges: [(&str, &str, Value); 10] = [
        ("ostler_pool_capacity", "Requests that can be in the application.", |pool| {
            number(pool.capacity)
        }),
        ("ostler_pool_busy", "Rows in use.", |pool| number(pool.busy)),
        ("ostler_pool_stuck", "Rows in use past the time allowed.", |pool| number(pool.stuck)),
        ("ostler_pool_processes", "Workers it should have.", |pool| f64::from(pool.processes)),
        ("ostler_pool_ready", "Workers that take requests.", |pool| f64::from(pool.ready)),
        ("ostler_pool_degraded", "1 if workers are missing.", |pool| {
            f64::from(u8::from(pool.degraded_since.is_some()))
        }),
        ("ostler_pool_full", "1 if no row is free.", |pool| {
            f64::from(u8::from(pool.full_since.is_some()))
        }),
        ("ostler_pool_recycles_pending", "Workers that are to be replaced.", |pool| {
            number(pool.recycles_pending.len() as u64)
        }),
        ("ostler_pool_saturation", "Rows in use, of those there should be: 0 to 1.", |pool| {
            part(pool.busy, pool.capacity)
        }),
        ("ostler_pool_queue_saturation", "Places of the queue in use: 0 to 1.", |pool| {
            part(pool.queued, pool.queue_length)
        }),
    ];
    for (name, help, value) in gauges {
        metrics.gauge(name, help, &["pool"], each_pool(snapshot, value));
    }
}

/// Moments, which are there only while they last.
fn since(metrics: &mut SnapshotCollector, snapshot: &Snapshot) {
    type Value = fn(&Pool) -> Option<UnixTime>;
    let moments: [(&str, &str, Value); 3] = [
        ("ostler_pool_full_since_time_seconds", "Since when no row has been free.", |pool| {
            pool.full_since
        }),
        (
            "ostler_pool_queue_full_since_time_seconds",
            "Since when the queue has had no room.",
            |pool| pool.queue_full_since,
        ),
        ("ostler_pool_degraded_since_time_seconds", "Since when workers are missing.", |pool| {
            pool.degraded_since
        }),
    ];
    for (name, help, value) in moments {
        let lasting = snapshot
            .pools
            .iter()
            .filter_map(|(pool, state)| Some(sample([pool], number(value(state)?.ms) / 1_000.0)));
        metrics.gauge(name, help, &["pool"], lasting);
    }
}

/// How much of it is in use; all of nothing is nothing.
fn part(number_in_use: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { number(number_in_use) / number(all) }
}

fn queues(metrics: &mut SnapshotCollector, snapshot: &Snapshot) {
    metrics.gauge(
        "ostler_pool_queued",
        "Requests that wait for a row.",
        &["pool"],
        each_pool(snapshot, |pool| number(pool.queued)),
    );
    metrics.gauge(
        "ostler_pool_queue_length",
        "Most requests that may wait.",
        &["pool"],
        each_pool(snapshot, |pool| number(pool.queue_length)),
    );
    metrics.gauge(
        "ostler_pool_queue_oldest_seconds",
        "How long the first request in the queue has waited.",
        &["pool"],
        each_pool(snapshot, |pool| number(pool.queue_oldest_ms) / 1_000.0),
    );
    let quantiles = |value: fn(&Pool) -> [f64; 3]| -> Vec<Sample> {
        let pools = snapshot.pools.iter();
        let per_pool = |(name, pool): (&String, &Pool)| {
            let samples = ["50", "99", "100"].into_iter().zip(value(pool));
            samples
                .map(|(percentile, ms)| sample([name.as_str(), percentile], ms / 1_000.0))
                .collect::<Vec<_>>()
        };
        pools.flat_map(per_pool).collect()
    };
    metrics.gauge(
        "ostler_pool_queue_wait_quantile_seconds",
        "Waits in the queue over the last window.",
        &["pool", "percentile"],
        quantiles(|pool| {
            let waits = pool.queue_wait_ms;
            [waits.p50, waits.p99, waits.max]
        }),
    );
    metrics.gauge(
        "ostler_pool_run_quantile_seconds",
        "Times in the application over the last window.",
        &["pool", "percentile"],
        quantiles(|pool| [pool.run_ms.p50, pool.run_ms.p99, pool.run_ms.max]),
    );
}

fn totals(metrics: &mut SnapshotCollector, snapshot: &Snapshot) {
    type Value = fn(&Pool) -> f64;
    let counters: [(&str, &str, Value); 4] = [
        ("ostler_pool_requests_total", "Requests handed to workers.", |pool| {
            number(pool.requests_total)
        }),
        ("ostler_pool_left_total", "Requests whose client left the queue.", |pool| {
            number(pool.left_total)
        }),
        ("ostler_pool_queue_wait_seconds_total", "Time in the queue.", |pool| {
            number(pool.queue_wait_ms_total) / 1_000.0
        }),
        ("ostler_pool_run_seconds_total", "Time in the application.", |pool| {
            number(pool.run_ms_total) / 1_000.0
        }),
    ];
    for (name, help, value) in counters {
        metrics.counter(name, help, &["pool"], each_pool(snapshot, value));
    }
    let shed = snapshot.pools.iter().flat_map(|(name, pool)| {
        let entries = pool.shed_total.entries();
        entries.map(|(reason, total)| sample([name.as_str(), reason], number(total)))
    });
    metrics.counter("ostler_pool_shed_total", "Requests shed.", &["pool", "reason"], shed);
    let recycles = snapshot.pools.iter().flat_map(|(name, pool)| {
        let totals = pool.recycles_total.iter();
        totals.map(move |(reason, total)| sample([name, reason], number(*total)))
    });
    metrics.counter(
        "ostler_pool_recycles_total",
        "Workers replaced.",
        &["pool", "reason"],
        recycles,
    );
}

fn times(metrics: &mut SnapshotCollector, snapshot: &Snapshot) {
    let pools = || snapshot.pools.iter();
    metrics.histogram(
        "ostler_pool_queue_wait_seconds",
        "Waits in the queue.",
        ["pool"],
        pools().map(|(name, pool)| ([name.as_str()], &pool.queue_wait)),
    );
    metrics.histogram(
        "ostler_pool_run_seconds",
        "Times in the application.",
        ["pool"],
        pools().map(|(name, pool)| ([name.as_str()], &pool.run)),
    );
}
