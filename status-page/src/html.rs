//! The status page: one document without external resources that keeps itself fresh.
//!
//! With scripts it fetches itself and changes in place what is different; without, it is loaded
//! anew. Style and script are the same in every page, so that their hashes can stand in the policy.

mod busy;
mod cells;
mod changes;
mod exits;
mod findings;
mod info;
mod markup;
mod origins;
mod overview;
mod past;
mod pools;
mod routes;
mod sparkline;
mod stacks;
mod traffic;

use crate::moment::UnixTime;
use crate::snapshot::Snapshot;
use crate::trends::Trends;
use crate::verdict::{Severity, verdicts};
use markup::Markup;

pub use info::info_html;
pub use stacks::stacks_html;

const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = include_str!("html/refresh.js");

/// Seconds between two refreshes if nobody asks for others.
///
/// Often enough to follow what happens, and one small request each.
pub const DEFAULT_REFRESH_S: u32 = 5;

/// Value of `content-security-policy` for the page: its own style and script, a form that asks
/// it for another moment, and nothing else.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; \
    style-src 'sha256-79VDOT+7Le0tSBDyxau9wNIefW7NVEOyQNn8l8bi9wc='; \
    script-src 'sha256-6S2P/IbCHrPqjJos+2aBCTMOqZydh2gEN+xh8jaMHEU='; \
    connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// How the page is to be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HtmlOptions {
    /// Seconds between two refreshes; `None`: [`DEFAULT_REFRESH_S`].
    pub refresh: Option<u32>,
    /// Lists in place of tables, as with `mod_status`'s `?notable`.
    pub notable: bool,
    /// The moment that was asked for: the snapshot is of the past, and the page stays as it is.
    pub at: Option<UnixTime>,
}

/// What is shown, and how.
#[derive(Clone, Copy, Debug)]
struct View<'a> {
    snapshot: &'a Snapshot,
    trends: Option<&'a Trends>,
    options: &'a HtmlOptions,
}

impl View<'_> {
    fn refresh_s(&self) -> u32 {
        self.options.refresh.unwrap_or(DEFAULT_REFRESH_S).max(1)
    }

    /// Milliseconds from a moment to that of the snapshot.
    fn age_ms(&self, moment: UnixTime) -> u64 {
        self.snapshot.taken().ms_since(moment)
    }
}

/// Returns the page. `trends` are those of the hour before the snapshot.
///
/// # Panics
///
/// Never: writing to a `String` cannot fail.
pub fn html(snapshot: &Snapshot, trends: Option<&Trends>, options: &HtmlOptions) -> String {
    let view = View { snapshot, trends, options };
    let verdicts = verdicts(snapshot);
    let mut page = Markup::default();
    page.raw("<!DOCTYPE html>\n<html lang=\"en\" data-refresh=\"").text(view.refresh_s());
    match options.at {
        Some(moment) => page.put("\" data-at=\"", moment, "\">\n<head>"),
        None => page.raw("\">\n<head>"),
    };
    page.raw("<meta charset=\"utf-8\">");
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    page.raw("<meta name=\"robots\" content=\"noindex\">");
    if options.at.is_none() {
        page.raw("<noscript><meta http-equiv=\"refresh\" content=\"").text(view.refresh_s());
        page.raw("\"></noscript>");
    }
    page.put("<title>", title(verdicts[0].severity), "</title>");
    page.raw("<style>").raw(STYLE).raw("</style></head>\n<body>");
    page.raw("<p class=\"stale-note\" role=\"alert\">The server does not answer: ");
    page.raw("this is what it said last.</p>\n");
    overview::write_banner(&mut page, &view);
    page.raw("<main id=\"main\">\n");
    // The past is told before anything else; the way there comes behind what is so now.
    if options.at.is_some() {
        past::write(&mut page, &view);
    }
    findings::write(&mut page, &verdicts);
    if options.at.is_none() {
        past::write(&mut page, &view);
    }
    pools::write(&mut page, &view, &verdicts);
    busy::write(&mut page, &view);
    routes::write(&mut page, &view);
    changes::write(&mut page, &view);
    origins::write(&mut page, &view);
    overview::write_tiles(&mut page, &view);
    traffic::write(&mut page, &view);
    page.raw("</main>\n");
    overview::write_footer(&mut page);
    page.raw("<script>").raw(SCRIPT).raw("</script>\n</body>\n</html>\n");
    page.finish()
}

/// Names the worst finding, so that a tab among others tells it.
fn title(worst: Severity) -> &'static str {
    match worst {
        Severity::Bad => "\u{26d4} Ostler",
        Severity::Warning => "\u{26a0} Ostler",
        Severity::Note | Severity::Good => "Ostler",
    }
}

/// Returns the class of an age: how alarming it looks.
fn age_class(running_ms: u64) -> &'static str {
    match running_ms {
        0..1_000 => "",
        1_000..10_000 => " slow",
        10_000.. => " old",
    }
}
