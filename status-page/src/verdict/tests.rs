//! Each finding, word for word, from the numbers that cause it.

use super::*;
use crate::snapshot::{
    Costs, HeldRequest, LastExit, Origin, OriginServer, OverBudget, PendingRecycle, PoolState,
    PostMortem, Request, Route, RouteWindow, ShedTotal, Thread, ThreadTrace, Worker,
};

#[test]
fn nothing_wrong_is_said_in_one_sentence() {
    check(&pool(3, 0), &["Good Every pool has room: 3 of 30 busy, nothing waits."]);
    assert_eq!(told_of(&Snapshot::default()), ["Good No pool is configured."]);
}

#[test]
fn a_full_pool_is_a_warning_and_a_queue_is_bad() {
    check(&pool(30, 0), &["Warning Pool web is full: 30 of 30 threads busy, 0 of 100 waiting."]);
    let full = Pool { full_since: Some(at(1)), ..pool(30, 7) };
    check(
        &Pool { queue_oldest_ms: 1_500, ..full },
        &["Bad Pool web is full since 00:00:01 UTC, for 9.0 s: 30 of 30 threads busy, \
           7 of 100 waiting, the first for 1.5 s."],
    );
}

#[test]
fn a_full_queue_is_told_with_its_moment_and_the_refused() {
    let pool = Pool {
        full_since: Some(at(1)),
        queue_full_since: Some(at(4)),
        queue_oldest_ms: 1_500,
        shed_total: ShedTotal { queue_full: 134, ..ShedTotal::default() },
        ..pool(30, 100)
    };
    check(
        &pool,
        &["Bad The queue of pool web is full since 00:00:04 UTC, for 6.0 s: 100 of 100 waiting, \
           the first for 1.5 s; 134 refused so far. 30 of 30 threads are busy since 00:00:01 UTC, \
           for 9.0 s."],
    );
}

#[test]
fn the_route_that_holds_a_full_pool_is_named() {
    let mut snapshot = snapshot(Pool { workers: vec![worker(&["/a", "/b", "/b"])], ..pool(3, 0) });
    let pool = snapshot.pools.get_mut("web").unwrap();
    pool.capacity = 3;
    let by_rows = "Warning Route /b holds 2 of 3 threads of pool web.";
    assert!(told_of(&snapshot).contains(&by_rows.to_owned()), "{:?}", told_of(&snapshot));

    let route = |name: &str, busy, thread_share| Route {
        name: name.to_owned(),
        pool: Some("web".to_owned()),
        busy,
        window: RouteWindow { thread_share, ..RouteWindow::default() },
        ..Route::default()
    };
    snapshot.routes = vec![route("/a", 0, 0.03), route("/report", 3, 0.97)];
    snapshot.pools.get_mut("web").unwrap().queued = 1;
    let by_numbers = "Bad Route /report holds 3 of 3 threads of pool web (97 % of its \
                      thread-seconds of the last minute). Its `max-share` would leave room for \
                      others.";
    assert!(told_of(&snapshot).contains(&by_numbers.to_owned()), "{:?}", told_of(&snapshot));

    snapshot.routes[1].busy = 1;
    let held = "Warning Route /report holds the most threads of pool web, 1 of 3";
    assert!(told_of(&snapshot).iter().any(|told| told.starts_with(held)));
    let pool = snapshot.pools.get_mut("web").unwrap();
    (pool.queued, pool.busy, pool.capacity) = (0, 2, 3);
    assert_eq!(told_of(&snapshot), ["Good Every pool has room: 2 of 3 busy, nothing waits."]);
}

#[test]
fn a_stuck_request_is_told_with_its_process_and_what_it_does() {
    let mut row = worker(&["/"]);
    let thread = &mut row.threads[0];
    (thread.stuck, thread.tid) = (true, Some(4_720));
    let pool = |row: &Worker| Pool { stuck: 2, workers: vec![row.clone()], ..pool(3, 0) };
    let place = "Bad GET /x is stuck in worker 1-3 of pool web (process 4711, thread 4720): it \
                 runs for 43.0 s, longer than its request-timeout allows";
    let more = "1 more request of pool web is stuck. Past `stuck-grace` its worker is replaced.";
    check(&pool(&row), &[&format!("{place}. {more}")]);
    for (cpu_ms, expected) in [
        (20, "0.0 s on the processor, so it waits for something"),
        (9_000, "9.0 s on the processor"),
        (42_000, "42.0 s on the processor, so it computes"),
    ] {
        row.threads[0].request.as_mut().unwrap().cpu_ms = Some(cpu_ms);
        check(&pool(&row), &[&format!("{place}; {expected}. {more}")]);
    }
    let request = row.threads[0].request.as_mut().unwrap();
    request.cpu_ms = None;
    request.costs = Costs { db_queries: 300, db_ms: 2_500.0, ..Costs::default() };
    let thread = ThreadTrace { wait_channel: Some("futex".to_owned()), ..ThreadTrace::default() };
    let held =
        HeldRequest { id: request.id.clone(), thread: Some(thread), ..HeldRequest::default() };
    let record = PostMortem { requests: vec![held], ..PostMortem::default() };
    let known = Pool { post_mortems: vec![record], ..pool(&row) };
    let doing = "300 database queries so far, 2.5 s; the kernel has it in futex";
    check(&known, &[&format!("{place}; {doing}. {more}")]);
}

