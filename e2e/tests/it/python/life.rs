//! The life of a Python worker: import, threads, the end, and what applications do to their
//! process meanwhile.

mod faults;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use ostler_e2e::stack::{event, field, number, pids};
use ostler_e2e::{Load, POLL, Plan, Stack, python};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::interval;

use crate::ask;

/// A worker whose application leaves its notes in the folder `notes`.
fn plan() -> Plan {
    python::subject("life.py")
        .file("notes/.keep", "")
        .with("pool.web.environment.SUBJECT_FOLDER = '${STACK_DIR}/notes'")
}

/// The lines of a note of the application.
fn notes(stack: &Stack, name: &str) -> Vec<String> {
    let text = fs::read_to_string(stack.folder().join("notes").join(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_worker_is_ready_when_its_application_is_imported_and_no_sooner() {
    let gated = plan().with("pool.web.environment.GATE = '${STACK_DIR}/gate'");
    let stack = gated.unready().start().await;
    let mut ticks = interval(POLL);
    while notes(&stack, "importing").is_empty() {
        ticks.tick().await;
    }
    let pools = stack.status().await["pools"].take();
    let worker = &pools["web"]["workers"][0];
    assert_eq!((&pools["web"]["ready"], &worker["state"]), (&0.into(), &"starting".into()));
    let pid = number(&worker["pid"]);
    fs::write(stack.folder().join("gate"), "").unwrap();
    stack.until_pool("web", |pool| pool["ready"] == 1).await;
    assert_eq!(stack.get("/open").await.text(), "/open");
    assert_eq!(stack.workers("web").await, [pid]);
}

#[tokio::test]
async fn threads_live_as_long_as_their_worker() {
    const THREADS: usize = 3;
    let stack = plan().with(&format!("pool.web.threads = {THREADS}")).start().await;
    let address = stack.address();
    let mut clients = JoinSet::new();
    for _ in 0..THREADS * 2 {
        clients.spawn(async move {
            let mut client = ostler_e2e::Client::connect(address).await;
            let mut told = Vec::new();
            for _ in 0..20 {
                told.push(client.get("/thread?2").await.json());
            }
            told
        });
    }
    let told: Vec<Value> = clients.join_all().await.into_iter().flatten().collect();
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for one in &told {
        let count = counts.entry(one["ident"].as_u64().unwrap()).or_default();
        *count = one["count"].as_u64().unwrap().max(*count);
    }
    assert_eq!(counts.len(), THREADS, "one of each thread: {counts:?}");
    // What a thread keeps for itself is there at its next request.
    assert_eq!(counts.values().sum::<u64>(), told.len() as u64);
    let names: BTreeSet<&str> = told.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["ostler-0", "ostler-1", "ostler-2"]);
    let pools = stack.until_pool("web", |pool| pool["busy"] == 0).await;
    let rows = pools["web"]["workers"][0]["threads"].as_array().unwrap().clone();
    let shown: BTreeSet<u64> = rows.iter().map(|row| row["tid"].as_u64().unwrap()).collect();
    let native: BTreeSet<u64> = told.iter().map(|one| one["native"].as_u64().unwrap()).collect();
    // A row is a place for a request: two may have had the same thread.
    assert!(!shown.is_empty() && shown.is_subset(&native), "{shown:?} of {native:?}");
}

/// The scheduling policy of the thread that answers an application's request: field 41 of `stat`
/// (`proc_pid_stat(5)`).
async fn policy_of(application: &str) -> String {
    let stack = python::site("app:application").file("site/app.py", application).start().await;
    let thread = stack.get("/").await.text();
    let [pid] = stack.workers("web").await[..] else { panic!("one worker") };
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{thread}/stat")).unwrap();
    stat.split_whitespace().nth(40).unwrap().to_owned()
}

#[tokio::test]
async fn threads_interrupt_nobody_unless_a_policy_was_chosen() {
    const APPLICATION: &str = "
import os, threading

def application(environ, start_response):
    start_response('200 OK', [])
    return [str(threading.get_native_id()).encode()]
";
    const SCHED_BATCH: &str = "3";
    const SCHED_IDLE: &str = "5";
    assert_eq!(policy_of(APPLICATION).await, SCHED_BATCH);
    let chooses = "os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))";
    assert_eq!(policy_of(&format!("{APPLICATION}\n{chooses}\n")).await, SCHED_IDLE);
}

#[tokio::test]
async fn an_application_that_replaces_the_handler_of_term_is_drained_all_the_same() {
    let mut stack = plan().with("pool.web.environment.REPLACE_TERM = 'yes'").start().await;
    let mut held = ask(&stack, "/hold?500").await;
    stack.until_pool("web", |pool| pool["busy"] == 1).await;
    let stopped = stack.command(&["stop"]).await;
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert_eq!(held.response().await.text(), "held");
    assert_eq!(stack.ended().await.code(), Some(0));
    expect_good_end(&stack);
    assert_eq!(notes(&stack, "ended").len(), 1);
}

#[tokio::test]
async fn what_is_registered_for_the_end_runs_once_in_each_worker() {
    let mut stack = plan().start().await;
    let first = stack.workers("web").await[0];
    let recycled = stack.command(&["recycle", "web"]).await;
    assert_eq!(recycled.code, Some(0), "{recycled:?}");
    stack.logged(|line| event(line) == Some("worker_exited")).await;
    let is_alone = |pool: &Value| pids(pool).len() == 1;
    stack.until_pool("web", is_alone).await;
    let second = stack.workers("web").await[0];
    assert_eq!(notes(&stack, "ended"), [first.to_string()]);
    // A child of the application ends with what it registered as well, and the worker goes on.
    assert_eq!(stack.get("/fork-and-exit").await.text(), "9");
    assert_eq!(stack.workers("web").await, [second]);
    assert_eq!(stack.command(&["stop"]).await.code, Some(0));
    assert_eq!(stack.ended().await.code(), Some(0));
    let ended = notes(&stack, "ended");
    assert_eq!(ended.iter().filter(|pid| **pid == second.to_string()).count(), 1, "{ended:?}");
    expect_good_end(&stack);
}

#[tokio::test]
async fn a_thread_that_the_application_leaves_alone_does_not_hold_up_the_end() {
    let mut stack = plan().with("pool.web.environment.LEAVE_THREAD = 'yes'").start().await;
    assert_eq!(stack.get("/a").await.text(), "/a");
    assert_eq!(stack.command(&["stop"]).await.code, Some(0));
    assert_eq!(stack.ended().await.code(), Some(0));
    assert_eq!(notes(&stack, "ended").len(), 1);
    expect_good_end(&stack);
}

#[tokio::test]
async fn workers_are_recycled_under_load_without_a_failed_request() {
    let keys = "pool.web = { processes = 2, threads = 2, max-requests = 100 }";
    let stack = plan().with(keys).start().await;
    let load = Load::start(stack.address(), "/hold?1", 4);
    let is_again =
        |pool: &Value| 4 <= number(&pool["recycles_total"]["max-requests"]) && pool["ready"] == 2;
    stack.until_pool("web", is_again).await;
    load.until_answered(20).await;
    load.stop().await.expect_all_answered();
    stack.stop().await.expect_no_errors_logged();
}

#[tokio::test]
async fn a_script_that_is_written_anew_is_loaded_anew() {
    let script = |text: &str| {
        format!(
            "def application(environ, start_response):\n    \
             start_response('200 OK', [])\n    return [b'{text}' + __file__.encode()]\n"
        )
    };
    let plan = python::site("${STACK_DIR}/site/app.wsgi");
    let stack = plan.file("site/app.wsgi", script("first ")).start().await;
    let path = stack.folder().join("site/app.wsgi");
    assert_eq!(stack.get("/").await.text(), format!("first {}", path.display()));
    let before = stack.workers("web").await;
    fs::write(&path, script("second ")).unwrap();
    let is_new = |pool: &Value| pids(pool) != before && pids(pool).len() == 1 && pool["ready"] == 1;
    stack.until_pool("web", is_new).await;
    assert_eq!(stack.get("/").await.text(), format!("second {}", path.display()));
}

#[tokio::test]
async fn what_an_application_says_is_logged_with_its_request_and_pool() {
    let stack = plan().start().await;
    assert_eq!(stack.get("/say?loudly").await.text(), "loudly");
    let access = stack.until_logged_access("/say?loudly").await;
    let mark = format!("[{}]", field(&access, "id").unwrap());
    for said in [
        "written to wsgi.errors",
        "printed by the application",
        "printed to standard error",
        "logged by the application",
    ] {
        let line = stack.logged(|line| line.contains(said)).await;
        assert_eq!(field(&line, "pool"), Some("web"), "{line}");
        assert_eq!(field(&line, "line"), Some(mark.as_str()), "{line}");
    }
    let line = stack.logged(|line| line.contains("said while it was imported")).await;
    assert_eq!((field(&line, "pool"), field(&line, "stream")), (Some("web"), Some("stdout")));
}

/// Fails the test unless every worker ended by itself, and well.
#[track_caller]
fn expect_good_end(stack: &Stack) {
    let exits = stack.events("worker_exited");
    assert!(!exits.is_empty());
    for line in exits {
        assert!(line.contains(" INFO ") && line.contains("exit=\"status 0\""), "{line}");
    }
}
