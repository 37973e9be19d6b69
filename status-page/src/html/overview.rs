//! The page's frame: whose state it is, of which moment, and the numbers of the server.

use crate::anchor;
use crate::moment::UnixTime;
use crate::units::{bytes, count, seconds};

use super::View;
use super::markup::Markup;
use super::sparkline::{Line, write_figure};

/// Writes name, state and moment, and the way to each part.
pub(super) fn write_banner(page: &mut Markup, view: &View<'_>) {
    let snapshot = view.snapshot;
    page.raw("<header class=\"top\"><h1>Ostler");
    if !snapshot.machine.server_name.is_empty() {
        page.put(" <span class=\"soft\">", &snapshot.machine.server_name, "</span>");
    }
    page.raw("</h1>");
    if snapshot.server.draining {
        page.raw("<span class=\"badge warning\">draining</span>");
    } else {
        page.raw("<span class=\"badge\">serving</span>");
    }
    page.put("<span class=\"soft small\">version ", &snapshot.server.version, "</span>");
    let taken = snapshot.taken();
    page.put("<span class=\"soft small moment\"><time datetime=\"", taken, "\">");
    page.text(taken.date_and_clock()).raw(" UTC</time>");
    if view.options.at.is_none() {
        page.put(", every ", view.refresh_s(), " s");
    }
    page.raw(
        "</span><button type=\"button\" id=\"pause\" class=\"scripts\" aria-pressed=\"false\"",
    );
    page.raw(" data-own>Pause</button>\n<nav class=\"parts\" aria-label=\"Parts of the page\">");
    write_parts(page, view);
    page.raw("</nav></header>\n");
}

fn write_parts(page: &mut Markup, view: &View<'_>) {
    for name in view.snapshot.pools.keys() {
        page.put("<a href=\"#", anchor::pool(name), "\">").put("Pool ", name, "</a> ");
    }
    let has_routes = !view.snapshot.routes.is_empty();
    for (part, name, is_there) in [
        (anchor::REQUESTS, "Requests", true),
        (anchor::ROUTES, "Routes", has_routes),
        (anchor::CHANGES, "Changes", true),
        (anchor::ORIGINS, "Origins", !view.snapshot.origins.is_empty()),
        (anchor::SERVER, "Server", true),
        (anchor::TRAFFIC, "Connections and answers", true),
    ] {
        if is_there {
            page.put("<a href=\"#", part, "\">").text(name).raw("</a> ");
        }
    }
}

/// Writes the numbers of the server, and its lines of the last hour.
pub(super) fn write_tiles(page: &mut Markup, view: &View<'_>) {
    let snapshot = view.snapshot;
    let (server, requests) = (&snapshot.server, &snapshot.requests);
    page.put("<section class=\"card\" id=\"", anchor::SERVER, "\"><header>");
    page.raw("<h2>Server</h2></header>\n<dl class=\"tiles\">");
    tile(page, "Up", &seconds(server.uptime_s), &since(server.started));
    tile(page, "In flight", &count(requests.in_flight), "requests begun, not ended");
    let shed: u64 = snapshot.pools.values().map(|pool| pool.shed_total.sum()).sum();
    tile(page, "Requests", &count(requests.total), &format!("ended; {} refused", count(shed)));
    let sent = bytes(requests.bytes_sent_total);
    let received = bytes(requests.bytes_received_total);
    tile(page, "Sent", &sent, &format!("received {received}"));
    let loaded = since(server.config_loaded);
    tile(page, "Configuration", &count(server.config_version), &loaded);
    write_proxy(page, view);
    if let Some([one, five, fifteen]) = snapshot.machine.load {
        tile(page, "Load", &format!("{one:.2}"), &format!("{five:.2} and {fifteen:.2} before"));
    }
    page.raw("</dl>\n");
    write_trends(page, view);
    page.raw("</section>\n");
}

fn write_proxy(page: &mut Markup, view: &View<'_>) {
    let proxy = &view.snapshot.server.proxy;
    let known = |value: Option<String>| value.unwrap_or_else(|| "?".to_owned());
    let details = format!(
        "pid {}, cpu {}, {} of {} descriptors",
        proxy.pid,
        known(proxy.cpu_s.map(seconds)),
        known(proxy.fds.map(count)),
        known(proxy.fds_max.map(count)),
    );
    tile(page, "Proxy", &known(proxy.rss_bytes.map(bytes)), &details);
    let spool = match proxy.spool_max_bytes {
        0 => "bodies on disk".to_owned(),
        max => format!("of {}, bodies on disk", bytes(max)),
    };
    tile(page, "Spool", &bytes(proxy.spool_bytes), &spool);
}

fn write_trends(page: &mut Markup, view: &View<'_>) {
    let Some(trends) = view.trends else { return };
    page.raw("<div class=\"figures\">");
    let rate = |rate: f64| format!("{rate:.1}/s");
    write_figure(
        page,
        &Line { name: "Requests", points: &trends.requests, limit: None, show: &rate },
    );
    write_figure(
        page,
        &Line { name: "Errors (500 to 599)", points: &trends.errors, limit: None, show: &rate },
    );
    page.raw("</div>\n");
}

fn since(moment: UnixTime) -> String {
    format!("since {}", moment.date_and_clock())
}

fn tile(page: &mut Markup, name: &'static str, value: &str, details: &str) {
    page.raw("<div class=\"tile\">").put("<dt>", name, "</dt>").put("<dd>", value, "</dd>");
    page.put("<dd class=\"soft\">", details, "</dd></div>\n");
}

/// Writes the way to the other forms.
pub(super) fn write_footer(page: &mut Markup) {
    page.raw("<footer>The same as <a href=\"?json\">JSON</a>, as ");
    page.raw("<a href=\"?auto\">text for monitors</a>, or without ");
    page.raw("<a href=\"?notable\">tables</a>. All times are UTC.</footer>\n");
}
