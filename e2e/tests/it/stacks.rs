//! What every thread is doing, on demand: `ostler stacks`, the page of it, and in post-mortems.

use std::time::Duration;

use ostler_e2e::program::installed;
use ostler_e2e::stack::number;
use ostler_e2e::{Plan, Stack, python as wsgi};
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::Instant;

use crate::ask;

/// A worker by the contract in `docs/manual/workers.md` and nothing else. Its application has
/// replaced the handler of TERM. `/hold` never comes back.
const WORKER: &str = r#"
import json, os, signal, socket, sys, threading, traceback

signal.signal(signal.SIGTERM, lambda *_: print("heard TERM", flush=True))
listening = socket.socket(fileno=3)
never = threading.Event()


def hold():
    never.wait(3600)


def serve():
    while True:
        connection, _ = listening.accept()
        with connection:
            path = connection.recv(65536).split()[1].decode()
            if path.startswith("/hold"):
                hold()
            connection.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")


def calls(frame):
    stack = reversed(traceback.extract_stack(frame))
    return [f'File "{call.filename}", line {call.lineno} in {call.name}' for call in stack]


def shown():
    frames = sys._current_frames()
    threads = [thread for thread in threading.enumerate() if thread.ident in frames]
    name = lambda thread: "main" if thread is threading.main_thread() else thread.name
    document = [
        {"tid": thread.native_id, "name": name(thread), "frames": calls(frames[thread.ident])}
        for thread in threads
    ]
    return json.dumps({"threads": document}).encode()


for number in range(int(os.environ["OSTLER_THREADS"])):
    threading.Thread(target=serve, name=f"ostler-{number}", daemon=True).start()
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
if os.environ["MODE"] == "deaf":
    never.wait(3600)
control = socket.socket(fileno=int(os.environ["OSTLER_CONTROL"]))
for line in control.makefile("rb"):
    word, *arguments = line.split()
    if word == b"drain":
        print("heard drain", flush=True)
        break
    document = shown()
    control.sendall(b"stacks %s %d\n" % (arguments[0], len(document)) + document)
"#;

fn python(mode: &str) -> Plan {
    let python = installed("python3", "python3");
    Plan::bare().file("worker.py", WORKER).with(&format!(
        "[pool.web]\ncommand = ['{}', '${{STACK_DIR}}/worker.py']\n\
         environment = {{ MODE = '{mode}' }}\nprocesses = 1\nthreads = 2\nstop-timeout = '5s'\n\
         [[site]]\nroute = [{{ path = '/', pool = 'web' }}]\n",
        python.display()
    ))
}

#[tokio::test]
async fn the_stacks_of_a_pool_are_shown_in_a_terminal_and_on_the_page() {
    let stack = python("talks").start().await;
    let held = ask(&stack, "/hold?a=b").await;
    let pools = stack.until_pool("web", |pool| pool["busy"] == 1).await;
    let pid = number(&pools["web"]["workers"][0]["pid"]);

    let shown = stack.command(&["stacks", "web"]).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let text = &shown.stdout;
    assert!(text.contains(&format!("worker 0-1  pid {pid}  ready\n")), "{text}");
    assert!(text.contains("GET /hold?a=b for ") && text.contains("--all"), "{text}");
    let all = stack.command(&["stacks", "web", "--all"]).await.stdout;
    assert!(all.contains("main") && all.contains("in shown"), "{all}");

    let json = stack.command(&["stacks", "web", "--json"]).await.stdout;
    let document: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(document["workers"][0]["busy"][0]["target"], "/hold?a=b");

    let page = stack.get_status("/server-status?stacks=web").await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("GET /hold?a=b for ") && page.text().contains(" in shown"));
    let document = stack.get_status("/server-status?stacks=web&json").await.text();
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["workers"][0]["pid"], pid);
    assert!(stack.get_status("/server-status").await.text().contains("href=\"?stacks=web\""));
    drop(held);
}

#[tokio::test]
async fn a_pool_that_does_not_exist_is_said_so() {
    let stack = Stack::start("").await;
    let refused = stack.command(&["stacks", "wbe"]).await;
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.stderr.contains("there is no pool \"wbe\"; there is \"probe\""), "{refused:?}");
    assert_eq!(stack.get_status("/server-status?stacks=wbe").await.status, 404);
}

#[tokio::test]
async fn a_worker_that_never_reads_its_control_socket_is_waited_for_two_seconds_and_no_more() {
    let stack = python("deaf").start().await;
    let asked = Instant::now();
    let shown = stack.command(&["stacks", "web"]).await;
    let took = asked.elapsed();
    assert!(shown.stdout.contains("no stacks: it did not answer within 2s"), "{shown:?}");
    assert!(Duration::from_secs(2) <= took && took < Duration::from_secs(4), "{took:?}");
    // Meanwhile everything else goes on: the supervisor answers at once.
    let (slow, quick) = tokio::join!(stack.command(&["stacks", "web"]), async {
        let asked = Instant::now();
        stack.command(&["recycle", "nobody"]).await;
        asked.elapsed()
    });
    assert!(slow.stdout.contains("no stacks") && quick < Duration::from_secs(1), "{quick:?}");
}

#[tokio::test]
async fn a_rust_worker_has_no_stacks_and_its_requests_are_shown_with_their_threads() {
    let stack = Stack::start("").await;
    let held = ask(&stack, "/sleep/3600000").await;
    let pools = stack.until_pool("probe", |pool| busy_thread(pool).is_some()).await;
    let tid = busy_thread(&pools["probe"]).unwrap();
    let asked = Instant::now();
    let text = stack.command(&["stacks", "probe"]).await.stdout;
    assert!(asked.elapsed() < Duration::from_secs(2), "it says so at once");
    assert!(text.contains("no stacks: it has none to show"), "{text}");
    assert!(text.contains(&format!("thread {tid}: GET /sleep/3600000 for ")), "{text}");
    drop(held);
}

