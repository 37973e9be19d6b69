//! The ring link over the real binaries: bodies of all sizes both ways, in threads and a service.

mod faults;

use std::fs;
use std::time::Duration;

use ostler_e2e::client::request;
use ostler_e2e::stack::pids;
use ostler_e2e::{Client, DEADLINE, Plan};
use tokio::time::Instant;

use crate::ask;

const MODES: [&str; 2] = ["threads", "service"];

/// Nothing, little, what is sent before the handler is called and what is not, and more than a
/// ring holds.
const SIZES: [usize; 5] = [0, 1, 64 << 10, 200 << 10, 5 << 20];

/// One worker that runs two requests, and gets long bodies from the spool.
fn plan(mode: &str) -> Plan {
    Plan::probe()
        .with(&format!("pool.probe.environment.PROBE_MODE = '{mode}'"))
        .with("limits.body-in-memory = '16KiB'")
}

/// The same, with bodies that are passed on as they come, and answers that wait for their clients.
fn unbuffered(mode: &str) -> Plan {
    plan(mode).with(
        "[[site]]
         route = [{ path = '/', pool = 'probe', request-buffering = false,
                    response-buffering = 'off' }]",
    )
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

fn post(field: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let chunks = body.chunks(70_001).map(|chunk| {
        [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n".as_slice()].concat()
    });
    [chunks.collect::<Vec<_>>().concat(), b"0\r\n\r\n".to_vec()].concat()
}

#[tokio::test]
async fn requests_come_through_the_segment_unless_the_link_is_http() {
    for mode in MODES {
        for (link, connections) in [("auto", 0), ("http", 1)] {
            let stack = plan(mode).with(&format!("pool.probe.link = '{link}'")).start().await;
            let worker = stack.workers("probe").await[0];
            let before = sockets(worker);
            assert_eq!(stack.get("/").await.body.len(), 66);
            assert_eq!(sockets(worker), before + connections, "{mode}, {link}");
            stack.stop().await.expect_no_errors_logged();
        }
    }
}

/// How many sockets a process has open.
pub(crate) fn sockets(pid: u32) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

#[tokio::test]
async fn bodies_of_all_sizes_pass_both_ways() {
    for mode in MODES {
        let stack = plan(mode).start().await;
        for size in SIZES {
            let body = bytes(size);
            let whole = post(&format!("Content-Length: {size}"), &body);
            let coded = post("Transfer-Encoding: chunked", &chunked(&body));
            for request in [whole, coded] {
                let response = stack.connect().await.exchange(request).await;
                assert!(response.body == body, "{mode}, {size}: {}", response.verdict());
            }
            let response = stack.get(&format!("/bytes/{size}")).await;
            assert_eq!(response.field("content-length"), Some(size.to_string().as_str()));
            assert_eq!(response.body.len(), size, "{mode}");
        }
        stack.until_pool("probe", |pool| pool["busy"] == 0).await;
        stack.stop().await.expect_no_errors_logged();
    }
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    for mode in MODES {
        let stack = plan(mode).start().await;
        let mut client = stack.connect().await;
        for path in ["/", "/bytes/200000", "/stream/3/0", "/status/304"] {
            client.send(request("HEAD", path)).await;
            let response = client.try_response("HEAD").await.unwrap();
            assert!(!response.closes(), "{mode} {path}: {response:?}");
        }
        for status in [204, 304] {
            let response = client.get(&format!("/status/{status}")).await;
            assert_eq!((response.status, response.field("content-length")), (status, None));
        }
        assert_eq!(client.get("/").await.body.len(), 66, "{mode}: the connection is still good");
    }
}

#[tokio::test]
async fn an_answer_without_a_length_is_chunked_or_ends_with_the_connection() {
    for mode in MODES {
        let stack = plan(mode).start().await;
        let expected = "a piece of a stream\n".repeat(50);
        let response = stack.get("/stream/50/0").await;
        assert_eq!(response.field("transfer-encoding"), Some("chunked"), "{mode}");
        assert_eq!(response.text(), expected);
        let mut client = stack.connect().await;
        client.send("GET /stream/50/0 HTTP/1.0\r\nHost: a\r\n\r\n").await;
        let response = client.response().await;
        assert!(response.ended_by_close, "{mode}: {response:?}");
        assert_eq!(response.text(), expected);
    }
}

#[tokio::test]
async fn a_body_reaches_the_handler_as_slowly_as_it_comes() {
    for mode in MODES {
        let stack = unbuffered(mode).start().await;
        let body = bytes(400 << 10);
        let request = post(&format!("Content-Length: {}", body.len()), &body);
        let mut client = stack.connect().await;
        let mut answer = Vec::new();
        // Each part is sent when the one before it has been through the worker and back.
        for (number, part) in request.chunks(50_000).enumerate() {
            client.send(part).await;
            if number == 0 {
                assert_eq!(client.answers().head().await.unwrap().status, 200, "{mode}");
            }
            let sent = (number + 1) * 50_000;
            let head = request.len() - body.len();
            while answer.len() + head < sent.min(request.len()) {
                answer.extend(client.answers().some().await.unwrap());
            }
        }
        assert!(answer == body, "{mode}");
        stack.until_pool("probe", |pool| pool["busy"] == 0).await;
    }
}

#[tokio::test]
async fn a_client_that_reads_slowly_holds_its_worker_back_without_buffering() {
    const PIECES: usize = 1_000_000;
    for mode in MODES {
        let stack = unbuffered(mode).start().await;
        let processes = [stack.workers("probe").await[0], stack.proxy().await];
        assert_eq!(stack.get("/stream/1000/0").await.status, 200);
        let before = processes.map(private_kib);
        let mut client = ask(&stack, &format!("/stream/{PIECES}/0")).await;
        assert_eq!(client.answers().head().await.unwrap().status, 200);
        let (mut received, mut asked_at) = (0, 0);
        // The chunks' sizes come on top.
        while received < 20 * PIECES {
            let some = client.answers().some().await;
            let some = some.unwrap_or_else(|error| panic!("{mode}, {received}: {error}"));
            assert!(!some.is_empty(), "{mode}: broken off after {received}");
            received += some.len();
            if asked_at + (4 << 20) < received {
                asked_at = received;
                // Asking takes its time: the worker could run far ahead meanwhile.
                assert_eq!(stack.status().await["pools"]["probe"]["busy"], 1, "{mode}");
                let now = processes.map(private_kib);
                let grown = [now[0].saturating_sub(before[0]), now[1].saturating_sub(before[1])];
                assert!(grown[0] < 8 << 10 && grown[1] < 8 << 10, "{mode}: {grown:?} KiB");
            }
        }
    }
}

/// Memory of a process that is its own alone.
fn private_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A task of the application that reads a body ends when the request does.
#[tokio::test]
async fn a_task_that_reads_a_body_is_told_when_its_request_has_ended() {
    let stack = unbuffered("service").start().await;
    let mut client = stack.connect().await;
    client.send("POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 400000\r\n\r\n").await;
    client.send(bytes(20_000)).await;
    assert_eq!(client.response().await.status, 200);
    let deadline = Instant::now() + DEADLINE;
    while stack.get("/read").await.text() != "1" {
        assert!(Instant::now() < deadline, "it waits still");
    }
}

#[tokio::test]
async fn a_panic_in_a_handler_is_answered_and_its_worker_lives_on() {
    for mode in MODES {
        let stack = plan(mode).start().await;
        let before = stack.workers("probe").await;
        let mut client = stack.connect().await;
        for _ in 0..5 {
            assert_eq!(client.get("/panic").await.verdict(), "500 -", "{mode}");
            assert_eq!(client.get("/").await.status, 200, "{mode}");
        }
        let pools = stack.until_pool("probe", |pool| pool["busy"] == 0).await;
        assert_eq!(pids(&pools["probe"]), before, "{mode}");
    }
}

#[tokio::test]
async fn a_panic_in_a_body_breaks_its_answer_off_and_nothing_else() {
    for mode in MODES {
        let stack = plan(mode).start().await;
        let before = stack.workers("probe").await;
        for _ in 0..3 {
            let mut client = stack.connect().await;
            client.send("GET /broken HTTP/1.1\r\nHost: a\r\n\r\n").await;
            assert!(client.try_response("GET").await.is_err(), "{mode}: it looks complete");
            assert_eq!(stack.get("/").await.status, 200, "{mode}");
        }
        let pools = stack.until_pool("probe", |pool| pool["busy"] == 0).await;
        assert_eq!(pids(&pools["probe"]), before, "{mode}");
    }
}

/// Goal: news of a request whose client has gone keep no other answer waiting. Method: one event
/// loop; beside a handler that sleeps, an echo whose connection ends with it; then nothing else
/// happens until the handler has slept.
#[tokio::test]
async fn an_answer_is_not_kept_waiting_after_the_news_of_another() {
    const ROUNDS: usize = 300;
    const LATE: Duration = Duration::from_millis(120);
    let stack = plan("threads").with("server.threads = 1").start().await;
    let body = bytes(40 << 10);
    let once = post("Transfer-Encoding: chunked\r\nConnection: close", &chunked(&body));
    let mut late = 0;
    for _ in 0..ROUNDS {
        let asked = Instant::now();
        let mut sleeping = ask(&stack, "/sleep/15").await;
        let response = Client::connect(stack.address()).await.exchange(&once).await;
        assert!(response.body == body);
        assert_eq!(sleeping.response().await.status, 200);
        late += usize::from(LATE < asked.elapsed());
    }
    // A busy machine may be late itself now and then.
    assert!(late <= ROUNDS / 50, "{late} of {ROUNDS} answers were late");
}
