//! More load than a pool can take: who is refused, how fast, and what the others get.

use std::time::Duration;

use ostler_e2e::promise::{length, note};
use ostler_e2e::{Load, Plan, Stack, Tally, Workers};
use serde_json::Value;
use tokio::time::Instant;

use crate::ask;

/// Threads of the overloaded pool, and how long its handler takes.
const THREADS: usize = 4;
const HANDLER: Duration = Duration::from_millis(20);
const QUEUE_TIMEOUT: Duration = Duration::from_millis(200);

/// A pool whose queue is longer than what is served in its timeout.
fn overloaded(workers: Workers) -> Plan {
    workers.plan().with(
        "log.access.format = 'json'
         [pool.probe]
         threads = 4
         queue-length = 1000
         queue-timeout = '200ms'",
    )
}

#[tokio::test]
async fn overload_costs_no_capacity_and_refusals_are_quick() {
    check(Workers::Auto, "200 % of the capacity").await;
}

#[tokio::test]
async fn overload_costs_no_capacity_and_refusals_are_quick_in_python() {
    check(Workers::Python, "200 % of the capacity, Python").await;
}

/// Goal: at twice its capacity a pool does what it can, refuses the rest at once, and is idle
/// right after. Method: one run measures the capacity, with as many clients as threads; in
/// another of the same length twice as many requests come, evenly, from so many clients that none
/// has to wait for an answer. It is looked at after a third.
async fn check(workers: Workers, promised: &str) {
    let stack = overloaded(workers).start().await;
    let time = length(Duration::from_secs(4), Duration::from_secs(30));
    let load = Load::start(stack.address(), "/sleep/20", THREADS);
    let (alone, _) = run(&stack, load, time).await;
    alone.expect_all_answered();
    let capacity = alone.count("200 -");

    let every = time * (100 * number(THREADS)) / (2 * number(capacity));
    let load = Load::start_paced(stack.address(), "/sleep/20", 100 * THREADS, every);
    let (crowd, grown) = run(&stack, load, time).await;
    assert!(crowd.errors.is_empty() && crowd.unanswered == 0, "{crowd:#?}");
    let served = crowd.count("200 -");
    assert!(capacity * 95 <= served * 100, "{served} served, {capacity} without overload");
    assert!(0 < crowd.count("503 predicted-wait"), "{crowd:#?}");
    assert_eq!(crowd.count("503 queue-full"), 0, "{crowd:#?}");
    assert!(grown < 1024 * 1024, "the proxy grew by {grown} bytes");

    let ended = Instant::now();
    stack.until_pool("probe", |pool| pool["busy"] == 0 && pool["queued"] == 0).await;
    let idle = ended.elapsed();
    assert!(idle < Duration::from_secs(1), "idle {idle:?} after");
    let status = stack.status().await;
    let refused = status["pools"]["probe"]["shed_total"]["predicted-wait"].as_u64().unwrap();
    assert_eq!(status["requests"]["by_reason"]["predicted-wait"], refused);
    assert!(crowd.count("503 predicted-wait") as u64 <= refused);

    let lines = lines(&stack.stop().await.access);
    let of = |reason: Value| lines.iter().filter(move |line| line["reason"] == reason);
    let quick = p99(of("predicted-wait".into()), "duration_s");
    assert!(quick <= 0.010, "refusals take {quick} s at p99");
    let longest = (QUEUE_TIMEOUT + HANDLER).as_secs_f64();
    let admitted = p99(of(Value::Null), "duration_s");
    // A busy machine adds to what the handler sleeps.
    assert!(admitted <= longest + 0.020, "{admitted} s at p99, allowed are {longest}");
    let promise = |what: &str| format!("{promised}: {what}");
    let share = 100.0 * f64::from(number(served)) / f64::from(number(capacity));
    note(&promise("answered"), "95 % of the capacity", &format!("{share:.1} %"));
    note(&promise("a refusal, p99"), "10 ms", &format!("{:.1} ms", quick * 1e3));
    let measured = format!("{:.0} ms", admitted * 1e3);
    note(&promise("admitted, p99"), "queue-timeout + handler: 220 ms", &measured);
    note(&promise("the proxy grows in the last two thirds"), "1 MiB", &format!("{grown} bytes"));
    note(&promise("the pool is idle after"), "1 s", &format!("{idle:?}"));
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap()
}

/// Lets a load go on for so long. Returns what they got, and by how many bytes the
/// proxy grew in the last two thirds.
async fn run(stack: &Stack, load: Load, time: Duration) -> (Tally, u64) {
    let started = Instant::now();
    while started.elapsed() < time / 3 {
        load.until_answered(THREADS).await;
    }
    let before = proxy_bytes(stack).await;
    while started.elapsed() < time {
        load.until_answered(THREADS).await;
    }
    let after = proxy_bytes(stack).await;
    (load.stop().await, after.saturating_sub(before))
}

async fn proxy_bytes(stack: &Stack) -> u64 {
    stack.status().await["server"]["proxy"]["rss_bytes"].as_u64().unwrap()
}

