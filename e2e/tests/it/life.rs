//! From start to end: stop, the operator's commands, what is inherited and what is left behind.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use ostler_e2e::process::Process;
use ostler_e2e::stack::{event, example, ostler_alone};
use ostler_e2e::{DEADLINE, Load, POLL, Plan, Stack};
use rustix::process::Signal;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, interval};
use toml::Table;

use crate::ask;

/// The base of every stack, plus one pool with every letter of what could go wrong in a file.
const FIVE_MISTAKES: &str = "\
[server]
thread = 4

[keepalive]
idle-timeout = 5

[pool.web]
command = [\"site\"]
queue-length = \"many\"

[[site]]
[[site.route]]
path = \"static\"
pool = \"wbe\"
";

/// The descriptor of a worker's bell: the last of those it has from the proxy that is not an
/// eventfd, which all look alike.
const BELL: u32 = 5;

#[tokio::test]
async fn a_stop_answers_everything_that_was_sent_before_it() {
    let mut stack = Stack::start("pool.probe.queue-length = 200").await;
    let load = Load::start(stack.address(), "/sleep/5", 8);
    load.until_answered(20).await;
    // An idle connection, and requests that nobody may have accepted yet when the signal comes.
    let mut idle = stack.connect().await;
    idle.get("/").await;
    let mut sent = Vec::new();
    for number in 0..60 {
        sent.push(ask(&stack, if number % 2 == 0 { "/sleep/20" } else { "/head" }).await);
    }
    stack.signal(Signal::TERM);
    for (number, client) in sent.iter_mut().enumerate() {
        let response = client.response().await;
        assert_eq!(response.status, 200, "request {number}: {response:?}");
        client.closed().await;
    }
    idle.closed().await;
    assert_eq!(stack.ended().await.code(), Some(0), "{}", stack.log());
    assert_eq!(stack.processes(), []);

    // Requests of the load that were sent after the signal may have found nobody, and no others.
    let tally = load.stop().await;
    assert!(tally.errors.is_empty(), "{tally:#?}");
    assert_eq!(tally.answers.keys().collect::<Vec<_>>(), ["200 -"], "{tally:#?}");
}

#[tokio::test]
async fn an_answer_that_is_under_way_is_finished_before_the_end() {
    let mut stack = Stack::start("").await;
    let mut client = ask(&stack, "/stream/20/20").await;
    client.answers().head().await.unwrap();
    stack.signal(Signal::TERM);
    let mut body = Vec::new();
    loop {
        let more = client.answers().some().await.unwrap();
        if more.is_empty() {
            break;
        }
        body.extend(more);
    }
    assert!(body.ends_with(b"\r\n0\r\n\r\n"), "{}", body.escape_ascii());
    let pieces = String::from_utf8(body).unwrap().matches("a piece of a stream\n").count();
    assert_eq!(pieces, 20);
    assert_eq!(stack.ended().await.code(), Some(0));
}

#[tokio::test]
async fn an_interrupt_ends_everything_at_once() {
    let mut stack = Stack::start("").await;
    let mut held = ask(&stack, "/sleep/8000").await;
    stack.until_pool("probe", |pool| pool["busy"] == 1).await;
    let asked = Instant::now();
    stack.signal(Signal::INT);
    let status = stack.ended().await;
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    assert_eq!(status.code(), Some(0), "{}", stack.log());
    assert_eq!(stack.processes(), []);
    let answer = held.try_response("GET").await;
    assert!(!matches!(&answer, Ok(response) if response.status == 200), "{answer:?}");
}

#[tokio::test]
async fn a_second_signal_hurries_a_stop_that_takes_long() {
    let mut stack = Stack::start("server.shutdown-delay = '60s'").await;
    stack.signal(Signal::TERM);
    stack.logged(|line| event(line) == Some("stopping")).await;
    assert_eq!(stack.get("/").await.status, 200, "a lame duck serves");
    stack.signal(Signal::INT);
    assert_eq!(stack.ended().await.code(), Some(0), "{}", stack.log());
    assert_eq!(stack.processes(), []);
}

#[tokio::test]
async fn a_check_reports_each_of_five_mistakes_with_its_position() {
    let ended = Plan::bare().file("ostler.toml", FIVE_MISTAKES).command(&["check"]).await;
    assert_eq!(ended.code, Some(78), "{ended:?}");
    let positions: Vec<&str> = ended
        .stderr
        .lines()
        .map(|line| line.split_once("/ostler.toml:").expect("FILE:LINE:COL: message").1)
        .map(|rest| rest.split_once(": ").expect("a message").0)
        .collect();
    assert_eq!(positions, ["2:1", "5:16", "9:16", "13:8", "14:8"], "{ended:?}");

    let ended = Plan::probe().command(&["check"]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    let missing = ostler_alone(&["check", "-c", "/nonexistent/ostler.toml"]).await;
    assert_eq!(missing.code, Some(78), "{missing:?}");
    assert!(missing.stderr.starts_with("/nonexistent/ostler.toml:"), "{missing:?}");
}

#[tokio::test]
async fn the_effective_configuration_is_a_configuration_that_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ostler.toml");
    let plan = Plan::probe().with(
        "origin.cdn.servers = ['https://cdn.example']
         keepalive.idle-timeout = '250ms'
         [[site]]
         hosts = ['a.example', '*.b.example']
         route = [{ path = '=/x', origin = 'cdn' },
                  { path = '/old/', redirect = 'https://new.example/', status = 308 },
                  { path = '/', pool = 'probe', methods = ['GET'], body-size = '1MiB' }]",
    );
    for arguments in [&["config"][..], &["config", "--defaults"]] {
        let ended = plan.clone().command(arguments).await;
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
        fs::write(&path, &ended.stdout).unwrap();
        let file = path.to_str().unwrap();
        let checked = ostler_alone(&["check", "-c", file]).await;
        assert_eq!(checked.code, Some(0), "{checked:?}\n{}", ended.stdout);
        let again = ostler_alone(&[arguments, &["-c", file]].concat()).await;
        let parsed = |text: &str| text.parse::<Table>().unwrap();
        assert_eq!(parsed(&again.stdout), parsed(&ended.stdout));
    }
    let ended = plan.command(&["config"]).await;
    let line = ended.stdout.lines().find(|line| line.contains("idle-timeout")).unwrap();
    assert!(line.contains("\"250ms\"") && line.contains("ostler.toml:"), "{line}");
}

#[tokio::test]
async fn commands_ask_the_running_supervisor() {
    let mut stack = Stack::start("").await;
    let text = stack.command(&["status"]).await;
    assert_eq!(text.code, Some(0), "{text:?}");
    assert!(text.stdout.contains("\nprobe        ok        1/1    [----------] 0/2 "), "{text:?}");
    let json = stack.command(&["status", "--json"]).await;
    assert_eq!(json.code, Some(0), "{json:?}");
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["server"]["pid"], stack.pid());
    let auto = stack.command(&["status", "--auto"]).await;
    assert_eq!(auto.code, Some(0), "{auto:?}");
    assert!(auto.stdout.contains("\nScoreboard: __\n"), "{auto:?}");

    let reloaded = stack.command(&["reload"]).await;
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
    assert_eq!(stack.status().await["server"]["config_version"], 2, "{reloaded:?}");

    let mut held = ask(&stack, "/sleep/300").await;
    stack.until_pool("probe", |pool| pool["busy"] == 1).await;
    let stopped = stack.command(&["stop"]).await;
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert_eq!(stack.processes(), [], "it returns when everything has ended");
    assert_eq!(held.response().await.status, 200);
    assert_eq!(stack.ended().await.code(), Some(0));

    for command in [&["status"][..], &["reload"], &["stop"], &["stop", "--now"]] {
        let ended = stack.command(command).await;
        assert_eq!(ended.code, Some(71), "{command:?}: {ended:?}");
        assert!(ended.stderr.contains("run/control.sock; is ostler running?"), "{ended:?}");
    }
}

