//! What goes on, as one snapshot shows it.

use super::Observed;
use crate::scoreboard;
use crate::snapshot::{EventKind, Origin, Pool, PoolState, Snapshot};
use crate::units::duration;

/// A pool without a free row for less than this, in milliseconds, is merely busy.
const FULL_MS: u64 = 1_000;

/// Returns the conditions of `after`; what is counted, since `before`.
pub(super) fn observe(before: &Snapshot, after: &Snapshot) -> Vec<Observed> {
    let mut seen = Vec::new();
    for (name, pool) in &after.pools {
        let earlier = before.pools.get(name).unwrap_or(pool);
        seen.extend(full(after, name, pool));
        seen.extend(queue_full(name, pool));
        seen.extend(shed(name, earlier, pool));
        seen.extend(state(name, pool));
        seen.extend(stuck(after, name, pool));
    }
    for (name, origin) in &after.origins {
        seen.extend(servers(name, origin));
    }
    seen
}

fn observed(kind: EventKind, name: &str, begins: String, over: String) -> Observed {
    let (key, subject) = ((kind, name.to_owned()), name.to_owned());
    Observed { key, subject, begins, over, since: None, count: 0 }
}

fn full(snapshot: &Snapshot, name: &str, pool: &Pool) -> Option<Observed> {
    let lasts = pool.full_since.map_or(0, |since| snapshot.taken().ms_since(since));
    let has_no_room = pool.capacity != 0 && pool.capacity <= pool.busy && 0 < pool.queued;
    if lasts < FULL_MS && !has_no_room {
        return None;
    }
    let begins = format!(
        "Pool {name} is full: {} of {} busy, {} waiting.",
        pool.busy, pool.capacity, pool.queued
    );
    let over = format!("Pool {name} has room again. It was full");
    let seen = observed(EventKind::PoolFull, name, begins, over);
    Some(Observed { since: pool.full_since, ..seen })
}

fn queue_full(name: &str, pool: &Pool) -> Option<Observed> {
    let is_full = pool.queue_length != 0 && pool.queue_length <= pool.queued;
    if !is_full && pool.queue_full_since.is_none() {
        return None;
    }
    let begins = format!("The queue of pool {name} is full: {} wait.", pool.queued);
    let over = format!("The queue of pool {name} has room again. It was full");
    let seen = observed(EventKind::QueueFull, name, begins, over);
    Some(Observed { since: pool.queue_full_since, ..seen })
}

fn shed(name: &str, before: &Pool, after: &Pool) -> Option<Observed> {
    let (then, now) = (before.shed_total.entries(), after.shed_total.entries());
    let grown: Vec<(&str, u64)> = then
        .iter()
        .zip(now)
        .map(|((_, then), (reason, now))| (reason, now.saturating_sub(*then)))
        .filter(|(_, grown)| 0 < *grown)
        .collect();
    if grown.is_empty() {
        return None;
    }
    let reasons: Vec<String> =
        grown.iter().map(|(reason, number)| format!("{number} {reason}")).collect();
    let begins =
        format!("Requests to pool {name} are refused: {} in the first second.", reasons.join(", "));
    let over = format!("Requests to pool {name} are no longer refused");
    let count = grown.iter().map(|(_, number)| number).sum();
    Some(Observed { count, ..observed(EventKind::Shed, name, begins, over) })
}

fn state(name: &str, pool: &Pool) -> Option<Observed> {
    let ready = format!("{} of {} workers ready", pool.ready, pool.processes);
    let seen = match pool.state {
        PoolState::Ok | PoolState::Starting => return None,
        PoolState::Degraded => {
            let begins = format!("Pool {name} is degraded: {ready}.");
            let over = format!("Pool {name} has all of its workers. Some were missing");
            observed(EventKind::PoolState, name, begins, over)
        }
        PoolState::Down => {
            let begins = format!("Pool {name} is down: {ready}.");
            let over = format!("Pool {name} is not down any more. It was");
            let seen = observed(EventKind::PoolState, name, begins, over);
            Observed { key: (EventKind::PoolState, format!("{name} down")), ..seen }
        }
    };
    Some(Observed { since: pool.degraded_since, ..seen })
}

fn stuck(snapshot: &Snapshot, name: &str, pool: &Pool) -> Option<Observed> {
    if pool.stuck == 0 {
        return None;
    }
    let rows = scoreboard::busiest(snapshot);
    let row = rows.iter().find(|row| row.pool == name && row.thread.stuck);
    let first = row.map_or_else(String::new, |row| {
        let (worker, request) = (row.worker, row.request);
        format!(
            ": {} {} in worker {}-{} (process {}), running for {}",
            request.method,
            request.target,
            worker.slot,
            worker.generation,
            worker.pid,
            duration(request.running_ms)
        )
    });
    let begins = format!("{} stuck in pool {name}{first}.", requests(pool.stuck));
    let over = format!("No request of pool {name} is stuck any more. Some were");
    Some(observed(EventKind::Stuck, name, begins, over))
}

fn requests(number: u64) -> String {
    if number == 1 { "1 request is".to_owned() } else { format!("{number} requests are") }
}

fn servers(name: &str, origin: &Origin) -> Vec<Observed> {
    let down = origin.servers.iter().filter(|server| !server.healthy);
    let told = down.map(|server| {
        let why = server.reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        let begins = format!("Server {} of origin {name} is down{why}.", server.url);
        let over = format!("Server {} of origin {name} is up again. It was down", server.url);
        let seen = observed(EventKind::OriginServer, name, begins, over);
        let key = (EventKind::OriginServer, format!("{name} {}", server.url));
        Observed { key, since: server.since, ..seen }
    });
    told.collect()
}
