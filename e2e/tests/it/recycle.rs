//! Workers are replaced, for each of the reasons there are, and no client notices.
//!
//! Each test under load shows three things: every request was answered, every worker is another
//! process, and at no look did fewer workers serve than the floor says.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::time::SystemTime;

use ostler_e2e::stack::{Ended, event, example, field, number, pids};
use ostler_e2e::{Load, Plan, Stack};
use rustix::process::Signal;
use serde_json::Value;

use crate::ask;

/// Both ways to a worker.
const LINKS: [&str; 2] = ["auto", "http"];

/// What one request takes, and how many clients ask: 75 % of two processes with four threads.
const PATH: &str = "/sleep/20";
const CLIENTS: usize = 6;

const POOL: &str = "pool.probe = { processes = 2, threads = 4 }";

#[tokio::test]
async fn an_operator_replaces_every_worker() {
    for link in LINKS {
        let stack = start(link, "").await;
        let before = stack.workers("probe").await;
        let load = under_load(&stack, PATH).await;
        let (ended, ()) =
            tokio::join!(stack.command(&["recycle", "probe"]), replaced(&stack, &before));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stdout.contains("every worker of pool \"probe\""), "{ended:?}");
        finish(load).await;
        let pool = quiet(&stack).await;
        assert!(workers(&pool).iter().all(|worker| worker["generation"] == 2), "{pool:#}");
        assert_eq!(pool["recycles_total"]["operator"], 2, "{pool:#}");
        stack.stop().await.expect_no_errors_logged();
    }
}

#[tokio::test]
async fn a_pool_that_was_recycled_is_whole_again_after_a_crash() {
    let stack = start("auto", "").await;
    assert_eq!(stack.command(&["recycle", "probe"]).await.code, Some(0));
    quiet(&stack).await;
    stack.get("/abort").await.expect_reason(502, "worker-exited");
    let is_whole_again = |pool: &Value| {
        let mut workers = workers(pool).iter();
        workers.any(|worker| worker["generation"] == 3 && worker["state"] == "ready")
            && pool["degraded_since"].is_null()
    };
    stack.until_pool("probe", is_whole_again).await;
}

#[tokio::test]
async fn what_cannot_be_recycled_is_said_and_changes_nothing() {
    let probe = example("probe");
    let command = format!(
        "pool.probe = {{ command = ['sh', '-c', 'test -e broken && echo no luck >&2 && exit 3; \
         exec {}'], directory = '${{STACK_DIR}}' }}",
        probe.display()
    );
    let stack = start("auto", &command).await;
    let before = stack.workers("probe").await;
    let unknown = stack.command(&["recycle", "porbe"]).await;
    assert_eq!(unknown.code, Some(78), "{unknown:?}");
    assert!(unknown.stderr.contains("no pool \"porbe\"; there is \"probe\""), "{unknown:?}");

    let broken = stack.folder().join("broken");
    File::create(&broken).unwrap();
    let refused = stack.command(&["recycle", "probe"]).await;
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.stderr.contains("status 3: no luck"), "{refused:?}");
    quiet(&stack).await;
    assert_eq!(stack.workers("probe").await, before);

    fs::remove_file(broken).unwrap();
    let mended = stack.command(&["recycle", "probe"]).await;
    assert_eq!(mended.code, Some(0), "{mended:?}");
    replaced(&stack, &before).await;
}

#[tokio::test]
async fn without_surge_one_worker_less_serves_meanwhile() {
    let stack = start("auto", "pool.probe.surge = 0").await;
    let before = stack.workers("probe").await;
    let load = under_load(&stack, PATH).await;
    let is_replaced = |pool: &Value| {
        assert!(1 <= number(&pool["ready"]), "{pool:#}");
        has_replaced(pool, &before)
    };
    let (ended, _) =
        tokio::join!(stack.command(&["recycle", "probe"]), stack.until_pool("probe", is_replaced));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    finish(load).await;
}