#[test]
fn missing_workers_are_told_with_their_last_words() {
    let degraded = Pool {
        state: PoolState::Degraded,
        degraded_since: Some(at(4)),
        ready: 1,
        retry_in_ms: Some(2_000),
        ..pool(3, 0)
    };
    check(
        &degraded,
        &["Warning Pool web is degraded since 00:00:04 UTC, for 6.0 s: 1 of 2 workers ready, the \
           next one starts in 2.0 s."],
    );
    let exit = LastExit {
        at: at(5),
        slot: 1,
        generation: 7,
        exit: "status 1".to_owned(),
        status: Some(1),
        stderr: vec!["Traceback".to_owned(), "ImportError: no module".to_owned(), String::new()],
        ..LastExit::default()
    };
    let down =
        Pool { state: PoolState::Down, ready: 0, last_exit: Some(exit.clone()), ..pool(0, 0) };
    check(
        &down,
        &["Bad Pool web is down: 0 of 2 workers ready. Worker 1-7 exited 5.0 s ago: status 1. \
           Its last words: \"ImportError: no module\"."],
    );
    let killed =
        LastExit { exit: "signal 9".to_owned(), signal: Some(9), stderr: Vec::new(), ..exit };
    check(
        &Pool { last_exit: Some(killed), ..pool(0, 0) },
        &["Warning Worker 1-7 of pool web exited 5.0 s ago: signal 9. Nothing of ours sent that: \
           look for the kernel's out-of-memory killer."],
    );
}

#[test]
fn a_recycle_is_told_with_its_reason_for_ten_minutes() {
    let mut snapshot = snapshot(Pool {
        recycles_pending: vec![PendingRecycle { slot: 1, reason: "max-age".to_owned() }],
        ..pool(0, 0)
    });
    let event = |seconds, text: &str| event(seconds, EventKind::WorkerRecycled, text);
    snapshot.events = vec![
        event(608, "Worker 0-2 of pool web was recycled: max-memory"),
        event(600, "Worker 0-1 of pool web was recycled: max-age"),
    ];
    snapshot.server.uptime_s = 620.0;
    let last = "Note Worker 0-2 of pool web was recycled: max-memory, 12.0 s ago. 1 more of its \
                workers in the last 10 minutes. It outgrew its pool's `max-memory`: look at what \
                its last requests loaded.";
    let pending = "Note The worker in slot 1 of pool web is to be replaced: max-age.";
    let well = "Good Every pool has room: 0 of 30 busy, nothing waits.";
    assert_eq!(told_of(&snapshot), [last, pending, well]);
    snapshot.server.uptime_s = 1_208.0;
    assert_eq!(told_of(&snapshot), [pending, well]);
}

#[test]
fn requests_that_are_refused_are_bad_and_those_that_were_are_a_note() {
    let mut snapshot = snapshot(Pool {
        shed_total: ShedTotal { queue_full: 3, pool_not_ready: 1, ..ShedTotal::default() },
        ..pool(0, 0)
    });
    let event = |seconds, text: &str| event(seconds, EventKind::Shed, text);
    let begins = "Requests to pool web are refused: 3 queue-full in the first second.";
    snapshot.events = vec![event(7, begins)];
    let window = RouteWindow { requests: 9, errors: 2, shed: 2, ..RouteWindow::default() };
    snapshot.routes = vec![Route { pool: Some("web".to_owned()), window, ..Route::default() }];
    let now = "Bad Requests to pool web are refused since 00:00:07 UTC, for 3.0 s: 2 in the last \
               minute, 4 so far; the queue was full (queue-full 3).";
    assert_eq!(told_of(&snapshot), [now]);

    let over = "Requests to pool web are no longer refused: 4 were, in 2.0 s, until 00:00:09 UTC.";
    snapshot.events.insert(0, event(19, over));
    snapshot.server.uptime_s = 21.0;
    let over = "Note Requests to pool web are no longer refused: 4 were, in 2.0 s, until 00:00:09 \
                UTC, 12.0 s ago.";
    assert_eq!(told_of(&snapshot)[0], over);
    snapshot.server.uptime_s = 610.0;
    assert_eq!(told_of(&snapshot), ["Good Every pool has room: 0 of 30 busy, nothing waits."]);
}

