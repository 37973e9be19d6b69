//! The questions of an operator who has never seen the page: each has a site with the fault, and
//! its answer is to be read without scrolling.

use ostler_e2e::{Client, Plan, Server};

use super::{DESKTOP, PHONE, Page};
use crate::ask;

/// A worker that says of every answer that it took 20 database queries.
const QUERIES: &str = r#"
import socket

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n"
    b"Server-Timing: db;dur=12;n=20\r\n\r\nok"
)

listener = socket.socket(fileno=3)
while True:
    connection, _ = listener.accept()
    connection.recv(65536)
    connection.sendall(HEAD)
    connection.close()
"#;

/// Two routes to one pool of the probe, so that one of them can hold it.
const ROUTES: &str = "
    [[site]]
    route = [{ path = '/', pool = 'probe' }, { path = '/sleep', pool = 'probe' }]";

#[tokio::test]
async fn which_route_holds_the_pool() {
    let stack = Plan::probe()
        .with(ROUTES)
        .with("pool.probe = { threads = 4, queue-timeout = '1h' }")
        .start()
        .await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(ask(&stack, "/sleep/3600000").await);
    }
    stack.until_pool("probe", |pool| pool["busy"] == 4 && pool["queued"] == 1).await;
    for eyes in [DESKTOP, PHONE] {
        let page = Page::open(stack.status_address(), "?refresh=1", eyes).await;
        page.until_found(&["Route /sleep holds 4 of 4 threads of pool probe"]).await;
        page.picture(&format!("route-holds-{}", eyes.width)).await;
        page.close().await;
    }
}

#[tokio::test]
async fn since_when_the_queue_is_full() {
    let stack = Plan::probe()
        .with("pool.probe = { threads = 1, queue-length = 2, queue-timeout = '1h' }")
        .start()
        .await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(ask(&stack, "/sleep/3600000").await);
    }
    stack.until_pool("probe", |pool| pool["queued"] == 2).await;
    stack.get("/").await.expect_reason(503, "queue-full");
    let page = Page::open(stack.status_address(), "?refresh=1", DESKTOP).await;
    let words =
        ["The queue of pool probe is full since ", " UTC, for ", "2 of 2 waiting", "1 refused"];
    page.until_found(&words).await;
    page.picture("queue-full-1280").await;
    page.close().await;
}

#[tokio::test]
async fn which_request_is_stuck_and_in_which_process() {
    let stack = Plan::probe()
        .with("pool.probe = { request-timeout = '300ms', stuck-grace = '1h' }")
        .start()
        .await;
    stack.get("/sleep/3600000?export").await.expect_reason(504, "request-timeout");
    let process = stack.workers("probe").await[0];
    let process = format!("(process {process}, thread ");
    for eyes in [DESKTOP, PHONE] {
        let page = Page::open(stack.status_address(), "?refresh=1", eyes).await;
        let words = [
            "GET /sleep/3600000?export is stuck in worker 0-1 of pool probe ",
            &process,
            "longer than its request-timeout allows",
        ];
        page.until_found(&words).await;
        page.picture(&format!("stuck-{}", eyes.width)).await;
        page.close().await;
    }
}

#[tokio::test]
async fn why_a_worker_was_recycled() {
    let stack = Plan::probe().with("pool.probe.max-requests = 5").start().await;
    for _ in 0..5 {
        stack.get("/").await;
    }
    stack.until_pool("probe", |pool| pool["recycles_total"]["max-requests"] == 1).await;
    let page = Page::open(stack.status_address(), "?refresh=1", DESKTOP).await;
    page.until_found(&["Worker 0-1 of pool probe was recycled: max-requests", " ago"]).await;
    page.picture("recycled-1280").await;
    page.close().await;
}

#[tokio::test]
async fn which_request_queries_the_database_too_often() {
    let stack = Plan::bare()
        .file("worker.py", QUERIES)
        .with(
            "[status]
             query-budget = 10
             [pool.python]
             command = ['python3', '${STACK_DIR}/worker.py']
             ready = 'http'
             processes = 1
             threads = 1
             [[site]]
             route = [{ path = '/products', pool = 'python' }]",
        )
        .start()
        .await;
    let mut client = Client::connect(stack.address()).await;
    for _ in 0..3 {
        assert_eq!(client.get("/products?page=2").await.status, 200);
    }
    for eyes in [DESKTOP, PHONE] {
        let page = Page::open(stack.status_address(), "?refresh=1", eyes).await;
        let words = [
            "Route /products makes too many database queries: 3 of 3 requests",
            "more than 10; the last one, GET /products?page=2, made 20 in 12 ms",
        ];
        page.until_found(&words).await;
        page.picture(&format!("queries-{}", eyes.width)).await;
        page.close().await;
    }
}

#[tokio::test]
async fn which_server_is_down() {
    let nobody = Server::nobody().await;
    let stack = Plan::bare()
        .with(&format!(
            "origin.cdn.servers = ['http://{nobody}']
             [[site]]
             route = [{{ path = '/', origin = 'cdn' }}]"
        ))
        .start()
        .await;
    stack.get("/").await.expect_reason(502, "origin-connect");
    let page = Page::open(stack.status_address(), "?refresh=1", DESKTOP).await;
    let server = format!("Server http://{nobody} of origin cdn is down since ");
    page.until_found(&[&server, " UTC, for "]).await;
    page.picture("origin-down-1280").await;
    page.close().await;
}
