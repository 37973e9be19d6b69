//! Events from snapshots that come second by second.

use super::*;
use crate::snapshot::{
    ConfigChanges, HeldRequest, LastExit, Moment, Origin, OriginServer, OverBudget, Pool,
    PoolState, PostMortem, Recycled, Request, Route, ShedTotal, Thread, ThreadState, Worker,
    WorkerState,
};

#[test]
fn each_change_is_told_in_a_sentence() {
    check(
        |snapshot| snapshot.server.config_version = 4,
        &["ConfigLoaded - Configuration 4 is in force."],
    );
    let reloaded = |snapshot: &mut Snapshot, count: usize, left_out| {
        let keys = ["pool.web.threads", "pool.web.user", "site", "log.access.path"];
        let keys = keys.iter().take(count).map(|&key| key.to_owned()).collect();
        let server = &mut snapshot.server;
        (server.config_version, server.config_changes) = (4, ConfigChanges { keys, left_out });
    };
    check(
        |snapshot| reloaded(snapshot, 1, 0),
        &["ConfigLoaded - Configuration 4 is in force; changed: pool.web.threads."],
    );
    check(
        |snapshot| reloaded(snapshot, 4, 2),
        &["ConfigLoaded - Configuration 4 is in force; changed: pool.web.threads, pool.web.user, \
           site and 3 more."],
    );
    check(
        |snapshot| snapshot.server.config_error = Some("ostler.toml:3:1: no\nmore".to_owned()),
        &["ConfigRefused - A configuration was refused: ostler.toml:3:1: no"],
    );
    check(
        |snapshot| (snapshot.server.generation, snapshot.server.proxy.pid) = (2, 124),
        &["ProxyReplaced - Proxy process 124 serves in place of 123."],
    );
    check(
        |snapshot| snapshot.server.draining = true,
        &["Draining - The server began to drain: 0 requests in flight."],
    );
    check(
        |snapshot| {
            let server = &mut snapshot.origins.get_mut("cdn").unwrap().servers[0];
            (server.healthy, server.reason) = (false, Some("connection refused".to_owned()));
        },
        &["OriginServer cdn Server http://10.0.0.7 of origin cdn is down: connection refused."],
    );
    check(
        |snapshot| {
            let route = &mut snapshot.routes[0];
            route.over_budget_total = 3;
            let last = ("GET".to_owned(), "/problems?x".to_owned(), 27);
            let (method, target, queries) = last;
            route.over_budget = Some(OverBudget { method, target, queries, ..<_>::default() });
        },
        &["OverBudget web A request of route /problems made more than 10 database queries: \
           GET /problems?x made 27."],
    );
}

#[test]
fn each_change_of_a_pool_is_told_in_a_sentence() {
    let web = |change: fn(&mut Pool), expected: &[&str]| {
        check(|snapshot| change(snapshot.pools.get_mut("web").unwrap()), expected);
    };
    web(
        |pool| (pool.busy, pool.queued) = (30, 2),
        &["PoolFull web Pool web is full: 30 of 30 busy, 2 waiting."],
    );
    web(|pool| pool.busy = 30, &[]);
    web(|pool| pool.queued = 100, &["QueueFull web The queue of pool web is full: 100 wait."]);
    web(
        |pool| pool.shed_total = ShedTotal { queue_full: 12, queue_timeout: 1, ..<_>::default() },
        &["Shed web Requests to pool web are refused: 12 queue-full, 1 queue-timeout in the \
           first second."],
    );
    web(
        |pool| (pool.state, pool.ready) = (PoolState::Degraded, 1),
        &["PoolState web Pool web is degraded: 1 of 2 workers ready."],
    );
    web(
        |pool| (pool.state, pool.ready) = (PoolState::Down, 0),
        &["PoolState web Pool web is down: 0 of 2 workers ready."],
    );
    web(
        |pool| {
            let (method, target) = ("GET".to_owned(), "/report".to_owned());
            let request = Request { method, target, running_ms: 72_000, ..Request::default() };
            let (state, request) = (ThreadState::Working, Some(request));
            let row = Thread { stuck: true, state, request, ..Thread::default() };
            (pool.stuck, pool.workers[1].threads) = (1, vec![row]);
        },
        &["Stuck web 1 request is stuck in pool web: GET /report in worker 1-3 (process 301), \
           running for 1 min 12 s."],
    );
}

