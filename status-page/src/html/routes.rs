//! The page's part about what each route costs, and which query the database too often.

use crate::anchor;
use crate::snapshot::{OverBudget, Route};
use crate::units::{bytes, count, duration, milliseconds, seconds};

use super::View;
use super::markup::Markup;

/// Routes shown at once.
const FIRST: usize = 8;
/// Most routes shown on demand; the document has all.
const SHOWN: usize = 200;

/// Writes both tables, the costliest route first. Nothing where no route is known.
pub(super) fn write(page: &mut Markup, view: &View<'_>) {
    let mut routes: Vec<&Route> = view.snapshot.routes.iter().collect();
    if routes.is_empty() {
        return;
    }
    let by_cost = |a: &&Route, b: &&Route| {
        let window = b.window.thread_s.total_cmp(&a.window.thread_s);
        window.then_with(|| b.thread_s_total.total_cmp(&a.thread_s_total))
    };
    routes.sort_by(by_cost);
    page.put("<section class=\"card\" id=\"", anchor::ROUTES, "\"><header>");
    page.raw("<h2>Routes by thread-seconds</h2>");
    page.raw("<span class=\"soft\">last minute; in grey since the start</span></header>\n");
    let write_rows = if view.options.notable { write_list } else { write_table };
    let shown = routes.get(..SHOWN).unwrap_or(&routes);
    let (first, others) = shown.split_at_checked(FIRST).unwrap_or((shown, &[]));
    write_rows(page, first);
    if !others.is_empty() {
        page.put("<details id=\"other-routes\"><summary>", others.len(), " more</summary>");
        write_rows(page, others);
        page.raw("</details>");
    }
    page.raw("</section>\n");
    write_over_budget(page, view);
}

const HEAD: &str = "<table class=\"routes\"><thead><tr><th scope=\"col\">Route</th>\
    <th scope=\"col\" class=\"c3\">Share of its pool</th>\
    <th scope=\"col\" class=\"number\">Busy</th>\
    <th scope=\"col\" class=\"number\">Requests</th>\
    <th scope=\"col\" class=\"number\">Errors</th>\
    <th scope=\"col\" class=\"number wide\">Thread time</th>\
    <th scope=\"col\" class=\"number wide\">Processor</th>\
    <th scope=\"col\" class=\"number\">Queries each</th>\
    <th scope=\"col\" class=\"number wide\">Query time</th>\
    <th scope=\"col\" class=\"number wide\">Sent</th></tr></thead>\n<tbody>";

fn write_table(page: &mut Markup, routes: &[&Route]) {
    page.raw(HEAD);
    for route in routes {
        let window = &route.window;
        page.put(
            "<tr><th scope=\"row\" class=\"any\"><span class=\"mono\">",
            &route.name,
            "</span> ",
        );
        page.put("<span class=\"soft small\">", goal(route), "</span></th>");
        write_share(page, route);
        page.put("<td class=\"number\">", count(route.busy), "</td>");
        let since_start = count(route.requests_total);
        cell(page, "number", &count(window.requests), &since_start);
        cell(page, "number", &count(window.errors), &count(route.errors_total));
        cell(page, "number wide", &seconds(window.thread_s), &seconds(route.thread_s_total));
        cell(page, "number wide", &seconds(window.cpu_s), &seconds(route.cpu_s_total));
        let each = each(window.costs.db_queries, window.requests);
        let each_in_all = self::each(route.costs.db_queries, route.requests_total);
        cell(page, "number", &each, &each_in_all);
        let (now, in_all) = (milliseconds(window.costs.db_ms), milliseconds(route.costs.db_ms));
        cell(page, "number wide", &now, &in_all);
        page.put("<td class=\"number wide\">", bytes(route.bytes_sent_total), "</td></tr>\n");
    }
    page.raw("</tbody></table>");
}

fn cell(page: &mut Markup, class: &'static str, now: &str, in_all: &str) {
    page.put("<td class=\"", class, "\">").put("", now, " <span class=\"soft small\">");
    page.put("", in_all, "</span></td>");
}

fn goal(route: &Route) -> &str {
    route.pool.as_deref().or(route.origin.as_deref()).unwrap_or_default()
}

/// Writes the share as a number and a bar. A route without a pool has none.
fn write_share(page: &mut Markup, route: &Route) {
    if route.pool.is_none() {
        page.raw("<td class=\"soft\">\u{2013}</td>");
        return;
    }
    let share = format!("{:.0}", route.window.thread_share * 100.0);
    page.put("<td class=\"share\">", &share, " %");
    page.put("<progress aria-hidden=\"true\" max=\"100\" value=\"", &share, "\"></progress></td>");
}

