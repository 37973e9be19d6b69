//! The snapshot that the tests render: a full pool, one with a worker missing, origins.

use std::collections::BTreeMap;

use ostler_status::{
    Blame, Blamed, ByStatus, ClosedTotal, Connections, HeldRequest, LastExit, Machine, Moment,
    Origin, OriginServer, PendingRecycle, Percentiles, Pool, PoolState, PostMortem, Proxy, Request,
    Requests, Server, ShedTotal, Snapshot, Thread, ThreadState, ThreadTrace, UnixTime, Worker,
    WorkerState,
};

/// 2026-01-01, midnight.
const START_MS: u64 = 1_767_225_600_000;

/// A server in trouble, 3 h 25 min 45.5 s after its start.
pub(crate) fn snapshot() -> Snapshot {
    let pools = [("api".to_owned(), api()), ("web".to_owned(), web())];
    let origins = [
        ("cdn".to_owned(), Origin { servers: servers(), cache: None }),
        ("files".to_owned(), Origin::default()),
    ];
    Snapshot {
        server: server(),
        connections: connections(),
        requests: requests(),
        pools: BTreeMap::from(pools),
        origins: BTreeMap::from(origins),
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
        config_error: Some("ostler.toml:3:1: unknown key `threds`, did you mean `threads`?".into()),
        proxy: Proxy {
            pid: 101,
            rss_bytes: Some(31_457_280),
            cpu_s: Some(15.75),
            fds: Some(150),
            fds_max: Some(65_536),
            spool_bytes: 262_144,
        },
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
    let busy = [
        row(0, 301, "/leaderboard?contest=42", 850),
        row(1, 302, "/problems", 40),
        Thread { stuck: true, ..row(2, 303, "/report/<all>?from=1970&to=2026", 83_400) },
    ];
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
        queue_length: 100,
        queue_oldest_ms: 1_250,
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
