//! The keys of a pool that runs a Python application, and what such a pool cannot have.

use std::time::Duration;

use super::PoolConfig;
use crate::decode::Decoder;
use crate::table::Section;
use crate::tree::TableNode;
use crate::value::{Link, MILLISECOND, SECOND, Value};

/// Keys that a pool with a `command` does not have.
const WSGI_KEYS: [&str; 7] =
    ["python", "python-path", "mount", "switch-interval", "interrupt-timeout", "preload", "cost"];

/// The same without the keys of the other kind of pool.
pub(super) fn shown(pool: &PoolConfig, all: Section) -> Section {
    if pool.wsgi.is_some() {
        all.without(&["command"])
    } else {
        all.without(&WSGI_KEYS).without(&["wsgi"])
    }
}

/// Refuses what does not go with the kind of pool it is.
pub(super) fn check(pool: &PoolConfig, table: &TableNode, decoder: &mut Decoder<'_>) {
    if table.get("wsgi").is_some() {
        check_link(pool, table, decoder);
        check_times(pool, table, decoder);
        return;
    }
    for (key, entry) in &table.entries {
        if WSGI_KEYS.contains(&key.as_str()) {
            let message = format!(
                "`{key}` is for a pool with `wsgi`; what a `command` needs stands in its words \
                 and in `environment`"
            );
            decoder.problem(entry.key_at, message);
        }
    }
}

/// Refuses what an interpreter's workers cannot do: serve HTTP, and run two requests in a thread.
fn check_link(pool: &PoolConfig, table: &TableNode, decoder: &mut Decoder<'_>) {
    if pool.link == Link::Http {
        let message = "`link`: a pool with `wsgi` has \"auto\" alone; for workers that serve HTTP \
                       start a server of your own with `command`";
        decoder.problem(table.place("link"), message);
    }
    let is_comparable = !decoder.has_problem(table.place("threads"));
    if is_comparable && pool.threads < pool.concurrency {
        let message = format!(
            "`concurrency`: {} is more than `threads`, {}: with `wsgi` a thread runs one request \
             at a time; raise `threads`, and leave this out",
            pool.concurrency, pool.threads
        );
        decoder.problem(table.place("concurrency"), message);
    }
}

/// Refuses intervals that no interpreter should have, and an exception that would come too late.
fn check_times(pool: &PoolConfig, table: &TableNode, decoder: &mut Decoder<'_>) {
    let allowed = MILLISECOND..=SECOND;
    if let Some(interval) = pool.switch_interval.filter(|interval| !allowed.contains(interval)) {
        let message = format!(
            "`switch-interval`: {} is not within {} to {}",
            interval.print(),
            MILLISECOND.print(),
            SECOND.print()
        );
        decoder.problem(table.place("switch-interval"), message);
    }
    let is_late = |timeout: &Duration| pool.stuck_grace <= *timeout;
    if let Some(timeout) = pool.interrupt_timeout.filter(is_late)
        && !decoder.has_problem(table.place("stuck-grace"))
    {
        let message = format!(
            "`interrupt-timeout`: {} is not shorter than `stuck-grace`, {}: the worker would be \
             replaced before",
            timeout.print(),
            pool.stuck_grace.print()
        );
        decoder.problem(table.place("interrupt-timeout"), message);
    }
}
