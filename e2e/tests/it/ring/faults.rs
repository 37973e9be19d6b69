//! What goes wrong on the ring link, and what a client sees of it.

use std::time::Duration;

use ostler_e2e::client::ReadError;
use ostler_e2e::stack::{number, pids};
use ostler_e2e::{Load, POLL, process};
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::{Instant, interval};

use super::{MODES, plan};
use crate::ask;

#[tokio::test]
async fn a_service_is_cancelled_when_nobody_waits_for_its_answer() {
    let stack = plan("service").with("pool.probe.request-timeout = '300ms'").start().await;
    stack.get("/sleep/3600000").await.expect_reason(504, "request-timeout");
    stack.until_pool("probe", |pool| pool["busy"] == 0).await;
}

#[tokio::test]
async fn a_stream_is_ended_when_its_client_leaves() {
    for mode in MODES {
        let stack = plan(mode).start().await;
        let mut client = ask(&stack, "/stream/1000000/10").await;
        assert_eq!(client.answers().head().await.unwrap().status, 200);
        stack.until_pool("probe", |pool| pool["busy"] == 1).await;
        drop(client);
        stack.until_pool("probe", |pool| pool["busy"] == 0).await;
    }
}

#[tokio::test]
async fn a_handler_on_a_thread_runs_to_its_end_and_holds_its_permit_until_then() {
    let stack = plan("threads").with("pool.probe.threads = 1").start().await;
    let asked = Instant::now();
    let client = ask(&stack, "/sleep/700").await;
    stack.until_pool("probe", |pool| pool["busy"] == 1).await;
    drop(client);
    let left = stack.until(|status| status["requests"]["in_flight"] == 0).await;
    if asked.elapsed() < Duration::from_millis(600) {
        assert_eq!(left["pools"]["probe"]["busy"], 1, "the client is gone, the handler is not");
    }
    stack.until_pool("probe", |pool| pool["busy"] == 0).await;
    assert!(Duration::from_millis(700) <= asked.elapsed(), "{:?}", asked.elapsed());
    assert_eq!(stack.get("/").await.status, 200);
}

#[tokio::test]
async fn a_request_that_its_killed_worker_had_not_looked_at_is_answered_by_another() {
    for mode in MODES {
        let stack = plan(mode).with("pool.probe = { processes = 2, threads = 1 }").start().await;
        let workers = stack.workers("probe").await;
        stop(workers[0]).await;
        // One for each worker, whichever it is that gets the first.
        let mut clients = [ask(&stack, "/sleep/300").await, ask(&stack, "/sleep/300").await];
        stack.until_pool("probe", |pool| busy(pool, 0) == 1).await;
        signal(workers[0], Signal::KILL);
        for client in &mut clients {
            assert_eq!(client.response().await.verdict(), "200 -", "{mode}");
        }
        stack.until_pool("probe", |pool| pool["ready"] == 2 && pool["busy"] == 0).await;
    }
}

fn busy(pool: &Value, worker: usize) -> usize {
    let threads = pool["workers"][worker]["threads"].as_array();
    let is_busy = |thread: &&Value| thread["request"] != Value::Null;
    threads.map_or(0, |threads| threads.iter().filter(is_busy).count())
}

