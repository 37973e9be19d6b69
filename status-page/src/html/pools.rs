//! The page's part about each pool: how full it is, its times, its workers.

use crate::anchor;
use crate::moment::UnixTime;
use crate::snapshot::{Blame, EventKind, Pool, PoolState};
use crate::trends::PoolTrend;
use crate::units::{count, duration, milliseconds};
use crate::verdict::{Severity, Verdict, first_time};

use super::markup::Markup;
use super::sparkline::{Line, write_figure};
use super::{View, cells, exits};

/// Writes all pools: those with a fault first, in the order of the findings.
pub(super) fn write(page: &mut Markup, view: &View<'_>, verdicts: &[Verdict]) {
    let mut pools: Vec<(&String, &Pool)> = view.snapshot.pools.iter().collect();
    pools.sort_by_cached_key(|(name, _)| place(verdicts, name));
    for (name, pool) in pools {
        page.put("<section class=\"card\" id=\"", anchor::pool(name), "\">");
        write_title(page, name, pool);
        write_gauges(page, view, name, pool);
        if let Some(trend) = view.trends.and_then(|trends| trends.pools.get(name)) {
            write_trend(page, name, pool, trend);
        }
        cells::write(page, name, pool);
        write_facts(page, name, pool);
        write_blame(page, view, pool);
        exits::write(page, view, name, pool);
        page.raw("</section>\n");
    }
    if !view.snapshot.pools.is_empty() {
        page.raw(cells::KEY);
    }
}

/// Which of the findings is the first that leads to this pool; the number of all: none does.
fn place(verdicts: &[Verdict], name: &str) -> usize {
    let (part, row) = (anchor::pool(name), format!("row-{name}-"));
    let is_of = |look: &String| *look == part || look.starts_with(&row);
    let is_fault = |verdict: &Verdict| verdict.severity <= Severity::Warning;
    let leads_here =
        |verdict: &Verdict| is_fault(verdict) && verdict.look.as_ref().is_some_and(is_of);
    verdicts.iter().position(leads_here).unwrap_or(verdicts.len())
}

fn write_title(page: &mut Markup, name: &str, pool: &Pool) {
    page.put("<header><h2>Pool ", name, "</h2>");
    page.raw(match pool.state {
        PoolState::Ok => "<span class=\"badge\">",
        PoolState::Starting | PoolState::Degraded => "<span class=\"badge warning\">",
        PoolState::Down => "<span class=\"badge bad\">",
    });
    page.text(pool.state.name()).raw("</span>");
    let unit = if pool.is_service() { "requests" } else { "threads" };
    page.put("<span class=\"soft\">", pool.ready, " of ").text(pool.processes);
    page.put(" workers ready, ", pool.concurrency, " ").text(unit).raw(" each</span></header>\n");
}

fn write_gauges(page: &mut Markup, view: &View<'_>, name: &str, pool: &Pool) {
    let full = pool.full_since.is_some() || (pool.capacity != 0 && pool.capacity <= pool.busy);
    page.put("<div class=\"gauges\" id=\"gauges-", name, "\">");
    write_gauge(page, "Busy", (pool.busy, pool.capacity), full);
    let first = |kind, since: Option<UnixTime>| {
        since.and_then(|since| first_time(view.snapshot, name, kind, Some(since)))
    };
    let since = first(EventKind::PoolFull, pool.full_since).map_or_else(
        || format!("{} free", pool.capacity.saturating_sub(pool.busy)),
        |moment| format!("full since {}, {}", moment.clock(), duration(view.age_ms(moment))),
    );
    page.put("<span class=\"soft small\">", since, "</span>");
    if view.options.at.is_none() {
        page.put(" <a class=\"small\" href=\"?stacks=", name, "\">stacks</a>");
    }
    if pool.stuck != 0 {
        page.put(" <span class=\"badge bad\">", pool.stuck, " stuck</span>");
    }
    page.raw("</div>\n");
    write_gauge(page, "Waiting", (pool.queued, pool.queue_length), pool.queued != 0);
    let oldest = match pool.queued {
        0 => "nobody waits".to_owned(),
        _ => format!("the first for {}", duration(pool.queue_oldest_ms)),
    };
    page.put("<span class=\"soft small\">", oldest, "");
    if let Some(moment) = first(EventKind::QueueFull, pool.queue_full_since) {
        page.put("; full since ", moment.clock(), "");
    }
    page.raw("</span></div></div>\n");
}

