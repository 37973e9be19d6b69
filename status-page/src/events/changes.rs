//! What occurred between two snapshots of one server.

use std::collections::BTreeMap;

use super::Occurrence;
use crate::crash::taken_along;
use crate::snapshot::{
    ConfigChanges, EventKind, LastExit, Pool, PoolState, Recycled, Route, Snapshot,
};
use crate::units::{bytes, duration};

/// Workers or keys that are named in one event.
const NAMED: usize = 3;

/// Returns what is said of a start. `before`: what the history ends with.
pub(super) fn started(before: Option<&Snapshot>, after: &Snapshot) -> String {
    let server = &after.server;
    let gap = before.map(|before| after.taken().ms_since(before.taken()));
    let gap = gap.map_or_else(String::new, |gap| {
        format!(" Nothing is known of the {} before.", duration(gap))
    });
    let pools = after.pools.len();
    let pools = if pools == 1 { "1 pool".to_owned() } else { format!("{pools} pools") };
    format!("Ostler {} started as process {}, with {pools}.{gap}", server.version, server.pid)
}

/// Returns all of it.
pub(super) fn between(before: &Snapshot, after: &Snapshot) -> Vec<Occurrence> {
    let mut all = server(before, after);
    for (name, pool) in &after.pools {
        let Some(earlier) = before.pools.get(name) else { continue };
        if earlier.state == PoolState::Starting && pool.state == PoolState::Ok {
            let text = format!("Pool {name} is ready, with all of its {} workers.", pool.processes);
            all.push(about(EventKind::PoolState, name, text, 1));
        }
        all.extend(exited(name, earlier, pool));
        if !after.server.draining {
            all.extend(recycled(name, earlier, pool));
        }
    }
    for route in &after.routes {
        let earlier = before.routes.iter().find(|earlier| earlier.name == route.name);
        all.extend(earlier.and_then(|earlier| over_budget(earlier, route, after)));
    }
    all
}

fn server(before: &Snapshot, after: &Snapshot) -> Vec<Occurrence> {
    let (then, now) = (&before.server, &after.server);
    let mut texts = Vec::new();
    if now.draining && !then.draining {
        let left = after.requests.in_flight;
        let text = format!("The server began to drain: {left} requests in flight.");
        texts.push((EventKind::Draining, text));
    }
    if now.config_version != then.config_version {
        let changed = changed(&now.config_changes);
        let text = format!("Configuration {} is in force{changed}.", now.config_version);
        texts.push((EventKind::ConfigLoaded, text));
    }
    if let Some(error) = now.config_error.as_ref().filter(|_| now.config_error != then.config_error)
    {
        let first = error.lines().next().unwrap_or_default();
        texts.push((EventKind::ConfigRefused, format!("A configuration was refused: {first}")));
    }
    if now.generation != then.generation {
        let (new, old) = (now.proxy.pid, then.proxy.pid);
        let text = format!("Proxy process {new} serves in place of {old}.");
        texts.push((EventKind::ProxyReplaced, text));
    }
    let all = texts.into_iter().map(|(kind, text)| {
        let key = (kind, String::new());
        Occurrence { key, subject: None, text, count: 1 }
    });
    all.collect()
}

/// As in `; changed: pool.web.threads, site.route and 3 more`.
fn changed(changes: &ConfigChanges) -> String {
    let ConfigChanges { keys, left_out } = changes;
    if keys.is_empty() {
        return String::new();
    }
    let named = keys.get(..NAMED).unwrap_or(keys);
    let more = (keys.len().saturating_sub(named.len()) as u64).saturating_add(*left_out);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("; changed: {}{more}", named.join(", "))
}

fn about(kind: EventKind, subject: &str, text: String, count: u64) -> Occurrence {
    Occurrence { key: (kind, subject.to_owned()), subject: Some(subject.to_owned()), text, count }
}

/// The last worker that exited unasked; how many others did in the same second is a number.
fn exited(name: &str, before: &Pool, after: &Pool) -> Option<Occurrence> {
    let which = |exit: &LastExit| (exit.at, exit.slot, exit.generation);
    let exit = after.last_exit.as_ref()?;
    if before.last_exit.as_ref().map(which) == Some(which(exit)) {
        return None;
    }
    let count = |pool: &Pool| pool.recycles_total.get("exit").copied().unwrap_or(0);
    let number = count(after).saturating_sub(count(before)).max(1);
    let said = exit.stderr.last().map_or_else(String::new, |line| format!(" It said: {line}"));
    let along = taken_along(after, exit);
    let worker = format!("{}-{}", exit.slot, exit.generation);
    let text = format!("Worker {worker} of pool {name} exited: {}.{along}{said}", exit.exit);
    Some(about(EventKind::WorkerExited, name, text, number))
}

/// The workers that were replaced, by reason.
fn recycled(name: &str, before: &Pool, after: &Pool) -> Vec<Occurrence> {
    let mut by_reason: BTreeMap<&str, Vec<&Recycled>> = BTreeMap::new();
    // The latest stands first; who was replaced earlier is named first.
    for worker in after.recycled.iter().rev().filter(|worker| !before.recycled.contains(worker)) {
        by_reason.entry(&worker.reason).or_default().push(worker);
    }
    let told = by_reason.into_iter().map(|(reason, workers)| {
        let memory = workers.first().and_then(|worker| worker.rss_bytes);
        let memory = memory.filter(|_| reason == "max-memory");
        let had = memory.map_or_else(String::new, |had| format!(", it had {}", bytes(had)));
        let number = workers.len() as u64;
        let text = format!("{} of pool {name} was recycled: {reason}{had}.", names(&workers));
        about(EventKind::WorkerRecycled, name, text, number)
    });
    told.collect()
}

fn names(workers: &[&Recycled]) -> String {
    let named = workers.iter().take(NAMED);
    let named: Vec<String> =
        named.map(|worker| format!("{}-{}", worker.slot, worker.generation)).collect();
    match workers.len().saturating_sub(NAMED) {
        0 if named.len() == 1 => format!("Worker {}", named.join(", ")),
        0 => format!("Each of workers {}", named.join(", ")),
        more => format!("Each of workers {} and {more} more", named.join(", ")),
    }
}

fn over_budget(before: &Route, after: &Route, snapshot: &Snapshot) -> Option<Occurrence> {
    let number = after.over_budget_total.checked_sub(before.over_budget_total)?;
    if number == 0 {
        return None;
    }
    let budget = snapshot.server.query_budget;
    let last = after.over_budget.as_ref().map_or_else(String::new, |last| {
        format!(": {} {} made {}", last.method, last.target, last.queries)
    });
    let text = format!(
        "A request of route {} made more than {budget} database queries{last}.",
        after.name
    );
    let subject = after.pool.clone().or_else(|| after.origin.clone());
    let key = (EventKind::OverBudget, after.name.clone());
    Some(Occurrence { key, subject, text, count: number })
}
