//! The snapshot that the tests render: a full pool, one with a worker missing, origins.

use std::collections::BTreeMap;

use ostler_status::{
    Blame, Blamed, ByStatus, Cache, ClosedTotal, ConfigChanges, Connections, Costs, Event,
    EventKind, HeldRequest, History, LastExit, Machine, Moment, Origin, OriginServer, OverBudget,
    PendingRecycle, Percentiles, Pool, PoolState, PoolTrend, PostMortem, Proxy, Request, Requests,
    Route, RouteWindow, Server, ShedTotal, Snapshot, Thread, ThreadState, ThreadTrace, Trends,
    UnixTime, Worker, WorkerState,
};

/// 2026-01-01, midnight.
const START_MS: u64 = 1_767_225_600_000;
/// When the snapshot was taken, in whole seconds.
const TAKEN_MS: u64 = START_MS + 12_345_000;

/// A server in trouble, 3 h 25 min 45.5 s after its start.
pub(crate) fn snapshot() -> Snapshot {
    let pools = [("api".to_owned(), api()), ("web".to_owned(), web())];
    let origins = [
        ("cdn".to_owned(), Origin { servers: servers(), cache: Some(cache()) }),
        ("files".to_owned(), Origin::default()),
    ];
    Snapshot {
        server: server(),
        connections: connections(),
        requests: requests(),
        pools: BTreeMap::from(pools),
        origins: BTreeMap::from(origins),
        routes: routes(),
        events: events(),
        machine: Machine {
            server_name: "www.example.com".to_owned(),
            built: "Dec 20 2025 10:00:00".to_owned(),
            load: Some([1.5, 0.75, 0.126]),
            cpu_user_s: 12.5,
            cpu_system_s: 3.25,
            cpu_children_user_s: 300.0,
            cpu_children_system_s: 20.004,
        },
        ..Snapshot::default()
    }
}

fn server() -> Server {
    Server {
        version: "0.1.0".to_owned(),
        pid: 100,
        started: UnixTime::from_ms(START_MS),
        uptime_s: 12_345.5,
        config_version: 3,
        config_loaded: UnixTime::from_ms(START_MS + 7_200_000),
        config_changes: ConfigChanges { keys: vec!["pool.web.threads".to_owned()], left_out: 0 },
        config_error: Some("ostler.toml:3:1: unknown key `threds`, did you mean `threads`?".into()),
        proxy: Proxy {
            pid: 101,
            rss_bytes: Some(31_457_280),
            cpu_s: Some(15.75),
            fds: Some(150),
            fds_max: Some(65_536),
            spool_bytes: 262_144,
            spool_max_bytes: 1_073_741_824,
        },
        history: Some(History {
            from: UnixTime::from_ms(START_MS - 86_400_000),
            until: UnixTime::from_ms(TAKEN_MS),
            bytes: 9_437_184,
        }),
        query_budget: 10,
        ..Server::default()
    }
}

fn connections() -> Connections {
    Connections {
        open: 120,
        reading: 8,
        writing: 47,
        idle: 65,
        upgraded: 0,
        max: 1_000,
        accepted_total: 54_321,
        closed_total: ClosedTotal {
            client: 40_000,
            idle_timeout: 14_000,
            max_requests: 0,
            pressure: 1,
            drain: 0,
            error: 200,
        },
    }
}

fn requests() -> Requests {
    Requests {
        total: 1_234_567,
        in_flight: 47,
        bytes_received_total: 987_654_321,
        bytes_sent_total: 12_345_678_901,
        by_status: ByStatus {
            informational: 0,
            success: 1_200_000,
            redirection: 30_000,
            client_error: 4_000,
            server_error: 567,
        },
        by_reason: BTreeMap::from([
            ("queue-full".to_owned(), 400),
            ("no-route".to_owned(), 3_000),
            ("request-timeout".to_owned(), 0),
        ]),
        duration_ms_total: 45_678_901,
    }
}

/// A wait behind two routes, one of them named to be taken for markup.
fn blame() -> Blame {
    let blamed = |route: &str, count, median_age_ms| Blamed {
        route: route.to_owned(),
        count,
        median_age_ms,
    };
    Blame {
        at: UnixTime::from_ms(START_MS + 12_340_000),
        waited_ms: 840,
        held: 5,
        capacity: 6,
        routes: vec![blamed("/report/<all>", 4, 6_000), blamed("www.example.com/", 1, 40)],
    }
}