/// Writes a number, its limit and a bar; leaves the element open for a remark.
fn write_gauge(page: &mut Markup, name: &'static str, (number, limit): (u64, u64), bad: bool) {
    page.raw(if bad { "<div class=\"gauge bad\">" } else { "<div class=\"gauge\">" });
    page.put("<b>", count(number), "</b>");
    page.put(" <span class=\"soft\">of ", count(limit), " ").text(name.to_lowercase());
    page.put("</span><progress aria-label=\"", name, "\" max=\"").text(limit.max(1));
    page.put("\" value=\"", number.min(limit), "\"></progress>");
}

fn write_trend(page: &mut Markup, name: &str, pool: &Pool, trend: &PoolTrend) {
    let whole = |value: f64| format!("{value:.0}");
    let rate = |rate: f64| format!("{rate:.1}/s");
    #[expect(clippy::cast_precision_loss, reason = "no pool has 2^52 rows, and it is drawn")]
    let capacity = Some(pool.capacity as f64);
    let line = |name, points, limit, show| Line { name, points, limit, show };
    // Parts that come and go have names, so that the script leaves the others in place.
    page.put("<div class=\"figures\" id=\"figures-", name, "\">");
    write_figure(page, &line("Busy", &trend.busy, capacity, &whole));
    write_figure(page, &line("Waiting", &trend.queued, None, &whole));
    write_figure(page, &line("Wait, 99 %", &trend.queue_wait_p99_ms, None, &milliseconds));
    write_figure(page, &line("Application, 99 %", &trend.run_p99_ms, None, &milliseconds));
    write_figure(page, &line("Refused", &trend.shed, None, &rate));
    page.raw("</div>\n");
}

fn write_facts(page: &mut Markup, name: &str, pool: &Pool) {
    let (wait, run) = (pool.queue_wait_ms, pool.run_ms);
    let spread = |p50, p99, max| {
        let [p50, p99, max] = [p50, p99, max].map(milliseconds);
        format!("median {p50}, 99 % {p99}, longest {max}")
    };
    page.put("<dl class=\"facts\" id=\"facts-", name, "\">");
    let window = pool.window_s;
    let times = spread(wait.p50, wait.p99, wait.max);
    fact(page, &format!("Wait in the queue, last {window} s"), &times);
    let times = spread(run.p50, run.p99, run.max);
    fact(page, &format!("Time in the application, last {window} s"), &times);
    fact(page, "Refused, by reason", &numbers(pool.shed_total.entries()));
    fact(page, "Left while they waited", &count(pool.left_total));
    let recycles = pool.recycles_total.iter().map(|(reason, total)| (reason.as_str(), *total));
    fact(page, "Workers replaced, by reason", &numbers(recycles));
    let pending = &pool.recycles_pending;
    let pending: Vec<String> =
        pending.iter().map(|one| format!("slot {}: {}", one.slot, one.reason)).collect();
    if !pending.is_empty() {
        fact(page, "To be replaced", &pending.join(", "));
    }
    page.raw("</dl>\n");
}

/// Writes who held the rows while requests waited long.
fn write_blame(page: &mut Markup, view: &View<'_>, pool: &Pool) {
    if pool.blame.is_empty() {
        return;
    }
    page.raw("<h3>Long waits, and who held the threads meanwhile</h3><ul class=\"plain\">");
    for blame in &pool.blame {
        page.put("<li>", long_wait(blame, &duration(view.age_ms(blame.at))), "</li>\n");
    }
    page.raw("</ul>\n");
}

/// As in `5.5 s ago one waited 840 ms: 9 of 10 were held, 7 by /report (median age 6.0 s)`.
fn long_wait(blame: &Blame, ago: &str) -> String {
    let routes: Vec<String> = blame
        .routes
        .iter()
        .map(|route| {
            let (count, name, age) = (route.count, &route.route, duration(route.median_age_ms));
            format!("{count} by {name} (median age {age})")
        })
        .collect();
    let (waited, routes) = (duration(blame.waited_ms), routes.join(", "));
    let (held, capacity) = (blame.held, blame.capacity);
    format!("{ago} ago one waited {waited}: {held} of {capacity} were held, {routes}")
}

fn fact(page: &mut Markup, name: &str, value: &str) {
    page.put("<div><dt>", name, "</dt>").put("<dd>", value, "</dd></div>\n");
}

/// Lists the numbers that are not 0.
fn numbers<'a>(entries: impl IntoIterator<Item = (&'a str, u64)>) -> String {
    let shown = entries.into_iter().filter(|&(_, number)| number != 0);
    let shown: Vec<String> =
        shown.map(|(name, number)| format!("{name} {}", count(number))).collect();
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
}
