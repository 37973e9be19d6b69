//! The text that Prometheus scrapes.
//!
//! One text from one snapshot, so that all numbers of a scrape belong together. Labels are
//! names of the configuration, slots and fixed words; nothing a client sends becomes a label.

mod collector;
mod ledger;
mod origins;
mod pools;

use crate::scoreboard;
use crate::snapshot::{Snapshot, Worker};
use collector::{Sample, SnapshotCollector, number, sample};

/// Returns the snapshot in Prometheus's text format 0.0.4.
///
/// # Panics
///
/// Never: names and labels of all metrics are fixed and valid.
pub fn prometheus(snapshot: &Snapshot) -> String {
    let mut metrics = SnapshotCollector::default();
    server(&mut metrics, snapshot);
    processes(&mut metrics, snapshot);
    connections(&mut metrics, snapshot);
    requests(&mut metrics, snapshot);
    pools::write(&mut metrics, snapshot);
    ledger::write(&mut metrics, snapshot);
    workers(&mut metrics, snapshot);
    origins::write(&mut metrics, snapshot);
    metrics.into_text()
}

fn server(metrics: &mut SnapshotCollector, snapshot: &Snapshot) {
    let server = &snapshot.server;
    let info = [sample([server.version.as_str()], 1.0)];
    metrics.gauge("ostler_info", "Always 1; the version is a label.", &["version"], info);
    let seconds = |ms| number(ms) / 1_000.0;
    metrics.gauge(
        "ostler_start_time_seconds",
        "When the supervisor started, since 1970.",
        &[],
        [sample([], seconds(server.started.ms))],
    );
    metrics.gauge(
        "ostler_config_loaded_time_seconds",
        "When the configuration came into force, since 1970.",
        &[],
        [sample([], seconds(server.config_loaded.ms))],
    );
    let words: [(&str, &str, f64); 5] = [
        ("ostler_uptime_seconds", "Time since the supervisor started.", server.uptime_s),
        (
            "ostler_config_version",
            "How many configurations have been in force.",
            number(server.config_version),
        ),
        (
            "ostler_config_error",
            "1 if a newer configuration was refused.",
            f64::from(u8::from(server.config_error.is_some())),
        ),
        (
            "ostler_draining",
            "1 if no more connections are taken.",
            f64::from(u8::from(server.draining)),
        ),
        (
            "ostler_query_budget",
            "Database queries that a request may make before it is counted; 0: any number.",
            number(server.query_budget),
        ),
    ];
    for (name, help, value) in words {
        metrics.gauge(name, help, &[], [sample([], value)]);
    }
}

fn processes(metrics: &mut SnapshotCollector, snapshot: &Snapshot) {
    let proxy = &snapshot.server.proxy;
    let known = |value: Option<u64>| value.map(|value| sample([], number(value)));
    metrics.gauge(
        "ostler_proxy_resident_bytes",
        "Resident memory of the proxy.",
        &[],
        known(proxy.rss_bytes),
    );
    metrics.gauge("ostler_proxy_open_fds", "Open descriptors of the proxy.", &[], known(proxy.fds));
    metrics.gauge(
        "ostler_proxy_max_fds",
        "Most descriptors the proxy may open.",
        &[],
        known(proxy.fds_max),
    );
    metrics.gauge(
        "ostler_proxy_spool_bytes",
        "Bodies in the spool.",
        &[],
        [sample([], number(proxy.spool_bytes))],
    );
    metrics.counter(
        "ostler_proxy_cpu_seconds_total",
        "Processor time of the proxy; starts anew with each proxy.",
        &[],
        proxy.cpu_s.map(|seconds| sample([], seconds)),
    );
    metrics.counter(
        "ostler_proxy_starts_total",
        "Proxy processes started, the present one included.",
        &[],
        [sample([], number(snapshot.server.generation))],
    );
}