#[tokio::test]
async fn a_request_inside_a_killed_worker_is_not_repeated() {
    for mode in MODES {
        let stack = plan(mode).with("pool.probe.processes = 2").start().await;
        let mut client = ask(&stack, "/sleep/3600000").await;
        let pools = stack.until_pool("probe", |pool| pool["busy"] == 1).await;
        let pool = &pools["probe"];
        let worker = usize::from(busy(pool, 0) != 1);
        // Shown as busy a moment before the worker has looked: not so when it answers another.
        let tid = |pool: &Value| pool["workers"][worker]["threads"][0]["tid"].is_number();
        if mode == "threads" {
            stack.until_pool("probe", tid).await;
        }
        for _ in 0..4 {
            assert_eq!(stack.get("/").await.status, 200);
        }
        signal(pids(pool)[worker], Signal::KILL);
        client.response().await.expect_reason(502, "worker-exited");
        assert_eq!(client.get("/").await.status, 200, "{mode}: the connection is still good");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_aborts_the_connection() {
    for mode in MODES {
        let stack = plan(mode).start().await;
        let worker = stack.workers("probe").await[0];
        let mut client = ask(&stack, "/stream/1000/20").await;
        assert_eq!(client.answers().head().await.unwrap().status, 200);
        assert!(!client.answers().some().await.unwrap().is_empty(), "the body has begun");
        signal(worker, Signal::KILL);
        let mut body = Vec::new();
        loop {
            match client.answers().some().await {
                Ok(bytes) if bytes.is_empty() => break,
                Ok(bytes) => body.extend(bytes),
                Err(ReadError::Broken(_)) => break,
                Err(error) => panic!("{mode}: {error}"),
            }
        }
        assert!(!body.ends_with(b"0\r\n\r\n"), "{mode}: it looks complete");
        stack.until_pool("probe", |pool| pool["ready"] == 1 && pids(pool)[0] != worker).await;
        assert_eq!(stack.get("/").await.status, 200, "{mode}");
    }
}

#[tokio::test]
async fn a_stopped_worker_gets_504_and_serves_again_when_it_goes_on() {
    for mode in MODES {
        let stack = plan(mode).with("pool.probe.request-timeout = '300ms'").start().await;
        let worker = stack.workers("probe").await[0];
        stop(worker).await;
        for _ in 0..3 {
            stack.get("/").await.expect_reason(504, "request-timeout");
        }
        signal(worker, Signal::CONT);
        let status = stack.until(|status| status["pools"]["probe"]["busy"] == 0).await;
        assert_eq!(number(&status["pools"]["probe"]["workers"][0]["pid"]), worker, "{mode}");
        for _ in 0..3 {
            assert_eq!(stack.get("/").await.verdict(), "200 -", "{mode}");
        }
    }
}

#[tokio::test]
async fn nothing_is_lost_when_workers_are_replaced_under_load() {
    for mode in MODES {
        let mut stack = plan(mode).with("pool.probe.processes = 2").start().await;
        let load = Load::start(stack.address(), "/sleep/5", 8);
        for round in 0..3 {
            load.until_answered(50).await;
            stack.reload(&format!("pool.probe.environment.ROUND = '{round}'")).await;
        }
        load.until_answered(50).await;
        load.stop().await.expect_all_answered();
        stack.stop().await.expect_no_errors_logged();
    }
}

#[tokio::test]
async fn nothing_is_lost_when_ostler_stops_under_load() {
    for mode in MODES {
        let stack = plan(mode).start().await;
        let mut clients = Vec::new();
        for _ in 0..2 {
            let mut client = ask(&stack, "/stream/20/20").await;
            assert_eq!(client.answers().head().await.unwrap().status, 200);
            clients.push(client);
        }
        stack.signal(Signal::TERM);
        for client in &mut clients {
            let mut body = Vec::new();
            while !body.ends_with(b"\r\n0\r\n\r\n") {
                let some = client.answers().some().await.unwrap();
                assert!(!some.is_empty(), "{mode}: broken off after {} bytes", body.len());
                body.extend(some);
            }
        }
    }
}

/// A worker that is told to end by somebody else ends what it has begun.
#[tokio::test]
async fn a_worker_that_gets_term_finishes_a_long_answer() {
    const LENGTH: usize = 30_000_000;
    for mode in MODES {
        let stack = plan(mode).with("pool.probe.stop-timeout = '20s'").start().await;
        let worker = stack.workers("probe").await[0];
        let mut client = ask(&stack, &format!("/bytes/{LENGTH}")).await;
        assert_eq!(client.answers().head().await.unwrap().status, 200);
        signal(worker, Signal::TERM);
        let mut received = 0;
        while received < LENGTH {
            let some = client.answers().some().await;
            let some = some.unwrap_or_else(|error| panic!("{mode}: {received} and {error}"));
            assert!(!some.is_empty(), "{mode}: broken off after {received} bytes");
            received += some.len();
        }
        stack.until_pool("probe", |pool| pool["ready"] == 1 && pids(pool)[0] != worker).await;
    }
}

/// Stops a process, and waits until each of its threads has: the signal alone lets one that runs
/// go on for a moment.
async fn stop(pid: u32) {
    signal(pid, Signal::STOP);
    let mut ticks = interval(POLL);
    while !threads(pid).iter().all(|state| state == "T") {
        ticks.tick().await;
    }
}

/// The state of each thread of a process.
fn threads(pid: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    let state = |stat: String| stat.rsplit_once(") ").map(|(_, rest)| rest[..1].to_owned());
    stats.filter_map(state).collect()
}

#[track_caller]
fn signal(pid: u32, signal: Signal) {
    assert!(process::signal(pid, signal), "{pid} is gone already");
}
