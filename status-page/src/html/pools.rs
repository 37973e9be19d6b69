//! The page's part about each pool: how full it is, its workers, its rows as coloured cells.

use crate::scoreboard::{is_vacant, listed};
use crate::snapshot::{
    Blame, HeldRequest, Pool, PoolState, PostMortem, Snapshot, Thread, ThreadState, Worker,
    WorkerState,
};
use crate::units::{bytes, count, duration, milliseconds, seconds};

use super::age_class;
use super::markup::Markup;

/// Requests of a post-mortem that the page names; the document has all.
const SHOWN_REQUESTS: usize = 4;

/// Writes all pools, then what the cells mean.
pub(super) fn write(page: &mut Markup, snapshot: &Snapshot) {
    for (name, pool) in &snapshot.pools {
        write_pool(page, snapshot, name, pool);
    }
    if !snapshot.pools.is_empty() {
        page.raw(KEY);
    }
}

fn write_pool(page: &mut Markup, snapshot: &Snapshot, name: &str, pool: &Pool) {
    page.put("<section class=\"card\"><header><h2>Pool ", name, "</h2>");
    page.raw(match pool.state {
        PoolState::Ok => "<span class=\"badge\">",
        PoolState::Starting | PoolState::Degraded => "<span class=\"badge warning\">",
        PoolState::Down => "<span class=\"badge bad\">",
    });
    page.text(pool.state.name()).raw("</span>");
    let unit = if pool.is_service() { "requests" } else { "threads" };
    page.put("<span class=\"soft\">", pool.ready, " of ").text(pool.processes);
    page.put(" workers ready, ", pool.concurrency, " ").text(unit).raw(" each</span></header>\n");
    write_gauges(page, snapshot, pool);
    write_facts(page, snapshot, pool);
    for slot in 0..pool.processes {
        for worker in pool.workers.iter().filter(|worker| worker.slot == slot) {
            write_worker(page, pool, worker);
        }
        if is_vacant(pool, slot) {
            write_vacancy(page, pool, slot);
        }
    }
    for worker in pool.workers.iter().filter(|worker| pool.processes <= worker.slot) {
        write_worker(page, pool, worker);
    }
    page.raw("</section>\n");
}

const KEY: &str = "<p class=\"key\"><span><i class=\"cell\">_</i>idle</span>\
    <span><i class=\"cell w\">W</i>working</span>\
    <span><i class=\"cell slow\">W</i>over 1 s</span>\
    <span><i class=\"cell old\">W</i>over 10 s</span>\
    <span><i class=\"cell stuck\">W</i>stuck</span>\
    <span><i class=\"cell g\">G</i>finishing</span>\
    <span><i class=\"cell s\">S</i>starting</span>\
    <span><i class=\"cell none\">.</i>no process</span></p>\n";

fn write_gauges(page: &mut Markup, snapshot: &Snapshot, pool: &Pool) {
    let full = pool.full_since.is_some() || (pool.capacity != 0 && pool.capacity <= pool.busy);
    page.raw("<div class=\"gauges\">");
    write_gauge(page, "Busy", (pool.busy, pool.capacity), full);
    let since = pool.full_since.map_or_else(
        || format!("{} free", pool.capacity.saturating_sub(pool.busy)),
        |moment| format!("full for {}", duration(snapshot.taken().ms_since(moment))),
    );
    page.put("<span class=\"soft small\">", since, "</span>");
    if pool.stuck != 0 {
        page.put(" <span class=\"badge bad\">", pool.stuck, " stuck</span>");
    }
    page.raw("</div>\n");
    write_gauge(page, "Waiting", (pool.queued, pool.queue_length), pool.queued != 0);
    let oldest = match pool.queued {
        0 => "nobody waits".to_owned(),
        _ => format!("the first for {}", duration(pool.queue_oldest_ms)),
    };
    page.put("<span class=\"soft small\">", oldest, "</span></div></div>\n");
}

/// Writes a number, its limit and a bar; leaves the element open for a remark.
fn write_gauge(page: &mut Markup, name: &'static str, (number, limit): (u64, u64), bad: bool) {
    page.raw(if bad { "<div class=\"gauge bad\">" } else { "<div class=\"gauge\">" });
    page.put("<b>", count(number), "</b>");
    page.put(" <span class=\"soft\">of ", count(limit), " ").text(name.to_lowercase());
    page.put("</span><progress aria-label=\"", name, "\" max=\"").text(limit.max(1));
    page.put("\" value=\"", number.min(limit), "\"></progress>");
}

