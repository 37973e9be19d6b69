//! The page's part about what changed lately, and the way to each of these moments.

use crate::anchor;
use crate::snapshot::{Event, EventKind};
use crate::units::duration;

use super::View;
use super::markup::Markup;

/// Events shown at once.
const FIRST: usize = 8;

/// Writes the events, the latest first.
pub(super) fn write(page: &mut Markup, view: &View<'_>) {
    let events = &view.snapshot.events;
    page.put("<section class=\"card\" id=\"", anchor::CHANGES, "\"><header><h2>What changed</h2>");
    page.raw("<span class=\"soft\">latest first</span></header>\n");
    let (first, others) = events.split_at_checked(FIRST).unwrap_or((events, &[]));
    if first.is_empty() {
        page.raw("<p class=\"soft\">Nothing is on record.</p>");
    } else {
        write_events(page, view, first);
    }
    if !others.is_empty() {
        page.put("<details id=\"other-changes\"><summary>", others.len(), " more</summary>");
        write_events(page, view, others);
        page.raw("</details>");
    }
    page.raw("</section>\n");
}

fn write_events(page: &mut Markup, view: &View<'_>, events: &[Event]) {
    page.raw("<ul class=\"changes\">");
    for event in events {
        page.raw("<li>");
        write_moment(page, view, event);
        page.put(" <span class=\"soft small\">", duration(view.age_ms(event.at)), " ago</span> ");
        page.put("<b class=\"kind\">", kind(event.kind), "</b> <span>");
        page.text(&event.text).raw("</span></li>\n");
    }
    page.raw("</ul>");
}

/// Writes when it was: as the way there, if that moment is kept.
fn write_moment(page: &mut Markup, view: &View<'_>, event: &Event) {
    let history = view.snapshot.server.history.as_ref();
    let is_kept = history.is_some_and(|history| history.from <= event.at);
    if is_kept {
        page.put("<a href=\"?at=", event.at, "\">");
    }
    page.put("<time datetime=\"", event.at, "\">").text(event.at.date_and_clock()).raw("</time>");
    if is_kept {
        page.raw("</a>");
    }
}

fn kind(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Started => "start",
        EventKind::Draining => "drain",
        EventKind::ConfigLoaded | EventKind::ConfigRefused => "configuration",
        EventKind::ProxyReplaced => "proxy",
        EventKind::PoolFull | EventKind::PoolState => "pool",
        EventKind::QueueFull => "queue",
        EventKind::Shed => "refused",
        EventKind::WorkerRecycled => "recycle",
        EventKind::WorkerExited => "exit",
        EventKind::Stuck => "stuck",
        EventKind::OverBudget => "queries",
        EventKind::OriginServer => "origin",
    }
}
