//! Requests that do not come back: what the client gets, what is shown, and what is written down.

use std::time::Duration;

use ostler_e2e::promise::{is_soak, note};
use ostler_e2e::stack::{example, number};
use ostler_e2e::{Load, Plan, Stack, Workers, process};
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::{Instant, interval};

use crate::ask;

/// Both ways to a worker.
const LINKS: [&str; 2] = ["auto", "http"];

/// The number of the system call that the probe's threads sleep in.
const CLOCK_NANOSLEEP: &str = if cfg!(target_arch = "x86_64") { "230 " } else { "115 " };

/// A pool of the probe whose requests may take 300 ms.
fn plan(mode: &str, link: &str) -> Plan {
    Plan::probe().with(&format!(
        "[pool.probe]\nlink = '{link}'\nrequest-timeout = '300ms'\ndrain-timeout = '1s'\n\
         environment = {{ PROBE_MODE = '{mode}' }}\n"
    ))
}

#[tokio::test]
async fn a_late_request_gets_504_at_once_and_its_thread_is_shown_as_stuck() {
    for link in LINKS {
        let stack = plan("threads", link).start().await;
        let asked = Instant::now();
        stack.get("/sleep/2500").await.expect_reason(504, "request-timeout");
        assert!(asked.elapsed() < Duration::from_millis(1500), "{link}: {:?}", asked.elapsed());

        let pools = stack.until_pool("probe", |pool| pool["stuck"] == 1).await;
        let threads: Vec<&Value> =
            rows(&pools["probe"]).filter(|row| row["stuck"] == true).collect();
        assert_eq!(threads.len(), 1, "{link}");
        assert_eq!(
            (&threads[0]["state"], &threads[0]["request"]["target"]),
            (&"W".into(), &"/sleep/2500".into())
        );
        assert_eq!(stack.get("/").await.status, 200, "{link}: the other thread serves");

        // It comes back within its grace, and nothing is held against its worker.
        stack.until_pool("probe", |pool| pool["stuck"] == 0 && pool["busy"] == 0).await;
        assert!(stack.events("worker_unfit").is_empty(), "{link}: {}", stack.log());
    }
}

#[tokio::test]
async fn a_client_that_leaves_a_long_answer_makes_nothing_stuck() {
    for link in LINKS {
        let stack = plan("threads", link).with("pool.probe.stuck-grace = '1s'").start().await;
        let mut client = ask(&stack, "/stream/100/20").await;
        client.answers().head().await.unwrap();
        let begun = Instant::now();
        // Longer than the head may take and the grace together.
        while begun.elapsed() < Duration::from_millis(1500) {
            client.answers().some().await.unwrap();
        }
        drop(client);
        // Half a second later the handler has ended: within a grace that begins here.
        stack.until_pool("probe", |pool| pool["busy"] == 0).await;
        assert!(stack.events("worker_unfit").is_empty(), "{link}: {}", stack.log());
    }
}

