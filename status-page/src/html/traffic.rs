//! The page's part about connections by state and answers by status, with the reasons of both.

use crate::anchor;
use crate::snapshot::{Connections, Requests};
use crate::units::count;

use super::View;
use super::markup::Markup;

/// Writes both, side by side where there is room.
pub(super) fn write(page: &mut Markup, view: &View<'_>) {
    page.put("<div class=\"columns\" id=\"", anchor::TRAFFIC, "\">");
    write_connections(page, &view.snapshot.connections);
    write_answers(page, &view.snapshot.requests);
    page.raw("</div>\n");
}

fn write_answers(page: &mut Markup, requests: &Requests) {
    page.raw("<section class=\"card\"><header><h2>Answers</h2></header>");
    page.raw("<table><thead><tr><th scope=\"col\">Status</th>");
    page.raw("<th scope=\"col\" class=\"number\">Requests</th></tr></thead>\n<tbody>");
    for (class, total) in requests.by_status.entries() {
        number_row(page, class, total);
    }
    page.raw("</tbody></table><h3>Answered by the proxy itself, by reason</h3>");
    let mut reasons: Vec<_> = requests.by_reason.iter().filter(|(_, total)| **total != 0).collect();
    reasons.sort_by_key(|(_, total)| std::cmp::Reverse(**total));
    if reasons.is_empty() {
        page.raw("<p class=\"soft\">None.</p>");
    } else {
        page.raw("<table><tbody>");
        for (reason, total) in reasons {
            number_row(page, reason, *total);
        }
        page.raw("</tbody></table>");
    }
    page.raw("</section>\n");
}

fn number_row(page: &mut Markup, name: &str, total: u64) {
    page.put("<tr><th scope=\"row\" class=\"any\">", name, "</th>");
    page.put("<td class=\"number\">", count(total), "</td></tr>\n");
}

fn write_connections(page: &mut Markup, connections: &Connections) {
    page.raw("<section class=\"card\"><header><h2>Connections</h2>");
    page.put("<span class=\"soft\">", count(connections.open), " of ");
    page.text(count(connections.max)).put(
        " open, ",
        count(connections.accepted_total),
        " accepted",
    );
    page.raw("</span></header>");
    let states = [
        ("reading", connections.reading),
        ("writing", connections.writing),
        ("idle", connections.idle),
        ("upgraded", connections.upgraded),
    ];
    write_bar(page, &states, connections.max);
    page.raw("<table><tbody>");
    for (state, number) in states {
        page.put("<tr><th scope=\"row\"><span class=\"dot ", state, "\"></span> ").text(state);
        page.put("</th><td class=\"number\">", count(number), "</td></tr>\n");
    }
    page.raw("</tbody></table><h3>Closed, by reason</h3><table><tbody>");
    for (reason, closed) in connections.closed_total.entries() {
        number_row(page, reason, closed);
    }
    page.raw("</tbody></table></section>\n");
}

/// Writes a bar of the states, in thousandths of the limit: it tells too how much room is left.
fn write_bar(page: &mut Markup, states: &[(&str, u64)], max: u64) {
    let share = |number: u64| number.saturating_mul(1_000) / max.max(1);
    page.raw("<svg class=\"stack\" viewBox=\"0 0 1000 1\" preserveAspectRatio=\"none\"");
    page.raw(" aria-hidden=\"true\">");
    let mut start = 0;
    for &(state, number) in states {
        page.put("<rect class=\"", state, "\" y=\"0\" height=\"1\" x=\"").text(start);
        page.put("\" width=\"", share(number), "\"/>");
        start += share(number);
    }
    page.raw("</svg>");
}
