//! The metrics of origins: their servers and their caches.

use super::collector::{Sample, SnapshotCollector, number, sample};
use crate::snapshot::{Cache, Origin, OriginServer, Snapshot};

/// Adds the families of all origins.
pub(super) fn write(metrics: &mut SnapshotCollector, snapshot: &Snapshot) {
    servers(metrics, snapshot);
    caches(metrics, snapshot);
}

fn servers(metrics: &mut SnapshotCollector, snapshot: &Snapshot) {
    let labels = &["origin", "server"];
    let each = |value: fn(&OriginServer) -> f64| -> Vec<Sample> {
        let per_origin = |(name, origin): (&String, &Origin)| {
            let servers = origin.servers.iter();
            servers
                .map(|server| sample([name.as_str(), server.url.as_str()], value(server)))
                .collect::<Vec<_>>()
        };
        snapshot.origins.iter().flat_map(per_origin).collect()
    };
    metrics.gauge(
        "ostler_origin_up",
        "1 if the server takes requests.",
        labels,
        each(|server| f64::from(u8::from(server.healthy))),
    );
    metrics.gauge(
        "ostler_origin_in_flight",
        "Requests in the server.",
        labels,
        each(|server| number(server.in_flight)),
    );
    metrics.counter(
        "ostler_origin_requests_total",
        "Requests the server ended.",
        labels,
        each(|server| number(server.requests_total)),
    );
    metrics.counter(
        "ostler_origin_errors_total",
        "Requests the server failed.",
        labels,
        each(|server| number(server.errors_total)),
    );
}

fn caches(metrics: &mut SnapshotCollector, snapshot: &Snapshot) {
    let each = |value: fn(&Cache) -> u64| -> Vec<Sample> {
        let origins = snapshot.origins.iter();
        let caches = origins.filter_map(|(name, origin)| Some((name, origin.cache.as_ref()?)));
        caches.map(|(name, cache)| sample([name], number(value(cache)))).collect()
    };
    let labels = &["origin"];
    metrics.gauge("ostler_cache_bytes", "Bytes in the cache.", labels, each(|cache| cache.bytes));
    metrics.counter(
        "ostler_cache_hits_total",
        "Requests the cache answered.",
        labels,
        each(|cache| cache.hits_total),
    );
    metrics.counter(
        "ostler_cache_misses_total",
        "Requests the cache did not answer.",
        labels,
        each(|cache| cache.misses_total),
    );
}
