//! Findings about the server as a whole: its limits, its configuration, its end.

use super::{Severity, Verdict};
use crate::anchor;
use crate::snapshot::Snapshot;
use crate::units::{bytes, count};

/// Tells what is nearly used up, and what the operator did last.
pub(super) fn server(snapshot: &Snapshot) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let server = &snapshot.server;
    verdicts.extend(connections(snapshot));
    verdicts.extend(descriptors(snapshot));
    verdicts.extend(spool(snapshot));
    if server.draining {
        let rest = format!(": {} requests in flight.", count(snapshot.requests.in_flight));
        verdicts.push(Verdict::new(Severity::Warning, "The server is draining", rest));
    }
    if let Some(error) = &server.config_error {
        let rest = format!(": {error}. Number {} stays in force.", server.config_version);
        let lead = "The last configuration was refused";
        verdicts.push(Verdict::new(Severity::Warning, lead, rest).look(anchor::SERVER));
    }
    verdicts
}

/// How close a number is to its limit: a warning from 80 of 100 on, a problem from 95 on.
fn closeness(number: u64, limit: u64) -> Option<Severity> {
    let hundredfold = number.saturating_mul(100);
    if limit == 0 || hundredfold < limit.saturating_mul(80) {
        None
    } else if hundredfold < limit.saturating_mul(95) {
        Some(Severity::Warning)
    } else {
        Some(Severity::Bad)
    }
}

fn connections(snapshot: &Snapshot) -> Option<Verdict> {
    let connections = &snapshot.connections;
    let severity = closeness(connections.open, connections.max)?;
    let (open, max, idle) = (connections.open, connections.max, connections.idle);
    let state = if max <= open { "in use" } else { "nearly used up" };
    let rest =
        format!(": {} of {} are open, {} of them idle.", count(open), count(max), count(idle));
    let lead = format!("All client connections are {state}");
    let lead = if max <= open { lead } else { lead.replacen("All client", "Client", 1) };
    let verdict = Verdict::new(severity, lead, rest).look(anchor::TRAFFIC);
    Some(verdict.advice(" The limit is `server.max-connections`."))
}

fn descriptors(snapshot: &Snapshot) -> Option<Verdict> {
    let proxy = &snapshot.server.proxy;
    let (open, max) = (proxy.fds?, proxy.fds_max?);
    let severity = closeness(open, max)?;
    let rest = format!(": {} of {} are open.", count(open), count(max));
    let lead = "The proxy's descriptors are nearly used up";
    let verdict = Verdict::new(severity, lead, rest).look(anchor::SERVER);
    Some(verdict.advice(" Raise its limit (`LimitNOFILE=` in the systemd unit)."))
}

fn spool(snapshot: &Snapshot) -> Option<Verdict> {
    let proxy = &snapshot.server.proxy;
    let severity = closeness(proxy.spool_bytes, proxy.spool_max_bytes)?;
    let rest = format!(": {} of {}.", bytes(proxy.spool_bytes), bytes(proxy.spool_max_bytes));
    let verdict = Verdict::new(severity, "The spool is nearly full", rest).look(anchor::SERVER);
    Some(verdict.advice(" Slow clients and large bodies fill it; its limit is `spool.max-size`."))
}
