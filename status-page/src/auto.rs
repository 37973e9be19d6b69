//! The plain text of `mod_status`'s `?auto`, as httpd 2.4.63 with the event MPM prints it.
//!
//! Monitors index into these lines, so order, names and form are httpd's. Keys of our own follow
//! `Scoreboard:`, where all of them take unknown lines, and have no colon in them.

use std::fmt::{self, Write};

use crate::scoreboard::{self, Tally};
use crate::snapshot::{Pool, Snapshot};
use crate::units::printable;

/// Version that monitors are told. They want three numbers after a slash.
const HTTPD_VERSION: &str = "2.4.63";

/// Returns the text of `?auto`.
///
/// # Panics
///
/// Never: writing to a `String` cannot fail.
pub fn auto(snapshot: &Snapshot) -> String {
    let mut out = String::with_capacity(4_096);
    write_all(&mut out, snapshot).expect("writing to a String cannot fail");
    out
}

fn write_all(out: &mut String, snapshot: &Snapshot) -> fmt::Result {
    write_server(out, snapshot)?;
    write_totals(out, snapshot)?;
    write_workers(out, snapshot)?;
    write_own(out, snapshot)
}

fn write_server(out: &mut String, snapshot: &Snapshot) -> fmt::Result {
    let (server, machine) = (&snapshot.server, &snapshot.machine);
    let uptime = whole_uptime(snapshot);
    writeln!(out, "{}", printable(&machine.server_name))?;
    let version = printable(&server.version);
    writeln!(out, "ServerVersion: Apache/{HTTPD_VERSION} (Ostler/{version})")?;
    writeln!(out, "ServerMPM: event")?;
    writeln!(out, "Server Built: {}", printable(&machine.built))?;
    writeln!(out, "CurrentTime: {}", snapshot.taken().httpd())?;
    writeln!(out, "RestartTime: {}", server.started.httpd())?;
    writeln!(out, "ParentServerConfigGeneration: {}", server.config_version)?;
    // httpd starts at 0 and adds one with every reload.
    let reloads = server.config_version.saturating_sub(1);
    writeln!(out, "ParentServerMPMGeneration: {reloads}")?;
    writeln!(out, "ServerUptimeSeconds: {uptime}")?;
    writeln!(out, "ServerUptime:{}", uptime_words(uptime))?;
    for (name, load) in ["Load1", "Load5", "Load15"].iter().zip(machine.load.unwrap_or([-1.0; 3])) {
        // httpd prints -1.00 too where the machine does not tell.
        writeln!(out, "{name}: {load:.2}")?;
    }
    Ok(())
}

fn write_totals(out: &mut String, snapshot: &Snapshot) -> fmt::Result {
    let (requests, machine) = (&snapshot.requests, &snapshot.machine);
    let uptime = whole_uptime(snapshot);
    writeln!(out, "Total Accesses: {}", requests.total)?;
    writeln!(out, "Total kBytes: {}", requests.bytes_sent_total / 1_024)?;
    writeln!(out, "Total Duration: {}", requests.duration_ms_total)?;
    let cpu = [
        ("CPUUser", machine.cpu_user_s),
        ("CPUSystem", machine.cpu_system_s),
        ("CPUChildrenUser", machine.cpu_children_user_s),
        ("CPUChildrenSystem", machine.cpu_children_system_s),
    ];
    for (name, seconds) in cpu {
        writeln!(out, "{name}: {}", general(seconds))?;
    }
    let cpu_s: f64 = cpu.iter().map(|(_, seconds)| seconds).sum();
    if 0.0 < cpu_s && uptime != 0 {
        writeln!(out, "CPULoad: {}", general(cpu_s / float(uptime) * 100.0))?;
    }
    writeln!(out, "Uptime: {uptime}")?;
    if uptime != 0 {
        writeln!(out, "ReqPerSec: {}", ratio(requests.total, uptime))?;
        writeln!(out, "BytesPerSec: {}", ratio(requests.bytes_sent_total, uptime))?;
    }
    if requests.total != 0 {
        writeln!(out, "BytesPerReq: {}", ratio(requests.bytes_sent_total, requests.total))?;
        writeln!(out, "DurationPerReq: {}", ratio(requests.duration_ms_total, requests.total))?;
    }
    Ok(())
}

