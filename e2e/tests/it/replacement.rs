//! The proxy process is replaced, and killed, under load: what clients see, and what becomes of
//! the workers.

use std::fs;
use std::time::Duration;

use ostler_e2e::stack::{number, pids};
use ostler_e2e::{DEADLINE, Load, POLL, Plan, Stack, process};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::Value;
use tokio::time::{Instant, interval};

use crate::ask;

/// Two workers of two permits, for more clients than that.
const TWO: &str = "pool.probe = { processes = 2, threads = 2, concurrency = 2 }";

/// A program that runs as many requests at once as it gets, and notes how many that were and which.
const COUNTS: &str = include_str!("replacement/counts.py");

#[tokio::test]
async fn no_request_is_lost_when_the_proxy_is_replaced() {
    for (mode, link) in [("threads", "auto"), ("service", "auto"), ("threads", "http")] {
        let plan = Plan::probe().with(TWO);
        let plan = plan.with(&format!("pool.probe.environment.PROBE_MODE = '{mode}'"));
        let stack = plan.with(&format!("pool.probe.link = '{link}'")).start().await;
        replace_under_load(&stack).await;
        stack.stop().await.expect_no_errors_logged();
    }
}

async fn replace_under_load(stack: &Stack) {
    let workers = stack.workers("probe").await;
    let kept = [("/sleep/5", 6), ("/", 2)];
    let loads = kept.map(|(path, clients)| Load::start(stack.address(), path, clients));
    for _ in 0..3 {
        for load in &loads {
            load.until_answered(50).await;
        }
        let (before, counted) = (stack.proxy().await, counted(&stack.status().await));
        let (recycled, fresh) = tokio::join!(stack.command(&["recycle", "--proxy"]), fresh(stack));
        assert_eq!(recycled.code, Some(0), "{recycled:?}\n{}", stack.log());
        assert_eq!(fresh, Vec::<u16>::new(), "connections while one takes over from the other");
        assert_ne!(stack.proxy().await, before);
        assert!(counted < self::counted(&stack.status().await), "counters never go back");
        assert_eq!(stack.workers("probe").await, workers);
    }
    let mut answered = 0;
    for load in loads {
        load.until_answered(50).await;
        let tally = load.stop().await;
        tally.expect_all_answered();
        answered += tally.count("200 -");
    }
    let pools = stack.until_pool("probe", |pool| pool["busy"] == 0).await;
    assert_all_idle(&pools["probe"]);
    assert_eq!(pools["probe"]["queued"], 0);
    assert!(answered as u64 <= counted(&stack.status().await), "of both processes");
    assert_eq!(stack.events("proxy_exited").len(), 3);
}

/// Asks on new connections until the first of them has waited for others to be closed. Returns what
/// was not 200.
async fn fresh(stack: &Stack) -> Vec<u16> {
    let mut failed = Vec::new();
    for _ in 0..50 {
        let answer = stack.get("/").await;
        if answer.status != 200 {
            failed.push(answer.status);
        }
    }
    failed
}

#[tokio::test]
async fn two_proxies_together_never_give_a_worker_more_requests_than_it_has_permits() {
    let stack = Plan::probe()
        .file("counts.py", COUNTS)
        .with(
            r#"[pool.probe]
               command = ["python3", "${STACK_DIR}/counts.py"]
               environment = { COUNTS = "${STACK_DIR}/counts" }
               ready = "http"
               processes = 2
               threads = 2"#,
        )
        .start()
        .await;
    let workers = stack.workers("probe").await;
    let load = Load::start(stack.address(), "/", 8);
    for _ in 0..3 {
        load.until_answered(50).await;
        let recycled = stack.command(&["recycle", "--proxy"]).await;
        assert_eq!(recycled.code, Some(0), "{recycled:?}\n{}", stack.log());
    }
    load.until_answered(50).await;
    load.stop().await.expect_all_answered();
    assert_eq!(stack.workers("probe").await, workers);
    let mut seen = Vec::new();
    for pid in workers {
        let noted = fs::read_to_string(stack.folder().join(format!("counts.{pid}"))).unwrap();
        for line in noted.lines() {
            let (most, id) = line.split_once(' ').unwrap();
            assert!(most.parse::<u32>().unwrap() <= 2, "{line}");
            // That of the warm-up has no number.
            seen.extend((id != "None").then(|| id.to_owned()));
        }
    }
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count, "a request ran twice");
    assert_all_idle(&stack.until_pool("probe", |pool| pool["busy"] == 0).await["probe"]);
}

