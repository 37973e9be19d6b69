//! What an operator has to know first: what is full or broken, since when, and who is to blame.
//!
//! Each finding is a sentence of its own: somebody who has never seen the page understands it.
//! What happened within the last ten minutes still counts; what is as it should be is not told.

mod holder;
mod origin;
mod over;
mod pool;
mod recycle;
mod route;
mod server;
mod stuck;

use std::fmt;

use crate::moment::UnixTime;
use crate::scoreboard::{self, Busy};
use crate::snapshot::{Event, EventKind, Pool, Snapshot};
use crate::units::duration;

/// How long something that is over is still told, in milliseconds.
const RECENT_MS: u64 = 600_000;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Requests fail or wait.
    Bad,
    /// They soon may.
    Warning,
    /// Nothing is wrong, but something was done about what was.
    Note,
    /// Nothing is wrong.
    Good,
}

/// One finding, in a sentence or two. Its texts may quote clients and workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How bad it is.
    pub severity: Severity,
    /// What is so, without numbers that are others each second.
    pub lead: String,
    /// The rest: since when, and how much.
    pub rest: String,
    /// What to do or to look at, in our own words; keys stand between grave accents.
    pub advice: &'static str,
    /// Name of the part of the page that shows more.
    pub look: Option<String>,
}

impl Verdict {
    fn new(severity: Severity, lead: impl Into<String>, rest: impl Into<String>) -> Self {
        Self { severity, lead: lead.into(), rest: rest.into(), advice: "", look: None }
    }

    fn advice(self, advice: &'static str) -> Self {
        Self { advice, ..self }
    }

    fn look(self, part: impl Into<String>) -> Self {
        Self { look: Some(part.into()), ..self }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}{}", self.lead, self.rest, self.advice)
    }
}

/// A pool, and what its findings need to know of the rest.
#[derive(Clone, Copy, Debug)]
struct Scene<'a> {
    snapshot: &'a Snapshot,
    name: &'a str,
    pool: &'a Pool,
    /// Its busy rows, longest-running first.
    busiest: &'a [Busy<'a>],
}

impl Scene<'_> {
    /// What its rows are: threads, or the places of an asynchronous worker.
    fn unit(&self) -> &'static str {
        if self.pool.is_service() { "places" } else { "threads" }
    }

    fn is_full(&self) -> bool {
        let pool = self.pool;
        pool.full_since.is_some() || (pool.capacity != 0 && pool.capacity <= pool.busy)
    }

    /// How bad it is to hold rows here: whether somebody waits for one.
    fn severity(&self) -> Severity {
        // A full pool without a queue serves everyone; one more request would wait.
        if self.pool.queued == 0 { Severity::Warning } else { Severity::Bad }
    }
}

/// Returns all findings, the worst first; never none.
pub fn verdicts(snapshot: &Snapshot) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let busiest = scoreboard::busiest(snapshot);
    for (name, pool) in &snapshot.pools {
        let busiest: Vec<Busy<'_>> =
            busiest.iter().filter(|row| row.pool == name).copied().collect();
        let scene = Scene { snapshot, name, pool, busiest: &busiest };
        verdicts.extend(pool::workers(&scene));
        verdicts.extend(pool::room(&scene));
        verdicts.extend(holder::holder(&scene));
        verdicts.extend(stuck::stuck(&scene));
        verdicts.extend(pool::exit(&scene));
        verdicts.extend(pool::refused(&scene));
        verdicts.extend(recycle::recycled(&scene));
    }
    verdicts.extend(origin::servers(snapshot));
    verdicts.extend(server::server(snapshot));
    // What may be the cause of failing requests stands before them.
    verdicts.extend(route::routes(snapshot));
    verdicts.extend(over::over(snapshot));
    if verdicts.iter().all(|verdict| verdict.severity == Severity::Note) {
        verdicts.push(all_well(snapshot));
    }
    verdicts.sort_by_key(|verdict| verdict.severity);
    verdicts
}

