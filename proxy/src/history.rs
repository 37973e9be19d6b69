//! What the server was doing, second by second: for the last events and trends of the page, and
//! for `?at=`.
//!
//! One thread, the recorder, takes a snapshot each second, finds what changed, and writes what is
//! worth keeping into the ring. Everybody else reads: the latest from memory, the past from the
//! file. Without a file, or with one that cannot be used, only the past is missing.

mod codec;
mod frame;
mod recorder;
mod ring;
mod scan;
mod tape;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ostler_status as status;
use ostler_status::{Event, Overview, Summary, TrendLog, Trends, UnixTime};

use self::frame::{Head, Kind};
use self::ring::{Group, Index, Ring};

pub(crate) use self::recorder::Recorder;

/// How much older than the moment that was asked for a snapshot may be, in milliseconds: one that
/// was late is shown, a gap is not.
const MAX_AGE_MS: u64 = 5_000;

/// Trends are of so long before a moment, in milliseconds.
const HOUR_MS: u64 = 3_600_000;

/// The history, for those who read it.
#[derive(Debug)]
pub(crate) struct History {
    ring: Option<Ring>,
    recent: Mutex<Recent>,
}

/// What is kept in memory.
#[derive(Debug, Default)]
struct Recent {
    events: Vec<Event>,
    trends: TrendLog,
    /// Of each frame of steps in the file, by time.
    summaries: VecDeque<Summary>,
}

/// What is not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gone {
    /// The first and the last moment that are.
    pub(crate) kept: Option<(UnixTime, UnixTime)>,
    /// The last one before that which was asked for.
    pub(crate) before: Option<UnixTime>,
    /// The first one after it.
    pub(crate) after: Option<UnixTime>,
}

impl Gone {
    /// As the frames of a group show it, in which no frame is of the moment that was asked for.
    fn between(self, frames: &[(Head, Vec<u8>)], limit_ms: u64) -> Self {
        let times = || frames.iter().map(|(head, _)| UnixTime::from_ms(head.time_ms));
        let before = times().filter(|time| time.ms <= limit_ms).max();
        let after = times().filter(|time| limit_ms < time.ms).chain(self.after).min();
        Self { kept: self.kept, before: before.or(self.before), after }
    }
}

/// A moment of the past.
#[derive(Debug)]
pub(crate) struct Past {
    pub(crate) snapshot: status::Snapshot,
    group: Group,
}

/// Why there is no answer about the past.
#[derive(Debug)]
pub(crate) enum PastError {
    Gone(Gone),
    Io(io::Error),
}

impl From<io::Error> for PastError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl History {
    /// Takes over the file that the supervisor sent. One that cannot be used is logged.
    pub(crate) fn new(file: Option<OwnedFd>) -> Self {
        let ring = file.and_then(|file| match Ring::new(File::from(file)) {
            Ok(ring) => Some(ring),
            Err(error) => {
                tracing::error!(%error, "history_unusable");
                None
            }
        });
        Self { ring, recent: Mutex::default() }
    }

    /// Adds to a snapshot what the history knows of now.
    pub(crate) fn fill(&self, snapshot: &mut status::Snapshot) {
        snapshot.events.clone_from(&self.recent().events);
        snapshot.server.history = self.kept();
    }

    /// The last hour.
    pub(crate) fn trends(&self, until: UnixTime) -> Trends {
        self.recent().trends.trends(until)
    }

    /// What is kept; `None`: nothing, or not yet.
    pub(crate) fn kept(&self) -> Option<status::History> {
        let ring = self.ring.as_ref()?;
        let (from, until) = ring.with_index(span)?;
        Some(status::History { from, until, bytes: ring.size() })
    }

    /// The state in the second of a moment, or shortly before.
    pub(crate) fn at(&self, moment: UnixTime) -> Result<Past, PastError> {
        let Some(ring) = &self.ring else { return Err(PastError::Gone(Gone::default())) };
        // A second is over when the next one begins.
        let limit_ms = (moment.ms - moment.ms % 1_000).saturating_add(999);
        let earliest_ms = moment.ms.saturating_sub(MAX_AGE_MS);
        let (group, gone) = ring.with_index(|index| find(index, earliest_ms..=limit_ms));
        let group = group.ok_or(PastError::Gone(gone))?;
        let frames = ring.read_group(&group)?;
        let is_wanted = |(head, _): &(Head, _)| (earliest_ms..=limit_ms).contains(&head.time_ms);
        let Some(wanted) = frames.iter().rposition(is_wanted) else {
            return Err(PastError::Gone(gone.between(&frames, limit_ms)));
        };
        let json = json(&frames, wanted)?;
        let mut snapshot = codec::snapshot(&json)?;
        snapshot.server.history = self.kept();
        Ok(Past { snapshot, group })
    }