fn write_facts(page: &mut Markup, snapshot: &Snapshot, pool: &Pool) {
    let (wait, run) = (pool.queue_wait_ms, pool.run_ms);
    let spread = |p50, p99, max| {
        let [p50, p99, max] = [p50, p99, max].map(milliseconds);
        format!("median {p50}, 99 % {p99}, longest {max}")
    };
    page.raw("<dl class=\"facts\">");
    let window = pool.window_s;
    let times = spread(wait.p50, wait.p99, wait.max);
    fact(page, &format!("Wait in the queue, last {window} s"), &times);
    let times = spread(run.p50, run.p99, run.max);
    fact(page, &format!("Time in the application, last {window} s"), &times);
    fact(page, "Shed", &numbers(pool.shed_total.entries()));
    for blame in &pool.blame {
        fact(page, "Long wait", &long_wait(blame, &duration(snapshot.taken().ms_since(blame.at))));
    }
    fact(page, "Left the queue", &count(pool.left_total));
    let recycles = pool.recycles_total.iter().map(|(reason, total)| (reason.as_str(), *total));
    fact(page, "Workers replaced", &numbers(recycles));
    for pending in &pool.recycles_pending {
        let text = format!("slot {}: {}", pending.slot, pending.reason);
        fact(page, "To be replaced", &text);
    }
    if let Some(exit) = &pool.last_exit {
        let ago = duration(snapshot.taken().ms_since(exit.at));
        let text = format!("worker {}-{}: {}, {ago} ago", exit.slot, exit.generation, exit.exit);
        fact(page, "Last exit", &text);
        for line in &exit.stderr {
            fact(page, "Last words", line);
        }
    }
    for record in pool.post_mortems.iter().rev() {
        fact(page, "Post-mortem", &post_mortem(snapshot, record));
    }
    page.raw("</dl>\n");
}

/// Says what a worker was doing, in a line; the whole record is in the document.
fn post_mortem(snapshot: &Snapshot, record: &PostMortem) -> String {
    let ago = duration(snapshot.taken().ms_since(record.at));
    let what = record.exit.as_deref().unwrap_or_else(|| record.moment.name());
    let requests: Vec<String> = record.requests.iter().take(SHOWN_REQUESTS).map(held).collect();
    let left_out = record.requests_left_out as usize;
    let more = match record.requests.len() - requests.len() + left_out {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let (slot, generation, requests) = (record.slot, record.generation, requests.join("; "));
    format!("worker {slot}-{generation} {what}, {ago} ago: {requests}{more}")
}

fn held(request: &HeldRequest) -> String {
    let HeldRequest { id, method, target, client, .. } = request;
    let place = request.thread.as_ref().and_then(|thread| thread.wait_channel.as_ref());
    let place = place.map_or_else(String::new, |place| format!(" in {place}"));
    format!("{method} {target} for {} ({client}, id {id}){place}", duration(request.age_ms))
}

/// As in `waited 840 ms; 9 of 10 threads held: 7 × /report/export (median age 6 s); 3 s ago`.
fn long_wait(blame: &Blame, ago: &str) -> String {
    let routes: Vec<String> = blame
        .routes
        .iter()
        .map(|route| {
            let (count, name, age) = (route.count, &route.route, duration(route.median_age_ms));
            format!("{count} × {name} (median age {age})")
        })
        .collect();
    let (waited, routes) = (duration(blame.waited_ms), routes.join(", "));
    format!(
        "waited {waited}; {} of {} threads held: {routes}; {ago} ago",
        blame.held, blame.capacity
    )
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

fn write_worker(page: &mut Markup, pool: &Pool, worker: &Worker) {
    page.put("<div class=\"worker\"><p><b>Worker ", worker.slot, "-").text(worker.generation);
    page.raw(match worker.state {
        WorkerState::Ready => "</b><span>",
        WorkerState::Starting
        | WorkerState::Warming
        | WorkerState::Draining
        | WorkerState::Killed => "</b><span class=\"badge warning\">",
    });
    page.text(worker.state.name()).raw("</span>");
    page.put("<span>pid ", worker.pid, "</span>");
    page.put("<span>age ", seconds(worker.age_s), "</span>");
    page.put("<span>memory ", worker.rss_bytes.map_or_else(unknown, bytes), "</span>");
    page.put("<span>cpu ", worker.cpu_s.map_or_else(unknown, seconds), "</span>");
    page.put("<span>", count(worker.requests_total), " requests</span></p><div class=\"cells\">");
    let mut shown = 0;
    for thread in listed(pool, worker) {
        write_cell(page, thread);
        shown += 1;
    }
    page.raw("</div>");
    let hidden = worker.threads.len().saturating_sub(shown);
    if hidden != 0 {
        page.put("<p>and ", hidden, " idle ones</p>");
    }
    page.raw("</div>\n");
}

fn unknown() -> String {
    "?".to_owned()
}

fn write_vacancy(page: &mut Markup, pool: &Pool, slot: u32) {
    page.put("<div class=\"worker\"><p><b>Slot ", slot, "</b><span class=\"badge bad\">no worker");
    page.raw("</span></p><div class=\"cells\">");
    // A service may have thousands; as of a worker of one, 64 are enough.
    for _ in 0..pool.concurrency.min(64) {
        page.raw("<i class=\"cell none\">.</i>");
    }
    page.raw("</div></div>\n");
}

fn write_cell(page: &mut Markup, thread: &Thread) {
    let running_ms = thread.request.as_ref().map_or(0, |request| request.running_ms);
    page.raw("<i class=\"cell");
    page.raw(match thread.state {
        ThreadState::Idle => "",
        ThreadState::Starting => " s",
        ThreadState::Working => " w",
        ThreadState::Finishing => " g",
        ThreadState::Absent => " none",
    });
    if thread.state == ThreadState::Working {
        page.raw(age_class(running_ms));
    }
    if thread.stuck {
        page.raw(" stuck");
    }
    page.put("\" title=\"", thread.thread, "");
    if let Some(tid) = thread.tid {
        page.put(" (tid ", tid, ")");
    }
    if let Some(request) = &thread.request {
        page.put(": ", &request.method, " ").text(&request.target);
        page.put(" for ", duration(running_ms), " (").text(&request.client).raw(")");
    }
    page.put("\">", thread.state.letter(), "</i>");
}
