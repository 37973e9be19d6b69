//! What is built in, whether the configuration uses it, and what it takes at this moment.

use std::sync::atomic::Ordering;

use ostler_conf::{Link, OriginKind, PoolConfig, ResponseBuffering, RouteConfig};
use ostler_policy::machine::connection_bytes;
use ostler_status::Feature;
use ostler_status::units::{bytes, count};

use super::system::{mapped, on_disk};
use crate::connection::Connection;
use crate::live::LiveConfig;
use crate::shared::Shared;

/// Every feature; those of memory first.
pub(super) fn list(shared: &Shared, live: &LiveConfig) -> Vec<Feature> {
    let mut features = memory(shared, live);
    features.extend(behaviour(live));
    features
}

fn memory(shared: &Shared, live: &LiveConfig) -> Vec<Feature> {
    let config = &live.config;
    let pools =
        |wanted: fn(&PoolConfig) -> bool| config.pools.values().filter(|pool| wanted(pool)).count();
    let ring = pools(|pool| pool.link == Link::Auto);
    let rows: u64 = config
        .pools
        .values()
        .map(|pool| u64::from(pool.processes) * u64::from(pool.concurrency))
        .sum();
    let open = u64::try_from(shared.gauges.open.load(Ordering::Relaxed)).unwrap_or(0);
    let each = size_of::<Connection>() as u64;
    let history = config.status.history_size.0;
    let maps = "the size of its shared memory, from /proc/self/maps; pages are taken when used";
    vec![
        Feature {
            detail: format!(
                "{} rows in all; pools that may use the ring link: {ring}",
                count(rows)
            ),
            bytes: mapped("ostler-segment"),
            basis: maps.to_owned(),
            ..feature("segments: rows, scoreboard and ring link", !config.pools.is_empty())
        },
        Feature {
            detail: "counters that outlive the proxy".to_owned(),
            bytes: mapped("ostler-counters"),
            basis: maps.to_owned(),
            ..feature("counter pages", true)
        },
        Feature {
            detail: format!("at most {}", bytes(config.spool.max_size.0)),
            bytes: Some(live.spool.used_bytes()),
            basis: "on the spool's filesystem: every byte is counted before it is written"
                .to_owned(),
            ..feature("spool", config.spool.max_size.0 != 0)
        },
        Feature {
            detail: format!("at most {}", bytes(history)),
            bytes: on_disk(&config.status.history_file).filter(|_| history != 0),
            basis: "on disk: the blocks of its file, where the proxy may look at it".to_owned(),
            ..feature("history", history != 0)
        },
        Feature {
            detail: format!(
                "{} open of {}",
                count(open),
                count(config.server.max_connections as u64)
            ),
            bytes: Some(open.saturating_mul(each)),
            basis: format!(
                "{each} bytes for each that is open and idle: the compiler's size of one"
            ),
            ..feature("client connections", true)
        },
        Feature {
            detail: "if every connection were slow and large at once".to_owned(),
            bytes: Some(
                (config.server.max_connections as u64).saturating_mul(connection_bytes(config)),
            ),
            basis: format!(
                "the most there can be, not what is taken now: {} for each of max-connections",
                bytes(connection_bytes(config))
            ),
            ..feature("buffers of busy connections", true)
        },
    ]
}

fn behaviour(live: &LiveConfig) -> Vec<Feature> {
    let config = &live.config;
    let pools = |wanted: fn(&PoolConfig) -> bool| {
        used("pools", config.pools.values().filter(|pool| wanted(pool)).count())
    };
    let routes = |wanted: fn(&RouteConfig) -> bool| {
        let all = config.sites.iter().flat_map(|site| &site.routes);
        used("routes", all.filter(|route| wanted(route)).count())
    };
    let origins = |wanted: fn(&OriginKind) -> bool| {
        used("origins", config.origins.values().filter(|it| wanted(&it.kind)).count())
    };
    let features = [
        ("health checks of workers", pools(|pool| pool.health.is_some())),
        ("warm-up of workers", pools(|pool| !pool.warm_up.is_empty())),
        ("replacement by memory, age, requests or idleness", pools(is_worn)),
        ("replacement when the application changes", pools(|it| !it.reload_on_change.is_empty())),
        ("asynchronous workers", pools(|pool| !pool.is_blocking())),
        ("origins with servers", origins(|kind| matches!(kind, OriginKind::Servers { .. }))),
        ("origins from a folder", origins(|kind| matches!(kind, OriginKind::Directory { .. }))),
        ("bulkheads (max-share)", routes(|route| route.max_share.is_some())),
        ("responses kept for slow clients", routes(keeps_responses)),
        ("networks that may use a route", routes(|route| !route.allow.is_empty())),
        ("trusted proxies", used("networks", config.proxies.trusted.len())),
        ("status page on every listener", (config.status.sites, String::new())),
        ("reload when a file changes", (config.server.watch, String::new())),
    ];
    let features = features
        .into_iter()
        .map(|(name, (is_active, detail))| Feature { detail, ..feature(name, is_active) });
    features.collect()
}

fn is_worn(pool: &PoolConfig) -> bool {
    let by_size = pool.max_memory.0 != 0 || pool.max_requests != 0;
    by_size || pool.max_age.is_some() || pool.max_idle.is_some()
}

fn keeps_responses(route: &RouteConfig) -> bool {
    route.response_buffering != ResponseBuffering::Off
}

fn used(what: &str, count: usize) -> (bool, String) {
    (count != 0, if count == 0 { String::new() } else { format!("{what}: {count}") })
}

fn feature(name: &str, is_active: bool) -> Feature {
    Feature { name: name.to_owned(), is_active, ..Feature::default() }
}
