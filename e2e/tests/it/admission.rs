//! A fixed number of requests run, a bounded number waits, and the rest is told so at once.

use std::time::Duration;

use ostler_e2e::{Load, Plan, Stack};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::ask;

/// One thread, and room for as many waiting requests as the test says.
fn one_thread(queue: u32) -> Plan {
    let pool = "pool.probe.threads = 1\npool.probe.queue-length = ";
    Plan::probe().with(&format!("{pool}{queue}"))
}

#[tokio::test]
async fn sheds_when_every_thread_is_busy_and_the_queue_is_full() {
    let stack = one_thread(1).start().await;
    let mut held = ask(&stack, "/sleep/600").await;
    until(&stack, 1, 0).await;
    let mut queued = ask(&stack, "/head").await;
    until(&stack, 1, 1).await;

    let shed = stack.get("/").await;
    shed.expect_reason(503, "queue-full");
    assert!(retry_after(shed.field("retry-after")), "{shed:?}");
    assert!(!shed.closes(), "a shed request without a body leaves its connection usable");
    until(&stack, 1, 1).await;

    assert_eq!(held.response().await.status, 200);
    assert_eq!(queued.response().await.status, 200);
    let pool = until(&stack, 0, 0).await;
    assert_eq!(pool["shed_total"]["queue-full"], 1);
    assert_eq!(pool["workers"][0]["requests_total"], 2);
}

#[tokio::test]
async fn sheds_before_the_client_is_let_send_its_body() {
    let stack = one_thread(0).start().await;
    let mut held = ask(&stack, "/sleep/400").await;
    until(&stack, 1, 0).await;
    let mut client = stack.connect().await;
    let expects = "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    client.send(format!("POST /echo HTTP/1.1\r\nHost: a\r\n{expects}")).await;
    let first = client.answers().read_any(false).await.unwrap();
    first.expect_reason(503, "queue-full");
    assert_eq!(held.response().await.status, 200);
}

#[tokio::test]
async fn a_request_waits_no_longer_than_the_queue_timeout() {
    let stack = one_thread(5).with("pool.probe.queue-timeout = '300ms'").start().await;
    let mut held = ask(&stack, "/sleep/1000").await;
    until(&stack, 1, 0).await;
    let asked = Instant::now();
    let late = stack.get("/").await;
    let waited = asked.elapsed();
    late.expect_reason(503, "queue-timeout");
    assert!(retry_after(late.field("retry-after")), "{late:?}");
    assert!(Duration::from_millis(290) < waited, "{waited:?}");
    assert!(waited < Duration::from_millis(900), "{waited:?}, and not when a thread was free");
    assert_eq!(held.response().await.status, 200);
    assert_eq!(until(&stack, 0, 0).await["shed_total"]["queue-timeout"], 1);
}

