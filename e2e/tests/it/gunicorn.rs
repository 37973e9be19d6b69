//! A worker program that is not ours, in a language that is not ours, as a pool.

use std::path::PathBuf;

use ostler_e2e::client::request;
use ostler_e2e::stack::target_folder;
use ostler_e2e::{Client, Load, Plan, Stack};
use tokio::process::Command;

/// The release that the test installs.
const GUNICORN: &str = "gunicorn==23.0.0";

/// `/echo` gives the body back, `/sleep` takes a while, all else tells what the application saw.
const APPLICATION: &str = r#"
import os
import time

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/sleep":
        time.sleep(0.3)
    if path == "/echo":
        body = environ["wsgi.input"].read()
    else:
        names = ["REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "HTTP_HOST", "HTTP_X_FORWARDED_FOR"]
        told = [f"{name}={environ.get(name)}" for name in names]
        told += [f"pid={os.getpid()}", f"pool={os.environ['OSTLER_POOL']}"]
        body = "\n".join(told).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"#;

#[tokio::test]
async fn gunicorn_serves_a_pool() {
    let stack = start().await;
    let mut client = stack.connect().await;
    let told = client.get("/a%20b?c=d").await.text();
    for line in [
        "REQUEST_METHOD=GET",
        "PATH_INFO=/a b",
        "QUERY_STRING=c=d",
        "HTTP_HOST=e2e.example",
        "HTTP_X_FORWARDED_FOR=127.0.0.1",
        "pool=wsgi",
    ] {
        assert!(told.lines().any(|told| told == line), "{line}\n{told}");
    }
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\n";
    client.send(format!("{head}Content-Length: 5\r\n\r\nhello")).await;
    assert_eq!(client.response().await.text(), "hello");
    let coded = "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n";
    client.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n{coded}")).await;
    assert_eq!(client.response().await.text(), "hello");

    threads_run_side_by_side(&stack).await;
    let load = Load::start(stack.address(), "/", 6);
    load.until_answered(200).await;
    load.stop().await.expect_all_answered();

    let commands: Vec<String> = stack.processes().into_iter().map(|p| p.command).collect();
    let gunicorns = commands.iter().filter(|command| command.contains("gunicorn")).count();
    assert_eq!(gunicorns, 2, "its arbiter, and the worker that it forked: {commands:#?}");
    // `stop` fails when any process is left, grandchildren included.
    stack.stop().await.expect_no_errors_logged();
}

async fn threads_run_side_by_side(stack: &Stack) {
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = stack.connect().await;
        client.send(request("GET", "/sleep")).await;
        clients.push(client);
    }
    stack.until_pool("wsgi", |pool| pool["busy"] == 3 && pool["queued"] == 1).await;
    for client in &mut clients {
        assert_eq!(Client::response(client).await.status, 200);
    }
}

async fn start() -> Stack {
    let gunicorn = installed().await;
    let site = format!(
        r#"
        [pool.wsgi]
        command = ["{}", "-w", "1", "--threads", "{{threads}}", "application:application"]
        directory = "${{STACK_DIR}}"
        ready = "http"
        processes = 1
        threads = 3
        stop-timeout = "5s"
        [[site]]
        route = [{{ path = "/", pool = "wsgi" }}]
        "#,
        gunicorn.display()
    );
    Plan::bare().with(&site).file("application.py", APPLICATION).start().await
}

/// Makes the virtual environment, once; returns the program in it.
async fn installed() -> PathBuf {
    let folder = target_folder().join("e2e-venv");
    let (pip, gunicorn) = (folder.join("bin/pip"), folder.join("bin/gunicorn"));
    if !gunicorn.is_file() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder)).await;
        run(Command::new(pip).args(["install", "--quiet", GUNICORN])).await;
    }
    gunicorn
}

async fn run(command: &mut Command) {
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
