//! The page's part about who holds the threads: every busy row, longest-running first.

use crate::scoreboard::{Busy, busiest};
use crate::snapshot::Snapshot;
use crate::units::duration;

use super::age_class;
use super::markup::Markup;

/// Rows shown at once, so that the pools below are not far.
const FIRST_ROWS: usize = 10;
/// Most rows shown on demand: a pool of thousands would make the page unreadable.
const ROWS: usize = 200;

/// Writes the table, or the list.
pub(super) fn write(page: &mut Markup, snapshot: &Snapshot, notable: bool) {
    let rows = busiest(snapshot);
    page.raw("<section class=\"card\"><header><h2>Requests in the application</h2>");
    page.raw("<span class=\"soft\">longest-running first</span></header>\n");
    let write_rows = if notable { write_list } else { write_table };
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

fn write_table(page: &mut Markup, rows: &[Busy<'_>]) {
    page.raw("<table class=\"busy\"><thead><tr><th class=\"c1\">Running</th>");
    page.raw("<th class=\"c2\">Where</th><th>Request</th><th class=\"wide c3\">Site</th>");
    page.raw("<th class=\"c3\">Client</th><th class=\"wide number c1\">Queued</th>");
    page.raw("<th class=\"wide c4\">Id</th></tr></thead>\n<tbody>");
    for row in rows {
        let request = row.request;
        write_age(page.raw("<tr><td>"), row);
        page.put("</td><td class=\"any\">", row.pool, " <span class=\"soft\">");
        write_place(page, row);
        page.put("</span></td><td class=\"target mono\"><b>", &request.method, "</b> ");
        page.text(&request.target);
        page.put("</td><td class=\"wide any\">", &request.host, "");
        if request.site != request.host {
            page.put(" <span class=\"soft\">", &request.site, "</span>");
        }
        page.put("</td><td class=\"any\">", &request.client, " <span class=\"soft wide\">");
        page.text(&request.protocol);
        page.put("</span></td><td class=\"wide number\">", duration(request.queued_ms), "</td>");
        page.put("<td class=\"wide any mono\">", &request.id, "</td></tr>\n");
    }
    page.raw("</tbody></table>");
}

fn write_list(page: &mut Markup, rows: &[Busy<'_>]) {
    page.raw("<ul class=\"plain\">");
    for row in rows {
        let request = row.request;
        write_age(page.raw("<li>"), row);
        page.put(" in ", row.pool, " ");
        write_place(page, row);
        page.put(": ", &request.method, " ").text(&request.target);
        page.put(" at ", &request.host, " for ").text(&request.client);
        page.put(", ", &request.protocol, ", queued ").text(duration(request.queued_ms));
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
