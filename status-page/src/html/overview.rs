//! The page's parts about the server as a whole: findings, numbers, traffic, origins.

use crate::moment::UnixTime;
use crate::snapshot::{Connections, OriginServer, Snapshot};
use crate::units::{bytes, count, duration, seconds};
use crate::verdict::{Severity, verdicts};

use super::markup::Markup;

/// Writes name, state, findings and the numbers of the server.
pub(super) fn write(page: &mut Markup, snapshot: &Snapshot, refresh: u32) {
    let server = &snapshot.server;
    page.raw("<header><h1>Ostler");
    if !snapshot.machine.server_name.is_empty() {
        page.put(" <span class=\"soft\">", &snapshot.machine.server_name, "</span>");
    }
    page.raw("</h1>");
    if server.draining {
        page.raw("<span class=\"badge warning\">draining</span>");
    } else {
        page.raw("<span class=\"badge\">serving</span>");
    }
    page.put("<span class=\"soft small\">version ", &server.version, "</span>");
    page.put(
        "<span class=\"soft small right\">",
        snapshot.taken().date_and_clock(),
        " UTC, every ",
    );
    page.text(refresh).raw(" s</span></header>\n<ul>");
    for verdict in verdicts(snapshot) {
        page.raw(match verdict.severity {
            Severity::Bad => "<li class=\"verdict bad\">",
            Severity::Warning => "<li class=\"verdict warning\">",
            Severity::Good => "<li class=\"verdict\">",
        });
        page.text(verdict.text).raw("</li>\n");
    }
    page.raw("</ul>\n");
    write_tiles(page, snapshot);
}

fn write_tiles(page: &mut Markup, snapshot: &Snapshot) {
    let (server, requests) = (&snapshot.server, &snapshot.requests);
    let proxy = &server.proxy;
    let known = |value: Option<String>| value.unwrap_or_else(|| "?".to_owned());
    page.raw("<dl class=\"tiles\">");
    tile(page, "Up", &seconds(server.uptime_s), &since(server.started));
    tile(page, "In flight", &count(requests.in_flight), "requests begun and not ended");
    let shed: u64 = snapshot.pools.values().map(|pool| pool.shed_total.sum()).sum();
    tile(page, "Requests", &count(requests.total), &format!("ended; {} shed", count(shed)));
    let sent = bytes(requests.bytes_sent_total);
    let received = bytes(requests.bytes_received_total);
    tile(page, "Sent", &sent, &format!("received {received}"));
    let loaded = since(server.config_loaded);
    tile(page, "Configuration", &count(server.config_version), &loaded);
    let memory = known(proxy.rss_bytes.map(bytes));
    let details = format!(
        "pid {}, cpu {}, {} of {} descriptors",
        proxy.pid,
        known(proxy.cpu_s.map(seconds)),
        known(proxy.fds.map(count)),
        known(proxy.fds_max.map(count)),
    );
    tile(page, "Proxy", &memory, &details);
    if let Some([one, five, fifteen]) = snapshot.machine.load {
        tile(page, "Load", &format!("{one:.2}"), &format!("{five:.2} and {fifteen:.2} before"));
    }
    page.raw("</dl>\n");
}

fn since(moment: UnixTime) -> String {
    format!("since {}", moment.date_and_clock())
}

fn tile(page: &mut Markup, name: &'static str, value: &str, details: &str) {
    page.raw("<div class=\"tile\">").put("<dt>", name, "</dt>").put("<dd>", value, "</dd>");
    page.put("<dd class=\"soft\">", details, "</dd></div>\n");
}