#[tokio::test]
async fn the_queue_is_first_come_first_served() {
    let stack = one_thread(10).start().await;
    let mut held = ask(&stack, "/sleep/400").await;
    until(&stack, 1, 0).await;
    let mut waiting = JoinSet::new();
    for place in 1..=5 {
        let mut client = ask(&stack, "/sleep/40").await;
        until(&stack, 1, place).await;
        waiting.spawn(async move {
            assert_eq!(client.response().await.status, 200);
            place
        });
    }
    assert_eq!(held.response().await.status, 200);
    let mut order = Vec::new();
    while let Some(place) = waiting.join_next().await {
        order.push(place.unwrap());
    }
    assert_eq!(order, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_client_that_leaves_the_queue_gives_up_its_place() {
    let stack = one_thread(1).start().await;
    let mut held = ask(&stack, "/sleep/800").await;
    until(&stack, 1, 0).await;
    let leaving = ask(&stack, "/head").await;
    until(&stack, 1, 1).await;
    drop(leaving);
    let pools = stack.until_pool("probe", |p| p["queued"] == 0 && p["left_total"] == 1).await;
    assert_eq!(pools["probe"]["busy"], 1);

    let mut next = ask(&stack, "/head").await;
    until(&stack, 1, 1).await;
    assert_eq!(held.response().await.status, 200);
    assert_eq!(next.response().await.status, 200);
    let pool = until(&stack, 0, 0).await;
    assert_eq!(pool["workers"][0]["requests_total"], 2, "the one that left was never run");
    assert_eq!(pool["shed_total"]["queue-full"], 0);
}

#[tokio::test]
async fn a_client_that_leaves_a_running_request_leaves_its_permit_behind() {
    let stack = one_thread(1).start().await;
    let leaving = ask(&stack, "/sleep/2000").await;
    until(&stack, 1, 0).await;
    drop(leaving);
    // The handler runs on, so the next request has to wait for it.
    let mut next = ask(&stack, "/head").await;
    until(&stack, 1, 1).await;
    assert_eq!(next.response().await.status, 200);
    let pool = until(&stack, 0, 0).await;
    assert_eq!(pool["workers"][0]["generation"], 1);
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_ends_it() {
    let stack = one_thread(1).start().await;
    let mut leaving = ask(&stack, "/stream/1000/20").await;
    assert_eq!(leaving.answers().head().await.unwrap().status, 200);
    until(&stack, 1, 0).await;
    drop(leaving);
    // The stream would go on for 20 s; the handler ends when nobody takes what it writes.
    until(&stack, 0, 0).await;
    stack.until(|status| status["requests"]["by_reason"]["client-left"] == 1).await;
    let access = stack.stop().await.access;
    assert!(access.contains(" reason=client-left "), "{access}");
}

#[tokio::test]
async fn a_busy_thread_shows_the_request_it_runs() {
    let stack = one_thread(1).start().await;
    let mut held = ask(&stack, "/sleep/400?a=b").await;
    let pool = until(&stack, 1, 0).await;
    let thread = &pool["workers"][0]["threads"][0];
    assert_eq!(thread["state"], "W");
    let shown = &thread["request"];
    assert_eq!((&shown["method"], &shown["target"]), (&"GET".into(), &"/sleep/400?a=b".into()));
    assert_eq!((&shown["host"], &shown["client"]), (&"e2e.example".into(), &"127.0.0.1".into()));
    assert!(shown["running_ms"].as_u64().unwrap() < 5_000, "{shown}");
    assert_eq!(held.response().await.status, 200);
    let pool = until(&stack, 0, 0).await;
    assert_eq!(pool["workers"][0]["threads"][0]["request"], Value::Null);
}

#[tokio::test]
async fn no_more_requests_run_than_there_are_threads() {
    let pool = "pool.probe = { processes = 2, threads = 3 }";
    let stack = Stack::start(pool).await;
    let load = Load::start(stack.address(), "/sleep/20", 16);
    let (mut most, mut longest_queue) = (0, 0);
    for _ in 0..50 {
        let status = stack.status().await;
        let pool = &status["pools"]["probe"];
        let (busy, queued) = (pool["busy"].as_u64().unwrap(), pool["queued"].as_u64().unwrap());
        assert!(busy <= 6 && queued <= 16, "{pool:#}");
        for worker in pool["workers"].as_array().unwrap() {
            assert_eq!(worker["threads"].as_array().unwrap().len(), 3, "{worker:#}");
        }
        (most, longest_queue) = (most.max(busy), longest_queue.max(queued));
    }
    load.until_answered(100).await;
    load.stop().await.expect_all_answered();
    assert_eq!(most, 6, "every thread was used");
    assert!(0 < longest_queue, "the rest waited");
    until(&stack, 0, 0).await;
}

#[tokio::test]
async fn an_asynchronous_worker_runs_as_many_requests_as_its_concurrency() {
    let pool =
        "pool.probe = { threads = 1, concurrency = 8, environment = { PROBE_MODE = 'service' } }";
    let stack = Stack::start(pool).await;
    let mut clients = Vec::new();
    for _ in 0..9 {
        clients.push(ask(&stack, "/sleep/500").await);
    }
    until(&stack, 8, 1).await;
    for client in &mut clients {
        assert_eq!(client.response().await.status, 200);
    }
}

#[tokio::test]
async fn pools_do_not_wait_for_each_other() {
    let stack = one_thread(5)
        .with(
            "[pool.other]
             command = ['probe']
             environment = { PROBE_MODE = 'threads' }
             threads = 1
             [[site]]
             route = [{ path = '/', pool = 'probe' }, { path = '/head', pool = 'other' }]",
        )
        .start()
        .await;
    let mut held = ask(&stack, "/sleep/500").await;
    until(&stack, 1, 0).await;
    let mut queued = ask(&stack, "/").await;
    until(&stack, 1, 1).await;
    assert_eq!(stack.get("/head").await.status, 200);
    until(&stack, 1, 1).await;
    assert_eq!(held.response().await.status, 200);
    assert_eq!(queued.response().await.status, 200);
}

/// Waits until so many requests run and so many wait; returns the pool.
#[track_caller]
fn until(stack: &Stack, busy: u64, queued: u64) -> impl Future<Output = Value> {
    let shown =
        stack.until_pool("probe", move |pool| pool["busy"] == busy && pool["queued"] == queued);
    async move { shown.await["probe"].take() }
}

fn retry_after(value: Option<&str>) -> bool {
    value.and_then(|value| value.parse::<u32>().ok()).is_some_and(|seconds| 0 < seconds)
}
