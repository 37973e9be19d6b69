//! What every thread is doing, on demand: `ostler stacks`, the page of it, and in post-mortems.

use std::time::Duration;

use ostler_e2e::program::installed;
use ostler_e2e::stack::number;
use ostler_e2e::{Plan, Stack};
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
            if path == "/hold":
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
    let pools = stack.until_pool("probe", |pool| pool["busy"] == 1).await;
    let rows = pools["probe"]["workers"][0]["threads"].as_array().unwrap();
    let tid = rows.iter().find(|row| row["state"] == "W").map(|row| number(&row["tid"])).unwrap();
    let asked = Instant::now();
    let text = stack.command(&["stacks", "probe"]).await.stdout;
    assert!(asked.elapsed() < Duration::from_secs(2), "it says so at once");
    assert!(text.contains("no stacks: it has none to show"), "{text}");
    assert!(text.contains(&format!("thread {tid}: GET /sleep/3600000 for ")), "{text}");
    drop(held);
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
