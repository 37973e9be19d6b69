//! The page of `/server-info`, in the style of the status page. It needs no script.

use crate::info::{Feature, Info, InfoLimit, InfoPart, InfoRoute};
use crate::units::{bytes, count};

use super::STYLE;
use super::markup::Markup;

/// Returns the page with these parts of it.
///
/// # Panics
///
/// Never: writing to a `String` cannot fail.
pub fn info_html(info: &Info, parts: &[InfoPart]) -> String {
    let mut page = Markup::default();
    page.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">");
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    page.raw("<meta name=\"robots\" content=\"noindex\"><title>Ostler: server info</title>");
    page.raw("<style>").raw(STYLE).raw("</style></head>\n<body><main>\n");
    page.raw("<header><h1>Ostler <span class=\"soft\">server info</span></h1>");
    let taken = info.taken.date_and_clock();
    page.put("<span class=\"soft small right\">", taken, " UTC</span></header>\n");
    write_warnings(&mut page, info);
    for part in InfoPart::ALL.into_iter().filter(|part| parts.contains(part)) {
        match part {
            InfoPart::Server => write_server(&mut page, info),
            InfoPart::List => write_features(&mut page, &info.features),
            InfoPart::Routes => write_routes(&mut page, info),
            InfoPart::Config => write_config(&mut page, &info.config),
        }
    }
    page.raw("<footer>The parts alone: <a href=\"?server\">server</a>, ");
    page.raw("<a href=\"?list\">features</a>, <a href=\"?routes\">routes</a>, ");
    page.raw("<a href=\"?config\">configuration</a>; all of it as <a href=\"?json\">JSON</a>.");
    page.raw("</footer>\n</main></body>\n</html>\n");
    page.finish()
}

fn write_warnings(page: &mut Markup, info: &Info) {
    page.raw("<ul>");
    for limit in info.limits.iter().filter(|limit| limit.is_low) {
        page.put("<li class=\"verdict warning\">", &limit.name, ": ");
        page.put("the configuration can need ", amount(limit.needed, limit.is_bytes), ", there ");
        page.text(if limit.is_bytes { "is " } else { "are " });
        page.text(found(limit)).put(". To do: ", &limit.remedy, ".</li>\n");
    }
    page.raw("</ul>\n");
}

fn write_server(page: &mut Markup, info: &Info) {
    page.raw("<section class=\"card\" id=\"server\"><h2>Server</h2><dl class=\"facts\">");
    for fact in &info.server {
        page.put("<div><dt>", &fact.name, "</dt>").put("<dd>", &fact.value, "</dd></div>\n");
    }
    page.raw("</dl></section>\n<section class=\"card\" id=\"limits\"><h2>Limits of the system");
    page.raw("</h2><table><thead><tr><th>Limit</th><th class=\"number\">There is</th>");
    page.raw("<th class=\"number\">Can be needed</th><th>");
    page.raw("Which is the sum of</th></tr></thead><tbody>\n");
    for limit in &info.limits {
        page.put("<tr><td>", &limit.name, "");
        page.raw(if limit.is_low { " <span class=\"badge warning\">low</span>" } else { "" });
        page.put("</td><td class=\"number\">", found(limit), "</td>");
        page.put("<td class=\"number\">", amount(limit.needed, limit.is_bytes), "</td>");
        page.put("<td class=\"any\">", &limit.sum, "</td></tr>\n");
    }
    page.raw("</tbody></table></section>\n");
}

fn amount(number: u64, is_bytes: bool) -> String {
    if is_bytes { bytes(number) } else { count(number) }
}

fn found(limit: &InfoLimit) -> String {
    limit.found.map_or_else(|| "not known".to_owned(), |found| amount(found, limit.is_bytes))
}

fn write_features(page: &mut Markup, features: &[Feature]) {
    page.raw("<section class=\"card\" id=\"list\"><h2>Features</h2><table><thead><tr>");
    page.raw("<th>Feature</th><th>In use</th><th class=\"number\">Takes now</th>");
    page.raw("<th>Known from</th></tr></thead><tbody>\n");
    for feature in features {
        page.put("<tr><td>", &feature.name, "</td><td class=\"any\">");
        page.raw(if feature.is_active { "<b>yes</b> " } else { "no " });
        page.put("<span class=\"soft\">", &feature.detail, "</span></td>");
        let taken = feature.bytes.map_or_else(|| "-".to_owned(), bytes);
        page.put("<td class=\"number\">", taken, "</td>");
        page.put("<td class=\"any soft\">", &feature.basis, "</td></tr>\n");
    }
    page.raw("</tbody></table></section>\n");
}

fn write_routes(page: &mut Markup, info: &Info) {
    page.raw("<section class=\"card\" id=\"routes\"><h2>Routes</h2>");
    page.raw("<p class=\"soft small\">In the order in which they are tried.</p>\n");
    for listener in &info.routes {
        page.put("<h3>Listener ", &listener.listener, "</h3><table><thead><tr><th>Host</th>");
        page.raw("<th>Path</th><th>Methods</th><th>Answered by</th><th>Differs</th></tr></thead>");
        page.raw("<tbody>\n");
        for route in &listener.routes {
            write_route(page, route);
        }
        page.raw("</tbody></table>\n");
    }
    page.raw("</section>\n");
}

fn write_route(page: &mut Markup, route: &InfoRoute) {
    let methods =
        if route.methods.is_empty() { "all".to_owned() } else { route.methods.join(", ") };
    page.put("<tr><td class=\"any\">", &route.host, "</td>");
    page.put("<td class=\"any mono\">", &route.path, "</td><td>").text(methods);
    page.put("</td><td class=\"any\">", &route.target, "</td>");
    page.put("<td class=\"any soft\">", route.differs.join(", "), "</td></tr>\n");
}

/// A line has a value, and behind two spaces and a `#` where it is from.
fn write_config(page: &mut Markup, config: &str) {
    page.raw("<section class=\"card\" id=\"config\"><h2>Configuration</h2>");
    page.raw(
        "<p class=\"soft small\">Each value with its file and line, or why it has its default. ",
    );
    page.raw("What may be secret is ***.</p>\n<table><tbody>\n");
    for line in config.lines().filter(|line| !line.is_empty()) {
        if line.starts_with('[') {
            page.put("<tr><th colspan=\"2\" class=\"mono any\">", line, "</th></tr>\n");
            continue;
        }
        let (value, source) = line.rsplit_once("  # ").unwrap_or((line, ""));
        let value = value.trim_end();
        page.put("<tr><td class=\"mono any\">", value.trim_start_matches("# "), "</td>");
        page.put("<td class=\"soft any\">", source, "</td></tr>\n");
    }
    page.raw("</tbody></table></section>\n");
}
