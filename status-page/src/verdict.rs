//! What an operator has to know first: what is full or broken, since when, and who is to blame.

use crate::scoreboard::{self, Busy};
use crate::snapshot::{Pool, PoolState, Request, Snapshot};
use crate::units::{count, duration};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Requests fail or wait.
    Bad,
    /// They soon may.
    Warning,
    /// Nothing is wrong.
    Good,
}

/// One finding, in a sentence or two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How bad it is.
    pub severity: Severity,
    /// May quote clients and workers.
    pub text: String,
}

/// Returns all findings, the worst first; never none.
pub fn verdicts(snapshot: &Snapshot) -> Vec<Verdict> {
    let mut verdicts = server_verdicts(snapshot);
    let busiest = scoreboard::busiest(snapshot);
    for (name, pool) in &snapshot.pools {
        let longest = busiest.iter().find(|row| row.pool == name);
        verdicts.extend(pool_verdict(snapshot, name, pool, longest));
        verdicts.extend(workers_verdict(snapshot, name, pool));
    }
    verdicts.extend(origin_verdicts(snapshot));
    if verdicts.is_empty() {
        verdicts.push(all_well(snapshot));
    }
    verdicts.sort_by_key(|verdict| verdict.severity);
    verdicts
}

fn server_verdicts(snapshot: &Snapshot) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let connections = &snapshot.connections;
    if connections.max != 0 && connections.max <= connections.open {
        let max = count(connections.max);
        verdicts.push(bad(format!("All {max} client connections are in use.")));
    }
    if snapshot.server.draining {
        let left = count(snapshot.requests.in_flight);
        verdicts.push(warning(format!("The server is draining: {left} requests in flight.")));
    }
    if let Some(error) = &snapshot.server.config_error {
        verdicts.push(warning(format!("The last configuration was refused: {error}")));
    }
    verdicts
}

fn pool_verdict(
    snapshot: &Snapshot,
    name: &str,
    pool: &Pool,
    longest: Option<&Busy<'_>>,
) -> Option<Verdict> {
    let is_full = pool.full_since.is_some() || (pool.capacity != 0 && pool.capacity <= pool.busy);
    if !is_full && pool.queued == 0 {
        return None;
    }
    let since = pool.full_since.map_or_else(String::new, |moment| {
        let age = duration(snapshot.taken().ms_since(moment));
        format!(" for {age}, since {} UTC", moment.clock())
    });
    let state = if is_full { "is full" } else { "has a queue" };
    let first = match pool.queued {
        0 => String::new(),
        _ => format!(", the first for {}", duration(pool.queue_oldest_ms)),
    };
    let longest = longest.map_or_else(String::new, |row| {
        let Request { method, target, running_ms, .. } = row.request;
        format!(" Longest: {method} {target}, running for {}.", duration(*running_ms))
    });
    let text = format!(
        "Pool {name} {state}{since}: {} of {} busy, {} of {} waiting{first}.{longest}",
        pool.busy, pool.capacity, pool.queued, pool.queue_length
    );
    // A full pool without a queue serves everyone; one more request would wait.
    Some(if pool.queued == 0 { warning(text) } else { bad(text) })
}

fn workers_verdict(snapshot: &Snapshot, name: &str, pool: &Pool) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let retry = pool
        .retry_in_ms
        .map_or_else(String::new, |wait| format!(", the next one starts in {}", duration(wait)));
    let ready = format!("{} of {} workers ready{retry}", pool.ready, pool.processes);
    let since = pool.degraded_since.map_or_else(String::new, |moment| {
        let age = duration(snapshot.taken().ms_since(moment));
        format!(" for {age}, since {} UTC", moment.clock())
    });
    match pool.state {
        PoolState::Ok => {}
        PoolState::Starting => verdicts.push(warning(format!("Pool {name} is starting: {ready}."))),
        PoolState::Degraded => {
            verdicts.push(warning(format!("Pool {name} is degraded{since}: {ready}.")));
        }
        PoolState::Down => verdicts.push(bad(format!("Pool {name} is down{since}: {ready}."))),
    }
    if pool.stuck != 0 {
        let text = format!(
            "Pool {name}: {} of {} busy rows are stuck past their request-timeout.",
            pool.stuck, pool.busy
        );
        verdicts.push(warning(text));
    }
    verdicts
}

