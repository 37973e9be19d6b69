//! The threads of an interpreter take turns, and none of them holds the others up.

use ostler_e2e::{Plan, Stack, python};

use crate::ask;

/// Requests that are answered at once: enough that the worker takes them for what is usual.
const USUAL: usize = 64;

/// A worker with three threads, which has answered short requests only.
async fn stack() -> Stack {
    let keys = "pool.web = { processes = 1, threads = 3, request-timeout = '30s' }";
    let plan: Plan = python::subject("life.py").with(keys);
    let stack = plan.start().await;
    for _ in 0..USUAL {
        assert_eq!(stack.get("/open").await.text(), "/open");
    }
    stack
}

#[tokio::test]
async fn others_are_answered_beside_a_long_computation() {
    let stack = stack().await;
    let mut computation = ask(&stack, "/compute").await;
    while stack.get("/is-computing").await.text() != "True" {}
    for _ in 0..USUAL {
        assert_eq!(stack.get("/open").await.text(), "/open");
    }
    assert_eq!(stack.get("/release").await.text(), "released");
    assert_eq!(computation.response().await.text(), "computed");
    let routes = stack.status().await["routes"].take();
    let waited_ms = routes[0]["costs"]["lock_ms"].as_f64().unwrap();
    assert!(0.0 < waited_ms, "{routes}");
}

#[tokio::test]
async fn as_many_requests_wait_at_once_as_there_are_threads() {
    let stack = stack().await;
    for _ in 0..4 {
        let mut waiting = Vec::new();
        for _ in 0..3 {
            waiting.push(ask(&stack, "/meet").await);
        }
        for client in &mut waiting {
            assert_eq!(client.response().await.text(), "met");
        }
    }
}
