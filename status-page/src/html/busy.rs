//! The page's part about who holds the threads: every busy row, longest-running first.

use crate::anchor;
use crate::scoreboard::{Busy, busiest};
use crate::snapshot::{Costs, Request};
use crate::units::{duration, milliseconds};

use super::markup::Markup;
use super::{View, age_class};

/// Rows shown at once, so that what is below is not far.
const FIRST_ROWS: usize = 10;
/// Most rows shown on demand. As many as the largest pools have; what is beyond is in the document.
const ROWS: usize = 1_000;

/// Writes the table, or the list.
pub(super) fn write(page: &mut Markup, view: &View<'_>) {
    let rows = busiest(view.snapshot);
    page.put("<section class=\"card\" id=\"", anchor::REQUESTS, "\"><header>");
    page.raw("<h2>Requests in the application</h2>");
    page.raw("<span class=\"soft\">longest-running first</span></header>\n");
    let write_rows = if view.options.notable { write_list } else { write_table };
    let shown = rows.get(..ROWS).unwrap_or(&rows);
    let (first, others) = shown.split_at_checked(FIRST_ROWS).unwrap_or((shown, &[]));
    if first.is_empty() {
        page.raw("<p class=\"soft\">None.</p>");
    } else {
        write_rows(page, first);
    }
    if !others.is_empty() {
        page.put("<details id=\"others\"><summary>", others.len(), " more</summary>");
        write_rows(page, others);
        page.raw("</details>");
    }
    let unshown = rows.len() - shown.len();
    if unshown != 0 {
        page.put("<p class=\"soft\">and ", unshown, " shorter ones</p>");
    }
    page.raw("</section>\n");
}

const HEAD: &str = "<table class=\"busy\"><thead><tr>\
    <th scope=\"col\" class=\"c1\">Running</th><th scope=\"col\" class=\"c2\">Where</th>\
    <th scope=\"col\">Request</th><th scope=\"col\" class=\"c2\">Route</th>\
    <th scope=\"col\" class=\"c3\">Used so far</th>\
    <th scope=\"col\" class=\"wide c3\">Client</th>\
    <th scope=\"col\" class=\"wide number c1\">Queued</th></tr></thead>\n<tbody>";

fn write_table(page: &mut Markup, rows: &[Busy<'_>]) {
    page.raw(HEAD);
    for row in rows {
        let request = row.request;
        page.put("<tr id=\"", anchor::row(row), "\"><td>");
        write_age(page, row);
        page.put("</td><td class=\"any\">", row.pool, " <span class=\"soft\">");
        write_place(page, row);
        page.put(
            "</span></td><td class=\"target\"><span class=\"mono\"><b>",
            &request.method,
            "</b> ",
        );
        page.put("", &request.target, "</span> <span class=\"soft small\">");
        write_host(page, request);
        page.put("</span></td><td class=\"any mono\">", &request.route, "</td>");
        page.put("<td class=\"any small\">", used(request), "</td>");
        page.put("<td class=\"wide any small\">", &request.client, " <span class=\"soft\">");
        page.text(&request.protocol);
        page.put("</span></td><td class=\"wide number\">", duration(request.queued_ms), "</td>");
        page.raw("</tr>\n");
    }
    page.raw("</tbody></table>");
}

/// Writes what the client asked for, the site where that is another name, and the id.
fn write_host(page: &mut Markup, request: &Request) {
    page.text(&request.host);
    if request.site != request.host && !request.site.is_empty() {
        page.put(" (", &request.site, ")");
    }
    page.put(" id ", &request.id, "");
}

fn write_list(page: &mut Markup, rows: &[Busy<'_>]) {
    page.raw("<ul class=\"plain\">");
    for row in rows {
        let request = row.request;
        page.put("<li id=\"", anchor::row(row), "\">");
        write_age(page, row);
        page.put(" in ", row.pool, " ");
        write_place(page, row);
        page.put(": ", &request.method, " ").text(&request.target);
        page.put(" (route ", &request.route, ") at ").text(&request.host);
        page.put(" for ", &request.client, ", ").text(&request.protocol);
        page.put(", queued ", duration(request.queued_ms), ", used ").text(used(request));
        page.put(", id ", &request.id, "</li>\n");
    }
    page.raw("</ul>");
}

fn write_age(page: &mut Markup, row: &Busy<'_>) {
    let running_ms = row.request.running_ms;
    page.raw("<span class=\"age").raw(age_class(running_ms)).raw("\">");
    page.text(duration(running_ms)).raw("</span>");
    if row.thread.stuck {
        page.raw(" <span class=\"badge bad\">stuck</span>");
    }
}

/// Writes worker and row, as `0-1/3`, and the thread where it is known.
fn write_place(page: &mut Markup, row: &Busy<'_>) {
    page.text(format_args!("{}-{}/{}", row.worker.slot, row.worker.generation, row.thread.thread));
    if let Some(tid) = row.thread.tid {
        page.put(" tid ", tid, "");
    }
}

/// As in `cpu 12 ms, 45 queries 180 ms`: what a request has used so far, as far as that is told.
fn used(request: &Request) -> String {
    let Costs { db_queries, db_ms, outbound_calls, outbound_ms, .. } = request.costs;
    let Costs { cache_hits, cache_misses, lock_ms, .. } = request.costs;
    let mut used = Vec::new();
    if let Some(cpu_ms) = request.cpu_ms {
        used.push(format!("cpu {}", duration(cpu_ms)));
    }
    if db_queries != 0 {
        used.push(format!("{db_queries} queries {}", milliseconds(db_ms)));
    }
    if outbound_calls != 0 {
        used.push(format!("{outbound_calls} calls {}", milliseconds(outbound_ms)));
    }
    if cache_hits + cache_misses != 0 {
        used.push(format!("cache {cache_hits} of {}", cache_hits + cache_misses));
    }
    if 0.0 < lock_ms {
        used.push(format!("lock {}", milliseconds(lock_ms)));
    }
    if used.is_empty() { "\u{2013}".to_owned() } else { used.join(", ") }
}