fn all_well(snapshot: &Snapshot) -> Verdict {
    let (busy, capacity) =
        snapshot.pools.values().fold((0_u64, 0_u64), |(busy, capacity), pool| {
            (busy + pool.busy, capacity + pool.capacity)
        });
    if snapshot.pools.is_empty() {
        return Verdict::new(Severity::Good, "No pool is configured.", "");
    }
    let rest = format!(": {busy} of {capacity} busy, nothing waits.");
    Verdict::new(Severity::Good, "Every pool has room", rest)
}

/// As in ` since 14:03:12 UTC, for 41.0 s`; nothing where that is not known.
fn since(snapshot: &Snapshot, moment: Option<UnixTime>) -> String {
    const HALF_A_DAY_MS: u64 = 43_200_000;
    let Some(moment) = moment else { return String::new() };
    let age_ms = snapshot.taken().ms_since(moment);
    let clock = if age_ms < HALF_A_DAY_MS { moment.clock() } else { moment.date_and_clock() };
    format!(" since {clock} UTC, for {}", duration(age_ms))
}

/// As in `12.0 s ago`.
fn ago(snapshot: &Snapshot, moment: UnixTime) -> String {
    format!("{} ago", duration(snapshot.taken().ms_since(moment)))
}

/// As [`since`], for something that comes and goes: from its first time on.
fn since_first(scene: &Scene<'_>, kind: EventKind, moment: Option<UnixTime>) -> String {
    let first = first_time(scene.snapshot, scene.name, kind, moment);
    let pauses = if first == moment { "" } else { ", with pauses" };
    format!("{}{pauses}", since(scene.snapshot, first))
}

/// When something about a pool began that an event tells of which has no end yet, if that was
/// before `moment`; else `moment`.
pub(crate) fn first_time(
    snapshot: &Snapshot,
    name: &str,
    kind: EventKind,
    moment: Option<UnixTime>,
) -> Option<UnixTime> {
    /// What begins is noted within a second, by a clock that may be read a little apart.
    const NOTED_MS: u64 = 1_500;
    let last = last(snapshot, kind, name).filter(|event| event.until().is_none());
    let Some(noted) = last.map(|event| event.at) else { return moment };
    match moment {
        Some(moment) if moment.ms_since(noted) < NOTED_MS => Some(moment),
        Some(_) | None => Some(noted),
    }
}

/// The last event of a kind about a pool since the server started.
fn last<'a>(snapshot: &'a Snapshot, kind: EventKind, name: &str) -> Option<&'a Event> {
    let mut events = snapshot.events.iter().filter(|event| snapshot.server.started <= event.at);
    events.find(|event| event.kind == kind && event.subject.as_deref() == Some(name))
}

fn is_recent(snapshot: &Snapshot, moment: UnixTime) -> bool {
    snapshot.taken().ms_since(moment) < RECENT_MS
}

/// The recent events of a kind about a pool, the latest first.
fn recent<'a>(scene: &Scene<'a>, kind: EventKind) -> impl Iterator<Item = &'a Event> {
    let (snapshot, name) = (scene.snapshot, scene.name);
    snapshot.events.iter().filter(move |event| {
        event.kind == kind
            && event.subject.as_deref() == Some(name)
            && is_recent(snapshot, event.at)
    })
}

/// An event as a finding: its sentence, with how long ago that was.
fn told(snapshot: &Snapshot, event: &Event, severity: Severity) -> Verdict {
    let text = event.text.trim_end_matches('.');
    let end = [": ", ". ", " ("].iter().filter_map(|mark| text.find(mark)).min();
    let (lead, rest) = text.split_at(end.unwrap_or(text.len()));
    let ago = ago(snapshot, event.until().unwrap_or(event.at));
    Verdict::new(severity, lead, format!("{rest}, {ago}."))
}

#[cfg(test)]
mod tests;
