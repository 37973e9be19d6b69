//! Findings about a pool: whether it has room, and whether its workers are there.

use super::{Scene, Severity, Verdict, ago, is_recent, recent, since, told};
use crate::anchor;
use crate::snapshot::{EventKind, LastExit, Pool, PoolState, Request};
use crate::units::{count, duration};

/// Most characters of a worker's last words in a finding; the pool's part has all.
const WORDS: usize = 160;

/// Tells whether workers are missing, and why.
pub(super) fn workers(scene: &Scene<'_>) -> Option<Verdict> {
    let Scene { snapshot, name, pool, .. } = *scene;
    let (severity, state) = match pool.state {
        PoolState::Ok => return None,
        PoolState::Starting => (Severity::Warning, "is starting"),
        PoolState::Degraded => (Severity::Warning, "is degraded"),
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
    let verdict = Verdict::new(Severity::Warning, lead, rest).advice(advice(exit));
    Some(verdict.look(anchor::pool(scene.name)))
}

/// As in `5.0 s ago: status 1. Its last words: "ImportError".`
fn ended(scene: &Scene<'_>, exit: &LastExit) -> String {
    let words = exit.stderr.iter().rev().find(|line| !line.trim().is_empty());
    let words = words.map_or_else(String::new, |line| {
        let words: String = line.trim().chars().take(WORDS).collect();
        format!(" Its last words: \"{words}\".")
    });
    format!("{}: {}.{words}", ago(scene.snapshot, exit.at), exit.exit)
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
    let Scene { snapshot, name, pool, .. } = *scene;
    let is_full = scene.is_full();
    if !is_full && pool.queued == 0 {
        return None;
    }
    let verdict = if is_queue_full(pool) {
        let since = since(snapshot, pool.queue_full_since);
        let (waiting, threads) = (waiting(pool), threads(scene));
        let refused = match pool.shed_total.sum() {
            0 => String::new(),
            refused => format!("; {} refused so far", count(refused)),
        };
        let rest = format!("{since}: {waiting}{refused}. {threads}{}.", longest(scene));
        Verdict::new(Severity::Bad, format!("The queue of pool {name} is full"), rest)
    } else {
        let state = if is_full { "is full" } else { "has a queue" };
        let since = since(snapshot, pool.full_since);
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
    let since = since(scene.snapshot, scene.pool.full_since);
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

/// Tells that requests were refused a short while ago, while the pool has room again.
pub(super) fn refused(scene: &Scene<'_>) -> Option<Verdict> {
    if is_queue_full(scene.pool) {
        return None;
    }
    let event = recent(scene, EventKind::Shed).next()?;
    let mut verdict = told(scene.snapshot, event, Severity::Warning);
    let reasons: Vec<String> = scene
        .pool
        .shed_total
        .entries()
        .into_iter()
        .filter(|(_, number)| *number != 0)
        .map(|(reason, number)| format!("{reason} {}", count(number)))
        .collect();
    if !reasons.is_empty() {
        verdict.rest.push_str(" In all: ");
        verdict.rest.push_str(&reasons.join(", "));
        verdict.rest.push('.');
    }
    Some(verdict.look(anchor::pool(scene.name)))
}