/// Full, with a queue, a stuck row, and a worker that drains while its successor serves.
fn web() -> Pool {
    let busy = [row(0, 301, "/leaderboard?contest=42", 850), row(1, 302, "/problems", 40), stuck()];
    let slow = [
        row(0, 311, "/submissions/new", 3_210),
        row(1, 312, "/leaderboard?contest=41", 12_000),
        row(2, 313, "/", 4),
    ];
    let draining = [row(0, 290, "/export.csv", 5_400), idle(1), idle(2)];
    Pool {
        state: PoolState::Ok,
        processes: 2,
        threads: 3,
        concurrency: 3,
        capacity: 6,
        ready: 2,
        busy: 6,
        stuck: 1,
        queued: 5,
        queue_length: 5,
        queue_oldest_ms: 1_250,
        queue_full_since: Some(UnixTime::from_ms(START_MS + 12_304_500)),
        full_since: Some(UnixTime::from_ms(START_MS + 12_300_000)),
        window_s: 60,
        queue_wait_ms: Percentiles { p50: 0.0, p99: 940.0, max: 1_250.0 },
        run_ms: Percentiles { p50: 0.42, p99: 312.0, max: 83_400.0 },
        shed_total: ShedTotal { queue_full: 400, queue_timeout: 12, ..ShedTotal::default() },
        blame: vec![blame()],
        left_total: 7,
        recycles_total: BTreeMap::from([("exit".to_owned(), 1), ("config".to_owned(), 2)]),
        recycles_pending: vec![PendingRecycle { slot: 0, reason: "operator".to_owned() }],
        workers: vec![
            worker((0, 1, 210), WorkerState::Draining, 12_340.0, &draining),
            worker((0, 2, 300), WorkerState::Ready, 45.2, &busy),
            worker((1, 1, 310), WorkerState::Ready, 12_345.0, &slow),
        ],
        requests_total: 1_200_000,
        queue_wait_ms_total: 60_500,
        run_ms_total: 9_000_250,
        ..Pool::default()
    }
}

/// A row past its time that has hardly computed.
fn stuck() -> Thread {
    let mut row = row(2, 303, "/report/<all>?from=1970&to=2026", 83_400);
    if let Some(request) = &mut row.request {
        "/report/<all>".clone_into(&mut request.route);
        request.cpu_ms = Some(40);
        request.costs = Costs { db_queries: 2, db_ms: 3.5, cache_misses: 1, ..Costs::default() };
    }
    Thread { stuck: true, ..row }
}

/// A service with one worker starting and one slot empty.
fn api() -> Pool {
    let rows: Vec<Thread> = (0..70)
        .map(|thread| match thread {
            5..10 | 68 => row(thread, 0, "/api/v1/status", u64::from(200 - thread)),
            _ => idle(thread),
        })
        .collect();
    let starting: Vec<Thread> = (0..2).map(idle).collect();
    Pool {
        state: PoolState::Degraded,
        degraded_since: Some(UnixTime::from_ms(START_MS + 12_340_000)),
        retry_in_ms: Some(4_000),
        processes: 3,
        threads: 1,
        concurrency: 70,
        capacity: 210,
        ready: 1,
        busy: 6,
        queue_length: 10,
        window_s: 60,
        last_exit: Some(LastExit {
            at: UnixTime::from_ms(START_MS + 12_340_000),
            slot: 2,
            generation: 4,
            exit: "signal 9".to_owned(),
            status: None,
            signal: Some(9),
            stderr: vec!["thread 'main' panicked at <b>src/main.rs</b>".to_owned()],
            ..LastExit::default()
        }),
        post_mortems: vec![post_mortem()],
        workers: vec![
            worker((0, 1, 400), WorkerState::Ready, 12_345.0, &rows),
            worker((1, 5, 410), WorkerState::Starting, 0.3, &starting),
        ],
        ..Pool::default()
    }
}

fn worker(
    (slot, generation, pid): (u32, u32, u32),
    state: WorkerState,
    age_s: f64,
    rows: &[Thread],
) -> Worker {
    let threads = rows
        .iter()
        .map(|row| Thread { state: ThreadState::of(state, row.request.is_some()), ..row.clone() })
        .collect();
    let known = state == WorkerState::Ready;
    Worker {
        slot,
        generation,
        pid,
        state,
        age_s,
        rss_bytes: known.then_some(47_185_920),
        cpu_s: known.then_some(120.5),
        requests_total: 600_000,
        threads,
    }
}

fn idle(thread: u32) -> Thread {
    Thread { thread, requests_total: 3, ..Thread::default() }
}

fn row(thread: u32, tid: u32, target: &str, running_ms: u64) -> Thread {
    let request = Request {
        id: format!("0198c3b2-6c1f-7e9a-8f00-00000000{running_ms:04x}"),
        method: "GET".to_owned(),
        target: target.to_owned(),
        host: "www.example.com".to_owned(),
        site: "*.example.com".to_owned(),
        client: "2001:db8::17".to_owned(),
        protocol: "HTTP/1.1".to_owned(),
        queued_ms: 12,
        running_ms,
        route: "/".to_owned(),
        ..Request::default()
    };
    Thread {
        thread,
        tid: (tid != 0).then_some(tid),
        requests_total: 5,
        request: Some(request),
        ..Thread::default()
    }
}

fn servers() -> Vec<OriginServer> {
    let server = |url: &str, since_ms, reason: Option<&str>| OriginServer {
        url: url.to_owned(),
        healthy: reason.is_none(),
        since: Some(UnixTime::from_ms(since_ms)),
        reason: reason.map(str::to_owned),
        in_flight: 2,
        requests_total: 99_000,
        errors_total: 3,
    };
    vec![
        server("https://d111.cloudfront.net:443", START_MS, None),
        server(
            "https://d222.cloudfront.net:443",
            START_MS + 12_000_000,
            Some("connection refused"),
        ),
    ]
}