#[tokio::test]
async fn a_long_request_and_an_idle_connection_are_ended_well_by_the_proxy_that_was_replaced() {
    let stack = Stack::start("").await;
    let mut idle = stack.connect().await;
    assert_eq!(idle.get("/").await.status, 200);
    let mut running = ask(&stack, "/sleep/1000").await;
    stack.until_pool("probe", |pool| pool["busy"] == 1).await;
    let recycled = async {
        let recycled = stack.command(&["recycle", "--proxy"]).await;
        assert_eq!(recycled.code, Some(0), "{recycled:?}\n{}", stack.log());
    };
    let clients = async {
        stack.logged(|line| line.contains(" proxy_replaced ")).await;
        let answer = idle.get("/").await;
        assert_eq!((answer.status, answer.closes()), (200, true), "{answer:?}");
        // The new one knows of the request that the old one has in a worker.
        let shown = stack.status().await;
        assert_eq!(shown["pools"]["probe"]["busy"], 1);
        let answer = running.response().await;
        assert_eq!((answer.status, answer.closes()), (200, true), "{answer:?}");
    };
    tokio::join!(recycled, clients);
    assert_all_idle(&stack.until_pool("probe", |pool| pool["busy"] == 0).await["probe"]);
}

#[tokio::test]
async fn a_worker_over_http_is_replaced_when_a_proxy_died_with_a_request_in_it() {
    let plan = "server.drain-timeout = '300ms'
                pool.probe = { link = 'http', drain-timeout = '300ms', request-timeout = '0s' }";
    let stack = Stack::start(plan).await;
    let before = stack.workers("probe").await;
    let _running = ask(&stack, "/sleep/60000").await;
    stack.until_pool("probe", |pool| pool["busy"] == 1).await;
    let recycled = stack.command(&["recycle", "--proxy"]).await;
    assert_eq!(recycled.code, Some(0), "{recycled:?}\n{}", stack.log());
    let is_other = |pool: &Value| {
        pool["recycles_total"]["proxy-exit"] == 1 && pool["busy"] == 0 && pids(pool) != before
    };
    stack.until_pool("probe", is_other).await;
    assert_eq!(stack.get("/").await.status, 200);
}

#[tokio::test]
async fn a_worker_that_is_retired_while_two_proxies_live_is_withdrawn_by_both() {
    let mut stack = Stack::start("").await;
    let mut running = ask(&stack, "/sleep/1500").await;
    let before = stack.until_pool("probe", |pool| pool["busy"] == 1).await;
    let before = pids(&before["probe"]);
    stack.write_config("pool.probe.environment.OTHER = '1'");
    let both = async {
        let recycled = stack.command(&["recycle", "--proxy"]).await;
        assert_eq!(recycled.code, Some(0), "{recycled:?}\n{}", stack.log());
    };
    let reload = async {
        stack.logged(|line| line.contains(" proxy_replaced ")).await;
        let reloaded = stack.command(&["reload"]).await;
        assert_eq!(reloaded.code, Some(0), "{reloaded:?}\n{}", stack.log());
        assert_eq!(running.response().await.status, 200, "its worker waits for it");
    };
    tokio::join!(both, reload);
    let is_other = |pool: &Value| pool["ready"] == 1 && pids(pool) != before;
    stack.until_pool("probe", is_other).await;
    assert_eq!(stack.get("/").await.status, 200);
}

#[tokio::test]
async fn ring_workers_outlive_a_proxy_that_is_killed_under_load() {
    for mode in ["threads", "service"] {
        let plan = Plan::probe().with(TWO);
        let plan = plan.with(&format!("pool.probe.environment.PROBE_MODE = '{mode}'"));
        let stack = plan.start().await;
        let (workers, proxy) = (stack.workers("probe").await, stack.proxy().await);
        let accepted = counted(&stack.status().await);
        let load = Load::start(stack.address(), "/sleep/20", 8);
        load.until_answered(20).await;
        kill(proxy);
        let killed = Instant::now();
        assert_eq!(stack.get("/").await.status, 200);
        assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
        load.until_answered(50).await;
        let tally = load.stop().await;
        assert!(tally.answers.keys().all(|verdict| verdict == "200 -"), "{tally:#?}");
        let lost = tally.unanswered + tally.errors.len();
        assert!(lost <= 8, "at most the one that each client had sent: {tally:#?}");
        let pools = stack.until_pool("probe", |pool| pool["busy"] == 0).await;
        assert_all_idle(&pools["probe"]);
        assert_eq!(pids(&pools["probe"]), workers, "{mode}: nobody had to start again");
        assert_eq!(pools["probe"]["recycles_total"]["proxy-exit"], 0);
        assert!(accepted < counted(&stack.status().await), "counters never go back");
    }
}

