//! One screen for a terminal: what is full, since when, and who holds the threads.

use std::fmt::{self, Write};

use crate::scoreboard;
use crate::snapshot::{Origin, Pool, Snapshot};
use crate::units::{bytes, count, duration, milliseconds, printable, seconds};
use crate::verdict::{Severity, verdicts};

/// Most lines of busy rows: the rest is told as a number.
const BUSY_LINES: usize = 10;
/// Cells of a bar.
const BAR: u64 = 20;
/// Letters of the scoreboard on one line, as on httpd's page.
const LETTERS: usize = 64;

/// Returns the snapshot as lines of plain text, 100 characters wide at most but for long names.
///
/// # Panics
///
/// Never: writing to a `String` cannot fail.
pub fn text(snapshot: &Snapshot) -> String {
    let mut out = String::with_capacity(2_048);
    write_all(&mut out, snapshot).expect("writing to a String cannot fail");
    out
}

fn write_all(out: &mut String, snapshot: &Snapshot) -> fmt::Result {
    write_server(out, snapshot)?;
    for (name, pool) in &snapshot.pools {
        write_pool(out, snapshot, name, pool)?;
    }
    write_scoreboard(out, snapshot)?;
    write_busiest(out, snapshot)?;
    for (name, origin) in &snapshot.origins {
        write_origin(out, snapshot, name, origin)?;
    }
    Ok(())
}

