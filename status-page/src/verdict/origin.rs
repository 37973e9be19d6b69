//! Findings about servers of origins.

use super::{Severity, Verdict, since};
use crate::anchor;
use crate::snapshot::Snapshot;

/// Tells of each server that is down: a problem when its origin has no other.
pub(super) fn servers(snapshot: &Snapshot) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (name, origin) in &snapshot.origins {
        let all = origin.servers.len();
        let up = origin.servers.iter().filter(|server| server.healthy).count();
        let (severity, left) = match (up, all) {
            (0, 1) => (Severity::Bad, " The origin has no other: its requests fail.".to_owned()),
            (0, _) => (Severity::Bad, " No server is left: its requests fail.".to_owned()),
            _ => (Severity::Warning, format!(" {up} of {all} servers take its requests.")),
        };
        for server in origin.servers.iter().filter(|server| !server.healthy) {
            let since = since(snapshot, server.since);
            let why = server.reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
            let lead = format!("Server {} of origin {name} is down", server.url);
            let verdict = Verdict::new(severity, lead, format!("{since}{why}.{left}"));
            verdicts.push(verdict.look(anchor::ORIGINS));
        }
    }
    verdicts
}
