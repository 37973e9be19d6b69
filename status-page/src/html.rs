//! The status page: one document without external resources that keeps itself fresh.
//!
//! With scripts it fetches itself and swaps its content in place; without, it is loaded anew.
//! Style and script are the same in every page, so that their hashes can stand in the policy.

mod busy;
mod info;
mod markup;
mod overview;
mod pools;

use crate::moment::UnixTime;
use crate::snapshot::Snapshot;
use crate::trends::Trends;
use crate::verdict::{Severity, verdicts};
use markup::Markup;

pub use info::info_html;

const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = include_str!("html/refresh.js");

/// Seconds between two refreshes if nobody asks for others.
///
/// Often enough to follow what happens, and one small request each.
pub const DEFAULT_REFRESH_S: u32 = 5;

/// Value of `content-security-policy` for the page: its own style and script, and nothing else.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; \
    style-src 'sha256-DYh3g7B70NPcPI8d2baK7h7S6UAaXDQfsJze3R2/vHo='; \
    script-src 'sha256-N4olC2F3Ko/Y2+V3g00NhGUoEyOMQUBjJOmwzL1Mc5k='; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

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

/// Returns the page. `trends` are those of the hour before the snapshot.
///
/// # Panics
///
/// Never: writing to a `String` cannot fail.
pub fn html(snapshot: &Snapshot, _trends: Option<&Trends>, options: &HtmlOptions) -> String {
    let refresh = options.refresh.unwrap_or(DEFAULT_REFRESH_S).max(1);
    let mut page = Markup::default();
    page.raw("<!DOCTYPE html>\n<html lang=\"en\" data-refresh=\"").text(refresh).raw("\">\n<head>");
    page.raw("<meta charset=\"utf-8\">");
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    page.raw("<meta name=\"robots\" content=\"noindex\">");
    page.put("<noscript><meta http-equiv=\"refresh\" content=\"", refresh, "\"></noscript>");
    page.put("<title>", title(snapshot), "</title>");
    page.raw("<style>").raw(STYLE).raw("</style></head>\n<body>");
    page.raw("<p class=\"stale-note\" role=\"alert\">The server does not answer: ");
    page.raw("this is what it said last.</p>\n<main>\n");
    overview::write(&mut page, snapshot, refresh);
    busy::write(&mut page, snapshot, options.notable);
    pools::write(&mut page, snapshot);
    overview::write_traffic(&mut page, snapshot);
    overview::write_origins(&mut page, snapshot, options.notable);
    page.raw("<footer>The same as <a href=\"?json\">JSON</a>, as ");
    page.raw("<a href=\"?auto\">text for monitors</a>, or without ");
    page.raw("<a href=\"?notable\">tables</a>. All times are UTC.</footer>\n");
    page.raw("</main>\n<script>").raw(SCRIPT).raw("</script>\n</body>\n</html>\n");
    page.finish()
}

/// Names the worst finding, so that a tab among others tells it.
fn title(snapshot: &Snapshot) -> &'static str {
    let worst = verdicts(snapshot).into_iter().map(|verdict| verdict.severity).min();
    match worst {
        Some(Severity::Bad) => "\u{26d4} Ostler",
        Some(Severity::Warning) => "\u{26a0} Ostler",
        Some(Severity::Good) | None => "Ostler",
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