#[tokio::test]
async fn an_application_that_is_touched_or_whose_link_is_switched_is_reloaded() {
    for link in LINKS {
        let plan = plan(link, "pool.probe.reload-on-change = ['touched', 'current']");
        let plan = plan.file("touched", "").file("one/app", "").file("two/app", "");
        let stack = plan.start().await;
        let load = under_load(&stack, PATH).await;

        let before = stack.workers("probe").await;
        let file = File::options().append(true).open(stack.folder().join("touched")).unwrap();
        file.set_modified(SystemTime::now()).unwrap();
        replaced(&stack, &before).await;

        // It does not exist until here.
        let before = settled(&stack).await;
        symlink("one", stack.folder().join("current")).unwrap();
        replaced(&stack, &before).await;

        let before = settled(&stack).await;
        symlink("two", stack.folder().join("next")).unwrap();
        fs::rename(stack.folder().join("next"), stack.folder().join("current")).unwrap();
        replaced(&stack, &before).await;
        finish(load).await;
        let pool = quiet(&stack).await;
        assert_eq!(pool["recycles_total"]["reload-on-change"], 6, "{pool:#}");
        stack.stop().await.expect_no_errors_logged();
    }
}

#[tokio::test]
async fn workers_are_replaced_after_so_many_requests() {
    for link in LINKS {
        worn_out(link, "max-requests = 50", PATH, "max-requests").await;
    }
}

#[tokio::test]
async fn workers_are_replaced_at_an_age() {
    for link in LINKS {
        worn_out(link, "max-age = '2s'", PATH, "max-age").await;
    }
}

#[tokio::test]
async fn workers_that_leak_are_replaced() {
    for link in LINKS {
        worn_out(link, "max-memory = '48MiB'", "/leak/20000", "max-memory").await;
    }
}

#[tokio::test]
async fn workers_that_fail_their_health_check_are_replaced() {
    for link in LINKS {
        let health = "health = { path = '/status/500', interval = '100ms', failures = 2 }";
        worn_out(link, health, PATH, "health").await;
    }
}

#[tokio::test]
async fn a_worker_that_is_only_busy_is_well() {
    let health = "health = { path = '/', interval = '1ms', timeout = '10ms', failures = 3 }";
    let stack = start("auto", &format!("pool.probe = {{ threads = 1, {health} }}")).await;
    let before = stack.workers("probe").await;
    let load = Load::start(stack.address(), "/sleep/50", 4);
    // Long enough for dozens of checks that are not answered in time.
    load.until_answered(40).await;
    let status = stack.status().await;
    let pool = &status["pools"]["probe"];
    assert_eq!((pids(pool), &pool["recycles_total"]["health"]), (before, &0.into()), "{pool:#}");
    finish(load).await;
}

#[tokio::test]
async fn a_worker_that_has_served_and_is_left_alone_is_replaced() {
    let stack = start("auto", "pool.probe = { processes = 1, max-idle = '300ms' }").await;
    let before = stack.workers("probe").await;
    assert_eq!(stack.get("/").await.status, 200);
    let pool = stack.until_pool("probe", |pool| has_replaced(pool, &before)).await;
    assert_eq!(pool["probe"]["recycles_total"]["max-idle"], 1);
    let second = settled(&stack).await;
    assert_eq!(stack.get("/").await.status, 200);
    let pool = stack.until_pool("probe", |pool| has_replaced(pool, &second)).await;
    assert_eq!(pool["probe"]["recycles_total"]["max-idle"], 2);
}

#[tokio::test]
async fn a_reload_that_changes_the_environment_replaces_one_worker_after_the_other() {
    for link in LINKS {
        let mut stack = start(link, "").await;
        let before = stack.workers("probe").await;
        let load = under_load(&stack, PATH).await;
        stack.write_config("pool.probe.environment.RELEASE = 'two'");
        let (ended, ()) = tokio::join!(stack.command(&["reload"]), replaced(&stack, &before));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        finish(load).await;
        let pool = quiet(&stack).await;
        assert_eq!(pool["recycles_total"]["config"], 2, "{pool:#}");
        stack.stop().await.expect_no_errors_logged();
    }
}