fn post_mortem() -> PostMortem {
    let thread = ThreadTrace {
        tid: 77,
        name: "ostler-0".to_owned(),
        state: "D".to_owned(),
        wait_channel: Some("nfs_wait_bit_killable".to_owned()),
        system_call: Some("0 0x5 0x7f5801cf7000".to_owned()),
        stack: vec!["nfs_wait_bit_killable+0x1e/0x90".to_owned()],
        frames: vec!["File \"/srv/site/export.py\", line 12 in rows".to_owned()],
    };
    let held = HeldRequest {
        id: "5a".to_owned(),
        method: "GET".to_owned(),
        target: "/export".to_owned(),
        host: "api.example".to_owned(),
        client: "192.0.2.7".to_owned(),
        age_ms: 72_000,
        stuck: true,
        thread: Some(thread.clone()),
        ..HeldRequest::default()
    };
    PostMortem {
        at: UnixTime::from_ms(START_MS + 12_300_000),
        moment: Moment::Stuck,
        slot: 2,
        generation: 4,
        pid: 390,
        exit: None,
        requests: vec![held],
        requests_left_out: 2,
        threads: vec![thread],
        output: vec!["export: reading /mnt/archive".to_owned()],
        ..PostMortem::default()
    }
}

fn cache() -> Cache {
    Cache { bytes: 52_428_800, hits_total: 90_000, misses_total: 9_000 }
}

fn routes() -> Vec<Route> {
    let route = |name: &str, busy, share| Route {
        name: name.to_owned(),
        pool: Some("web".to_owned()),
        busy,
        requests_total: 300_000,
        errors_total: 12,
        shed_total: 400,
        bytes_sent_total: 4_000_000_000,
        thread_s_total: 9_000.25,
        cpu_s_total: 300.5,
        window: RouteWindow {
            requests: 412,
            errors: 1,
            thread_s: 360.0 * share,
            thread_share: share,
            cpu_s: 4.2,
            ..RouteWindow::default()
        },
        ..Route::default()
    };
    let products = Route {
        costs: Costs { db_queries: 1_200_000, db_ms: 4_000_000.0, ..Costs::default() },
        over_budget_total: 9_000,
        over_budget: Some(OverBudget {
            at: UnixTime::from_ms(TAKEN_MS - 800),
            id: "0198c3b2-6c1f".to_owned(),
            method: "GET".to_owned(),
            target: "/products?page=2".to_owned(),
            queries: 45,
            db_ms: 180.0,
        }),
        ..route("/products", 0, 0.02)
    };
    let mut products = products;
    products.window.over_budget = 400;
    products.window.costs = Costs { db_queries: 17_800, db_ms: 70_000.0, ..Costs::default() };
    let cdn = Route {
        name: "/static".to_owned(),
        pool: None,
        origin: Some("cdn".to_owned()),
        requests_total: 99_000,
        ..Route::default()
    };
    vec![route("/", 2, 0.31), products, route("/report/<all>", 4, 0.67), cdn]
}

fn events() -> Vec<Event> {
    let event = |before_ms: u64, kind, subject: &str, text: &str| Event {
        at: UnixTime::from_ms(TAKEN_MS - before_ms),
        kind,
        subject: Some(subject.to_owned()),
        text: text.to_owned(),
    };
    vec![
        event(41_000, EventKind::QueueFull, "web", "The queue of pool web is full: 5 of 5 waiting"),
        event(45_000, EventKind::PoolFull, "web", "Pool web is full: 6 of 6 busy"),
        event(
            46_000,
            EventKind::WorkerRecycled,
            "web",
            "Worker 0-1 of pool web was recycled: max-memory (1.2 GiB of 1.0 GiB)",
        ),
        event(345_000, EventKind::OriginServer, "cdn", "Server d222 of origin cdn is down"),
        event(90_000_000, EventKind::Started, "", "The server started"),
    ]
}

/// The hour before it: a gap in the middle, then trouble.
pub(crate) fn trends() -> Trends {
    let line = |number: fn(f64) -> f64| -> Vec<Option<f64>> {
        (0..360_u32)
            .map(|step| (!(100..130).contains(&step)).then(|| number(f64::from(step))))
            .collect()
    };
    let web = PoolTrend {
        busy: line(|step| if step < 300.0 { step % 5.0 } else { 6.0 }),
        queued: line(|step| if step < 340.0 { 0.0 } else { 5.0 }),
        queue_wait_p99_ms: line(|step| step * 2.5),
        run_p99_ms: line(|step| 120.0 + step % 40.0),
        shed: line(|step| if step < 350.0 { 0.0 } else { 12.5 }),
    };
    Trends {
        until: UnixTime::from_ms(TAKEN_MS),
        step_s: 10,
        requests: line(|step| 80.0 + step % 30.0),
        errors: line(|step| if step < 350.0 { 0.0 } else { 1.5 }),
        pools: BTreeMap::from([("web".to_owned(), web)]),
    }
}
