//! The scoreboard of a pool: a line for each worker, a cell for each of its rows.
//!
//! A busy cell tells its age in letters and leads to its request; colours only repeat that.

use crate::anchor;
use crate::scoreboard::{Busy, is_vacant, listed};
use crate::snapshot::{Pool, Request, Thread, ThreadState, Worker, WorkerState};
use crate::units::{bytes, count, duration, seconds};

use super::age_class;
use super::markup::Markup;

/// Writes the workers of a pool.
pub(super) fn write(page: &mut Markup, name: &str, pool: &Pool) {
    page.put("<div class=\"workers\" id=\"workers-", name, "\">");
    for slot in 0..pool.processes {
        for worker in pool.workers.iter().filter(|worker| worker.slot == slot) {
            write_worker(page, name, pool, worker);
        }
        if is_vacant(pool, slot) {
            write_vacancy(page, pool, slot);
        }
    }
    for worker in pool.workers.iter().filter(|worker| pool.processes <= worker.slot) {
        write_worker(page, name, pool, worker);
    }
    page.raw("</div>\n");
}

/// What the cells mean.
pub(super) const KEY: &str = "<p class=\"key\"><span><i class=\"cell\">_</i>idle</span>\
    <span><i class=\"cell w\">W</i>working</span>\
    <span><i class=\"cell w slow\">4s</i>for that long</span>\
    <span><i class=\"cell w old\">2m</i>for over 10 s</span>\
    <span><i class=\"cell w old stuck\">2m</i>stuck</span>\
    <span><i class=\"cell g\">G</i>finishing</span>\
    <span><i class=\"cell s\">S</i>starting</span>\
    <span><i class=\"cell none\">.</i>no process</span></p>\n";

fn write_worker(page: &mut Markup, name: &str, pool: &Pool, worker: &Worker) {
    let place = format_args!("{}-{}", worker.slot, worker.generation);
    page.put("<div class=\"worker\" id=\"worker-", name, "-").text(place);
    page.put("\"><p><b>Worker ", place, "");
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
        write_cell(page, name, worker, thread);
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

fn write_cell(page: &mut Markup, pool: &str, worker: &Worker, thread: &Thread) {
    let Some(request) = &thread.request else {
        write_kind(page.raw("<i class=\"cell"), thread);
        page.put("\" title=\"", thread.thread, "\">").text(thread.state.letter()).raw("</i>");
        return;
    };
    let row = Busy { pool, worker, thread, request };
    write_kind(page.raw("<a class=\"cell"), thread);
    page.put("\" href=\"#", anchor::row(&row), "\" title=\"Thread ").text(thread.thread);
    if let Some(tid) = thread.tid {
        page.put(" (tid ", tid, ")");
    }
    page.put(": ", &request.method, " ").text(&request.target);
    page.put(" for ", duration(request.running_ms), " (").text(&request.client).raw(")");
    page.put("\">", short_age(thread, request), "</a>");
}

fn write_kind(page: &mut Markup, thread: &Thread) {
    page.raw(match thread.state {
        ThreadState::Idle => "",
        ThreadState::Starting => " s",
        ThreadState::Working => " w",
        ThreadState::Finishing => " g",
        ThreadState::Absent => " none",
    });
    if let (ThreadState::Working, Some(request)) = (thread.state, &thread.request) {
        page.raw(age_class(request.running_ms));
    }
    if thread.stuck {
        page.raw(" stuck");
    }
}

/// Returns how long a cell's request has been running, in at most three characters; its letter
/// below a second.
fn short_age(thread: &Thread, request: &Request) -> String {
    let seconds = request.running_ms / 1_000;
    match seconds {
        0 => thread.state.letter().to_string(),
        1..100 => format!("{seconds}s"),
        100..6_000 => format!("{}m", seconds / 60),
        6_000..360_000 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", (seconds / 86_400).min(99)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_three_characters_at_most() {
        let thread = Thread { state: ThreadState::Finishing, ..Thread::default() };
        for (seconds, expected) in [
            (0, "G"),
            (1, "1s"),
            (99, "99s"),
            (100, "1m"),
            (5_999, "99m"),
            (6_000, "1h"),
            (359_999, "99h"),
            (360_000, "4d"),
            (100_000_000, "99d"),
        ] {
            let request = Request { running_ms: seconds * 1_000, ..Request::default() };
            assert_eq!(short_age(&thread, &request), expected);
        }
    }
}