#[tokio::test]
async fn a_reload_that_changes_the_number_of_workers_leaves_the_others_alone() {
    let mut stack = start("auto", "").await;
    let before = stack.workers("probe").await;
    let load = under_load(&stack, PATH).await;
    stack.reload("pool.probe = { processes = 4, max-requests = 1000000 }").await;
    let four = stack.workers("probe").await;
    assert_eq!((four.len(), &four[..2]), (4, &before[..]));
    stack.reload("pool.probe.processes = 1").await;
    let pool = stack.until_pool("probe", |pool| workers(pool).len() == 1).await;
    assert_eq!(pids(&pool["probe"]), before[..1]);
    finish(load).await;
    stack.stop().await.expect_no_errors_logged();
}

#[tokio::test]
async fn a_reload_whose_later_workers_do_not_get_ready_says_so_and_keeps_the_floor() {
    let mut stack = start("auto", "").await;
    let load = under_load(&stack, PATH).await;
    // The second one to start finds the folder that the first one made.
    stack.write_config(&format!(
        "pool.probe = {{ directory = '${{STACK_DIR}}', \
         command = ['sh', '-c', 'mkdir first || exit 3; exec {}'] }}",
        example("probe").display()
    ));
    let refused = stack.command(&["reload"]).await;
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.stderr.contains("is in force, but new workers"), "{refused:?}");
    let status = stack.status().await;
    assert_eq!(status["server"]["config_version"], 2);
    assert!(2 <= number(&status["pools"]["probe"]["ready"]), "{status}");
    load.until_answered(20).await;
    finish(load).await;
}

