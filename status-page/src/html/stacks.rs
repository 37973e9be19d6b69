//! The page of `?stacks=POOL`, in the style of the status page. It needs no script.

use crate::stacks::{Stacks, StacksWorker, waiting};

use super::STYLE;
use super::markup::Markup;

/// Returns the page of what the threads of a pool are doing.
///
/// # Panics
///
/// Never: writing to a `String` cannot fail.
pub fn stacks_html(stacks: &Stacks) -> String {
    let mut page = Markup::default();
    page.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">");
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    page.put("<meta name=\"robots\" content=\"noindex\"><title>Stacks: ", &stacks.pool, "</title>");
    page.raw("<style>").raw(STYLE).raw("</style></head>\n<body><main>\n");
    page.put("<header><h1>Pool ", &stacks.pool, " <span class=\"soft\">stacks</span></h1>");
    let taken = stacks.at.date_and_clock();
    page.put("<span class=\"soft small right\">", taken, " UTC</span></header>\n");
    page.put("<p><a href=\"?stacks=", &stacks.pool, "\">Ask again</a> \u{b7} ");
    page.put("<a href=\"?stacks=", &stacks.pool, "&amp;json\">as JSON</a> \u{b7} ");
    page.raw("<a href=\"?\">Status page</a></p>\n");
    if stacks.workers.is_empty() {
        page.raw("<p class=\"soft\">No worker has a process.</p>\n");
    }
    for worker in &stacks.workers {
        write_worker(&mut page, worker);
    }
    page.raw("</main></body>\n</html>\n");
    page.finish()
}

fn write_worker(page: &mut Markup, worker: &StacksWorker) {
    let StacksWorker { slot, generation, pid, state, .. } = worker;
    let place = format_args!("{slot}-{generation}");
    page.put("<section class=\"card\" id=\"worker-", place, "\">");
    page.put("<header><h2>Worker ", place, "</h2><span class=\"soft\">pid ").text(pid);
    page.put(", ", state, "</span></header>\n");
    if let Some(silence) = &worker.silence {
        page.put("<p><span class=\"badge warning\">no stacks</span> ", silence, "</p>\n");
    }
    for busy in &worker.busy {
        page.put("<h3>", busy.heading(), "</h3>");
        page.put("<p class=\"soft small\">at ", &busy.host, " for ").text(&busy.client);
        page.put(", id ", &busy.id, "</p>");
        write_frames(page, &busy.frames);
    }
    if worker.silence.is_none() {
        page.put("<p class=\"soft\">", waiting(worker.idle), ".</p>\n");
    }
    if !worker.others.is_empty() {
        page.put("<details><summary>Other threads: ", worker.others.len(), "</summary>");
        for thread in &worker.others {
            page.put("<h3>", thread.heading(), "</h3>");
            write_frames(page, &thread.frames);
        }
        page.raw("</details>\n");
    }
    page.raw("</section>\n");
}

/// Writes calls, the most recent first.
fn write_frames(page: &mut Markup, frames: &[String]) {
    if !frames.is_empty() {
        page.raw("<pre>");
        for frame in frames {
            page.text(frame).raw("\n");
        }
        page.raw("</pre>\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stacks::StacksBusy;

    #[test]
    fn what_a_worker_says_stays_text() {
        let evil = "<script>alert('1')</script>";
        let busy = StacksBusy {
            target: evil.to_owned(),
            name: Some(evil.to_owned()),
            frames: vec![evil.to_owned()],
            ..StacksBusy::default()
        };
        let silence = Some(evil.to_owned());
        let worker = StacksWorker { silence, busy: vec![busy], ..StacksWorker::default() };
        let page = stacks_html(&Stacks { workers: vec![worker], ..Stacks::default() });
        assert!(!page.contains("<script"), "{page}");
        assert_eq!(page.matches("&lt;script&gt;").count(), 4, "{page}");
    }
}