#[tokio::test]
async fn who_would_wait_too_long_is_told_at_once_when_to_come_back() {
    let stack = Plan::probe()
        .with("pool.probe = { threads = 1, queue-length = 100, queue-timeout = '1s' }")
        .start()
        .await;
    for _ in 0..10 {
        assert_eq!(stack.get("/sleep/300").await.status, 200);
    }
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(ask(&stack, "/sleep/300").await);
    }
    let mut statuses = Vec::new();
    for client in &mut clients {
        let response = client.response().await;
        if response.status == 503 {
            response.expect_reason(503, "predicted-wait");
            assert_eq!(response.field("retry-after"), Some("1"), "{response:?}");
        }
        statuses.push(response.status);
    }
    let served = statuses.iter().filter(|&&status| status == 200).count();
    assert!((3..=5).contains(&served), "one runs, and three wait for a second: {statuses:?}");
}

#[tokio::test]
async fn a_slow_route_takes_no_more_than_its_share() {
    let stack = Plan::probe()
        .with(
            "pool.probe = { threads = 4, queue-length = 100 }
             [[site]]
             route = [
                 { path = '/', pool = 'probe' },
                 { path = '/sleep', pool = 'probe', max-share = 0.5 },
             ]",
        )
        .start()
        .await;
    let slow = Load::start(stack.address(), "/sleep/300", 12);
    stack.until_pool("probe", |pool| pool["busy"] == 2 && pool["queued"] == 10).await;
    for _ in 0..50 {
        let asked = Instant::now();
        assert_eq!(stack.get("/head").await.status, 200);
        assert!(asked.elapsed() < Duration::from_millis(200), "{:?}", asked.elapsed());
        let status = stack.status().await;
        assert!(slow_rows(&status["pools"]["probe"]) <= 2, "{status:#}");
    }
    slow.until_answered(8).await;
    slow.stop().await.expect_all_answered();
}

/// Rows that the slow route holds.
fn slow_rows(pool: &Value) -> usize {
    let threads = pool["workers"][0]["threads"].as_array().unwrap();
    let target = |thread: &Value| thread["request"]["target"].as_str().map(str::to_owned);
    threads.iter().filter_map(target).filter(|target| target.starts_with("/sleep/")).count()
}

#[tokio::test]
async fn a_share_may_change_while_its_route_holds_more() {
    let route = |share: &str| {
        format!("[[site]]\nroute = [{{ path = '/', pool = 'probe', max-share = {share} }}]")
    };
    let mut stack = Plan::probe().with("pool.probe.threads = 4").with(&route("1.0")).start().await;
    let slow = Load::start(stack.address(), "/sleep/200", 8);
    stack.until_pool("probe", |pool| pool["busy"] == 4 && pool["queued"] == 4).await;
    stack.reload(&route("0.25")).await;
    stack.until_pool("probe", |pool| pool["busy"] == 1 && pool["queued"] == 7).await;
    stack.reload(&route("0.75")).await;
    stack.until_pool("probe", |pool| pool["busy"] == 3 && pool["queued"] == 5).await;
    slow.stop().await.expect_all_answered();
}

#[tokio::test]
async fn a_long_wait_is_explained_in_the_log_and_on_the_status_page() {
    let stack = Plan::probe()
        .with(
            "pool.probe = { threads = 2, queue-length = 10 }
             [[site]]
             route = [
                 { path = '/', pool = 'probe' },
                 { path = '/sleep', pool = 'probe' },
             ]",
        )
        .start()
        .await;
    let mut held = [ask(&stack, "/sleep/700").await, ask(&stack, "/sleep/700").await];
    stack.until_pool("probe", |pool| pool["busy"] == 2).await;
    assert_eq!(stack.get("/head").await.status, 200, "waits, and is served");
    for client in &mut held {
        assert_eq!(client.response().await.status, 200);
    }
    let status = stack.status().await;
    let blame = &status["pools"]["probe"]["blame"][0];
    assert!(100 <= blame["waited_ms"].as_u64().unwrap(), "{blame}");
    assert_eq!((&blame["held"], &blame["capacity"]), (&2.into(), &2.into()));
    assert_eq!(blame["routes"][0]["route"], "/sleep");
    assert_eq!(blame["routes"][0]["count"], 2);
    let page = stack.get_status("/server-status").await;
    let page = String::from_utf8_lossy(&page.body).into_owned();
    assert!(page.contains(": 2 of 2 were held, 2 by /sleep (median age "), "{page}");

    let access = stack.stop().await.access;
    let explained: Vec<&str> = access.lines().filter(|line| line.contains(" held=")).collect();
    let [line] = explained[..] else { panic!("{access}") };
    assert!(line.contains("\"GET /head "), "{line}");
    assert!(line.contains(" held=\"2 of 2 threads: 2 × /sleep (median age "), "{line}");
}

/// The access log, a JSON document a line.
fn lines(access: &str) -> Vec<Value> {
    access.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What 99 of 100 lines are not above.
fn p99<'l>(lines: impl Iterator<Item = &'l Value>, key: &str) -> f64 {
    let mut values: Vec<f64> = lines.map(|line| line[key].as_f64().unwrap()).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() * 99 / 100]
}
