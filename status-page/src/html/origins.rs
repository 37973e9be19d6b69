//! The page's part about origins: the health of their servers, and their caches.

use crate::anchor;
use crate::snapshot::{Cache, Origin, OriginServer};
use crate::units::{bytes, count, duration};

use super::View;
use super::markup::Markup;

/// Writes each origin. Nothing where there is none.
pub(super) fn write(page: &mut Markup, view: &View<'_>) {
    if view.snapshot.origins.is_empty() {
        return;
    }
    page.put(
        "<section class=\"card\" id=\"",
        anchor::ORIGINS,
        "\"><header><h2>Origins</h2></header>",
    );
    for (name, origin) in &view.snapshot.origins {
        page.put("<h3>Origin ", name, "</h3>");
        if origin.servers.is_empty() {
            page.raw("<p>A folder.</p>");
        } else if view.options.notable {
            write_list(page, view, origin);
        } else {
            write_table(page, view, origin);
        }
        if let Some(cache) = &origin.cache {
            write_cache(page, cache);
        }
    }
    page.raw("</section>\n");
}

fn write_list(page: &mut Markup, view: &View<'_>, origin: &Origin) {
    page.raw("<ul class=\"plain\">");
    for server in &origin.servers {
        write_health(page.raw("<li>"), server);
        page.put(" ", &server.url, " ").text(health_text(view, server));
        page.put(": ", count(server.in_flight), " in flight, ");
        page.text(count(server.requests_total));
        page.put(" requests, ", count(server.errors_total), " errors</li>\n");
    }
    page.raw("</ul>");
}

const HEAD: &str = "<table><thead><tr><th scope=\"col\">Server</th><th scope=\"col\">Health</th>\
    <th scope=\"col\" class=\"number wide\">In flight</th>\
    <th scope=\"col\" class=\"number\">Requests</th>\
    <th scope=\"col\" class=\"number\">Errors</th></tr></thead>\n<tbody>";

fn write_table(page: &mut Markup, view: &View<'_>, origin: &Origin) {
    page.raw(HEAD);
    for server in &origin.servers {
        page.put("<tr><th scope=\"row\" class=\"any\">", &server.url, "</th><td>");
        write_health(page, server);
        page.put(" <span class=\"soft small\">", health_text(view, server), "</span></td>");
        page.put("<td class=\"number wide\">", count(server.in_flight), "</td>");
        page.put("<td class=\"number\">", count(server.requests_total), "</td>");
        page.put("<td class=\"number\">", count(server.errors_total), "</td></tr>\n");
    }
    page.raw("</tbody></table>");
}

fn write_health(page: &mut Markup, server: &OriginServer) {
    page.raw(if server.healthy {
        "<span class=\"badge\">up</span>"
    } else {
        "<span class=\"badge bad\">down</span>"
    });
}

fn health_text(view: &View<'_>, server: &OriginServer) -> String {
    let since = server.since.map_or_else(String::new, |moment| {
        format!("since {}, {}", moment.date_and_clock(), duration(view.age_ms(moment)))
    });
    match &server.reason {
        Some(reason) => format!("{since} ({reason})"),
        None => since,
    }
}

fn write_cache(page: &mut Markup, cache: &Cache) {
    let asked = cache.hits_total.saturating_add(cache.misses_total);
    page.put("<p>Its cache holds ", bytes(cache.bytes), " and answered ");
    page.put("", count(cache.hits_total), " of ").put("", count(asked), " requests");
    if let Some(percent) = cache.hits_total.saturating_mul(100).checked_div(asked) {
        page.put(" (", percent, " %)");
    }
    page.raw(".</p>\n");
}