#[test]
fn the_end_of_a_worker_is_told_with_its_reason() {
    let web = |change: fn(&mut Pool), expected: &[&str]| {
        check(|snapshot| change(snapshot.pools.get_mut("web").unwrap()), expected);
    };
    let exit = |pool: &mut Pool| {
        pool.workers.remove(1);
        let (exit, stderr) = ("signal 9".to_owned(), vec!["out of memory".to_owned()]);
        let at = UnixTime::from_ms(1);
        pool.last_exit =
            Some(LastExit { slot: 1, generation: 3, at, exit, stderr, ..<_>::default() });
        pool.recycles_total.insert("exit".to_owned(), 1);
        let (method, target) = ("GET".to_owned(), "/report".to_owned());
        let (moment, requests) =
            (Moment::Crashed, vec![HeldRequest { method, target, ..<_>::default() }]);
        pool.post_mortems =
            vec![PostMortem { slot: 1, generation: 3, moment, requests, ..<_>::default() }];
    };
    web(
        exit,
        &["WorkerExited web Worker 1-3 of pool web exited: signal 9. It took 1 request along: \
           GET /report. It said: out of memory"],
    );
    web(
        |pool| {
            let (reason, rss_bytes) = ("max-memory".to_owned(), Some(1_288_490_189));
            let recycled = Recycled { slot: 1, generation: 3, reason, rss_bytes, ..<_>::default() };
            pool.recycled = vec![recycled];
        },
        &["WorkerRecycled web Worker 1-3 of pool web was recycled: max-memory, it had 1.2 GiB."],
    );
    web(
        |pool| {
            let recycled = |slot| {
                let reason = "config".to_owned();
                Recycled { slot, generation: 3, reason, ..<_>::default() }
            };
            pool.recycled = [1, 0].map(recycled).into();
        },
        &["WorkerRecycled web Each of workers 0-3, 1-3 of pool web was recycled: config."],
    );
}

#[test]
fn what_comes_and_goes_is_told_once_with_how_often_it_came() {
    let mut log = EventLog::default();
    let told =
        |log: &EventLog| log.events().iter().map(|event| event.text.clone()).collect::<Vec<_>>();
    log.note(&at(0));
    let full = |second| {
        let mut snapshot = at(second);
        let pool = snapshot.pools.get_mut("web").unwrap();
        (pool.busy, pool.queued) = (30, 1);
        snapshot
    };
    // Five seconds full, five not, three times.
    for second in 1..=30 {
        log.note(&if (second - 1) / 5 % 2 == 0 { full(second) } else { at(second) });
    }
    assert_eq!(told(&log).len(), 2, "{:#?}", told(&log));
    for second in 31..=36 {
        log.note(&at(second));
    }
    let last = "Pool web has room again. It was full for 24.0 s, with pauses, 3 times, until \
                00:00:25 UTC.";
    assert_eq!(told(&log)[0], last);
    for second in 37..=80 {
        log.note(&at(second));
    }
    assert_eq!(told(&log).len(), 3);
}

#[test]
fn refused_requests_are_counted_until_none_are() {
    let mut log = EventLog::default();
    for second in 0..20 {
        let mut snapshot = at(second);
        let pool = snapshot.pools.get_mut("web").unwrap();
        pool.shed_total.queue_full = second.min(4) * 10;
        log.note(&snapshot);
    }
    let last = &log.events()[0];
    let expected = "Requests to pool web are no longer refused: 40 were, in 3.0 s, until \
                    00:00:04 UTC.";
    assert_eq!((last.text.as_str(), last.until()), (expected, Some(at(4).taken())));
}

