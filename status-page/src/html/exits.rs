//! The page's part about workers of a pool that ended, or got stuck.

use crate::snapshot::{HeldRequest, LastExit, Pool, PostMortem, ThreadTrace};
use crate::units::{bytes, duration, milliseconds, seconds};

use super::View;
use super::markup::Markup;

/// Writes the last exit, and what was written down of workers with requests inside.
pub(super) fn write(page: &mut Markup, view: &View<'_>, pool_name: &str, pool: &Pool) {
    if let Some(exit) = &pool.last_exit {
        write_exit(page, view, exit);
    }
    if pool.post_mortems.is_empty() {
        return;
    }
    page.raw("<h3>Post-mortems</h3>");
    for (number, record) in pool.post_mortems.iter().enumerate().rev() {
        let (slot, generation) = (record.slot, record.generation);
        page.put("<details id=\"record-", pool_name, "-").text(number);
        page.raw("\"><summary>");
        let what = record.exit.as_deref().unwrap_or_else(|| record.moment.name());
        page.put("Worker ", format_args!("{slot}-{generation}"), " ").text(what);
        page.put(", ", duration(view.age_ms(record.at)), " ago: ").text(in_short(record));
        page.raw("</summary>");
        write_record(page, record);
        page.raw("</details>\n");
    }
}

fn write_exit(page: &mut Markup, view: &View<'_>, exit: &LastExit) {
    page.put("<h3>Last exit</h3><p>Worker ", exit.slot, "-").text(exit.generation);
    page.put(": ", &exit.exit, ", ").text(duration(view.age_ms(exit.at))).raw(" ago");
    write_process(page, exit.rss_bytes, exit.cpu_s);
    page.raw("</p>");
    write_lines(page, &exit.stderr);
}

fn write_process(page: &mut Markup, rss_bytes: Option<u64>, cpu_s: Option<f64>) {
    if let Some(rss_bytes) = rss_bytes {
        page.put(", memory ", bytes(rss_bytes), "");
    }
    if let Some(cpu_s) = cpu_s {
        page.put(", cpu ", seconds(cpu_s), "");
    }
}

fn write_lines(page: &mut Markup, lines: &[String]) {
    if !lines.is_empty() {
        page.raw("<pre>");
        for line in lines {
            page.text(line).raw("\n");
        }
        page.raw("</pre>");
    }
}

/// The first request of a record, and how many others there are.
fn in_short(record: &PostMortem) -> String {
    let Some(first) = record.requests.first() else { return "no request inside".to_owned() };
    let HeldRequest { method, target, age_ms, .. } = first;
    let others = record.requests.len() - 1 + record.requests_left_out as usize;
    let others = if others == 0 { String::new() } else { format!(" and {others} more") };
    format!("{method} {target} for {}{others}", duration(*age_ms))
}

fn write_record(page: &mut Markup, record: &PostMortem) {
    page.put("<p>Process ", record.pid, "");
    write_process(page, record.rss_bytes, record.cpu_s);
    page.raw("</p><ul class=\"plain\">");
    for held in &record.requests {
        write_held(page, held);
    }
    if record.requests_left_out != 0 {
        page.put("<li>and ", record.requests_left_out, " more requests</li>");
    }
    for thread in &record.threads {
        write_thread(page.raw("<li>"), thread);
        page.raw("</li>");
    }
    page.raw("</ul>");
    write_lines(page, &record.output);
}

fn write_held(page: &mut Markup, held: &HeldRequest) {
    page.put("<li><b>", &held.method, "</b> ").text(&held.target);
    page.put(" at ", &held.host, " for ").text(duration(held.age_ms));
    page.put(" (", &held.client, ", id ").text(&held.id).raw(")");
    if held.stuck {
        page.raw(" <span class=\"badge bad\">stuck</span>");
    }
    if let Some(cpu_ms) = held.cpu_ms {
        page.put(", cpu ", duration(cpu_ms), "");
    }
    if held.costs.db_queries != 0 {
        page.put(", ", held.costs.db_queries, " database queries in ");
        page.text(milliseconds(held.costs.db_ms));
    }
    if let Some(thread) = &held.thread {
        write_thread(page.raw(": "), thread);
    }
    page.raw("</li>");
}

fn write_thread(page: &mut Markup, thread: &ThreadTrace) {
    page.put("thread ", thread.tid, " ").text(&thread.name);
    page.put(" in state ", &thread.state, "");
    if let Some(place) = &thread.wait_channel {
        page.put(", waits in ", place, "");
    }
    if let Some(call) = &thread.system_call {
        page.put(", system call ", call, "");
    }
    write_lines(page, &thread.stack);
    write_lines(page, &thread.frames);
}