#[tokio::test]
async fn a_stop_now_does_not_wait_for_requests() {
    let mut stack = Stack::start("").await;
    let _held = ask(&stack, "/sleep/8000").await;
    stack.until_pool("probe", |pool| pool["busy"] == 1).await;
    let asked = Instant::now();
    let stopped = stack.command(&["stop", "--now"]).await;
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    assert_eq!(stack.ended().await.code(), Some(0));
    assert_eq!(stack.processes(), []);
}

#[tokio::test]
async fn a_wrong_command_line_is_a_usage_error() {
    for arguments in [&[][..], &["rnu"], &["run", "--port"], &["status", "--json", "--auto"]] {
        let ended = ostler_alone(arguments).await;
        assert_eq!(ended.code, Some(64), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains("Usage:"), "{arguments:?}: {ended:?}");
    }
}

#[tokio::test]
async fn a_second_supervisor_is_refused_and_told_of_the_first() {
    let stack = Stack::start("").await;
    let refused = stack.command(&["run", "--allow-root"]).await;
    assert_eq!(refused.code, Some(71), "{refused:?}");
    let folder = stack.folder().join("run");
    let message =
        format!("another supervisor uses {}: process {}\n", folder.display(), stack.pid());
    assert!(refused.stderr.ends_with(&message), "{refused:?}");
    // The first one does not mind.
    assert_eq!(stack.get("/").await.status, 200);
    assert_eq!(stack.command(&["status"]).await.code, Some(0));
    stack.stop().await.expect_no_errors_logged();
}

