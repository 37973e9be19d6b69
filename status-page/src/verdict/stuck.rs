//! The finding which request is stuck, where, and what it is doing.

use super::{Scene, Severity, Verdict};
use crate::anchor;
use crate::scoreboard::Busy;
use crate::snapshot::{HeldRequest, Request};
use crate::units::{duration, milliseconds};

/// Names the request that has been past its time longest, and how many more there are.
pub(super) fn stuck(scene: &Scene<'_>) -> Option<Verdict> {
    let Some(row) = scene.busiest.iter().find(|row| row.thread.stuck) else {
        return count_alone(scene);
    };
    let Request { method, target, running_ms, .. } = row.request;
    let lead = format!("{method} {target} is stuck");
    let thread = row.thread.tid.map_or_else(String::new, |tid| format!(", thread {tid}"));
    let place = format!(
        " in worker {}-{} of pool {} (process {}{thread}): it runs for {}, longer than its \
         request-timeout allows",
        row.worker.slot,
        row.worker.generation,
        scene.name,
        row.worker.pid,
        duration(*running_ms),
    );
    let (doing, place_in_kernel) = (doing(row.request), place_in_kernel(scene, row));
    let rest = format!("{place}{doing}{place_in_kernel}.{}", more(scene, row));
    let verdict = Verdict::new(Severity::Bad, lead, rest).look(anchor::row(row));
    Some(verdict.advice(" Past `stuck-grace` its worker is replaced."))
}

/// As in ` 2 more requests of pool api are stuck, 1 of them in this worker.`
fn more(scene: &Scene<'_>, row: &Busy<'_>) -> String {
    let more = scene.pool.stuck.saturating_sub(1);
    let stuck = row.worker.threads.iter().filter(|thread| thread.stuck).count() as u64;
    let here = stuck.saturating_sub(1).min(more);
    let requests = match more {
        0 => return String::new(),
        1 => format!("1 more request of pool {} is stuck", scene.name),
        more => format!("{more} more requests of pool {} are stuck", scene.name),
    };
    let place = match here {
        0 => String::new(),
        1 if more == 1 => ", in this worker".to_owned(),
        here if here == more => ", all of them in this worker".to_owned(),
        here => format!(", {here} of them in this worker"),
    };
    format!(" {requests}{place}.")
}

fn count_alone(scene: &Scene<'_>) -> Option<Verdict> {
    let (stuck, busy, name) = (scene.pool.stuck, scene.pool.busy, scene.name);
    let lead = format!("Requests of pool {name} are stuck");
    let rest = format!(": {stuck} of {busy} busy {}.", scene.unit());
    let verdict = Verdict::new(Severity::Bad, lead, rest).look(anchor::pool(name));
    (stuck != 0).then(|| verdict.advice(" They are past their `request-timeout`."))
}

/// Whether it computes or waits, where its worker tells, and what it has asked for so far.
fn doing(request: &Request) -> String {
    let Some(cpu_ms) = request.cpu_ms else { return queries(request) };
    let (cpu, queries) = (processor(cpu_ms), queries(request));
    let conclusion = if cpu_ms.saturating_mul(10) <= request.running_ms {
        ", so it waits for something"
    } else if request.running_ms.saturating_mul(8) <= cpu_ms.saturating_mul(10) {
        ", so it computes"
    } else {
        ""
    };
    format!("; {cpu} on the processor{conclusion}{queries}")
}

fn processor(cpu_ms: u64) -> String {
    if cpu_ms < 1_000 { format!("0.{} s", cpu_ms / 100) } else { duration(cpu_ms) }
}

fn queries(request: &Request) -> String {
    match request.costs.db_queries {
        0 => String::new(),
        number => {
            let time = milliseconds(request.costs.db_ms);
            format!("; {number} database queries so far, {time}")
        }
    }
}

/// Where the kernel has its thread, if that was looked at.
fn place_in_kernel(scene: &Scene<'_>, row: &Busy<'_>) -> String {
    let mut held = scene.pool.post_mortems.iter().rev().flat_map(|record| &record.requests);
    let held = held.find(|held: &&HeldRequest| !held.id.is_empty() && held.id == row.request.id);
    let place = held.and_then(|held| held.thread.as_ref()?.wait_channel.as_ref());
    place.map_or_else(String::new, |place| format!("; the kernel has it in {place}"))
}