fn write_workers(out: &mut String, snapshot: &Snapshot) -> fmt::Result {
    let Tally { busy, finishing, idle, processes, stopping } = scoreboard::tally(snapshot);
    let connections = &snapshot.connections;
    writeln!(out, "BusyWorkers: {busy}")?;
    writeln!(out, "GracefulWorkers: {finishing}")?;
    writeln!(out, "IdleWorkers: {idle}")?;
    writeln!(out, "Processes: {processes}")?;
    writeln!(out, "Stopping: {stopping}")?;
    writeln!(out, "ConnsTotal: {}", connections.open)?;
    writeln!(out, "ConnsAsyncWaitIO: {}", connections.reading)?;
    writeln!(out, "ConnsAsyncWriting: {}", connections.writing)?;
    writeln!(out, "ConnsAsyncKeepAlive: {}", connections.idle)?;
    writeln!(out, "ConnsAsyncClosing: 0")?;
    writeln!(out, "Scoreboard: {}", scoreboard::letters(snapshot))
}

fn write_own(out: &mut String, snapshot: &Snapshot) -> fmt::Result {
    writeln!(out, "OstlerDraining: {}", u8::from(snapshot.server.draining))?;
    writeln!(out, "OstlerConfigError: {}", u8::from(snapshot.server.config_error.is_some()))?;
    writeln!(out, "OstlerInFlight: {}", snapshot.requests.in_flight)?;
    writeln!(out, "OstlerConnsMax: {}", snapshot.connections.max)?;
    for (index, (name, pool)) in snapshot.pools.iter().enumerate() {
        write_pool(out, index, name, pool)?;
    }
    Ok(())
}

/// Writes a pool's lines in the form that `mod_proxy` gives its balancers.
fn write_pool(out: &mut String, index: usize, name: &str, pool: &Pool) -> fmt::Result {
    writeln!(out, "OstlerPool[{index}]Name: {}", printable(name))?;
    writeln!(out, "OstlerPool[{index}]State: {}", pool.state.name())?;
    let numbers = [
        ("Processes", u64::from(pool.processes)),
        ("Ready", u64::from(pool.ready)),
        ("Capacity", pool.capacity),
        ("Busy", pool.busy),
        ("Stuck", pool.stuck),
        ("Queued", pool.queued),
        ("QueueLength", pool.queue_length),
        ("QueueOldestMs", pool.queue_oldest_ms),
        ("Requests", pool.requests_total),
        ("Shed", pool.shed_total.sum()),
        ("Left", pool.left_total),
    ];
    for (key, number) in numbers {
        writeln!(out, "OstlerPool[{index}]{key}: {number}")?;
    }
    Ok(())
}

fn whole_uptime(snapshot: &Snapshot) -> u64 {
    snapshot.taken().ms_since(snapshot.server.started) / 1_000
}

/// Returns the parts of the uptime that are not 0, each after a space.
fn uptime_words(uptime: u64) -> String {
    let parts = [
        (uptime / 86_400, "day"),
        (uptime / 3_600 % 24, "hour"),
        (uptime / 60 % 60, "minute"),
        (uptime % 60, "second"),
    ];
    let shown = parts.into_iter().filter(|&(number, _)| number != 0);
    let words: Vec<String> = shown
        .map(|(number, unit)| format!(" {number} {unit}{}", if number == 1 { "" } else { "s" }))
        .collect();
    words.concat()
}

#[expect(clippy::cast_precision_loss, reason = "six digits are shown")]
fn float(number: u64) -> f64 {
    number as f64
}

fn ratio(number: u64, per: u64) -> String {
    general(float(number) / float(per))
}

/// Returns a number as C's `%g` prints it: six digits, no zeros at the end.
fn general(number: f64) -> String {
    let scientific = format!("{number:.5e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let Ok(exponent) = exponent.parse::<i32>() else { return scientific };
    if (-4..6).contains(&exponent) {
        let decimals = usize::try_from(5 - exponent).unwrap_or(0);
        return without_zeros(&format!("{number:.decimals$}")).to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", without_zeros(mantissa), exponent.abs())
}

fn without_zeros(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_c_prints_them() {
        let cases = [
            (0.0, "0"),
            (0.49, "0.49"),
            (0.002_593_47, "0.00259347"),
            (0.000_099_999_95, "0.0001"),
            (0.000_012_345_6, "1.23456e-05"),
            (1.0, "1"),
            (66.0, "66"),
            (123_456.7, "123457"),
            (999_999.9, "1e+06"),
            (1_234_567.0, "1.23457e+06"),
        ];
        for (number, expected) in cases {
            assert_eq!(general(number), expected);
        }
    }

    #[test]
    fn the_uptime_leaves_out_what_is_zero() {
        let cases = [
            (0, ""),
            (1, " 1 second"),
            (61, " 1 minute 1 second"),
            (7_200, " 2 hours"),
            (90_122, " 1 day 1 hour 2 minutes 2 seconds"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(uptime_words(seconds), expected);
        }
    }
}