/// Writes connections by state and reason, requests by status and reason.
pub(super) fn write_traffic(page: &mut Markup, snapshot: &Snapshot) {
    page.raw("<div class=\"columns\">");
    write_connections(page, &snapshot.connections);
    let requests = &snapshot.requests;
    page.raw("<section class=\"card\"><header><h2>Answers</h2></header>");
    page.raw("<table><thead><tr><th>Status</th><th class=\"number\">Requests</th></tr></thead>");
    for (class, total) in requests.by_status.entries() {
        number_row(page, class, total);
    }
    page.raw("</table><h3>Answered by the proxy itself, by reason</h3>");
    let mut reasons: Vec<_> = requests.by_reason.iter().filter(|(_, total)| **total != 0).collect();
    reasons.sort_by_key(|(_, total)| std::cmp::Reverse(**total));
    if reasons.is_empty() {
        page.raw("<p class=\"soft\">None.</p>");
    } else {
        page.raw("<table>");
        for (reason, total) in reasons {
            number_row(page, reason, *total);
        }
        page.raw("</table>");
    }
    page.raw("</section></div>\n");
}

fn number_row(page: &mut Markup, name: &str, total: u64) {
    page.put("<tr><td class=\"any\">", name, "</td>");
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
    // Thousandths of the limit, so that the bar also tells how much room is left.
    let share = |number: u64| number.saturating_mul(1_000) / connections.max.max(1);
    page.raw("<svg class=\"stack\" viewBox=\"0 0 1000 1\" preserveAspectRatio=\"none\" aria-hidden=\"true\">");
    let mut start = 0;
    for (state, number) in states {
        page.put("<rect class=\"", state, "\" y=\"0\" height=\"1\" x=\"").text(start);
        page.put("\" width=\"", share(number), "\"/>");
        start += share(number);
    }
    page.raw("</svg><table>");
    for (state, number) in states {
        page.put("<tr><td><span class=\"dot ", state, "\"></span> ").text(state);
        page.put("</td><td class=\"number\">", count(number), "</td></tr>\n");
    }
    page.raw("</table><h3>Closed, by reason</h3><table>");
    for (reason, closed) in connections.closed_total.entries() {
        number_row(page, reason, closed);
    }
    page.raw("</table></section>\n");
}

/// Writes each origin with the health of its servers.
pub(super) fn write_origins(page: &mut Markup, snapshot: &Snapshot, notable: bool) {
    for (name, origin) in &snapshot.origins {
        page.put("<section class=\"card\"><header><h2>Origin ", name, "</h2></header>");
        if origin.servers.is_empty() {
            page.raw("<p class=\"soft\">A directory.</p>");
        } else if notable {
            page.raw("<ul class=\"plain\">");
            for server in &origin.servers {
                write_health(page.raw("<li>"), server);
                page.put(" ", &server.url, "").put(" ", health_text(snapshot, server), "");
                page.put(": ", count(server.in_flight), " in flight, ");
                page.text(count(server.requests_total));
                page.put(" requests, ", count(server.errors_total), " errors</li>\n");
            }
            page.raw("</ul>");
        } else {
            page.raw("<table><thead><tr><th>Server</th><th>Health</th>");
            page.raw("<th class=\"number wide\">In flight</th><th class=\"number\">Requests</th>");
            page.raw("<th class=\"number\">Errors</th></tr></thead>");
            for server in &origin.servers {
                page.put("<tr><td class=\"any\">", &server.url, "</td><td>");
                write_health(page, server);
                page.put(
                    " <span class=\"soft small\">",
                    health_text(snapshot, server),
                    "</span></td>",
                );
                page.put("<td class=\"number wide\">", count(server.in_flight), "</td>");
                page.put("<td class=\"number\">", count(server.requests_total), "</td>");
                page.put("<td class=\"number\">", count(server.errors_total), "</td></tr>\n");
            }
            page.raw("</table>");
        }
        page.raw("</section>\n");
    }
}

fn write_health(page: &mut Markup, server: &OriginServer) {
    page.raw(if server.healthy {
        "<span class=\"badge\">up</span>"
    } else {
        "<span class=\"badge bad\">down</span>"
    });
}

fn health_text(snapshot: &Snapshot, server: &OriginServer) -> String {
    let since = server.since.map_or_else(String::new, |moment| {
        format!("for {}", duration(snapshot.taken().ms_since(moment)))
    });
    match &server.reason {
        Some(reason) => format!("{since} ({reason})"),
        None => since,
    }
}
