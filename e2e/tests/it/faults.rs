//! What clients see, and what becomes of the rest, when a part fails.

use std::time::Duration;

use ostler_e2e::client::ReadError;
use ostler_e2e::stack::{example, number, pids};
use ostler_e2e::{DEADLINE, Load, POLL, Plan, Stack, process};
use rustix::process::Signal;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, interval};

use crate::ask;

/// A pool that never gets ready beside the probe, at `/never`.
const NEVER: &str = r#"
    [pool.never]
    command = ["sleep", "1000"]
    start-timeout = "2s"
    queue-timeout = "300ms"
    [[site]]
    route = [{ path = "/", pool = "probe" }, { path = "/never", pool = "never" }]
"#;

#[tokio::test]
async fn a_killed_worker_fails_only_the_requests_inside_it() {
    let stack = Stack::start("pool.probe.processes = 2").await;
    let load = Load::start(stack.address(), "/sleep/20", 8);
    load.until_answered(20).await;
    let before = stack.workers("probe").await;
    kill(before[0]);
    whole_again(&stack, &before).await;
    load.until_answered(20).await;
    let tally = load.stop().await;
    assert!(tally.errors.is_empty() && tally.unanswered == 0 && tally.refused == 0, "{tally:#?}");
    let failed = tally.count("502 worker-exited");
    assert!(failed <= 2, "no more than its threads: {tally:#?}");
    assert!(tally.answers.keys().all(|v| v == "200 -" || v == "502 worker-exited"), "{tally:#?}");
    let pool = stack.until_pool("probe", |pool| pool["busy"] == 0).await;
    assert_eq!(pool["probe"]["recycles_total"]["exit"], 1);
    assert_eq!(pids(&pool["probe"])[1], before[1], "the other one runs on");
}

#[tokio::test]
async fn a_request_inside_a_killed_worker_gets_502_at_once() {
    let stack = Stack::start("pool.probe.threads = 1").await;
    let mut client = ask(&stack, "/sleep/30000").await;
    let pools = stack.until_pool("probe", |pool| pool["busy"] == 1).await;
    let mut queued = ask(&stack, "/whoami").await;
    stack.until_pool("probe", |pool| pool["queued"] == 1).await;
    kill(pids(&pools["probe"])[0]);
    client.response().await.expect_reason(502, "worker-exited");
    let waited = queued.response().await;
    assert_eq!(waited.verdict(), "200 -", "a waiting request waits for the next worker");
    assert!(waited.text().contains("generation=2"), "{}", waited.text());
    assert_eq!(client.get("/").await.status, 200, "the client's connection is still good");
}

#[tokio::test]
async fn a_worker_that_aborts_is_replaced() {
    let stack = Stack::start("").await;
    let before = stack.workers("probe").await;
    stack.get("/abort").await.expect_reason(502, "worker-exited");
    let pool = whole_again(&stack, &before).await;
    let last_exit = pool["last_exit"].to_string();
    assert!(last_exit.contains("signal 6") || last_exit.contains("SIGABRT"), "{last_exit}");
    assert_eq!(stack.get("/").await.status, 200);
    stack.logged(|line| line.contains(" WARN worker_exited ") && line.contains("signal 6")).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_never_looks_complete() {
    let stack = Stack::start("").await;
    for version in ["1.1", "1.0"] {
        let before = stack.workers("probe").await;
        let mut client = stack.connect().await;
        client.send(format!("GET /stream/1000/20 HTTP/{version}\r\nHost: a\r\n\r\n")).await;
        let head = client.answers().head().await.unwrap();
        assert_eq!(head.status, 200);
        assert!(!client.answers().some().await.unwrap().is_empty(), "the body has begun");
        kill(before[0]);
        let mut rest = Vec::new();
        let end = loop {
            match client.answers().some().await {
                Ok(bytes) if bytes.is_empty() => break None,
                Ok(bytes) => rest.extend(bytes),
                Err(error) => break Some(error),
            }
        };
        match (head.field("transfer-encoding"), end) {
            // Without the last chunk the answer is not complete, however the connection ends.
            (Some("chunked"), None | Some(ReadError::Broken(_))) => {
                assert!(!rest.ends_with(b"0\r\n\r\n"), "HTTP/{version}");
            }
            // Where only the end of the connection ends the body, it must be a reset.
            (None, Some(ReadError::Broken(_))) => {}
            other => panic!("HTTP/{version}: {other:?}"),
        }
        whole_again(&stack, &before).await;
    }
}

#[tokio::test]
async fn a_pool_whose_worker_never_gets_ready_harms_no_other() {
    let stack = Plan::probe().with(NEVER).unready().start().await;
    let mut client = stack.connect().await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.status, 200);
    }
    // While a worker starts, requests wait for it; 503 when none is starting either.
    client.get("/never").await.expect_reason(503, "queue-timeout");
    let stuck = stack.logged(|line| line.contains("pool=never") && line.contains("worker_")).await;
    assert!(!stuck.is_empty(), "{stuck}");
    stack.until_pool("never", |pool| pool["recycles_total"]["start-timeout"] != 0).await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(stack.get_status("/ostler-health").await.status, 503);
}