/// The thread of a request, once its worker has said which one it is.
fn busy_thread(pool: &Value) -> Option<u64> {
    let rows = pool["workers"][0]["threads"].as_array()?;
    rows.iter().find(|row| row["state"] == "W")?["tid"].as_u64()
}

#[tokio::test]
async fn a_worker_whose_application_took_term_away_drains_all_the_same() {
    let stack = python("talks").start().await;
    stack.get("/").await;
    let ended = stack.stop().await;
    assert!(ended.stderr.contains("heard drain"), "{}", ended.stderr);
    let exits = ended.stderr.lines().find(|line| line.contains("worker_exited")).unwrap();
    assert!(exits.contains("exit=\"status 0\""), "{exits}");
}

#[tokio::test]
async fn the_stack_of_a_stuck_thread_is_in_the_post_mortem() {
    let stack = python("talks")
        .with("[pool.web]\nrequest-timeout = '300ms'\nstuck-grace = '200ms'\n")
        .start()
        .await;
    stack.get("/hold").await.expect_reason(504, "request-timeout");
    let line = stack.logged(|line| line.contains(" WARN worker_stuck ")).await;
    assert!(line.contains("stacks=") && line.contains(" in hold"), "{line}");
    let pools = stack
        .until_pool("web", |pool| pool["post_mortems"].as_array().is_some_and(|it| !it.is_empty()))
        .await;
    let threads = pools["web"]["post_mortems"][0]["threads"].as_array().unwrap();
    let holds = |thread: &&Value| thread["frames"].to_string().contains(" in hold");
    assert_eq!(threads.iter().filter(holds).count(), 1, "{threads:?}");
    assert!(stack.get_status("/server-status").await.text().contains(" in hold"));
}

#[tokio::test]
async fn a_worker_that_hangs_hard_costs_its_record_two_seconds_and_nothing_else() {
    let stack = python("talks")
        .with("[pool.web]\nrequest-timeout = '300ms'\nstuck-grace = '200ms'\n")
        .start()
        .await;
    let held = ask(&stack, "/hold").await;
    stack.until_pool("web", |pool| pool["busy"] == 1).await;
    let pids = stack.workers("web").await;
    ostler_e2e::process::signal(pids[0], Signal::STOP);
    stack.logged(|line| line.contains(" worker_unfit ")).await;
    let line = stack.logged(|line| line.contains(" WARN worker_stuck ")).await;
    assert!(line.contains("GET /hold") && !line.contains("stacks="), "{line}");
    drop(held);
}

/// An application whose threads wait in three ways: for a time, for a lock, and in C code that
/// never lets another thread have the interpreter.
const APPLICATION: &str = r#"
import re, threading

held = threading.Lock()
held.acquire()
never = threading.Event()


def nap():
    never.wait(3600)


def lock():
    held.acquire()


def match():
    re.match("(a+)+$", "a" * 64 + "b")


def application(environ, start_response):
    {"/nap": nap, "/lock": lock, "/match": match}.get(environ["PATH_INFO"], list)()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"#;

fn application() -> Plan {
    wsgi::site("waits:application").file("site/waits.py", APPLICATION).with("pool.web.threads = 4")
}

#[tokio::test]
async fn python_stacks_are_shown_also_while_c_code_keeps_the_interpreter() {
    let stack = application().start().await;
    let mut held = Vec::new();
    for (number, path) in ["/nap", "/lock", "/match"].into_iter().enumerate() {
        held.push(ask(&stack, path).await);
        stack.until_pool("web", |pool| threads(pool) == number + 1).await;
    }
    let json = stack.command(&["stacks", "web", "--json"]).await.stdout;
    let document: Value = serde_json::from_str(&json).unwrap();
    let worker = &document["workers"][0];
    for name in ["nap", "lock", "match"] {
        let busy = worker["busy"].as_array().into_iter().flatten();
        let busy: Vec<&Value> = busy.filter(|busy| busy["target"] == format!("/{name}")).collect();
        let expected = "waits.py\\\", line";
        let frames = busy[0]["frames"].to_string();
        assert!(frames.contains(expected) && frames.contains(&format!("in {name}\"")), "{worker}");
    }
    assert_eq!((&worker["idle"], &worker["silence"]), (&1.into(), &Value::Null), "{worker}");
    drop(held);
}

#[tokio::test]
async fn the_post_mortem_of_a_python_worker_has_the_stack_of_its_stuck_request() {
    let stack = application()
        .with("pool.web = { request-timeout = '300ms', stuck-grace = '200ms' }")
        .start()
        .await;
    stack.get("/match").await.expect_reason(504, "request-timeout");
    let line = stack.logged(|line| line.contains(" WARN worker_stuck ")).await;
    assert!(line.contains(" in match"), "{line}");
    let has_record = |pool: &Value| pool["post_mortems"].get(0).is_some();
    let pools = stack.until_pool("web", has_record).await;
    let thread = &pools["web"]["post_mortems"][0]["requests"][0]["thread"];
    assert!(thread["frames"].to_string().contains(" in match"), "{thread}");
}

/// Requests whose threads are known.
fn threads(pool: &Value) -> usize {
    let rows = pool["workers"][0]["threads"].as_array().into_iter().flatten();
    rows.filter(|row| row["state"] == "W" && row["tid"].is_u64()).count()
}