    /// The hour before a moment of the past.
    pub(crate) fn trends_before(&self, past: &Past) -> io::Result<Trends> {
        let until = past.snapshot.taken();
        let Some(ring) = &self.ring else { return Ok(Trends::default()) };
        let (mut log, from_ms) = (TrendLog::default(), until.ms.saturating_sub(HOUR_MS));
        add_minutes(ring, &mut log, (from_ms, past.group.from_ms))?;
        for snapshot in snapshots(ring, &past.group)? {
            if snapshot.taken() <= until {
                log.note(&snapshot);
            }
        }
        Ok(log.trends(until))
    }

    /// What is kept, in a line.
    pub(crate) fn overview(&self) -> Overview {
        let Some(ring) = &self.ring else { return Overview::default() };
        let (span, frames) = ring.with_index(|index| {
            let frames = index.groups.iter().map(|group| u64::from(group.frames));
            (span(index), frames.sum::<u64>())
        });
        let recent = self.recent();
        let overview = span.map(|span| Overview::new(span, recent.summaries.iter()));
        let events = recent.events.clone();
        Overview { bytes: ring.size(), frames, events, ..overview.unwrap_or_default() }
    }

    /// Sums up the minutes that are in the file.
    fn sum_up(&self, ring: &Ring) -> io::Result<()> {
        let minutes = ring.with_index(|index| index.minutes.clone());
        let mut summaries = VecDeque::with_capacity(minutes.len());
        for minute in minutes {
            if let Some(payload) = ring.read_minute(&minute)? {
                let at = UnixTime::from_ms(minute.time_ms);
                summaries.push_back(Summary::of(at, &codec::steps(&payload)?));
            }
        }
        self.recent().summaries = summaries;
        Ok(())
    }

    /// Adds a minute, and forgets those that are not in the file any more.
    fn add_summary(&self, ring: &Ring, summary: Summary) {
        let first = ring.with_index(|index| index.minutes.front().map(|minute| minute.time_ms));
        let mut recent = self.recent();
        recent.summaries.push_back(summary);
        let is_gone = |summary: &Summary| first.is_none_or(|first| summary.at.ms < first);
        while recent.summaries.front().is_some_and(is_gone) {
            recent.summaries.pop_front();
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first and the last moment.
fn span(index: &Index) -> Option<(UnixTime, UnixTime)> {
    let (first, last) = index.groups.front().zip(index.groups.back())?;
    Some((UnixTime::from_ms(first.from_ms), UnixTime::from_ms(last.until_ms)))
}

/// The group that a moment is in, and what is around it otherwise.
///
/// The latest one in the order of writing: a clock that was set back makes two of some moments.
fn find(index: &Index, wanted_ms: RangeInclusive<u64>) -> (Option<Group>, Gone) {
    let (earliest_ms, limit_ms) = wanted_ms.into_inner();
    let begun = || index.groups.iter().rev().filter(|group| group.from_ms <= limit_ms);
    let reaches = |group: &&Group| earliest_ms <= group.until_ms;
    let before = begun().map(|group| group.until_ms.min(limit_ms)).max();
    let after = index.groups.iter().map(|group| group.from_ms).filter(|from| limit_ms < *from);
    let gone = Gone {
        kept: span(index),
        before: before.map(UnixTime::from_ms),
        after: after.min().map(UnixTime::from_ms),
    };
    (begun().find(reaches).copied(), gone)
}

/// The JSON of one frame of a group.
fn json(frames: &[(Head, Vec<u8>)], wanted: usize) -> io::Result<Vec<u8>> {
    let gone = || io::Error::new(io::ErrorKind::NotFound, "overwritten meanwhile");
    let (_, key) = frames.first().ok_or_else(gone)?;
    let key = codec::key_json(key)?;
    match frames.get(wanted).ok_or_else(gone)? {
        (Head { kind: Kind::Key, .. }, _) => Ok(key),
        (_, delta) => codec::delta_json(delta, &key),
    }
}

/// All snapshots of a group.
fn snapshots(ring: &Ring, group: &Group) -> io::Result<Vec<status::Snapshot>> {
    let frames = ring.read_group(group)?;
    let Some((_, key)) = frames.first() else { return Ok(Vec::new()) };
    let key = codec::key_json(key)?;
    let mut deltas = codec::Decoder::new(&key)?;
    let mut all = vec![codec::snapshot(&key)?];
    for (_, delta) in frames.iter().skip(1) {
        all.push(codec::snapshot(&deltas.json(delta)?)?);
    }
    Ok(all)
}

/// Adds the steps that were written between two moments.
fn add_minutes(ring: &Ring, log: &mut TrendLog, (from_ms, to_ms): (u64, u64)) -> io::Result<()> {
    let is_wanted = |time_ms| (from_ms..=to_ms).contains(&time_ms);
    let minutes = ring.with_index(|index| {
        let minutes = index.minutes.iter().filter(|minute| is_wanted(minute.time_ms));
        minutes.copied().collect::<Vec<_>>()
    });
    for minute in minutes {
        if let Some(payload) = ring.read_minute(&minute)? {
            codec::steps(&payload)?.into_iter().for_each(|step| log.add(step));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