#[tokio::test]
async fn requests_for_a_pool_without_any_worker_are_refused_at_once() {
    let plan = Plan::probe().with(NEVER).with("pool.never.command = ['false']");
    let stack = plan.unready().start().await;
    let mut client = stack.connect().await;
    let deadline = Instant::now() + DEADLINE;
    loop {
        let response = client.get("/never").await;
        if response.verdict() == "503 pool-not-ready" {
            assert!(response.field("retry-after").is_some(), "{response:?}");
            break;
        }
        response.expect_reason(503, "queue-timeout");
        assert!(Instant::now() < deadline, "always one is starting:\n{}", stack.log());
    }
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test]
async fn a_slow_handler_gets_504_and_keeps_its_thread() {
    let stack = Stack::start("pool.probe = { threads = 1, request-timeout = '300ms' }").await;
    let asked = Instant::now();
    stack.get("/sleep/900").await.expect_reason(504, "request-timeout");
    let waited = asked.elapsed();
    assert!(
        Duration::from_millis(290) < waited && waited < Duration::from_millis(800),
        "{waited:?}"
    );
    assert_eq!(stack.status().await["pools"]["probe"]["busy"], 1, "the handler runs on");
    let mut next = ask(&stack, "/head").await;
    stack.until_pool("probe", |pool| pool["queued"] == 1).await;
    assert_eq!(next.response().await.status, 200);
}

#[tokio::test]
async fn an_answer_that_stops_in_its_middle_is_aborted() {
    let stack = Stack::start("pool.probe.response-idle = '300ms'").await;
    let mut client = ask(&stack, "/stream/3/1500").await;
    let error = client.try_response("GET").await.unwrap_err();
    assert!(matches!(error, ReadError::Truncated(_) | ReadError::Broken(_)), "{error}");
}

#[tokio::test]
async fn a_killed_proxy_is_back_within_a_second_with_new_workers_over_http() {
    let stack = Stack::start("pool.probe.link = 'http'").await;
    let mut running = ask(&stack, "/sleep/30000").await;
    stack.until_pool("probe", |pool| pool["busy"] == 1).await;
    let (proxy, workers) = (stack.proxy().await, stack.workers("probe").await);
    let accepted = stack.status().await["requests"]["total"].clone();
    let killed = Instant::now();
    kill(proxy);
    let lost = running.try_response("GET").await.unwrap_err();
    assert!(matches!(lost, ReadError::Closed | ReadError::Broken(_)), "{lost}");
    let next = stack.get("/").await;
    assert_eq!(next.verdict(), "200 -", "it waits for the next worker");
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    let status = stack.status().await;
    assert_ne!(number(&status["server"]["proxy"]["pid"]), proxy);
    assert!(accepted.as_u64() <= status["requests"]["total"].as_u64(), "counters never go back");
    let pool = whole_again(&stack, &workers).await;
    assert_eq!(pool["recycles_total"]["proxy-exit"], 1);
    assert_eq!(stack.get("/").await.status, 200);
}