#[tokio::test]
async fn a_row_whose_handler_outlives_its_proxy_stays_busy_until_the_handler_has_ended() {
    let stack = Stack::start("pool.probe = { threads = 1, concurrency = 1 }").await;
    let begun = Instant::now();
    let mut lost = ask(&stack, "/sleep/1500").await;
    stack.until_pool("probe", |pool| pool["busy"] == 1).await;
    let (proxy, workers) = (stack.proxy().await, stack.workers("probe").await);
    kill(proxy);
    lost.try_response("GET").await.unwrap_err();
    assert_eq!(stack.get("/").await.status, 200, "it waits for the thread");
    assert!(Duration::from_millis(1400) < begun.elapsed(), "{:?}", begun.elapsed());
    assert_eq!(stack.workers("probe").await, workers);
    assert_all_idle(&stack.until_pool("probe", |pool| pool["busy"] == 0).await["probe"]);
}

#[tokio::test]
async fn a_proxy_that_cannot_start_leaves_the_one_that_serves() {
    let stack = Stack::start("").await;
    let (proxy, workers) = (stack.proxy().await, stack.workers("probe").await);
    let supervisor = Pid::from_raw(stack.pid().cast_signed()).unwrap();
    let open = fs::read_dir(format!("/proc/{}/fd", stack.pid())).unwrap().count() as u64;
    // Enough to be asked, and too little to start a process.
    let few = Rlimit { current: Some(open + 3), ..getrlimit(Resource::Nofile) };
    let before = prlimit(Some(supervisor), Resource::Nofile, few).unwrap();
    let refused = stack.command(&["recycle", "--proxy"]).await;
    assert_eq!(refused.code, Some(71), "{refused:?}\n{}", stack.log());
    assert!(!refused.stderr.is_empty());
    prlimit(Some(supervisor), Resource::Nofile, before).unwrap();
    assert_eq!(stack.get("/").await.status, 200);
    assert_eq!((stack.proxy().await, stack.workers("probe").await), (proxy, workers.clone()));

    // One that dies while it starts.
    let killer = async {
        let mut ticks = interval(POLL);
        let deadline = Instant::now() + DEADLINE;
        loop {
            let started = stack.events("proxy_started");
            let pid = started.get(1).and_then(|line| ostler_e2e::stack::field(line, "pid"));
            if let Some(pid) = pid {
                return process::signal(pid.parse().unwrap(), Signal::KILL);
            }
            assert!(Instant::now() < deadline, "{}", stack.log());
            ticks.tick().await;
        }
    };
    let (ended, _was_there) = tokio::join!(stack.command(&["recycle", "--proxy"]), killer);
    // It was killed before it served, or just after.
    if ended.code == Some(71) {
        assert_eq!(stack.proxy().await, proxy);
    }
    assert_eq!(stack.get("/").await.status, 200);
    assert_eq!(stack.workers("probe").await, workers);
    let again = stack.command(&["recycle", "--proxy"]).await;
    assert_eq!(again.code, Some(0), "{again:?}\n{}", stack.log());
    assert_eq!(stack.get("/").await.status, 200);
}

fn counted(status: &Value) -> u64 {
    status["requests"]["total"].as_u64().unwrap()
}

/// Every row of every worker is idle.
#[track_caller]
fn assert_all_idle(pool: &Value) {
    let rows: Vec<&Value> = pool["workers"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|worker| worker["threads"].as_array().unwrap())
        .collect();
    assert_eq!(rows.len(), usize::try_from(number(&pool["capacity"])).unwrap(), "{pool}");
    assert!(rows.iter().all(|row| row["state"] == "_"), "{pool}");
}

#[track_caller]
fn kill(pid: u32) {
    assert!(process::signal(pid, Signal::KILL), "{pid} is gone already");
}
