//! The past: any second of it can be looked at, also after whatever wrote it has ended.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ostler_e2e::client::Response;
use ostler_e2e::stack::number;
use ostler_e2e::{DEADLINE, POLL, Plan, Stack, process};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, interval};

use crate::ask;

const TARGET: &str = "/sleep/3000?who=held";

#[tokio::test]
async fn a_request_of_a_moment_that_is_gone_is_shown_whatever_ended_since() {
    let kept = TempDir::new().unwrap();
    let plan = || {
        let file = kept.path().join("history");
        Plan::probe().with(&format!("status.history-file = '{}'", file.display()))
    };
    let stack = plan().start().await;
    let mut held = ask(&stack, TARGET).await;
    let moment = until_kept(&stack, holds).await;
    assert_eq!(held.response().await.status, 200);
    stack.until_pool("probe", |pool| pool["busy"] == 0).await;
    until_kept(&stack, |past| past["pools"]["probe"]["busy"] == 0).await;
    expect_shown(&stack, moment).await;

    let before = stack.proxy().await;
    let recycled = stack.command(&["recycle", "--proxy"]).await;
    assert_eq!(recycled.code, Some(0), "{recycled:?}\n{}", stack.log());
    let replaced = until_kept(&stack, |past| number(&past["server"]["proxy"]["pid"]) != before);
    replaced.await;
    expect_shown(&stack, moment).await;

    let before = stack.proxy().await;
    assert!(process::signal(before, Signal::KILL));
    stack.logged(|line| line.contains(" proxy_started ") && line.contains("incarnation=3")).await;
    until_answered(&stack).await;
    until_kept(&stack, |past| number(&past["server"]["proxy"]["pid"]) != before).await;
    expect_shown(&stack, moment).await;
    let told = texts(&stack.status().await);
    let serves = told.iter().filter(|text| text.contains("serves in place of"));
    assert_eq!(serves.count(), 2, "{told:#?}");
    stack.stop().await;

    let stack = plan().start().await;
    until_kept(&stack, |past| number(&past["server"]["pid"]) == stack.pid()).await;
    expect_shown(&stack, moment).await;
    let told = texts(&stack.status().await);
    let starts = told.iter().filter(|text| text.starts_with("Ostler "));
    assert_eq!(starts.count(), 2, "events outlive the server: {told:#?}");
    stack.stop().await.expect_no_errors_logged();
}

#[tokio::test]
async fn a_moment_that_is_not_kept_is_refused_with_what_is() {
    let stack = Stack::start("").await;
    let moment = until_kept(&stack, |_| true).await;
    let early = stack.get_status("/server-status?json&at=2001-09-09T01:46:40Z").await;
    assert_eq!((early.status, early.field("content-type")), (404, Some("application/json")));
    let early = early.json();
    assert_eq!(early["error"], "nothing is kept of this moment");
    assert_eq!((&early["before"], &early["after"]), (&Value::Null, &early["from"]));
    let late = stack.get_status(&format!("/server-status?at={}", moment + 3_600)).await;
    assert_eq!(late.status, 404);
    assert!(late.text().contains("Kept until:") && late.text().contains("Nearest before:"));
    for wrong in ["yesterday", "", "2026-13-01T00:00:00Z"] {
        let answer = stack.get_status(&format!("/server-status?at={wrong}")).await;
        assert_eq!(answer.status, 400, "{wrong}");
        assert!(answer.text().contains("2026-01-31T14:03:12Z"), "{}", answer.text());
    }

    let overview = stack.get_status("/server-status?history").await.json();
    assert_eq!(overview["bytes"], 2 * 1024 * 1024);
    assert!(0 < number(&overview["frames"]), "{overview}");
    assert_eq!(overview["step_s"], 60);
    assert!(overview["until"].as_str() >= overview["from"].as_str(), "{overview}");
    let shown = stack.status().await;
    assert_eq!(shown["server"]["history"]["from"], overview["from"]);
}

