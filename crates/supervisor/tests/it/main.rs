//! The supervisor over real processes, with a proxy process that agrees to everything.
//!
//! Tests wait for lines of its log and for the ends of processes, never for time to pass.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod stack;

use std::time::Duration;

use rustix::process::Signal;
use stack::{Processes, Stack};

/// A worker with a child of its own, which does not end with it.
const WITH_CHILD: &str = "command = ['sh', '-c', 'sleep 1000 & exec \"$0\" worker', 'PROGRAM']";

#[test]
fn it_is_ready_when_every_worker_serves_and_leaves_nothing_when_stopped() {
    let mut stack = Stack::start(&format!("[pool.web]\n{WITH_CHILD}\nprocesses = 2\n"));
    stack.wait_for("INFO ready");
    let everything = stack.descendants();
    assert_eq!(everything.len(), 1 + 1 + 2 * 2, "guard, proxy, workers and their children");

    stack.signal(Signal::TERM);
    let seen = stack.wait_for("INFO stopped");
    assert!(seen.iter().any(|line| line.contains("heard") && line.contains("=Drain ")));
    everything.wait_for_end(Duration::from_secs(2));
    assert_eq!(stack.wait(), Some(0));
    assert!(!stack.path("run/status.sock").exists());
}

#[test]
fn nothing_outlives_a_supervisor_that_is_killed() {
    let stack = Stack::start(&format!("[pool.web]\n{WITH_CHILD}\nprocesses = 2\n"));
    stack.wait_for("INFO ready");
    let everything = stack.descendants();
    assert_eq!(everything.len(), 6);
    stack.signal(Signal::KILL);
    everything.wait_for_end(Duration::from_secs(2));
}

#[test]
fn a_guard_that_dies_is_replaced_and_told_everything_again() {
    let stack = Stack::start(&format!("[pool.web]\n{WITH_CHILD}\nprocesses = 1\n"));
    stack.wait_for("INFO ready");
    Stack::kill(stack.pid_of("guard"));
    stack.wait_for("ERROR guard_exited");
    stack.wait_for("INFO guard_started");
    let everything = stack.descendants();
    stack.signal(Signal::KILL);
    everything.wait_for_end(Duration::from_secs(2));
}

#[test]
fn a_worker_that_is_killed_is_replaced_and_its_children_are_gone() {
    let stack = Stack::start(&format!("[pool.web]\n{WITH_CHILD}\nprocesses = 1\n"));
    let worker = stack.started_worker();
    stack.wait_for("INFO ready");
    let group = stack.descendants().in_group(worker);
    assert_eq!(group.len(), 2);
    Stack::kill(worker);
    stack.wait_for_all(&[
        &format!("generation=1 pid={worker} exit=\"signal 9\""),
        "worker_ready pool=web slot=0 generation=2",
    ]);
    group.wait_for_end(Duration::from_secs(2));
    assert_eq!(stack.zombies(), 0);
}

#[test]
fn a_proxy_process_that_is_killed_is_replaced_and_so_are_its_workers() {
    let stack = Stack::start("[pool.web]\ncommand = ['PROGRAM', 'worker']\nprocesses = 2\n");
    let address = stack.wait_for("listener_bound name=public").pop().unwrap();
    let address = address.split("address=").nth(1).unwrap().to_owned();
    stack.wait_for("INFO ready");
    Stack::kill(stack.pid_of("proxy"));
    stack.wait_for("INFO proxy_started");
    std::net::TcpStream::connect(address).unwrap();
    let seen = stack.wait_for("INFO ready");
    let ready = seen.iter().filter(|line| line.contains("worker_ready pool=web"));
    assert!(ready.clone().all(|line| line.contains("generation=2")));
    assert_eq!(ready.count(), 2);
}

#[test]
fn a_reload_starts_what_changed_before_it_retires_what_was() {
    let stack = Stack::start("[pool.web]\ncommand = ['PROGRAM', 'worker']\nprocesses = 1\n");
    let old = stack.started_worker();
    stack.wait_for_all(&["kind=WorkerServe", "kind=Sync", "INFO ready"]);
    stack.write("[pool.web]\ncommand = ['PROGRAM', 'worker']\nprocesses = 1\nthreads = 2\n");
    stack.signal(Signal::HUP);
    let seen = stack.wait_for(&format!("worker_exited pool=web slot=0 generation=1 pid={old}"));
    let order: Vec<&str> = seen
        .iter()
        .filter_map(|line| {
            ["=Pool ", "=Config ", "=WorkerServe ", "=WorkerWithdraw ", "INFO worker_exited"]
                .into_iter()
                .find(|step| line.contains(step))
        })
        .collect();
    // For the worker that starts, and for the configuration that names the pool.
    assert_eq!(order[..2], ["=Pool ", "=Pool "]);
    let switch = ["=Config ", "=WorkerServe ", "=WorkerWithdraw ", "INFO worker_exited"];
    assert_eq!(order[2..], switch);
}