/// As in `4.5`: how many there were for each request.
fn each(number: u64, requests: u64) -> String {
    if requests == 0 || number == 0 {
        return "0".to_owned();
    }
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let each = number as f64 / requests as f64;
    if each < 0.05 { "< 0.1".to_owned() } else { format!("{each:.1}") }
}

fn write_list(page: &mut Markup, routes: &[&Route]) {
    page.raw("<ul class=\"plain\">");
    for route in routes {
        let window = &route.window;
        page.put("<li>", &route.name, " to ").text(goal(route));
        page.put(": ", format_args!("{:.0}", window.thread_share * 100.0), " % of the pool, ");
        page.put("", count(route.busy), " busy, ").text(count(window.requests));
        page.put(" requests, ", count(window.errors), " errors, thread time ");
        page.put("", seconds(window.thread_s), ", processor ").text(seconds(window.cpu_s));
        page.put(", ", each(window.costs.db_queries, window.requests), " queries each</li>\n");
    }
    page.raw("</ul>");
}

/// Writes the routes of which a request made too many database queries.
fn write_over_budget(page: &mut Markup, view: &View<'_>) {
    let budget = view.snapshot.server.query_budget;
    let mut over: Vec<(&Route, &OverBudget)> = view
        .snapshot
        .routes
        .iter()
        .filter_map(|route| Some((route, route.over_budget.as_ref()?)))
        .collect();
    if over.is_empty() {
        return;
    }
    over.sort_by_key(|(route, _)| std::cmp::Reverse(route.window.over_budget));
    page.put("<section class=\"card\" id=\"", anchor::QUERIES, "\"><header><h2>");
    page.put("Requests that made more than ", budget, " database queries</h2></header>\n");
    if view.options.notable {
        page.raw("<ul class=\"plain\">");
    } else {
        page.raw(QUERIES_HEAD);
    }
    for (route, last) in over.into_iter().take(SHOWN) {
        if view.options.notable {
            write_over_item(page, view, route, last);
        } else {
            write_over_row(page, view, route, last);
        }
    }
    page.raw(if view.options.notable { "</ul>" } else { "</tbody></table>" });
    page.raw("</section>\n");
}

const QUERIES_HEAD: &str = "<table class=\"queries\"><thead><tr><th scope=\"col\">Route</th>\
    <th scope=\"col\" class=\"number\">Last minute</th>\
    <th scope=\"col\" class=\"number\">So far</th>\
    <th scope=\"col\">The last one</th><th scope=\"col\" class=\"number\">Queries</th>\
    <th scope=\"col\" class=\"number wide\">In</th>\
    <th scope=\"col\" class=\"number wide\">When</th></tr></thead>\n<tbody>";

fn write_over_row(page: &mut Markup, view: &View<'_>, route: &Route, last: &OverBudget) {
    page.put("<tr><th scope=\"row\" class=\"any mono\">", &route.name, "</th>");
    page.put("<td class=\"number\">", count(route.window.over_budget), " <span class=\"soft\">of ");
    page.put("", count(route.window.requests), "</span></td>");
    page.put("<td class=\"number\">", count(route.over_budget_total), "</td>");
    page.put("<td class=\"any\"><span class=\"mono\"><b>", &last.method, "</b> ");
    page.put("", &last.target, "</span> <span class=\"soft small wide\">id ");
    page.put("", &last.id, "</span></td>");
    page.put("<td class=\"number\"><b>", count(last.queries), "</b></td>");
    page.put("<td class=\"number wide\">", milliseconds(last.db_ms), "</td>");
    page.put("<td class=\"number wide\">", duration(view.age_ms(last.at)), " ago</td></tr>\n");
}

fn write_over_item(page: &mut Markup, view: &View<'_>, route: &Route, last: &OverBudget) {
    page.put("<li>", &route.name, ": ").text(count(route.window.over_budget));
    page.put(" of ", count(route.window.requests), " requests of the last minute; the last one, ");
    page.put("", &last.method, " ").put("", &last.target, ", made ").text(count(last.queries));
    page.put(" in ", milliseconds(last.db_ms), ", ").text(duration(view.age_ms(last.at)));
    page.put(" ago, id ", &last.id, "</li>\n");
}