fn connections(metrics: &mut SnapshotCollector, snapshot: &Snapshot) {
    let connections = &snapshot.connections;
    metrics.gauge(
        "ostler_connections_open",
        "Open client connections.",
        &[],
        [sample([], number(connections.open))],
    );
    metrics.gauge(
        "ostler_connections_max",
        "Most client connections that may be open.",
        &[],
        [sample([], number(connections.max))],
    );
    let states = [
        ("reading", connections.reading),
        ("writing", connections.writing),
        ("idle", connections.idle),
        ("upgraded", connections.upgraded),
    ];
    metrics.gauge(
        "ostler_connections",
        "Open client connections by what they do.",
        &["state"],
        states.map(|(state, open)| sample([state], number(open))),
    );
    metrics.counter(
        "ostler_connections_accepted_total",
        "Client connections accepted.",
        &[],
        [sample([], number(connections.accepted_total))],
    );
    metrics.counter(
        "ostler_connections_closed_total",
        "Client connections closed, by reason.",
        &["reason"],
        connections.closed_total.entries().map(|(reason, closed)| sample([reason], number(closed))),
    );
}

fn requests(metrics: &mut SnapshotCollector, snapshot: &Snapshot) {
    let requests = &snapshot.requests;
    metrics.gauge(
        "ostler_requests_in_flight",
        "Requests begun and not ended.",
        &[],
        [sample([], number(requests.in_flight))],
    );
    metrics.counter(
        "ostler_requests_total",
        "Requests ended, by class of status.",
        &["status"],
        requests.by_status.entries().map(|(class, total)| sample([class], number(total))),
    );
    metrics.counter(
        "ostler_responses_by_reason_total",
        "Answers of the proxy's own, by reason.",
        &["reason"],
        requests.by_reason.iter().map(|(reason, total)| sample([reason], number(*total))),
    );
    let totals = [
        (
            "ostler_request_duration_seconds_total",
            "Time of all ended requests.",
            number(requests.duration_ms_total) / 1_000.0,
        ),
        (
            "ostler_received_bytes_total",
            "Bytes received from clients.",
            number(requests.bytes_received_total),
        ),
        ("ostler_sent_bytes_total", "Bytes sent to clients.", number(requests.bytes_sent_total)),
    ];
    for (name, help, value) in totals {
        metrics.counter(name, help, &[], [sample([], value)]);
    }
}

/// One series a slot: of two workers in a slot, the newer one is told of.
fn workers(metrics: &mut SnapshotCollector, snapshot: &Snapshot) {
    let mut up = Vec::new();
    let mut newest: Vec<(&str, String, &Worker)> = Vec::new();
    for (name, pool) in &snapshot.pools {
        for slot in 0..pool.processes {
            let of_slot = || pool.workers.iter().filter(move |worker| worker.slot == slot);
            let is_up = of_slot().any(Worker::is_ready);
            up.push(sample([name.as_str(), &slot.to_string()], f64::from(u8::from(is_up))));
            if let Some(worker) = of_slot().max_by_key(|worker| worker.generation) {
                newest.push((name, slot.to_string(), worker));
            }
        }
    }
    let labels = &["pool", "slot"];
    metrics.gauge("ostler_worker_up", "1 if a worker of the slot takes requests.", labels, up);
    let each = |value: fn(&Worker) -> Option<f64>| -> Vec<Sample> {
        let workers = newest.iter();
        let known = workers.filter_map(|(name, slot, worker)| {
            value(worker).map(|value| sample([*name, slot.as_str()], value))
        });
        known.collect()
    };
    metrics.gauge(
        "ostler_worker_generation",
        "Which worker in the slot.",
        labels,
        each(|worker| Some(f64::from(worker.generation))),
    );
    metrics.gauge(
        "ostler_worker_age_seconds",
        "Time since the worker was started.",
        labels,
        each(|worker| Some(worker.age_s)),
    );
    metrics.gauge(
        "ostler_worker_resident_bytes",
        "Resident memory of the worker.",
        labels,
        each(|worker| worker.rss_bytes.map(number)),
    );
    metrics.counter(
        "ostler_worker_cpu_seconds_total",
        "Processor time of the worker.",
        labels,
        each(|worker| worker.cpu_s),
    );
    metrics.counter(
        "ostler_worker_requests_total",
        "Requests the worker ended.",
        labels,
        each(|worker| Some(number(worker.requests_total))),
    );
    let letters = scoreboard::letters(snapshot);
    let states = ["_", "S", "W", "G", "."]
        .map(|state| sample([state], number(letters.matches(state).count() as u64)));
    metrics.gauge("ostler_scoreboard", "Rows by letter of the scoreboard.", &["state"], states);
}
