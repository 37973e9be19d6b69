//! One screen for a terminal: what is wrong, what is full, which route holds it, what changed.
//!
//! A usual site fits 80 columns and 24 lines; a site in trouble says more.

use std::fmt::{self, Display, Write};

use crate::scoreboard::{self, Busy};
use crate::snapshot::{Origin, Pool, Route, Snapshot, Worker};
use crate::units::{bytes, count, duration, milliseconds, printable, seconds};
use crate::verdict::{Severity, verdicts};

/// Most lines of each list: the rest is told as a number, or is on the page.
const LIST: usize = 3;
/// Most workers of a pool.
const WORKERS: usize = 4;
/// Most letters of a worker's rows.
const LETTERS: usize = 40;
/// Cells of a bar.
const BAR: u64 = 10;

/// What the terminal can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TextStyle {
    /// Text and nothing else, for files and pipes.
    #[default]
    Plain,
    /// Colours and bold type by the sequences of ECMA-48. They tell nothing that the text does not.
    Coloured,
}

/// Returns the snapshot as lines of plain text.
///
/// # Panics
///
/// Never: writing to a `String` cannot fail.
pub fn text(snapshot: &Snapshot) -> String {
    text_in(snapshot, TextStyle::Plain)
}

/// Returns the snapshot as lines for such a terminal.
///
/// # Panics
///
/// Never: writing to a `String` cannot fail.
pub fn text_in(snapshot: &Snapshot, style: TextStyle) -> String {
    let mut out = String::with_capacity(2_048);
    Screen { snapshot, style }.write(&mut out).expect("writing to a String cannot fail");
    out
}

/// How a piece of text is set off (ECMA-48 §8.3.117).
#[derive(Clone, Copy, Debug)]
enum Paint {
    Head,
    Bad,
    Warning,
    Good,
    None,
}

struct Screen<'a> {
    snapshot: &'a Snapshot,
    style: TextStyle,
}

