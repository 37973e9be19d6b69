//! Findings about a pool: whether it has room, and whether its workers are there.

use super::{Scene, Severity, Verdict, ago, is_recent, last, route, since, since_first, told};
use crate::anchor;
use crate::crash::taken_along;
use crate::snapshot::{Event, EventKind, LastExit, Pool, PoolState, Request};
use crate::units::{count, duration};

/// Most characters of a worker's last words in a finding; the pool's part has all.
const WORDS: usize = 160;

/// How far back what is refused now may have begun where no route counts it, in milliseconds.
const MINUTE_MS: u64 = 60_000;

/// Tells whether workers are missing, and why.
pub(super) fn workers(scene: &Scene<'_>) -> Option<Verdict> {
    let Scene { snapshot, name, pool, .. } = *scene;
    let (severity, state) = match pool.state {
        PoolState::Ok => return None,
        PoolState::Starting => (Severity::Warning, "is starting"),
        PoolState::Degraded => (route::severity(scene), "is degraded"),
        PoolState::Down => (Severity::Bad, "is down"),
    };
    let retry = pool
        .retry_in_ms
        .map_or_else(String::new, |wait| format!(", the next one starts in {}", duration(wait)));
    let since = since(snapshot, pool.degraded_since);
    let (ready, processes) = (pool.ready, pool.processes);
    let exit = pool.last_exit.as_ref().map_or_else(String::new, |exit| {
        let LastExit { slot, generation, .. } = exit;
        format!(" Worker {slot}-{generation} exited {}", ended(scene, exit))
    });
    let rest = format!("{since}: {ready} of {processes} workers ready{retry}.{exit}");
    let verdict = Verdict::new(severity, format!("Pool {name} {state}"), rest);
    let advice = pool.last_exit.as_ref().map_or("", advice);
    Some(verdict.advice(advice).look(anchor::pool(name)))
}

/// Tells of a worker that exited unasked a short while ago, in a pool that is whole again.
pub(super) fn exit(scene: &Scene<'_>) -> Option<Verdict> {
    let exit = scene.pool.last_exit.as_ref()?;
    if scene.pool.state != PoolState::Ok || !is_recent(scene.snapshot, exit.at) {
        return None;
    }
    let LastExit { slot, generation, .. } = exit;
    let lead = format!("Worker {slot}-{generation} of pool {} exited", scene.name);
    let rest = format!(" {}", ended(scene, exit));
    let verdict = Verdict::new(route::severity(scene), lead, rest).advice(advice(exit));
    Some(verdict.look(anchor::pool(scene.name)))
}

/// As in `5.0 s ago: status 1. It took 1 request along: GET /. Its last words: "ImportError".`
fn ended(scene: &Scene<'_>, exit: &LastExit) -> String {
    let words = exit.stderr.iter().rev().find(|line| !line.trim().is_empty());
    let words = words.map_or_else(String::new, |line| {
        let words: String = line.trim().chars().take(WORDS).collect();
        format!(" Its last words: \"{words}\".")
    });
    let along = taken_along(scene.pool, exit);
    format!("{}: {}.{along}{words}", ago(scene.snapshot, exit.at), exit.exit)
}

fn advice(exit: &LastExit) -> &'static str {
    match exit.signal {
        Some(9) => " Nothing of ours sent that: look for the kernel's out-of-memory killer.",
        Some(4 | 7 | 8 | 11) => " Native code crashed: a library of the application.",
        Some(_) | None => "",
    }
}

/// Tells that no row is free, or that requests wait.
pub(super) fn room(scene: &Scene<'_>) -> Option<Verdict> {
    let Scene { name, pool, .. } = *scene;
    let is_full = scene.is_full();
    if !is_full && pool.queued == 0 {
        return None;
    }
    let verdict = if is_queue_full(pool) {
        let since = since_first(scene, EventKind::QueueFull, pool.queue_full_since);
        let (waiting, threads) = (waiting(pool), threads(scene));
        let refused = match (lately(scene), pool.shed_total.sum()) {
            (0, 0) => String::new(),
            (0, all) => format!("; {} refused so far", count(all)),
            (lately, all) => {
                let (lately, all) = (count(lately), count(all.max(lately)));
                format!("; {lately} refused in the last minute, {all} so far")
            }
        };
        let rest = format!("{since}: {waiting}{refused}. {threads}{}.", longest(scene));
        Verdict::new(Severity::Bad, format!("The queue of pool {name} is full"), rest)
    } else {
        let state = if is_full { "is full" } else { "has a queue" };
        let since = since_first(scene, EventKind::PoolFull, pool.full_since);
        let (busy, capacity) = (pool.busy, pool.capacity);
        let (unit, waiting) = (scene.unit(), waiting(pool));
        let rest =
            format!("{since}: {busy} of {capacity} {unit} busy, {waiting}{}.", longest(scene));
        Verdict::new(scene.severity(), format!("Pool {name} {state}"), rest)
    };
    Some(verdict.look(anchor::pool(name)))
}