#[test]
fn a_pool_that_is_full_with_pauses_is_told_with_its_first_time() {
    let mut snapshot = snapshot(Pool { full_since: Some(at(8)), ..pool(30, 0) });
    snapshot.events = vec![event(3, EventKind::PoolFull, "Pool web is full: 30 of 30 busy.")];
    let expected = "Warning Pool web is full since 00:00:03 UTC, for 7.0 s, with pauses: 30 of 30 \
                    threads busy, 0 of 100 waiting.";
    assert_eq!(told_of(&snapshot), [expected]);
    snapshot.events[0].at = at(9);
    assert!(told_of(&snapshot)[0].starts_with("Warning Pool web is full since 00:00:08 UTC, for"));
}

#[test]
fn what_is_over_is_told_for_ten_minutes_until_it_begins_again() {
    let mut snapshot = snapshot(pool(0, 0));
    let over = "Pool web has room again. It was full for 5.0 s, until 00:00:09 UTC.";
    snapshot.events = vec![event(19, EventKind::PoolFull, over)];
    snapshot.server.uptime_s = 21.0;
    let expected = "Note It is over: Pool web has room again. It was full for 5.0 s, until \
                    00:00:09 UTC, 12.0 s ago.";
    assert_eq!(told_of(&snapshot)[0], expected);
    let begins = event(20, EventKind::PoolFull, "Pool web is full: 30 of 30 busy.");
    snapshot.events.insert(0, begins);
    assert_eq!(told_of(&snapshot).len(), 1);
    snapshot.events.remove(0);
    snapshot.server.uptime_s = 610.0;
    assert_eq!(told_of(&snapshot).len(), 1);
}

#[test]
fn requests_fail_behind_the_worker_that_took_them_along() {
    let (exit, signal) = ("signal 11".to_owned(), Some(11));
    let exit = LastExit { at: at(5), slot: 1, generation: 7, exit, signal, ..LastExit::default() };
    let mut snapshot = snapshot(Pool { last_exit: Some(exit), ..pool(0, 0) });
    let window = RouteWindow { requests: 129, errors: 121, shed: 119, ..RouteWindow::default() };
    let (name, pool) = ("/x".to_owned(), Some("web".to_owned()));
    snapshot.routes = vec![Route { name, pool, window, ..Route::default() }];
    let expected = "Warning Requests of route /x fail: 2 of 10 of the last minute that were not \
                    refused (119 were) ended with 500 to 599 or were broken off. Worker 1-7 \
                    exited 5.0 s ago: signal 11.";
    let told = told_of(&snapshot);
    let failure = told.iter().position(|told| told == expected);
    let exit = told.iter().position(|told| told.starts_with("Warning Worker 1-7 of pool web"));
    assert!(exit < failure && exit.is_some(), "{told:#?}");
    snapshot.routes[0].window.shed = 0;
    let told = told_of(&snapshot);
    assert!(told[0].starts_with("Bad Worker 1-7 of pool web exited"), "{told:#?}");
    assert!(told[1].starts_with("Bad Requests of route /x fail: 121 of 129 of"), "{told:#?}");
}

#[test]
fn routes_that_query_too_often_or_fail_are_named() {
    let last = OverBudget {
        at: at(9),
        method: "GET".to_owned(),
        target: "/products?page=2".to_owned(),
        queries: 45,
        db_ms: 180.0,
        ..OverBudget::default()
    };
    let window = RouteWindow { requests: 412, over_budget: 412, ..RouteWindow::default() };
    let mut snapshot = snapshot(pool(0, 0));
    snapshot.server.query_budget = 10;
    snapshot.routes = vec![Route {
        name: "/products".to_owned(),
        over_budget_total: 9_000,
        over_budget: Some(last),
        window,
        ..Route::default()
    }];
    let sentence = "; the last one, GET /products?page=2, made 45 in 180 ms.";
    let expected = format!(
        "Warning Route /products makes too many database queries: 412 of 412 requests of the last \
         minute made more than 10{sentence} Load related rows in one query (Django: \
         `select_related`, `prefetch_related`)."
    );
    assert_eq!(told_of(&snapshot), [expected]);

    snapshot.routes[0].window = RouteWindow { requests: 100, errors: 4, ..<_>::default() };
    let expected = format!(
        "Note Route /products made too many database queries, 1.0 s ago: 9\u{202f}000 requests so \
         far made more than 10{sentence}"
    );
    assert_eq!(told_of(&snapshot)[0], expected);
    for (errors, severity) in [(5, "Warning"), (50, "Bad")] {
        snapshot.routes[0].window.errors = errors;
        let expected = format!(
            "{severity} Requests of route /products fail: {errors} of 100 of the last minute ended \
             with 500 to 599 or were broken off."
        );
        assert_eq!(told_of(&snapshot)[0], expected);
    }
}

