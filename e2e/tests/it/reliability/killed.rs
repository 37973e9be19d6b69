//! A random worker is killed every 300 ms under load.
//!
//! Goal: only the requests inside it fail, each with 502 or an aborted connection; none hangs, and
//! none is run twice. Method: four fifths of the threads are kept busy by clients; the application
//! writes the id of each request that it begins into a journal, which is compared with what the
//! clients got. Three seconds of it in the normal run, thirty at full length.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use ostler_e2e::promise::{length, note};
use ostler_e2e::{Load, Tally, Workers, process};
use rustix::process::Signal;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// 4 processes with 2 threads each.
const THREADS: usize = 8;
const EVERY: Duration = Duration::from_millis(300);

const POOL: &str = "
    [pool.probe]
    processes = 4
    threads = 2
    environment = { PROBE_JOURNAL = '${STACK_DIR}/journal' }
";

#[tokio::test]
async fn workers_that_are_killed_fail_only_what_is_inside_them() {
    check(Workers::Auto).await;
}

#[tokio::test]
async fn workers_that_are_killed_fail_only_what_is_inside_them_over_http() {
    check(Workers::Http).await;
}

#[tokio::test]
async fn workers_that_are_killed_fail_only_what_is_inside_them_in_python() {
    check(Workers::Python).await;
}

async fn check(workers: Workers) {
    let stack = workers.plan().with(POOL).start().await;
    let load = Load::start(stack.address(), "/sleep/20", THREADS * 4 / 5);
    load.until_answered(THREADS).await;
    let lasts = length(Duration::from_secs(3), Duration::from_secs(30));
    let (until, mut ticks) = (Instant::now() + lasts, interval(EVERY));
    // On a busy machine a kill that is late must not be followed by the next one sooner.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut random, mut kills) = (0x2545_f491_4f6c_dd1d_u64, 0);
    while Instant::now() < until {
        ticks.tick().await;
        // xorshift64: the same order of victims in every run.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let pids = stack.workers("probe").await;
        let victim = usize::try_from(random % pids.len().max(1) as u64).unwrap_or(0);
        // One that is gone by now was killed before.
        if pids.get(victim).is_some_and(|&pid| process::signal(pid, Signal::KILL)) {
            kills += 1;
        }
    }
    let tally = load.stop().await;
    stack
        .until(|status| {
            let pool = &status["pools"]["probe"];
            let workers = pool["workers"].as_array().map(Vec::len);
            pool["busy"] == 0 && pool["queued"] == 0 && pool["ready"] == 4 && workers == Some(4)
        })
        .await;

    let failed = expect_only_failures_of(&tally, kills);
    let journal = fs::read_to_string(stack.folder().join("journal")).expect("the probe wrote it");
    let begun = expect_none_twice(&journal);
    let answered = tally.count("200 -");
    assert!(answered <= begun, "{answered} answered, {begun} begun");
    assert!(begun <= answered + failed, "{begun} begun, {answered} answered, {failed} failed");
    note(
        &format!("a worker is killed every 300 ms, {workers}"),
        "only requests inside it fail; none hangs, none is run twice",
        &format!("{kills} kills, {answered} answered, {failed} failed with 502, 0 run twice"),
    );
}

/// Fails unless every request was answered, and no more than were inside killed workers with 502.
#[track_caller]
fn expect_only_failures_of(tally: &Tally, kills: usize) -> usize {
    assert!(tally.unanswered == 0 && tally.refused == 0, "{tally:#?}");
    let failed = tally.count("502 worker-exited");
    let known = |verdict: &String| verdict == "200 -" || verdict == "502 worker-exited";
    assert!(tally.answers.keys().all(known) && tally.errors.is_empty(), "{tally:#?}");
    assert!(failed <= 2 * kills, "{failed} failures of {kills} workers with 2 threads");
    failed
}

/// Fails if the application began a request twice. Returns how many it began.
#[track_caller]
fn expect_none_twice(journal: &str) -> usize {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for id in journal.lines() {
        *times.entry(id).or_default() += 1;
    }
    let twice: Vec<_> = times.iter().filter(|&(_, &times)| 1 < times).collect();
    assert!(twice.is_empty(), "run more than once: {twice:?}");
    times.len()
}
