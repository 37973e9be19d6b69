//! Findings about what is over.

use super::{Severity, Verdict, is_recent, told};
use crate::anchor;
use crate::snapshot::{EventKind, Snapshot};

/// Most of them: the events have all.
const MOST: usize = 3;

/// Tells what ended within the last ten minutes and has not begun again, the latest first.
pub(super) fn over(snapshot: &Snapshot) -> Vec<Verdict> {
    let mut seen: Vec<(EventKind, Option<&str>)> = Vec::new();
    let mut verdicts = Vec::new();
    for event in snapshot.events.iter().filter(|event| is_told(event.kind)) {
        let about = (event.kind, event.subject.as_deref());
        let is_last = !seen.contains(&about);
        seen.push(about);
        if is_last && event.until().is_some_and(|until| is_recent(snapshot, until)) {
            let verdict = told(snapshot, event, Severity::Note);
            let lead = format!("It is over: {}", verdict.lead);
            verdicts.push(Verdict { lead, ..verdict }.look(anchor::CHANGES));
        }
    }
    verdicts.truncate(MOST);
    verdicts
}

/// Refused requests have a finding of their own.
fn is_told(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::PoolFull
            | EventKind::QueueFull
            | EventKind::PoolState
            | EventKind::Stuck
            | EventKind::OriginServer
    )
}