impl Screen<'_> {
    fn paint(&self, paint: Paint, text: impl Display) -> String {
        let code = match paint {
            _ if self.style == TextStyle::Plain => "",
            Paint::Head => "1",
            Paint::Bad => "1;31",
            Paint::Warning => "33",
            Paint::Good => "32",
            Paint::None => "",
        };
        if code.is_empty() { text.to_string() } else { format!("\u{1b}[{code}m{text}\u{1b}[0m") }
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        self.write_server(out)?;
        self.write_pools(out)?;
        self.write_routes(out)?;
        self.write_busiest(out)?;
        for (name, origin) in &self.snapshot.origins {
            self.write_origin(out, name, origin)?;
        }
        self.write_events(out)
    }

    fn write_server(&self, out: &mut String) -> fmt::Result {
        let Snapshot { server, connections, requests, .. } = self.snapshot;
        let state = if server.draining { "draining" } else { "serving" };
        let name = format!("Ostler {}", printable(&server.version));
        writeln!(
            out,
            "{}  {state}  up {}  configuration {}  {} UTC",
            self.paint(Paint::Head, name),
            seconds(server.uptime_s),
            server.config_version,
            self.snapshot.taken().date_and_clock(),
        )?;
        for verdict in verdicts(self.snapshot) {
            let (mark, paint) = match verdict.severity {
                Severity::Bad => ("!!", Paint::Bad),
                Severity::Warning => ("! ", Paint::Warning),
                Severity::Note => ("- ", Paint::None),
                Severity::Good => ("  ", Paint::Good),
            };
            let text = format!("{mark} {}", printable(&verdict.to_string()));
            writeln!(out, "{}", self.paint(paint, text))?;
        }
        writeln!(
            out,
            "connections  {} of {}: {} reading, {} writing, {} idle",
            count(connections.open),
            count(connections.max),
            count(connections.reading),
            count(connections.writing),
            count(connections.idle),
        )?;
        write!(out, "requests     {} in flight; ended:", count(requests.in_flight))?;
        for (class, number) in requests.by_status.entries().into_iter().filter(|it| it.1 != 0) {
            write!(out, " {class} {}", count(number))?;
        }
        writeln!(out)?;
        let reasons = requests.by_reason.iter().filter(|(_, number)| **number != 0);
        let reasons: Vec<String> =
            reasons.map(|(reason, number)| format!("{} {number}", printable(reason))).collect();
        if !reasons.is_empty() {
            writeln!(out, "reasons      {}", reasons.join(", "))?;
        }
        Ok(())
    }

    fn write_pools(&self, out: &mut String) -> fmt::Result {
        if self.snapshot.pools.is_empty() {
            return Ok(());
        }
        let head = format!(
            "{:<12} {:<9} {:<6} {:<21} {:<9} {:<9} run p99",
            "pool", "state", "ready", "busy", "queue", "wait p99"
        );
        writeln!(out, "\n{}", self.paint(Paint::Head, head))?;
        for (name, pool) in &self.snapshot.pools {
            self.write_pool(out, name, pool)?;
        }
        Ok(())
    }

    fn write_pool(&self, out: &mut String, name: &str, pool: &Pool) -> fmt::Result {
        let is_full = pool.capacity != 0 && pool.capacity <= pool.busy;
        let paint = if pool.queued != 0 || pool.stuck != 0 {
            Paint::Bad
        } else if is_full || pool.ready < pool.processes {
            Paint::Warning
        } else {
            Paint::None
        };
        let line = format!(
            "{:<12} {:<9} {:<6} {} {:<8} {:<9} {:<9} {}",
            printable(name),
            pool.state.name(),
            format!("{}/{}", pool.ready, pool.processes),
            bar(pool.busy, pool.capacity),
            format!("{}/{}", pool.busy, pool.capacity),
            format!("{}/{}", pool.queued, pool.queue_length),
            milliseconds(pool.queue_wait_ms.p99),
            milliseconds(pool.run_ms.p99),
        );
        writeln!(out, "{}", self.paint(paint, line))?;
        let shed = pool.shed_total.entries().into_iter().filter(|&(_, number)| number != 0);
        let shed: Vec<String> = shed.map(|(reason, number)| format!("{reason} {number}")).collect();
        if !shed.is_empty() {
            writeln!(out, "  shed: {}", shed.join(", "))?;
        }
        if let Some(exit) = &pool.last_exit {
            let ago = duration(self.snapshot.taken().ms_since(exit.at));
            let how = printable(&exit.exit);
            let place = format!("{}-{}", exit.slot, exit.generation);
            writeln!(out, "  last exit: worker {place} {how}, {ago} ago")?;
            for line in &exit.stderr {
                writeln!(out, "    | {}", printable(line))?;
            }
        }
        for pending in pool.recycles_pending.iter().take(LIST) {
            let reason = printable(&pending.reason);
            writeln!(out, "  to be replaced: slot {}, {reason}", pending.slot)?;
        }
        for worker in pool.workers.iter().take(WORKERS) {
            write_worker(out, worker)?;
        }
        more(out, pool.workers.len(), WORKERS, "workers")
    }

    fn write_routes(&self, out: &mut String) -> fmt::Result {
        let mut routes: Vec<&Route> = self.snapshot.routes.iter().collect();
        routes.retain(|route| route.window.requests != 0 || route.busy != 0);
        routes.sort_by(|one, other| other.window.thread_s.total_cmp(&one.window.thread_s));
        if routes.is_empty() {
            return Ok(());
        }
        let (listed, all) = (routes.len().min(LIST), routes.len());
        let head = format!(
            "routes by thread-seconds (share of their pool), last minute, {listed} of {all}"
        );
        writeln!(out, "\n{}", self.paint(Paint::Head, head))?;
        for route in routes.iter().take(LIST) {
            let window = &route.window;
            #[expect(clippy::cast_precision_loss, reason = "a mean is shown with one decimal")]
            let queries = window.costs.db_queries as f64 / window.requests.max(1) as f64;
            let queries =
                if queries == 0.0 { String::new() } else { format!(", {queries:.1} queries each") };
            let errors = if window.errors == 0 {
                String::new()
            } else {
                format!(", {} errors", window.errors)
            };
            let line = format!(
                "  {:>6.1} s {:>3.0} %  {:<16} {} requests, {} cpu{queries}{errors}",
                window.thread_s,
                window.thread_share * 100.0,
                printable(&route.name),
                count(window.requests),
                seconds(window.cpu_s),
            );
            let paint = if window.over_budget == 0 { Paint::None } else { Paint::Bad };
            writeln!(out, "{}", self.paint(paint, line))?;
        }
        Ok(())
    }

    fn write_busiest(&self, out: &mut String) -> fmt::Result {
        let mut rows = scoreboard::busiest(self.snapshot);
        rows.sort_by_key(|row| !row.thread.stuck);
        if rows.is_empty() {
            return Ok(());
        }
        let head = format!("longest running, {} of {}", rows.len().min(LIST), rows.len());
        writeln!(out, "\n{}", self.paint(Paint::Head, head))?;
        for row in rows.iter().take(LIST) {
            let Busy { pool, worker, thread, request } = row;
            let (slot, generation) = (worker.slot, worker.generation);
            let place = format!("{} {slot}-{generation}/{}", printable(pool), thread.thread);
            let line = format!(
                "  {:>12} {:<5} {place:<13} {} {}",
                duration(request.running_ms),
                if thread.stuck { "stuck" } else { "" },
                printable(&request.method),
                printable(&request.target),
            );
            let paint = if thread.stuck { Paint::Bad } else { Paint::None };
            writeln!(out, "{}", self.paint(paint, line))?;
        }
        Ok(())
    }

    fn write_origin(&self, out: &mut String, name: &str, origin: &Origin) -> fmt::Result {
        let name = self.paint(Paint::Head, format!("origin {}", printable(name)));
        if origin.servers.is_empty() {
            return writeln!(out, "\n{name}  a directory");
        }
        let up = origin.servers.iter().filter(|server| server.healthy).count();
        writeln!(out, "\n{name}  {up} of {} servers up", origin.servers.len())?;
        for server in origin.servers.iter().filter(|server| !server.healthy) {
            let since = server.since.map_or_else(String::new, |moment| {
                format!(" for {}", duration(self.snapshot.taken().ms_since(moment)))
            });
            let why = server.reason.as_ref();
            let why = why.map_or_else(String::new, |why| format!(": {}", printable(why)));
            let line = format!("  DOWN{since}  {}{why}", printable(&server.url));
            writeln!(out, "{}", self.paint(Paint::Bad, line))?;
        }
        Ok(())
    }

    fn write_events(&self, out: &mut String) -> fmt::Result {
        if self.snapshot.events.is_empty() {
            return Ok(());
        }
        writeln!(out, "\n{}", self.paint(Paint::Head, "last events (UTC)"))?;
        for event in self.snapshot.events.iter().take(LIST) {
            writeln!(out, "  {}  {}", event.at.date_and_clock(), printable(&event.text))?;
        }
        Ok(())
    }
}

