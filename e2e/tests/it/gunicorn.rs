//! A worker program that is not ours, in a language that is not ours, as a pool: gunicorn.

use std::time::Duration;

use ostler_e2e::client::request;
use ostler_e2e::python;
use ostler_e2e::{Load, Plan};
use rustix::process::Signal;

use crate::ask;

/// Threads of its one process.
const THREADS: u64 = 3;

/// `/echo` gives the body back, `/sleep/MS` takes a while, `/meet` answers when as many requests
/// as threads are in it at one time, all else tells what the application saw.
const APPLICATION: &str = concat!(
    r#"
import os
import threading
import time

meeting = threading.Barrier(int(os.environ["OSTLER_THREADS"]))


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/meet":
        meeting.wait(timeout=5)
    if path.startswith("/sleep/"):
"#,
    // As long as the test asks for: it stands for work, and no test waits by it.
    r#"        time.sleep(int(path.removeprefix("/sleep/")) / 1000)
    if path == "/echo":
        body = environ["wsgi.input"].read()
    else:
        names = ["REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "HTTP_HOST", "HTTP_X_FORWARDED_FOR"]
        told = [f"{name}={environ.get(name)}" for name in names]
        told += [f"pool={os.environ['OSTLER_POOL']}", f"round={os.environ['ROUND']}"]
        body = "\n".join(told).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"#
);

#[tokio::test]
async fn gunicorn_serves_requests() {
    let stack = gunicorn().start().await;
    let mut client = stack.connect().await;
    let told = client.get("/a%20b?c=d").await.text();
    let expected = "REQUEST_METHOD=GET\nPATH_INFO=/a b\nQUERY_STRING=c=d\nHTTP_HOST=e2e.example\n\
                    HTTP_X_FORWARDED_FOR=127.0.0.1\npool=wsgi\nround=first";
    assert_eq!(told, expected);
    let body = "x".repeat(300_000);
    let length = body.len();
    for framed in [
        format!("Content-Length: {length}\r\n\r\n{body}"),
        format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"),
    ] {
        let response = client.exchange(format!("POST /echo HTTP/1.1\r\nHost: a\r\n{framed}")).await;
        assert!(response.text() == body, "{}", response.verdict());
    }
    client.send(request("HEAD", "/a%20b?c=d")).await;
    let head = client.try_response("HEAD").await.unwrap();
    let length = expected.replace("GET", "HEAD").len().to_string();
    assert_eq!((head.status, head.field("content-length")), (200, Some(length.as_str())));
    let load = Load::start(stack.address(), "/", 6);
    load.until_answered(200).await;
    load.stop().await.expect_all_answered();
    stack.stop().await.expect_no_errors_logged();
}

#[tokio::test]
async fn gunicorn_runs_as_many_requests_as_it_has_threads() {
    let stack = gunicorn().start().await;
    let mut clients = Vec::new();
    for _ in 0..THREADS {
        clients.push(ask(&stack, "/meet").await);
    }
    for client in &mut clients {
        assert_eq!(client.response().await.status, 200, "all of them met");
    }
    stack.until_pool("wsgi", |pool| pool["busy"] == 0).await;
    let mut held = Vec::new();
    for _ in 0..=THREADS {
        held.push(ask(&stack, "/sleep/500").await);
    }
    let pools = stack.until_pool("wsgi", |p| p["busy"] == THREADS && p["queued"] == 1).await;
    assert_eq!(pools["wsgi"]["capacity"], THREADS);
    for client in &mut held {
        assert_eq!(client.response().await.status, 200);
    }
}

#[tokio::test]
async fn gunicorn_keeps_serving_through_a_reload() {
    let mut stack = gunicorn().start().await;
    let before = stack.workers("wsgi").await;
    let load = Load::start(stack.address(), "/sleep/2", 4);
    load.until_answered(20).await;
    assert!(stack.get("/").await.text().ends_with("round=first"));
    stack.reload("pool.wsgi.environment.ROUND = 'second'").await;
    assert!(stack.get("/").await.text().ends_with("round=second"));
    load.until_answered(20).await;
    load.stop().await.expect_all_answered();
    stack.until_pool("wsgi", |pool| pool["workers"].as_array().unwrap().len() == 1).await;
    assert_ne!(stack.workers("wsgi").await, before);
    stack.stop().await.expect_no_errors_logged();
}

#[tokio::test]
async fn nothing_of_gunicorn_is_left_after_a_stop() {
    let mut stack = gunicorn().start().await;
    assert_eq!(stack.get("/").await.status, 200);
    let running = stack.processes();
    let count = running.iter().filter(|process| process.command.contains("bin/gunicorn")).count();
    assert_eq!(count, 2, "its arbiter, and the worker that it forked: {running:#?}");
    let mut held = ask(&stack, "/sleep/300").await;
    stack.until_pool("wsgi", |pool| pool["busy"] == 1).await;
    let stopped = stack.command(&["stop"]).await;
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert_eq!(stack.processes(), []);
    assert_eq!(held.response().await.status, 200);
    assert_eq!(stack.ended().await.code(), Some(0));
}

#[tokio::test]
async fn nothing_of_gunicorn_outlives_a_killed_supervisor() {
    let stack = gunicorn().start().await;
    assert_eq!(stack.get("/").await.status, 200);
    stack.signal(Signal::KILL);
    stack.until_gone(Duration::from_secs(2)).await;
}

/// One process of gunicorn behind every path.
fn gunicorn() -> Plan {
    let program = python::environment().join("bin/gunicorn");
    let plan = Plan::bare().file("site/app.py", APPLICATION);
    plan.with(&format!(
        "[pool.wsgi]
         command = ['{}', '-w', '1', '--threads', '{{threads}}', 'app:application']
         ready = 'http'
         directory = '${{STACK_DIR}}/site'
         environment = {{ ROUND = 'first' }}
         processes = 1
         threads = {THREADS}
         [[site]]
         route = [{{ path = '/', pool = 'wsgi' }}]",
        program.display()
    ))
}