#[tokio::test]
async fn a_reload_does_not_wait_for_the_workers_of_the_one_before() {
    let mut stack = start("auto", "").await;
    let before = stack.workers("probe").await;
    // Both keep their worker draining, and the first one that drains keeps the surge place.
    let (mut one, mut other) = (ask(&stack, "/sleep/1500").await, ask(&stack, "/sleep/1500").await);
    stack.until_pool("probe", |pool| pool["busy"] == 2).await;
    stack.write_config("pool.probe.environment.RELEASE = 'two'");
    stack.signal(Signal::HUP);
    stack.until(|status| status["server"]["config_version"] == 2).await;
    stack.reload("pool.probe.environment.RELEASE = 'three'").await;
    stack.logged(|line| event(line) == Some("reload_superseded")).await;
    assert_eq!((one.response().await.status, other.response().await.status), (200, 200));
    let after = settled(&stack).await;
    assert!(after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
    for environment in after.into_iter().map(environment) {
        assert!(environment.contains("RELEASE=three"), "{environment}");
    }
    stack.stop().await.expect_no_errors_logged();
}

#[tokio::test]
async fn a_reload_mends_a_pool_that_crashes_and_one_without_surge() {
    let mut stack = plan("auto", "pool.probe.command = ['false']").unready().start().await;
    stack.logged(|line| field(line, "generation") == Some("2")).await;
    stack.reload(&format!("pool.probe.command = ['{}']", example("probe").display())).await;
    let before = settled(&stack).await;
    assert_eq!(stack.get("/").await.status, 200);

    stack.reload("pool.probe.surge = 0").await;
    assert_eq!(stack.workers("probe").await, before, "how many are replaced at once is no change");
    let load = under_load(&stack, PATH).await;
    stack.reload("pool.probe.environment.RELEASE = 'two'").await;
    finish(load).await;
    let after = settled(&stack).await;
    assert!(after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
}

#[tokio::test]
async fn a_pool_that_crashes_says_why_and_when_it_tries_again() {
    let crashing = "pool.probe = { command = ['sh', '-c', 'echo one >&2; echo two >&2; exit 3'] }";
    let stack = plan("auto", crashing).unready().start().await;
    let shown = |pool: &Value| {
        pool["retry_in_ms"].as_u64().is_some_and(|wait| 0 < wait)
            && pool["last_exit"]["stderr"].as_array().is_some_and(|lines| !lines.is_empty())
    };
    let pools = stack.until_pool("probe", shown).await;
    let exit = &pools["probe"]["last_exit"];
    assert_eq!((&exit["exit"], &exit["status"]), (&"status 3".into(), &3.into()));
    assert_eq!(exit["stderr"], serde_json::json!(["one", "two"]));
    let text = stack.command(&["status"]).await.stdout;
    assert!(text.contains("| one") && text.contains("| two"), "{text}");
    // Three starts of each place at least, and the pauses between them double.
    stack.logged(|line| field(line, "generation") == Some("4")).await;
    let started = stack.log();
    let starts = started.lines().filter(|line| event(line) == Some("worker_started")).count();
    assert!(starts <= 2 * 5, "{starts} starts in two places");
}

/// Shows that workers are replaced again and again by wear, the first ones included.
async fn worn_out(link: &str, limit: &str, path: &str, reason: &str) {
    let stack = start(link, &format!("pool.probe = {{ {limit} }}")).await;
    let before = stack.workers("probe").await;
    let load = under_load(&stack, path).await;
    replaced(&stack, &before).await;
    let is_again = |pool: &Value| {
        above_the_floor(pool);
        3 <= number(&pool["recycles_total"][reason])
    };
    let pools = stack.until_pool("probe", is_again).await;
    assert_eq!(pools["probe"]["recycles_total"]["exit"], 0, "{pools:#}");
    finish(load).await;
    let ended = stack.stop().await;
    ended.expect_no_errors_logged();
    expect_reason(&ended, reason);
}

#[track_caller]
fn expect_reason(ended: &Ended, reason: &str) {
    let mut recycled = ended.stderr.lines().filter(|line| event(line) == Some("worker_recycled"));
    assert!(recycled.all(|line| field(line, "reason") == Some(reason)), "{}", ended.stderr);
}

fn plan(link: &str, text: &str) -> Plan {
    Plan::probe().with(POOL).with(&format!("pool.probe.link = '{link}'")).with(text)
}

async fn start(link: &str, text: &str) -> Stack {
    plan(link, text).start().await
}

async fn under_load(stack: &Stack, path: &str) -> Load {
    let clients = if path == PATH { CLIENTS } else { 2 };
    let load = Load::start(stack.address(), path, clients);
    load.until_answered(20).await;
    load
}

/// Ends the load, which went on for a while after what was shown.
async fn finish(load: Load) {
    load.until_answered(20).await;
    load.stop().await.expect_all_answered();
}

/// Waits until none of these workers is left, and none is missing; looks at the floor meanwhile.
async fn replaced(stack: &Stack, before: &[u32]) {
    let is_replaced = |pool: &Value| {
        above_the_floor(pool);
        has_replaced(pool, before)
    };
    stack.until_pool("probe", is_replaced).await;
}

fn has_replaced(pool: &Value, before: &[u32]) -> bool {
    pids(pool).iter().all(|pid| !before.contains(pid)) && pool["processes"] == pool["ready"]
}

#[track_caller]
fn above_the_floor(pool: &Value) {
    assert!(number(&pool["processes"]) <= number(&pool["ready"]), "below the floor: {pool:#}");
}

/// Waits until nobody is being replaced; returns the workers.
async fn settled(stack: &Stack) -> Vec<u32> {
    pids(&quiet(stack).await)
}

/// Waits until nobody is being replaced; returns the pool.
async fn quiet(stack: &Stack) -> Value {
    let is_quiet = |pool: &Value| {
        pool["recycles_pending"].as_array().is_some_and(Vec::is_empty)
            && workers(pool).len() == number(&pool["processes"]) as usize
            && pool["ready"] == pool["processes"]
    };
    stack.until_pool("probe", is_quiet).await["probe"].take()
}

/// The variables of a process, with which it was started.
fn environment(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/environ")).expect("it lives").replace('\0', "\n")
}

fn workers(pool: &Value) -> &Vec<Value> {
    pool["workers"].as_array().expect("a pool has workers")
}