#[test]
fn an_origin_is_bad_only_when_all_its_servers_are_down() {
    let server = |healthy| OriginServer {
        url: "http://a".into(),
        healthy,
        since: Some(at(4)),
        reason: Some("connection refused".into()),
        ..<_>::default()
    };
    let down = "Server http://a of origin cdn is down since 00:00:04 UTC, for 6.0 s: connection \
                refused.";
    for (servers, expected) in [
        (
            vec![server(false), server(true)],
            format!("Warning {down} 1 of 2 servers take its requests."),
        ),
        (vec![server(false)], format!("Bad {down} The origin has no other: its requests fail.")),
    ] {
        let mut snapshot = snapshot(pool(0, 0));
        snapshot.origins.insert("cdn".to_owned(), Origin { servers, cache: None });
        assert_eq!(told_of(&snapshot), [expected]);
    }
}

#[test]
fn what_is_nearly_used_up_is_told_with_the_key_of_its_limit() {
    let mut snapshot = snapshot(pool(0, 0));
    (snapshot.connections.open, snapshot.connections.max) = (80, 100);
    (snapshot.server.proxy.fds, snapshot.server.proxy.fds_max) = (Some(1_000), Some(1_024));
    (snapshot.server.proxy.spool_bytes, snapshot.server.proxy.spool_max_bytes) = (79, 100);
    let expected = [
        "Bad The proxy's descriptors are nearly used up: 1\u{202f}000 of 1\u{202f}024 are open. \
         Raise its limit (`LimitNOFILE=` in the systemd unit).",
        "Warning Client connections are nearly used up: 80 of 100 are open, 0 of them idle. The \
         limit is `server.max-connections`.",
    ];
    assert_eq!(told_of(&snapshot), expected);
    snapshot.server.proxy.spool_bytes = 95;
    assert!(told_of(&snapshot)[1].starts_with("Bad The spool is nearly full: 95 B of 100 B."));
}

#[test]
fn a_refused_configuration_is_told() {
    let mut snapshot = snapshot(pool(0, 0));
    snapshot.server.config_error = Some("ostler.toml:3:1: unknown key `threds`".to_owned());
    let expected = "Warning The last configuration was refused: ostler.toml:3:1: unknown key \
                    `threds`. Number 1 stays in force.";
    assert_eq!(told_of(&snapshot), [expected]);
}

fn at(seconds: u64) -> UnixTime {
    UnixTime::from_ms(seconds * 1_000)
}

fn event(seconds: u64, kind: EventKind, text: &str) -> Event {
    Event { at: at(seconds), kind, subject: Some("web".to_owned()), text: text.to_owned() }
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

/// A worker with a row for each of these routes.
fn worker(routes: &[&str]) -> Worker {
    let thread = |(thread, route): (u32, &&str)| {
        let request = Request {
            id: format!("id-{thread}"),
            method: "GET".to_owned(),
            target: "/x".to_owned(),
            running_ms: 43_000,
            route: (*route).to_owned(),
            ..Request::default()
        };
        Thread { thread, request: Some(request), ..Thread::default() }
    };
    let threads = (0..).zip(routes).map(thread).collect();
    Worker { slot: 1, generation: 3, pid: 4_711, threads, ..Worker::default() }
}

/// A server of ten seconds with one pool.
fn snapshot(pool: Pool) -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.server.uptime_s = 10.0;
    snapshot.pools.insert("web".to_owned(), pool);
    snapshot
}

fn told_of(snapshot: &Snapshot) -> Vec<String> {
    let verdicts = verdicts(snapshot).into_iter();
    verdicts.map(|verdict| format!("{:?} {verdict}", verdict.severity)).collect()
}

#[track_caller]
fn check(pool: &Pool, expected: &[&str]) {
    assert_eq!(told_of(&snapshot(pool.clone())), expected);
}