fn write_server(out: &mut String, snapshot: &Snapshot) -> fmt::Result {
    let (server, connections, requests) =
        (&snapshot.server, &snapshot.connections, &snapshot.requests);
    let state = if server.draining { "draining" } else { "serving" };
    writeln!(
        out,
        "Ostler {}  {state}  up {}  configuration {} of {}  pid {}  proxy {}",
        printable(&server.version),
        seconds(server.uptime_s),
        server.config_version,
        server.config_loaded.date_and_clock(),
        server.pid,
        server.proxy.pid,
    )?;
    for verdict in verdicts(snapshot) {
        let mark = if verdict.severity < Severity::Note { '!' } else { ' ' };
        writeln!(out, "{mark} {}", printable(&verdict.to_string()))?;
    }
    writeln!(
        out,
        "connections  {} of {} open: {} reading, {} writing, {} idle; {} accepted",
        count(connections.open),
        count(connections.max),
        count(connections.reading),
        count(connections.writing),
        count(connections.idle),
        count(connections.accepted_total),
    )?;
    write!(
        out,
        "requests     {} in flight; {} ended, {} in, {} out;",
        count(requests.in_flight),
        count(requests.total),
        bytes(requests.bytes_received_total),
        bytes(requests.bytes_sent_total),
    )?;
    for (class, number) in requests.by_status.entries() {
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

fn write_pool(out: &mut String, snapshot: &Snapshot, name: &str, pool: &Pool) -> fmt::Result {
    let since = |moment| duration(snapshot.taken().ms_since(moment));
    writeln!(
        out,
        "\npool {}  {}  {} of {} workers ready ({} × {})",
        printable(name),
        pool.state.name(),
        pool.ready,
        pool.processes,
        pool.processes,
        pool.concurrency,
    )?;
    writeln!(
        out,
        "  busy   {} {} of {}{}",
        bar(pool.busy, pool.capacity),
        pool.busy,
        pool.capacity,
        if pool.stuck == 0 { String::new() } else { format!(", {} stuck", pool.stuck) },
    )?;
    writeln!(
        out,
        "  queue  {} {} of {}, oldest {}",
        bar(pool.queued, pool.queue_length),
        pool.queued,
        pool.queue_length,
        duration(pool.queue_oldest_ms),
    )?;
    if let Some(exit) = &pool.last_exit {
        let worker = format!("{}-{}", exit.slot, exit.generation);
        let how = printable(&exit.exit);
        writeln!(out, "  last exit: worker {worker} {how}, {} ago", since(exit.at))?;
        for line in &exit.stderr {
            writeln!(out, "    | {}", printable(line))?;
        }
    }
    for pending in &pool.recycles_pending {
        let reason = printable(&pending.reason);
        writeln!(out, "  to be replaced: slot {}, {reason}", pending.slot)?;
    }
    let (wait, run) = (pool.queue_wait_ms, pool.run_ms);
    writeln!(
        out,
        "  last {} s: wait p50 {} p99 {} max {}; run p50 {} p99 {} max {}",
        pool.window_s,
        milliseconds(wait.p50),
        milliseconds(wait.p99),
        milliseconds(wait.max),
        milliseconds(run.p50),
        milliseconds(run.p99),
        milliseconds(run.max),
    )?;
    let shed = pool.shed_total.entries().into_iter().filter(|&(_, number)| number != 0);
    let shed: Vec<String> = shed.map(|(reason, number)| format!("{reason} {number}")).collect();
    let shed = if shed.is_empty() { "none".to_owned() } else { shed.join(", ") };
    writeln!(out, "  shed: {shed}; left the queue: {}", pool.left_total)?;
    write_workers(out, pool)
}

fn write_workers(out: &mut String, pool: &Pool) -> fmt::Result {
    for worker in &pool.workers {
        let busy = worker.threads.iter().filter(|thread| thread.state.is_busy()).count();
        writeln!(
            out,
            "  worker {:<6} pid {:<8} {:<9} {:>3} busy  age {:<12} {:>10}  cpu {:<10} {} requests",
            format!("{}-{}", worker.slot, worker.generation),
            worker.pid,
            worker.state.name(),
            busy,
            seconds(worker.age_s),
            worker.rss_bytes.map_or_else(|| "?".to_owned(), bytes),
            worker.cpu_s.map_or_else(|| "?".to_owned(), seconds),
            count(worker.requests_total),
        )?;
    }
    Ok(())
}

fn write_scoreboard(out: &mut String, snapshot: &Snapshot) -> fmt::Result {
    let letters = scoreboard::letters(snapshot);
    if letters.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nscoreboard  _ idle  W working  G finishing  S starting  . no process")?;
    // Each letter is one byte.
    for line in letters.as_bytes().chunks(LETTERS) {
        writeln!(out, "  {}", String::from_utf8_lossy(line))?;
    }
    Ok(())
}

fn write_busiest(out: &mut String, snapshot: &Snapshot) -> fmt::Result {
    let rows = scoreboard::busiest(snapshot);
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nlongest running")?;
    for row in rows.iter().take(BUSY_LINES) {
        let place = format!(
            "{} {}-{}/{}",
            printable(row.pool),
            row.worker.slot,
            row.worker.generation,
            row.thread.thread
        );
        writeln!(
            out,
            "  {:>12} {:<5} {place:<16} {} {}  {} for {}",
            duration(row.request.running_ms),
            if row.thread.stuck { "stuck" } else { "" },
            printable(&row.request.method),
            printable(&row.request.target),
            printable(&row.request.host),
            printable(&row.request.client),
        )?;
    }
    let more = rows.len().saturating_sub(BUSY_LINES);
    if more != 0 {
        writeln!(out, "  and {more} more")?;
    }
    Ok(())
}

fn write_origin(out: &mut String, snapshot: &Snapshot, name: &str, origin: &Origin) -> fmt::Result {
    writeln!(out, "\norigin {}", printable(name))?;
    if origin.servers.is_empty() {
        writeln!(out, "  a directory")?;
    }
    for server in &origin.servers {
        let state = if server.healthy { "up" } else { "DOWN" };
        let since = server.since.map_or_else(String::new, |moment| {
            format!(" for {}", duration(snapshot.taken().ms_since(moment)))
        });
        let reason =
            server.reason.as_ref().map_or_else(String::new, |why| format!(": {}", printable(why)));
        writeln!(
            out,
            "  {state}{since}  {}  {} in flight, {} requests, {} errors{reason}",
            printable(&server.url),
            count(server.in_flight),
            count(server.requests_total),
            count(server.errors_total),
        )?;
    }
    Ok(())
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
        let cases =
            [(0, 0, 0), (0, 30, 0), (1, 1_000, 1), (15, 30, 10), (29, 30, 19), (30, 30, 20)];
        for (number, of, expected) in cases {
            assert_eq!(bar(number, of).matches('#').count(), expected, "{number} of {of}");
        }
    }
}