#[tokio::test]
async fn a_route_may_have_a_time_of_its_own_and_none_at_all() {
    let stack = plan("threads", "auto")
        .with(
            "[[site]]\nroute = [{ path = '/', pool = 'probe' }, \
             { path = '/sleep', pool = 'probe', request-timeout = '0s' }]",
        )
        .start()
        .await;
    let mut client = ask(&stack, "/sleep/1200").await;
    let pools = stack.until_pool("probe", |pool| age_ms(pool) > 800).await;
    assert_eq!(pools["probe"]["stuck"], 0);
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn a_late_request_of_a_service_is_cancelled_and_nobody_else_is_touched() {
    for link in LINKS {
        let stack = plan("service", link).with("pool.probe.concurrency = 8").start().await;
        let mut neighbour = stack.connect().await;
        let asked = Instant::now();
        let mut late = ask(&stack, "/sleep/3600000").await;
        while asked.elapsed() < Duration::from_millis(200) {
            assert_eq!(neighbour.get("/sleep/10").await.status, 200, "{link}");
        }
        late.response().await.expect_reason(504, "request-timeout");
        stack.until_pool("probe", |pool| pool["busy"] == 0).await;
        assert_eq!(neighbour.get("/cancelled").await.text(), "1", "{link}");
        assert_eq!(neighbour.get("/sleep/10").await.status, 200, "{link}");
        assert!(stack.events("worker_unfit").is_empty(), "{link}: {}", stack.log());
    }
}

/// With a grace that nothing outlasts in this test: it is the last thread that counts.
#[tokio::test]
async fn a_worker_without_a_thread_left_is_reported_without_grace() {
    for link in LINKS {
        let stack = plan("threads", link).with("pool.probe.stuck-grace = '1h'").start().await;
        let first = ask(&stack, "/sleep/3600000").await;
        stack.until_pool("probe", |pool| pool["stuck"] == 1).await;
        assert!(stack.events("worker_unfit").is_empty(), "{link}: {}", stack.log());
        let second = ask(&stack, "/sleep/3600000").await;
        let line = stack.logged(|line| line.contains(" worker_unfit ")).await;
        assert!(line.contains("every-thread-stuck"), "{link}: {line}");
        drop((first, second));
    }
}

#[tokio::test]
async fn what_a_stuck_worker_is_doing_is_written_down_once_its_grace_is_over() {
    for link in LINKS {
        let stack = plan("threads", link).with("pool.probe.stuck-grace = '200ms'").start().await;
        let mut client = stack.connect().await;
        let late = client.get("/sleep/3600000?q=a").await;
        late.expect_reason(504, "request-timeout");
        let id = late.field("x-request-id").map(ToOwned::to_owned);

        let line = stack.logged(|line| line.contains(" WARN worker_stuck ")).await;
        assert!(line.contains("GET /sleep/3600000?q=a") && line.contains("stuck=true"), "{line}");
        let record = record(&stack, "stuck").await;
        let held = &record["requests"][0];
        if let Some(id) = id {
            assert_eq!(held["id"], id.as_str(), "{link}");
            assert!(line.contains(&id), "{line}");
        }
        assert_eq!((&held["method"], &held["stuck"]), (&"GET".into(), &true.into()), "{record}");
        assert!(300 <= held["age_ms"].as_u64().unwrap_or(0), "{record}");
        // Over HTTP nobody knows which thread it is, so all are told.
        let thread = if link == "auto" {
            held["thread"].clone()
        } else {
            assert_eq!(held["thread"], Value::Null);
            sleeping(&record["threads"])
        };
        assert!(is_asleep(&thread), "{link}: {record}");
        stack.get("/").await;
        assert_eq!(stack.events("worker_stuck").len(), 1, "{link}: once for each report");
    }
}

#[tokio::test]
async fn what_was_inside_a_worker_is_known_after_its_end() {
    for link in LINKS {
        let stack = plan("threads", link).start().await;
        let held = ask(&stack, "/sleep/3600000?held").await;
        let pools = stack.until_pool("probe", |pool| age_ms(pool) != u64::MAX).await;
        let worker = &pools["probe"]["workers"][0];
        process::signal(number(&worker["pid"]), Signal::KILL);
        let line = stack.logged(|line| line.contains(" WARN worker_crashed ")).await;
        assert!(line.contains("/sleep/3600000?held"), "{link}: {line}");
        assert!(line.contains("exit=\"signal 9\""), "{link}: {line}");
        let record = record(&stack, "crashed").await;
        assert_eq!(record["exit"], "signal 9");
        assert_eq!(record["pid"], worker["pid"]);
        assert_eq!(record["requests"].as_array().map(Vec::len), Some(1), "{record}");
        let along = "It took 1 request along: GET /sleep/3600000?held.";
        let status = stack.command(&["status"]).await;
        assert!(status.stdout.contains(along), "{status:?}");
        drop(held);
    }
}

#[tokio::test]
async fn what_a_reload_cuts_short_is_written_down_before() {
    let mut stack = plan("threads", "auto")
        .with("pool.probe = { request-timeout = '1h', drain-timeout = '200ms', stop-timeout = '200ms' }")
        .start()
        .await;
    let held = ask(&stack, "/sleep/3600000?last").await;
    stack.until_pool("probe", |pool| age_ms(pool) != u64::MAX).await;
    stack.reload("pool.probe.environment = { A = 'b' }").await;
    let line = stack.logged(|line| line.contains(" WARN worker_killed ")).await;
    assert!(line.contains("/sleep/3600000?last") && line.contains("tid="), "{line}");
    let record = record(&stack, "killed").await;
    assert!(is_asleep(&record["requests"][0]["thread"]), "{record}");
    drop(held);
}

/// The drain alone would last an hour.
#[tokio::test]
async fn a_drain_waits_for_normal_requests_and_not_for_those_past_their_grace() {
    for link in LINKS {
        let mut stack = plan("threads", link)
            .with(
                "pool.probe = { request-timeout = '1s', stuck-grace = '200ms', \
                 drain-timeout = '1h', stop-timeout = '200ms' }",
            )
            .start()
            .await;
        stack.get("/sleep/3600000").await.expect_reason(504, "request-timeout");
        stack.logged(|line| line.contains(" worker_unfit ")).await;
        let mut normal = ask(&stack, "/sleep/600").await;
        stack.until_pool("probe", |pool| pool["busy"] == 2).await;
        stack.reload("pool.probe.environment = { A = 'b' }").await;
        assert_eq!(normal.response().await.status, 200, "{link}");
        let line = stack.logged(|line| line.contains(" WARN worker_killed ")).await;
        assert!(line.contains("/sleep/3600000") && !line.contains("/sleep/600 "), "{line}");
    }
}

#[tokio::test]
async fn normal_requests_keep_their_rate_beside_endless_ones() {
    let probe = example("probe");
    let late = format!("pool.probe.command = ['sh', '-c', 'sleep 1; exec {}']", probe.display());
    check_endless(Workers::Auto, &late, "an endless request a second").await;
}

#[tokio::test]
async fn normal_requests_keep_their_rate_beside_endless_ones_in_python() {
    let late = "pool.probe.environment.PROBE_IMPORT = '1'";
    check_endless(Workers::Python, late, "an endless request a second, Python").await;
}

/// Goal: a URL that never answers takes little of the capacity, because its threads are replaced.
/// Method: as many requests as fill half of the threads, for a while without and for a while with
/// one endless request a second beside them. Each of them takes ten seconds, and a minute at full
/// length. `late` has workers take a second to start, as those of large applications do.
async fn check_endless(workers: Workers, late: &str, promise: &str) {
    let seconds = if is_soak() { 60 } else { 10 };
    let keys = "[pool.probe]\nprocesses = 4\nthreads = 8\nrequest-timeout = '2s'\n\
                stuck-grace = '1s'\ndrain-timeout = '1s'\n";
    let stack = workers.plan().with(keys).with(late).start().await;
    let load = Load::start(stack.address(), "/sleep/20", 16);
    load.until_answered(100).await;
    let before = load.answered();
    let mut ticks = interval(Duration::from_secs(1));
    ticks.tick().await;
    for _ in 0..seconds {
        ticks.tick().await;
    }
    let without = load.answered() - before;

    let before = load.answered();
    let mut endless = Vec::new();
    for _ in 0..seconds {
        endless.push(ask(&stack, "/sleep/3600000").await);
        ticks.tick().await;
    }
    let with = load.answered() - before;
    load.stop().await.expect_all_answered();
    assert!(without * 9 <= with * 10, "{with} answers, {without} without endless requests");
    let status = stack.status().await;
    let replaced = &status["pools"]["probe"]["recycles_total"]["request-timeout"];
    assert!(replaced.as_u64().is_some_and(|times| 0 < times), "{status}\n{}", stack.log());
    let measured = format!("{} %; {replaced} workers replaced", 100 * with / without);
    note(promise, "normal ones keep 90 % of their rate", &measured);
}

/// The only record of a pool that was made at such a moment.
async fn record(stack: &Stack, moment: &str) -> Value {
    let is_it = |record: &&Value| record["moment"] == moment;
    let found = |pool: &Value| pool["post_mortems"].as_array()?.iter().find(is_it).cloned();
    let pools = stack.until_pool("probe", |pool| found(pool).is_some()).await;
    found(&pools["probe"]).expect("it was there")
}

fn rows(pool: &Value) -> impl Iterator<Item = &Value> {
    let workers = pool["workers"].as_array().into_iter().flatten();
    workers.flat_map(|worker| worker["threads"].as_array().into_iter().flatten())
}

/// How long the first request of a pool has been running; the greatest number without any.
fn age_ms(pool: &Value) -> u64 {
    let age = rows(pool).find_map(|row| row["request"]["running_ms"].as_u64());
    age.unwrap_or(u64::MAX)
}

/// The thread that sleeps in its handler, of all that a record lists.
fn sleeping(threads: &Value) -> Value {
    let sleeper = threads.as_array().into_iter().flatten().find(|thread| is_asleep(thread));
    sleeper.cloned().unwrap_or_default()
}

/// Whether the kernel says of a thread that it sleeps for a time: by the name of the place, or by
/// the system call. Which of them it shows depends on the machine.
fn is_asleep(thread: &Value) -> bool {
    let place = thread["wait_channel"].as_str().unwrap_or_default();
    let call = thread["system_call"].as_str().unwrap_or_default();
    thread["state"] == "S" && (place.contains("nanosleep") || call.starts_with(CLOCK_NANOSLEEP))
}
