//! What changed between two seconds, in sentences.
//!
//! A *condition*, such as a full pool, is told when it begins and when it has been over for
//! [`QUIET_MS`]: one that comes and goes is told once, with how often it came. An *occurrence*, such
//! as the end of a worker, joins the event before if that is of the same kind and not older than
//! that. So nothing fills the list by itself.

mod changes;
mod conditions;

use std::collections::{BTreeMap, VecDeque};

use crate::moment::UnixTime;
use crate::snapshot::{Event, EventKind, ShedTotal, Snapshot};
use crate::units::duration;

/// How long a condition must be over before it is told, and how old an event may be that another
/// of its kind joins, in milliseconds.
const QUIET_MS: u64 = 10_000;

/// Snapshots further apart than this, in milliseconds, are not compared.
const MAX_GAP_MS: u64 = 60_000;

/// The last events, and what is going on.
#[derive(Clone, Debug, Default)]
pub struct EventLog {
    /// The latest first.
    events: VecDeque<Event>,
    last: Option<Snapshot>,
    conditions: BTreeMap<Key, Condition>,
    bursts: BTreeMap<Key, Burst>,
}

/// What an event is about: its kind, and the pool, server or route.
type Key = (EventKind, String);

/// Something that goes on.
#[derive(Clone, Debug)]
struct Condition {
    since: UnixTime,
    last_on: UnixTime,
    is_on: bool,
    /// How often it began.
    times: u64,
    /// What was counted while it went on.
    count: u64,
    subject: String,
    /// What is said at its end, before how long it was.
    over: String,
}

/// Occurrences of the same kind, one soon after the other.
#[derive(Clone, Debug)]
struct Burst {
    first: UnixTime,
    last: UnixTime,
    count: u64,
    /// What was said last.
    text: String,
}

/// A condition as one snapshot shows it.
struct Observed {
    key: Key,
    subject: String,
    /// What is said if it begins.
    begins: String,
    over: String,
    /// When it began, where the snapshot says.
    since: Option<UnixTime>,
    /// What was counted in this second.
    count: u64,
}

/// Something that occurred.
struct Occurrence {
    key: Key,
    subject: Option<String>,
    text: String,
    count: u64,
}

impl EventLog {
    /// Goes on where the history ends: with its events, and with what went on.
    pub fn resume(last: Snapshot) -> Self {
        let mut log = Self { events: last.events.clone().into(), ..Self::default() };
        let now = last.taken();
        for observed in conditions::observe(&Snapshot::default(), &last) {
            let condition = Condition::begin(&observed, now);
            log.conditions.insert(observed.key, condition);
        }
        log.last = Some(last);
        log
    }

    /// Returns the last events, the latest first.
    pub fn events(&self) -> Vec<Event> {
        self.events.iter().cloned().collect()
    }

    /// Notes a snapshot that comes after those before.
    pub fn note(&mut self, snapshot: &Snapshot) {
        let before = self.last.replace(Self::without_rows(snapshot));
        let now = snapshot.taken();
        // The history keeps whole seconds of a moment.
        let which = |snapshot: &Snapshot| (snapshot.server.started.ms / 1_000, snapshot.server.pid);
        let is_same = before.as_ref().is_some_and(|before| which(before) == which(snapshot));
        if !is_same {
            // Whatever went on ended with the server before.
            self.conditions.clear();
            // A later proxy process that knows nothing of the past did not see the start.
            if before.is_some() || snapshot.server.generation <= 1 {
                let text = changes::started(before.as_ref(), snapshot);
                let kind = EventKind::Started;
                self.add(Event { at: now, kind, subject: None, text });
            }
        }
        let is_young = now.ms_since(snapshot.server.started) <= MAX_GAP_MS;
        let before = before.filter(|before| is_same && now.ms_since(before.taken()) <= MAX_GAP_MS);
        let (before, is_known) = match before {
            Some(before) => (before, true),
            None if !is_same && is_young => (Self::at_the_start(snapshot), true),
            // Nothing is known of what was before: only what goes on can be told.
            None => (snapshot.clone(), false),
        };
        if is_known {
            for occurrence in changes::between(&before, snapshot) {
                self.occurred(now, occurrence);
            }
        }
        let observed = conditions::observe(&before, snapshot);
        self.go_on(now, observed);
    }

