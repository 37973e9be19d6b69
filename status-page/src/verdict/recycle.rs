//! Findings about workers that were replaced, or are to be.

use super::{Scene, Severity, Verdict, recent, told};
use crate::anchor;
use crate::snapshot::EventKind;

/// Tells of the last worker that was replaced, and of those that are to be.
pub(super) fn recycled(scene: &Scene<'_>) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let name = scene.name;
    let mut events = recent(scene, EventKind::WorkerRecycled);
    if let Some(event) = events.next() {
        let mut verdict = told(scene.snapshot, event, Severity::Note);
        match events.count() {
            0 => {}
            more => {
                let more = format!(" {more} more of its workers in the last 10 minutes.");
                verdict.rest.push_str(&more);
            }
        }
        verdicts.push(verdict.advice(advice(&event.text)).look(anchor::CHANGES));
    }
    for pending in &scene.pool.recycles_pending {
        let lead = format!("The worker in slot {} of pool {name} is to be replaced", pending.slot);
        let verdict = Verdict::new(Severity::Note, lead, format!(": {}.", pending.reason));
        verdicts.push(verdict.advice(advice(&pending.reason)).look(anchor::pool(name)));
    }
    verdicts
}

/// What an operator may look at next, by the word for the reason.
fn advice(text: &str) -> &'static str {
    let has = |word| text.split([' ', ',', '.', ':']).any(|piece| piece == word);
    if has("max-memory") {
        " It outgrew its pool's `max-memory`: look at what its last requests loaded."
    } else if has("request-timeout") {
        " Its threads did not come back: the post-mortem in the pool's part tells where they were."
    } else if has("health") {
        " It failed its pool's `health` check."
    } else {
        ""
    }
}