fn origin_verdicts(snapshot: &Snapshot) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (name, origin) in &snapshot.origins {
        let all_down = origin.servers.iter().all(|server| !server.healthy);
        for server in origin.servers.iter().filter(|server| !server.healthy) {
            let since = server.since.map_or_else(String::new, |moment| {
                let age = duration(snapshot.taken().ms_since(moment));
                format!(" for {age}, since {} UTC", moment.clock())
            });
            let why = server.reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
            let text = format!("Origin {name}: {} is down{since}{why}.", server.url);
            verdicts.push(if all_down { bad(text) } else { warning(text) });
        }
    }
    verdicts
}

fn all_well(snapshot: &Snapshot) -> Verdict {
    let (busy, capacity) =
        snapshot.pools.values().fold((0_u64, 0_u64), |(busy, capacity), pool| {
            (busy + pool.busy, capacity + pool.capacity)
        });
    let text = if snapshot.pools.is_empty() {
        "No pool is configured.".to_owned()
    } else {
        format!("Every pool has room: {busy} of {capacity} busy, nothing waits.")
    };
    Verdict { severity: Severity::Good, text }
}

fn bad(text: String) -> Verdict {
    Verdict { severity: Severity::Bad, text }
}

fn warning(text: String) -> Verdict {
    Verdict { severity: Severity::Warning, text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moment::UnixTime;
    use crate::snapshot::{Origin, OriginServer};

    #[test]
    fn nothing_wrong_is_said_in_one_sentence() {
        check(&pool(3, 0), "Good Every pool has room: 3 of 30 busy, nothing waits.");
        let empty = verdicts(&Snapshot::default());
        assert_eq!(empty[0].text, "No pool is configured.");
    }

    #[test]
    fn a_full_pool_is_a_warning_and_a_queue_is_bad() {
        check(&pool(30, 0), "Warning Pool web is full: 30 of 30 busy, 0 of 100 waiting.");
        let full = Pool { full_since: Some(UnixTime::from_ms(1_000)), ..pool(30, 7) };
        check(
            &Pool { queue_oldest_ms: 1_500, ..full },
            "Bad Pool web is full for 9.0 s, since 00:00:01 UTC: 30 of 30 busy, \
             7 of 100 waiting, the first for 1.5 s.",
        );
    }

    #[test]
    fn missing_and_stuck_workers_are_told() {
        let degraded = Pool {
            state: PoolState::Degraded,
            degraded_since: Some(UnixTime::from_ms(4_000)),
            ready: 1,
            ..pool(3, 0)
        };
        check(
            &degraded,
            "Warning Pool web is degraded for 6.0 s, since 00:00:04 UTC: 1 of 2 workers ready.",
        );
        let down = Pool { state: PoolState::Down, ready: 0, ..pool(0, 0) };
        check(&down, "Bad Pool web is down: 0 of 2 workers ready.");
        check(
            &Pool { stuck: 2, ..pool(3, 0) },
            "Warning Pool web: 2 of 3 busy rows are stuck past their request-timeout.",
        );
    }

    #[test]
    fn an_origin_is_bad_only_when_all_its_servers_are_down() {
        let server = |healthy| OriginServer { url: "http://a".into(), healthy, ..<_>::default() };
        for (other, severity) in [(true, Severity::Warning), (false, Severity::Bad)] {
            let mut snapshot = Snapshot::default();
            let servers = vec![server(false), server(other)];
            snapshot.origins.insert("cdn".to_owned(), Origin { servers, cache: None });
            let first = &verdicts(&snapshot)[0];
            assert_eq!(
                (first.severity, first.text.as_str()),
                (severity, "Origin cdn: http://a is down.")
            );
        }
    }

    fn pool(busy: u64, queued: u64) -> Pool {
        Pool {
            processes: 2,
            ready: 2,
            threads: 15,
            concurrency: 15,
            capacity: 30,
            busy,
            queued,
            queue_length: 100,
            ..Pool::default()
        }
    }

    #[track_caller]
    fn check(pool: &Pool, expected: &str) {
        let mut snapshot = Snapshot::default();
        snapshot.server.uptime_s = 10.0;
        snapshot.pools.insert("web".to_owned(), pool.clone());
        let verdicts: Vec<String> = verdicts(&snapshot)
            .into_iter()
            .map(|verdict| format!("{:?} {}", verdict.severity, verdict.text))
            .collect();
        assert_eq!(verdicts, [expected]);
    }
}