#[tokio::test]
async fn what_happened_is_told_in_sentences() {
    let mut stack = Stack::start("").await;
    until_kept(&stack, |past| past["pools"]["probe"]["state"] == "ok").await;
    let worker = stack.workers("probe").await[0];
    assert!(process::signal(worker, Signal::KILL));
    until_told(&stack, "Worker 0-1 of pool probe exited: signal 9.").await;
    stack.reload("keepalive.idle-timeout = '7s'").await;
    until_told(&stack, "Configuration 2 is in force; changed: keepalive.idle-timeout").await;
    let recycled = stack.command(&["recycle", "probe"]).await;
    assert_eq!(recycled.code, Some(0), "{recycled:?}");
    until_told(&stack, "Worker 0-2 of pool probe was recycled: operator.").await;
}

#[tokio::test]
async fn a_second_supervisor_is_told_that_the_file_is_used() {
    let kept = TempDir::new().unwrap();
    let file = kept.path().join("history").display().to_string();
    let text = format!("status.history-file = '{file}'");
    let _first = Plan::bare().with(&text).start().await;
    let second = Plan::bare().with(&text).command(&["run", "--allow-root"]).await;
    assert_eq!(second.code, Some(78), "{second:?}");
    let expected = format!("status.history-file: {file}: another supervisor uses it");
    assert!(second.stderr.contains(&expected), "{second:?}");
}

#[tokio::test]
async fn a_disk_without_room_costs_the_history_and_nothing_else() {
    // A file may not grow beyond 20 MiB: the history would.
    let plan = Plan::probe().after("trap '' XFSZ; ulimit -f 40960");
    let stack = plan.with("status.history-size = '64MiB'").start().await;
    assert_eq!(stack.events("history_unusable").len(), 1, "{}", stack.log());
    assert_eq!(stack.get("/").await.status, 200);
    assert_eq!(stack.status().await["server"]["history"], Value::Null);
    let answer = stack.get_status("/server-status?at=1767225600").await;
    assert!(answer.status == 404 && answer.text().contains("no history is kept"), "{answer:?}");
    // What happens is told without a file, too.
    until_told(&stack, "Ostler ").await;
}

/// Whether the request is in a row.
fn holds(past: &Value) -> bool {
    let rows = past["pools"]["probe"]["workers"][0]["threads"].as_array();
    rows.is_some_and(|rows| rows.iter().any(|row| row["request"]["target"] == TARGET))
}

/// Every form of the page of that moment shows the request, and that of now does not.
async fn expect_shown(stack: &Stack, moment: u64) {
    let at = |form: &str| format!("/server-status?{form}&at={moment}");
    let past = stack.get_status(&at("json")).await.json();
    assert!(holds(&past), "{past}");
    assert_eq!(past["pools"]["probe"]["busy"], 1);
    for form in ["", "text"] {
        let page = stack.get_status(&at(form)).await;
        assert!(page.text().contains("who=held"), "{form}: {}", page.text());
    }
    let auto = stack.get_status(&at("auto")).await.text();
    assert!(auto.contains("BusyWorkers: 1\n"), "{auto}");
    assert!(!holds(&stack.status().await));
}

/// Waits until the second that has just passed is kept and shows what is wanted; returns it.
#[track_caller]
fn until_kept(stack: &Stack, wanted: impl Fn(&Value) -> bool) -> impl Future<Output = u64> {
    let caller = std::panic::Location::caller();
    async move {
        let (mut ticks, deadline) = (interval(POLL), Instant::now() + DEADLINE);
        loop {
            ticks.tick().await;
            let second = unix_now().as_secs();
            let path = format!("/server-status?json&at={second}");
            let answer: Response = stack.get_status(&path).await;
            if answer.status == 200 && wanted(&answer.json()) {
                return second;
            }
            let text = answer.text();
            assert!(Instant::now() < deadline, "{caller}: {text}\n{}", stack.log());
        }
    }
}

/// Waits until an event begins with these words.
async fn until_told(stack: &Stack, words: &str) {
    let is_told = |status: &Value| texts(status).iter().any(|text| text.starts_with(words));
    stack.until(is_told).await;
}

/// Waits until the status listener answers.
async fn until_answered(stack: &Stack) {
    let (mut ticks, deadline) = (interval(POLL), Instant::now() + DEADLINE);
    while tokio::net::TcpStream::connect(stack.status_address()).await.is_err() {
        ticks.tick().await;
        assert!(Instant::now() < deadline, "{}", stack.log());
    }
}

fn texts(status: &Value) -> Vec<String> {
    let events = status["events"].as_array().unwrap();
    events.iter().map(|event| event["text"].as_str().unwrap().to_owned()).collect()
}

fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}