#[test]
fn a_reload_whose_workers_do_not_get_ready_changes_nothing() {
    let stack = Stack::start("[pool.web]\ncommand = ['PROGRAM', 'worker']\nprocesses = 1\n");
    stack.wait_for("INFO ready");
    let before = stack.descendants();
    for (broken, why) in [
        ("[pool.web]\ncommand = ['/nonexistent']\n", "cannot execute"),
        ("[pool.web]\ncommand = ['sh', '-c', 'echo no luck >&2; exit 3']\n", "no luck"),
        ("[pool.web]\ncommand = ['sleep', '1000']\nstart-timeout = '1ms'\n", "start-timeout"),
        ("bogus = 1\n", "unknown key"),
    ] {
        stack.write(broken);
        stack.signal(Signal::HUP);
        let line = stack.wait_for("ERROR reload_failed").pop().unwrap();
        assert!(line.contains(why), "{line}");
    }
    stack.wait_until(|stack| stack.descendants() == before);
}

#[test]
fn a_worker_that_is_never_ready_is_killed_and_tried_again() {
    let stack = Stack::start(
        "[pool.web]\ncommand = ['sleep', '1000']\nprocesses = 1\nstart-timeout = '10ms'\n",
    );
    let line = stack.wait_for("worker_exited").pop().unwrap();
    assert!(line.contains("signal 9") && line.contains("start-timeout"), "{line}");
    stack.wait_for("worker_started pool=web slot=0 generation=2");
}

#[test]
fn stopping_now_takes_less_than_two_seconds_whatever_the_workers_do() {
    let mut stack = Stack::start(
        "[pool.web]\ncommand = ['PROGRAM', 'worker', 'stubborn']\nstop-timeout = '1m'\n",
    );
    stack.wait_for("INFO ready");
    let everything = stack.descendants();
    stack.signal(Signal::INT);
    everything.wait_for_end(Duration::from_secs(2));
    assert_eq!(stack.wait(), Some(0));
}

#[test]
fn a_second_term_changes_nothing() {
    let mut stack = Stack::start(
        "server.shutdown-delay = '1h'\n\
         [pool.web]\ncommand = ['PROGRAM', 'worker']\nprocesses = 1\n",
    );
    stack.wait_for("INFO ready");
    stack.signal(Signal::TERM);
    stack.wait_for("heard kind=LameDuck");
    stack.signal(Signal::TERM);
    // Comes after the signal, and is answered by one that goes on.
    Stack::kill(stack.pid_of("worker"));
    stack.wait_for("worker_ready pool=web slot=0 generation=2");
    stack.signal(Signal::INT);
    stack.wait_for("INFO stopped");
    assert_eq!(stack.wait(), Some(0));
}

#[test]
fn a_second_supervisor_on_the_same_directory_is_refused() {
    let stack = Stack::start("");
    stack.wait_for("INFO ready");
    let (status, text) = stack.start_another();
    assert_eq!(status, Some(1));
    assert!(text.contains("another supervisor uses"), "{text}");
}

#[test]
fn what_a_worker_prints_is_logged_with_its_pool_and_slot() {
    let stack = Stack::start(
        "[pool.web]\ncommand = ['sh', '-c', 'echo \"{pool} {slot}\"; exec \"$0\" worker', \
         'PROGRAM']\nprocesses = 1\n",
    );
    stack.wait_for("worker_output pool=web slot=0 stream=stdout line=\"web 0\"");
}

#[test]
fn what_a_worker_prints_is_logged_whatever_the_level() {
    let stack = Stack::start(
        "log.error.level = 'error'\n\
         [pool.web]\ncommand = ['sh', '-c', 'echo Traceback >&2; exec \"$0\" worker', 'PROGRAM']\n",
    );
    stack.wait_for("worker_output pool=web slot=0 stream=stderr line=Traceback");
}