#[tokio::test]
async fn a_killed_supervisor_leaves_nothing_behind() {
    let probe = example("probe");
    let stack = Stack::start(&format!(
        "pool.probe.processes = 2
         pool.probe.command = ['sh', '-c', 'sleep 1000 & exec \"$0\"', '{}']",
        probe.display()
    ))
    .await;
    let mut load = Vec::new();
    for _ in 0..3 {
        load.push(ask(&stack, "/sleep/30000").await);
    }
    stack.until_pool("probe", |pool| pool["busy"] == 3).await;
    let commands: Vec<String> = stack.processes().into_iter().map(|p| p.command).collect();
    let count = |part: &str| commands.iter().filter(|command| command.contains(part)).count();
    assert_eq!((count("sleep 1000"), count("ostler proxy")), (2, 1), "{commands:#?}");
    kill(stack.pid());
    let killed = Instant::now();
    stack.until_gone(Duration::from_secs(2)).await;
    // A process that ends lets go of its memory, by which it is found, before its sockets.
    for address in [stack.address(), stack.status_address()] {
        while TcpStream::connect(address).await.is_ok() {
            assert!(killed.elapsed() < Duration::from_secs(2), "somebody listens on {address}");
        }
    }
}

#[tokio::test]
async fn children_of_a_killed_worker_end_with_it() {
    let probe = example("probe");
    let stack = Stack::start(&format!(
        "pool.probe.command = ['sh', '-c', 'sleep 1000 & exec \"$0\"', '{}']",
        probe.display()
    ))
    .await;
    let sleeper = |stack: &Stack| -> Vec<u32> {
        let processes = stack.processes().into_iter();
        processes.filter(|p| p.command.contains("sleep 1000")).map(|p| p.pid).collect()
    };
    let before = (stack.workers("probe").await, sleeper(&stack));
    assert_eq!(before.1.len(), 1);
    kill(before.0[0]);
    whole_again(&stack, &before.0).await;
    let mut ticks = interval(POLL);
    let deadline = Instant::now() + DEADLINE;
    loop {
        let now = sleeper(&stack);
        if now.len() == 1 && now != before.1 {
            break;
        }
        assert!(Instant::now() < deadline, "{:#?}", stack.processes());
        ticks.tick().await;
    }
    stack.stop().await;
}

#[tokio::test]
async fn ended_workers_are_no_zombies() {
    let stack = Stack::start("").await;
    for _ in 0..3 {
        let before = stack.workers("probe").await;
        stack.get("/abort").await.expect_reason(502, "worker-exited");
        whole_again(&stack, &before).await;
        for pid in before {
            assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "{pid} is there");
        }
    }
}

#[tokio::test]
async fn a_worker_that_speaks_no_http_gets_its_requests_502() {
    let speaks_nonsense = "import os, socket
listener = socket.socket(fileno=3)
while True:
    connection, _ = listener.accept()
    connection.recv(65536)
    connection.sendall(b'this is not HTTP\\r\\n\\r\\n')
    connection.close()
";
    let plan = Plan::probe().file("nonsense.py", speaks_nonsense).with(
        r#"pool.probe.command = ["python3", "${STACK_DIR}/nonsense.py"]
           pool.probe.ready = "http"
           pool.probe.start-timeout = "2s"
           pool.probe.queue-timeout = "500ms""#,
    );
    // With `ready = "http"` any answer makes it ready, but this is none.
    let stack = plan.unready().start().await;
    let response = stack.get("/").await;
    assert_eq!(response.status, 503, "{response:?}");
    stack.until_pool("probe", |pool| pool["recycles_total"]["start-timeout"] != 0).await;
}

#[track_caller]
fn kill(pid: u32) {
    assert!(process::signal(pid, Signal::KILL), "{pid} is gone already");
}

/// Waits until the first of these workers was replaced and all are ready.
async fn whole_again(stack: &Stack, before: &[u32]) -> Value {
    let (first, wanted) = (before[0], before.len());
    let mut pools = stack
        .until_pool("probe", |pool| {
            let workers = pool["workers"].as_array().map_or(0, Vec::len);
            pool["ready"] == wanted && workers == wanted && pids(pool)[0] != first
        })
        .await;
    pools["probe"].take()
}