fn is_queue_full(pool: &Pool) -> bool {
    pool.queue_full_since.is_some() || (pool.queue_length != 0 && pool.queue_length <= pool.queued)
}

/// As in `7 of 100 waiting, the first for 1.5 s`.
fn waiting(pool: &Pool) -> String {
    let first = match pool.queued {
        0 => String::new(),
        _ => format!(", the first for {}", duration(pool.queue_oldest_ms)),
    };
    format!("{} of {} waiting{first}", pool.queued, pool.queue_length)
}

fn threads(scene: &Scene<'_>) -> String {
    let since = since_first(scene, EventKind::PoolFull, scene.pool.full_since);
    let (busy, capacity) = (scene.pool.busy, scene.pool.capacity);
    format!("{busy} of {capacity} {} are busy{since}", scene.unit())
}

/// Names the request that has run longest, unless a finding of its own tells of it.
fn longest(scene: &Scene<'_>) -> String {
    if scene.pool.stuck != 0 {
        return String::new();
    }
    scene.busiest.first().map_or_else(String::new, |row| {
        let Request { method, target, running_ms, .. } = row.request;
        format!(". Longest: {method} {target}, running for {}", duration(*running_ms))
    })
}

/// Tells that requests are refused, how many and why; or until when they were.
pub(super) fn refused(scene: &Scene<'_>) -> Option<Verdict> {
    let Scene { snapshot, name, pool, .. } = *scene;
    let event = last(snapshot, EventKind::Shed, name);
    let look = anchor::pool(name);
    if let Some(event) = event.filter(|event| event.until().is_some()) {
        let is_recent = is_recent(snapshot, event.until()?);
        return is_recent.then(|| told(snapshot, event, Severity::Note).look(look));
    }
    let lately = lately(scene);
    let is_noted = event.is_some_and(|event| snapshot.taken().ms_since(event.at) < MINUTE_MS);
    // The finding of a full queue has the number.
    if is_queue_full(pool) || (lately == 0 && !is_noted) {
        return None;
    }
    let since = since(snapshot, event.map(|event| event.at));
    let lately = match lately {
        0 => String::new(),
        lately => format!("{} in the last minute, ", count(lately)),
    };
    let (all, why) = (count(pool.shed_total.sum()), why(pool, event));
    let rest = format!("{since}: {lately}{all} so far; {why}.");
    let lead = format!("Requests to pool {name} are refused");
    Some(Verdict::new(Severity::Bad, lead, rest).look(look))
}

/// Requests to the pool that were refused in the last minute.
fn lately(scene: &Scene<'_>) -> u64 {
    let routes = scene.snapshot.routes.iter();
    let of_pool = routes.filter(|route| route.pool.as_deref() == Some(scene.name));
    of_pool.map(|route| route.window.shed).fold(0, u64::saturating_add)
}

/// As in `the queue was full (3 queue-full so far)`: by the words of the event, where there is one.
fn why(pool: &Pool, event: Option<&Event>) -> String {
    let is_told = |reason| event.is_none_or(|event| event.text.contains(reason));
    let entries = pool.shed_total.entries().into_iter();
    let reasons: Vec<String> = entries
        .filter(|&(reason, number)| number != 0 && is_told(reason))
        .map(|(reason, number)| {
            let why = match reason {
                "queue-full" => "the queue was full",
                "queue-timeout" => "they waited as long as queue-timeout allows",
                "predicted-wait" => "they would have waited too long",
                _ => "no worker was ready",
            };
            format!("{why} ({reason} {})", count(number))
        })
        .collect();
    if reasons.is_empty() { "the pool had no room".to_owned() } else { reasons.join(", ") }
}