#[test]
fn an_error_of_any_length_is_told_and_the_channel_goes_on() {
    let stack = Stack::start("[pool.web]\ncommand = ['PROGRAM', 'worker']\nprocesses = 1\n");
    stack.wait_for("INFO ready");
    let mistakes: Vec<String> = (0..2000).map(|number| format!("bogus{number} = 1")).collect();
    stack.write(&mistakes.join("\n"));
    stack.signal(Signal::HUP);
    stack.wait_for("ERROR reload_failed");
    stack.wait_for("heard kind=ConfigError");
    stack.write("[pool.web]\ncommand = ['PROGRAM', 'worker']\nprocesses = 1\nthreads = 2\n");
    stack.signal(Signal::HUP);
    stack.wait_for("INFO reloaded");
}

#[test]
fn a_worker_that_dies_once_the_configuration_was_sent_does_not_undo_the_reload() {
    let web = "[pool.web]\ncommand = ['PROGRAM', 'worker']\nprocesses = 1\n";
    let stack = Stack::start(web);
    stack.wait_for("INFO ready");
    let mortal = "[pool.mortal]\ncommand = ['PROGRAM', 'worker']\nprocesses = 1\n";
    stack.write(&format!("{web}{mortal}"));
    stack.signal(Signal::HUP);
    let seen = stack.wait_for("INFO reloaded");
    let has = |text: &str| seen.iter().any(|line| line.contains(text));
    assert!(has("WARN worker_exited pool=mortal"), "{seen:#?}");
    assert!(has("worker_ready pool=mortal slot=0 generation=2"), "{seen:#?}");
}

#[test]
fn a_proxy_process_that_ends_is_reported_with_the_reason() {
    let stack = Stack::start("");
    stack.wait_for("INFO ready");
    let proxy = Processes::of(stack.pid_of("proxy"));
    proxy.signal(Signal::TERM);
    let line = stack.wait_for("proxy_exited").pop().unwrap();
    assert!(line.contains("exit=\"status 1\""), "{line}");
}

#[test]
fn the_proxy_process_gets_no_variable_that_it_does_not_need() {
    let stack = Stack::start("[pool.web]\ncommand = ['PROGRAM', 'worker']\nprocesses = 1\n");
    let worker = stack.started_worker();
    stack.wait_for("INFO ready");
    let proxy = stack.pid_of("proxy");
    assert_eq!(Stack::variable(proxy, "PATH"), std::env::var("PATH").ok());
    assert_eq!(Stack::variable(proxy, "DATABASE_PASSWORD"), None);
    assert_eq!(Stack::variable(worker, "DATABASE_PASSWORD").as_deref(), Some("hunter2"));
}

#[test]
fn no_process_gets_a_descriptor_that_the_supervisor_was_started_with() {
    let stack = Stack::start("[pool.web]\ncommand = ['PROGRAM', 'worker']\n");
    stack.wait_for("INFO ready");
    assert_eq!(stack.holders_of_the_inherited_file(), [stack.pid()]);
}

#[test]
fn what_left_the_group_of_a_worker_ends_after_it_and_not_before() {
    let mut stack = Stack::start(
        "[pool.web]\ncommand = ['sh', '-c', '(setsid sleep 1000 &); exec \"$0\" worker', \
         'PROGRAM']\nprocesses = 2\n",
    );
    stack.wait_for("INFO ready");
    stack.wait_until(|stack| stack.children("sleep").len() == 2);
    let orphan_of = |slot: &str| {
        let mut orphans = stack.children("sleep").into_iter();
        orphans.find(|&pid| Stack::variable(pid, "OSTLER_SLOT").as_deref() == Some(slot)).unwrap()
    };
    let (first, second) = (orphan_of("0"), orphan_of("1"));
    let worker = stack.children(stack::PROGRAM);
    let is_first = |pid: &i32| Stack::variable(*pid, "OSTLER_SLOT").as_deref() == Some("0");
    Stack::kill(worker.into_iter().find(is_first).unwrap());
    stack.wait_for(&format!("orphan_killed pid={first}"));
    Processes::of(first).wait_for_end(Duration::from_secs(2));
    assert!(stack.children("sleep").contains(&second));

    stack.signal(Signal::TERM);
    stack.wait_for("INFO stopped");
    assert_eq!(stack.wait(), Some(0));
    Processes::of(second).wait_for_end(Duration::from_secs(2));
}