#[test]
fn workers_that_die_again_and_again_are_one_event() {
    let mut log = EventLog::default();
    for second in 0..100 {
        let mut snapshot = at(second);
        let exit = LastExit { at: snapshot.taken(), exit: "status 1".to_owned(), ..<_>::default() };
        snapshot.pools.get_mut("web").unwrap().last_exit = Some(exit);
        log.note(&snapshot);
    }
    let events = log.events();
    assert_eq!(events.len(), 2, "{events:#?}");
    let expected = "Worker 0-0 of pool web exited: status 1 (100 since 00:00:00 UTC).";
    assert_eq!((events[0].text.as_str(), events[0].at), (expected, at(99).taken()));
}

#[test]
fn events_go_on_where_the_history_ends() {
    let mut log = EventLog::default();
    log.note(&at(0));
    let mut full = at(1);
    let pool = full.pools.get_mut("web").unwrap();
    (pool.busy, pool.queued) = (30, 1);
    log.note(&full);
    full.events = log.events();
    // Another proxy process of the same server.
    let mut resumed = EventLog::resume(full.clone());
    for second in 2..=12 {
        resumed.note(&at(second));
    }
    let events = resumed.events();
    assert_eq!(events.len(), 3, "{events:#?}");
    assert!(events[0].text.starts_with("Pool web has room again"), "{events:#?}");
    // Another server: what went on ended with the one before.
    let mut restarted = EventLog::resume(full);
    let mut later = at(100);
    later.server.started = later.taken();
    later.server.uptime_s = 0.0;
    restarted.note(&later);
    let expected = "Ostler  started as process 0, with 1 pool. Nothing is known of the 1 min 39 s \
                    before.";
    assert_eq!(restarted.events()[0].text, expected);
    assert_eq!(restarted.events().len(), 3);
}

/// A pool of two workers with 15 threads each, an origin with one server, and a route.
fn at(second: u64) -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.server.proxy.pid = 123;
    snapshot.server.query_budget = 10;
    snapshot.server.started = UnixTime::from_ms(1_767_225_600_000);
    #[expect(clippy::cast_precision_loss, reason = "seconds of a test")]
    let uptime_s = second as f64;
    snapshot.server.uptime_s = uptime_s;
    let worker = |slot| Worker {
        slot,
        generation: 3,
        pid: 300 + slot,
        state: WorkerState::Ready,
        rss_bytes: Some(1_288_490_188),
        ..Worker::default()
    };
    let pool = Pool {
        processes: 2,
        ready: 2,
        threads: 15,
        concurrency: 15,
        capacity: 30,
        queue_length: 100,
        workers: vec![worker(0), worker(1)],
        ..Pool::default()
    };
    snapshot.pools.insert("web".to_owned(), pool);
    let server =
        OriginServer { url: "http://10.0.0.7".to_owned(), healthy: true, ..<_>::default() };
    snapshot.origins.insert("cdn".to_owned(), Origin { servers: vec![server], cache: None });
    let (name, pool) = ("/problems".to_owned(), Some("web".to_owned()));
    snapshot.routes.push(Route { name, pool, ..Route::default() });
    snapshot
}

/// Expects these events of a change from one second to the next, and none of the next.
#[track_caller]
fn check(change: impl Fn(&mut Snapshot), expected: &[&str]) {
    let mut log = EventLog::default();
    log.note(&at(0));
    for second in 1..=2 {
        let mut snapshot = at(second);
        change(&mut snapshot);
        log.note(&snapshot);
    }
    let told: Vec<String> = log
        .events()
        .into_iter()
        .filter(|event| event.kind != EventKind::Started)
        .map(|event| {
            format!("{:?} {} {}", event.kind, event.subject.as_deref().unwrap_or("-"), event.text)
        })
        .collect();
    assert_eq!(told, expected);
}
