//! What requests cost, as the scoreboard shows it: processor time, memory, and what applications
//! report; and that it is there when the process is gone.

use ostler_e2e::stack::number;
use ostler_e2e::{Plan, Stack, process};
use rustix::process::Signal;
use serde_json::Value;

use crate::ask;

/// Longer than any test.
const FOR_EVER: &str = "3600000";

/// A pool of the probe with one row, so that one request follows the other in it.
fn plan(mode: &str, link: &str) -> Plan {
    Plan::probe().with(&format!(
        "[pool.probe]\nlink = '{link}'\nthreads = 1\nrequest-timeout = '1h'\n\
         environment = {{ PROBE_MODE = '{mode}' }}\n"
    ))
}

#[tokio::test]
async fn the_processor_time_of_a_request_grows_while_it_runs_and_is_known_after_a_kill() {
    let stack = plan("threads", "auto").start().await;
    let burning = ask(&stack, &format!("/burn/{FOR_EVER}")).await;
    let pools = stack.until_pool("probe", |pool| used_ms(pool).is_some_and(|ms| 0 < ms)).await;
    let first = used_ms(&pools["probe"]).unwrap();
    let pools = stack.until_pool("probe", |pool| used_ms(pool).is_some_and(|ms| first < ms)).await;

    let later = used_ms(&pools["probe"]).unwrap();
    let worker = &pools["probe"]["workers"][0];
    let of_thread = worker["threads"][0]["cpu_s"].as_f64().unwrap();
    assert!(in_seconds(first) < of_thread, "{worker}");
    assert!(0.0 < worker["cpu_s"].as_f64().unwrap(), "{worker}");
    assert!(0 < worker["rss_bytes"].as_u64().unwrap(), "{worker}");

    process::signal(number(&worker["pid"]), Signal::KILL);
    let line = stack.logged(|line| line.contains(" WARN worker_crashed ")).await;
    assert!(line.contains("rss_bytes=") && line.contains(" cpu_ms="), "{line}");
    let pools = stack.until_pool("probe", |pool| !pool["post_mortems"][0].is_null()).await;
    let record = &pools["probe"]["post_mortems"][0];
    assert!(later <= record["requests"][0]["cpu_ms"].as_u64().unwrap(), "{record}");
    for told in [record, &pools["probe"]["last_exit"]] {
        assert!(0 < told["rss_bytes"].as_u64().unwrap(), "{told}");
        assert!(in_seconds(first) <= told["cpu_s"].as_f64().unwrap() + 0.1, "{told}");
    }
    drop(burning);
}

#[tokio::test]
async fn what_ended_requests_used_stays_with_their_threads() {
    let stack = plan("threads", "auto").start().await;
    let mut client = stack.connect().await;
    for _ in 0..50 {
        assert_eq!(client.get("/burn/4").await.status, 200);
    }
    let thread = |pool: &Value| pool["workers"][0]["threads"][0].clone();
    let pools = stack.until_pool("probe", |pool| thread(pool)["requests_total"] == 50).await;
    let used = thread(&pools["probe"])["cpu_s"].as_f64().unwrap();
    assert!((0.2..2.0).contains(&used), "{used} s of 50 requests of 4 ms");
}

#[tokio::test]
async fn a_worker_that_does_not_tell_its_threads_tells_no_time_of_theirs() {
    for (mode, link) in [("service", "auto"), ("threads", "http")] {
        let stack = plan(mode, link).start().await;
        stack.get("/burn/10").await;
        let pools = stack.until_pool("probe", |pool| pool["requests_total"] == 1).await;
        let worker = &pools["probe"]["workers"][0];
        assert_eq!(worker["threads"][0]["cpu_s"], Value::Null, "{mode} {link}");
        assert!(0 < worker["rss_bytes"].as_u64().unwrap(), "{mode} {link}");
    }
}

#[tokio::test]
async fn what_a_request_reports_is_shown_before_it_ends() {
    for mode in ["threads", "service"] {
        let stack = plan(mode, "auto").start().await;
        let first = stack.get("/cost/3/0").await;
        assert_eq!(first.field("server-timing"), None, "{mode}: it is in the row");
        let held = ask(&stack, &format!("/cost/20/{FOR_EVER}")).await;
        let pools = stack.until_pool("probe", |pool| queries(pool) == Some(20)).await;
        let costs = &request(&pools["probe"])["costs"];
        assert_eq!((&costs["db_ms"], &costs["outbound_calls"]), (&20.0.into(), &0.into()));

        let pid = number(&pools["probe"]["workers"][0]["pid"]);
        process::signal(pid, Signal::KILL);
        let line = stack.logged(|line| line.contains(" WARN worker_crashed ")).await;
        assert!(line.contains(" db_queries=20"), "{mode}: {line}");
        let pools = stack.until_pool("probe", |pool| !pool["post_mortems"][0].is_null()).await;
        let record = &pools["probe"]["post_mortems"][0];
        assert_eq!(record["requests"][0]["costs"]["db_queries"], 20, "{mode}: {record}");
        drop(held);
    }
}

#[tokio::test]
async fn a_worker_on_a_connection_tells_its_costs_in_the_head() {
    for mode in ["threads", "service"] {
        let stack = plan(mode, "http").start().await;
        let answer = stack.get("/cost/20/0").await;
        assert_eq!(answer.field("server-timing"), Some("db;dur=20.000;n=20"), "{mode}");
        assert_eq!(stack.get("/").await.field("server-timing"), None, "{mode}");
    }
}

/// The thread of the first request goes on reporting all through the second one.
#[tokio::test]
async fn who_reports_after_the_end_of_a_request_changes_nothing_of_the_next() {
    for mode in ["threads", "service"] {
        let stack = plan(mode, "auto").start().await;
        assert_eq!(stack.get(&format!("/haunt/{FOR_EVER}")).await.status, 200);
        let held = ask(&stack, &format!("/cost/1/{FOR_EVER}")).await;
        let is_later = |pool: &Value| age_ms(pool).is_some_and(|age| 500 < age);
        let pools = stack.until_pool("probe", is_later).await;
        assert_eq!(queries(&pools["probe"]), Some(1), "{mode}");
        drop(held);
        end(&stack).await;
    }
}

/// Ends the worker, whose request and thread go on for ever.
async fn end(stack: &Stack) {
    for pid in stack.workers("probe").await {
        process::signal(pid, Signal::KILL);
    }
}

/// The request in the only row.
fn request(pool: &Value) -> &Value {
    &pool["workers"][0]["threads"][0]["request"]
}

fn used_ms(pool: &Value) -> Option<u64> {
    request(pool)["cpu_ms"].as_u64()
}

fn age_ms(pool: &Value) -> Option<u64> {
    request(pool)["running_ms"].as_u64()
}

fn queries(pool: &Value) -> Option<u64> {
    request(pool)["costs"]["db_queries"].as_u64()
}

fn in_seconds(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}