fn write_worker(out: &mut String, worker: &Worker) -> fmt::Result {
    let letter = |stuck, letter| if stuck { '!' } else { letter };
    let rows = worker.threads.iter().map(|row| letter(row.stuck, row.state.letter()));
    let left = worker.threads.len().saturating_sub(LETTERS);
    let left = if left == 0 { String::new() } else { format!(" and {left} more") };
    writeln!(
        out,
        "  {:<6} pid {:<8} {:<9} {:>10}  {}{left}",
        format!("{}-{}", worker.slot, worker.generation),
        worker.pid,
        worker.state.name(),
        worker.rss_bytes.map_or_else(|| "?".to_owned(), bytes),
        rows.take(LETTERS).collect::<String>(),
    )
}

/// Says how many there are beyond those that were listed.
fn more(out: &mut String, all: usize, listed: usize, what: &str) -> fmt::Result {
    match all.checked_sub(listed) {
        None | Some(0) => Ok(()),
        Some(left) => writeln!(out, "  and {left} more {what}"),
    }
}

/// Returns a bar that is only empty for nothing and only full for everything.
fn bar(number: u64, of: u64) -> String {
    let filled = match (number, of) {
        (0, _) | (_, 0) => 0,
        _ if of <= number => BAR,
        _ => (number.saturating_mul(BAR) / of).clamp(1, BAR - 1),
    };
    let cells = |cell: &str, number: u64| cell.repeat(usize::try_from(number).unwrap_or(0));
    format!("[{}{}]", cells("#", filled), cells("-", BAR - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_full_only_when_everything_is_taken() {
        let cases = [(0, 0, 0), (0, 30, 0), (1, 1_000, 1), (15, 30, 5), (29, 30, 9), (30, 30, 10)];
        for (number, of, expected) in cases {
            assert_eq!(bar(number, of).matches('#').count(), expected, "{number} of {of}");
        }
    }
}
