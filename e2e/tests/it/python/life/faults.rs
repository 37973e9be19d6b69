//! Applications that fork, crash, or do not come back.

use ostler_e2e::stack::event;
use ostler_e2e::{POLL, Stack};
use tokio::time::interval;

use super::{notes, plan};
use crate::ask;

#[tokio::test]
async fn an_application_may_have_children() {
    let stack = plan().start().await;
    let worker = stack.workers("web").await;
    for _ in 0..3 {
        for (path, told) in [
            ("/fork", "7"),
            ("/fork-and-exit", "9"),
            ("/fork-and-end", "-15"),
            ("/command", "42"),
            ("/processes", "328350"),
        ] {
            assert_eq!(stack.get(path).await.text(), told, "{path}");
        }
    }
    assert_eq!(stack.workers("web").await, worker);
    stack.until_pool("web", |pool| pool["busy"] == 0 && pool["ready"] == 1).await;
    stack.stop().await.expect_no_errors_logged();
}

#[tokio::test]
async fn a_crash_in_c_costs_the_requests_of_its_process_and_no_others() {
    let stack = plan().with("pool.web = { processes = 2, threads = 1 }").start().await;
    let before = stack.workers("web").await;
    let mut held = ask(&stack, "/hold?300").await;
    stack.until_pool("web", |pool| pool["busy"] == 1).await;
    stack.get("/crash").await.expect_reason(502, "worker-exited");
    assert_eq!(held.response().await.text(), "held", "the other process goes on");
    let line = stack.logged(|line| event(line) == Some("worker_exited")).await;
    assert!(line.contains("SEGV") || line.contains("signal 11"), "{line}");
    stack.until_pool("web", |pool| pool["ready"] == 2).await;
    let after = stack.workers("web").await;
    assert_eq!(after.iter().filter(|pid| before.contains(pid)).count(), 1);
    served_by_all(&stack, &after).await;
}

#[tokio::test]
async fn a_stuck_request_is_interrupted_and_its_worker_goes_on() {
    let times = "pool.web = { request-timeout = '300ms', interrupt-timeout = '200ms',
                              stuck-grace = '20s' }";
    let stack = plan().with(times).start().await;
    let worker = stack.workers("web").await;
    for round in 1..=3 {
        stack.get("/stuck").await.expect_reason(504, "request-timeout");
        stack.until_pool("web", |pool| pool["stuck"] == 0 && pool["busy"] == 0).await;
        assert_eq!(notes(&stack, "interrupted").len(), round);
    }
    let told = stack.get("/thread").await.json();
    assert_eq!(told["name"].as_str().map(|name| name.starts_with("ostler-")), Some(true));
    assert_eq!(stack.workers("web").await, worker, "it was not replaced");
    assert!(stack.events("worker_unfit").is_empty(), "{}", stack.log());
}

/// Asks until each of these workers has answered.
async fn served_by_all(stack: &Stack, workers: &[u32]) {
    let mut left = workers.to_vec();
    let mut ticks = interval(POLL);
    while !left.is_empty() {
        ticks.tick().await;
        let (mut one, mut other) = (ask(stack, "/thread?20").await, ask(stack, "/thread?20").await);
        for client in [&mut one, &mut other] {
            let pid = client.response().await.json()["pid"].as_u64();
            left.retain(|worker| Some(u64::from(*worker)) != pid);
        }
    }
}