    /// What a server was when it started: nothing had occurred yet.
    fn at_the_start(snapshot: &Snapshot) -> Snapshot {
        let mut start = Self::without_rows(snapshot);
        for pool in start.pools.values_mut() {
            (pool.recycled, pool.last_exit) = (Vec::new(), None);
            (pool.recycles_total, pool.shed_total) = (BTreeMap::new(), ShedTotal::default());
        }
        for route in &mut start.routes {
            route.over_budget_total = 0;
        }
        start
    }

    /// What is compared does not need the requests in the rows.
    fn without_rows(snapshot: &Snapshot) -> Snapshot {
        let mut kept = Snapshot { events: Vec::new(), ..snapshot.clone() };
        for worker in kept.pools.values_mut().flat_map(|pool| &mut pool.workers) {
            worker.threads = Vec::new();
        }
        kept
    }

    fn occurred(&mut self, now: UnixTime, occurrence: Occurrence) {
        let Occurrence { key, subject, text, count } = occurrence;
        let before = self.bursts.remove(&key).filter(|burst| now.ms_since(burst.last) <= QUIET_MS);
        self.bursts.retain(|_, burst| now.ms_since(burst.last) <= QUIET_MS);
        let mut burst = Burst { first: now, last: now, count, text };
        if let Some(before) = before {
            self.events.retain(|event| (event.kind, &event.text) != (key.0, &before.text));
            (burst.first, burst.count) = (before.first, before.count.saturating_add(count));
            let since = burst.first.clock();
            let text = burst.text.trim_end_matches('.');
            burst.text = format!("{text} ({} since {since} UTC).", burst.count);
        }
        self.add(Event { at: now, kind: key.0, subject, text: burst.text.clone() });
        self.bursts.insert(key, burst);
    }

    fn go_on(&mut self, now: UnixTime, observed: Vec<Observed>) {
        self.conditions.values_mut().for_each(|condition| condition.is_on = false);
        for seen in observed {
            if let Some(condition) = self.conditions.get_mut(&seen.key) {
                condition.goes_on(&seen, now);
                continue;
            }
            let condition = Condition::begin(&seen, now);
            let (kind, subject) = (seen.key.0, Some(seen.subject));
            self.conditions.insert(seen.key, condition);
            self.add(Event { at: now, kind, subject, text: seen.begins });
        }
        let is_over =
            |condition: &Condition| !condition.is_on && QUIET_MS <= now.ms_since(condition.last_on);
        let over: Vec<Key> = self
            .conditions
            .iter()
            .filter(|(_, condition)| is_over(condition))
            .map(|(key, _)| key.clone())
            .collect();
        for key in over {
            if let Some(condition) = self.conditions.remove(&key) {
                let (text, subject) = (condition.end(), Some(condition.subject));
                self.add(Event { at: now, kind: key.0, subject, text });
            }
        }
    }

    fn add(&mut self, event: Event) {
        self.events.push_front(event);
        self.events.truncate(Event::KEPT);
    }
}

impl Condition {
    fn begin(seen: &Observed, now: UnixTime) -> Self {
        Self {
            since: seen.since.unwrap_or(now).min(now),
            last_on: now,
            is_on: true,
            times: 1,
            count: seen.count,
            subject: seen.subject.clone(),
            over: seen.over.clone(),
        }
    }

    fn goes_on(&mut self, seen: &Observed, now: UnixTime) {
        let was_on = now.ms_since(self.last_on) < 2_500;
        self.times = self.times.saturating_add(u64::from(!was_on));
        self.count = self.count.saturating_add(seen.count);
        (self.last_on, self.is_on) = (now, true);
    }

    /// Returns what is said at its end.
    fn end(&self) -> String {
        let lasted = duration(self.last_on.ms_since(self.since).max(1_000));
        let how = match self.count {
            0 => format!(" for {lasted}"),
            count => format!(": {count} were, in {lasted}"),
        };
        let times = match self.times {
            0 | 1 => String::new(),
            times => format!(", with pauses, {times} times"),
        };
        format!("{}{how}{times}, until {} UTC.", self.over, self.last_on.clock())
    }
}

#[cfg(test)]
mod tests;