#[tokio::test]
async fn nothing_outlives_a_killed_supervisor() {
    let probe = example("probe");
    let shell = format!("sleep 1000 & exec '{}'", probe.display());
    let plan = Plan::probe().with("pool.probe.processes = 2");
    let stack = plan.with(&format!("pool.probe.command = ['sh', '-c', {shell:?}]")).start().await;
    let _load = Load::start(stack.address(), "/sleep/10", 4);
    let held = ask(&stack, "/sleep/8000").await;
    stack.until_pool("probe", |pool| 0 < pool["busy"].as_u64().unwrap()).await;
    let sleepers = |all: &[Process]| all.iter().filter(|p| p.command == "sleep 1000 ").count();
    assert_eq!(sleepers(&stack.processes()), 2, "{:?}", stack.processes());

    let (public, status) = (stack.address(), stack.status_address());
    let killed = Instant::now();
    stack.signal(Signal::KILL);
    let longest = Duration::from_secs(2);
    stack.until_gone(longest).await;
    // A process that ends lets go of its memory, by which it is found, before its sockets.
    for address in [public, status] {
        while let Ok(accepted) = TcpStream::connect(address).await {
            assert!(killed.elapsed() < longest, "{address}: {accepted:?}");
        }
    }
    assert!(killed.elapsed() < longest, "{:?}", killed.elapsed());
    drop(held);
}

#[tokio::test]
async fn a_supervisor_starts_where_one_was_killed() {
    let mut first = Stack::start("").await;
    first.signal(Signal::KILL);
    first.ended().await;
    first.until_gone(Duration::from_secs(2)).await;
    let folder = first.folder().join("run");
    let second = Stack::start(&format!("server.runtime-dir = '{}'", folder.display())).await;
    assert_eq!(second.get("/").await.status, 200);
    second.stop().await.expect_no_errors_logged();
}

#[tokio::test]
async fn a_worker_inherits_its_listening_socket_and_nothing_else() {
    // Even from a parent that lets its own descriptors slip through to the supervisor.
    let slipped = rustix::io::dup(fs::File::open("/dev/zero").unwrap()).unwrap();
    // A program that opens nothing itself, past its start, shows exactly what it was given.
    let plan = Plan::bare().with(
        "[pool.quiet]
         command = ['sleep', '1000']
         link = 'http'
         [pool.linked]
         command = ['sleep', '2000']
         [[site]]
         route = [{ path = '/', pool = 'quiet' }, { path = '/linked', pool = 'linked' }]",
    );
    let stack = plan.unready().start().await;
    drop(slipped);
    let usual = ["/dev/null", "pipe:[", "pipe:[", "socket:["];
    let pid = running(&stack, "sleep 1000 ").await;
    check_descriptors(pid, &usual).await;
    // With the ring link: the segment, the bell, two lanes for each of the server's threads, and
    // the control socket.
    let mut link = vec!["/memfd:ostler-segment", "pipe:["];
    link.extend(["anon_inode:[eventfd]"; 4]);
    link.push("socket:[");
    let pid = running(&stack, "sleep 2000 ").await;
    check_descriptors(pid, &[usual.to_vec(), link].concat()).await;
}

/// Waits until a process has descriptors from 0 on that stand for what begins so, and no others.
async fn check_descriptors(pid: u32, expected: &[&str]) {
    let mut ticks = interval(POLL);
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let given = descriptors(pid);
        let is_it = |((fd, target), (number, begin)): (&(u32, String), (u32, &&str))| {
            *fd == number && target.starts_with(*begin)
        };
        let is_same = given.len() == expected.len();
        if is_same && given.iter().zip((0..).zip(expected)).all(is_it) {
            return;
        }
        assert!(Instant::now() < deadline, "{given:?}, expected {expected:?}");
        ticks.tick().await;
    }
}

#[tokio::test]
async fn a_serving_worker_shares_its_link_and_nothing_else_with_the_processes_around_it() {
    let stack = Stack::start("pool.probe.processes = 2").await;
    assert_eq!(stack.get("/").await.status, 200);
    let workers = stack.workers("probe").await;
    let ours = [stack.pid(), stack.proxy().await];
    let theirs: BTreeSet<String> = ours.into_iter().flat_map(objects).collect();
    assert!(!theirs.is_empty(), "the supervisor has sockets");
    for worker in &workers {
        let opened: Vec<(u32, String)> =
            descriptors(*worker).into_iter().filter(|(fd, _)| BELL < *fd).collect();
        for (fd, target) in &opened {
            assert!(!theirs.contains(target), "fd {fd} of {worker} is {target}: {opened:?}");
            assert!(!target.contains("memfd:"), "fd {fd} of {worker} is {target}");
        }
    }
}

/// Waits until the stack has a process with this command line; returns its id.
async fn running(stack: &Stack, command: &str) -> u32 {
    let deadline = Instant::now() + DEADLINE;
    let mut ticks = interval(POLL);
    loop {
        ticks.tick().await;
        let processes = stack.processes();
        if let Some(process) = processes.iter().find(|process| process.command == command) {
            return process.pid;
        }
        assert!(Instant::now() < deadline, "not there: {processes:#?}\n{}", stack.log());
    }
}

/// Descriptors of a process, and what they stand for.
fn descriptors(pid: u32) -> Vec<(u32, String)> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let mut found: Vec<(u32, String)> = entries
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, target.display().to_string()))
        })
        .collect();
    found.sort();
    found
}

/// The sockets, pipes and files that a process has open, by what is theirs alone.
fn objects(pid: u32) -> Vec<String> {
    let targets = descriptors(pid).into_iter().map(|(_, target)| target);
    targets.filter(|target| target.contains(":[") && !target.starts_with("anon_inode")).collect()
}
