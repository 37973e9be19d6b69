//! The page's part about time: which moment is shown, and the way to others.

use crate::moment::UnixTime;
use crate::snapshot::History;
use crate::units::{bytes, duration};

use super::View;
use super::markup::Markup;

/// Steps back and on, in seconds, and how they are called.
const STEPS: [(i64, &str); 8] = [
    (-3_600, "\u{2212}1 h"),
    (-600, "\u{2212}10 min"),
    (-60, "\u{2212}1 min"),
    (-10, "\u{2212}10 s"),
    (10, "+10 s"),
    (60, "+1 min"),
    (600, "+10 min"),
    (3_600, "+1 h"),
];

/// Writes the way into the past, and what to know there. Nothing where no past is kept.
pub(super) fn write(page: &mut Markup, view: &View<'_>) {
    let at = view.options.at;
    if at.is_none() && view.snapshot.server.history.is_none() {
        return;
    }
    let shown = at.unwrap_or_else(|| view.snapshot.taken());
    page.raw(if at.is_some() {
        "<nav class=\"past is-past\" aria-label=\"Moment\">"
    } else {
        "<nav class=\"past\" aria-label=\"Moment\">"
    });
    if at.is_some() {
        page.put("<p><b>You see the past: ", shown.date_and_clock(), " UTC.</b> ");
        page.raw("The page stays as it was then. <a href=\"?\">Back to now</a></p>\n");
    }
    write_steps(page, shown, at.is_some());
    page.raw("<form method=\"get\"><label>Moment (UTC) <input type=\"datetime-local\" name=\"at\"");
    page.put(" step=\"1\" required value=\"", shown.field(), "\"></label> ");
    page.raw("<button>Show</button></form>\n");
    if let Some(history) = &view.snapshot.server.history {
        write_range(page, history, shown);
    }
    page.raw("</nav>\n");
}

/// Writes a link for each step; those into the future only where the past is shown.
fn write_steps(page: &mut Markup, shown: UnixTime, is_past: bool) {
    page.raw("<p class=\"steps\">");
    for (seconds, name) in STEPS.into_iter().filter(|(seconds, _)| is_past || *seconds < 0) {
        page.put("<a href=\"?at=", shown.moved(seconds), "\">").text(name).raw("</a> ");
    }
    page.raw("</p>\n");
}

/// Writes the slider over what is kept. It does nothing without scripts, and is not shown then.
fn write_range(page: &mut Markup, history: &History, shown: UnixTime) {
    let kept = duration(history.until.ms_since(history.from));
    page.raw("<label class=\"range scripts\"><span class=\"unseen\">Moment</span>");
    page.raw("<input type=\"range\" id=\"range\" step=\"1\"");
    page.put(" min=\"", history.from.ms / 1_000, "\"");
    // The snapshot is a moment younger than what was kept last.
    page.put(" max=\"", (history.until.ms / 1_000).max(shown.ms / 1_000), "\"");
    page.put(" value=\"", shown.ms / 1_000, "\">");
    page.put("<span class=\"soft small\">", kept, " are kept, in ");
    page.text(bytes(history.bytes)).raw("</span></label>\n");
}
