//! A slow client never holds a thread: its body is received before, its answer is kept after.

mod limits;
mod slow_clients;

use std::fs;

use ostler_e2e::client::{ReadError, request};
use ostler_e2e::stack::number;
use ostler_e2e::{Client, Plan, Stack, process};
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::Instant;

use crate::ask;

const LINKS: [&str; 2] = ["auto", "http"];

/// More than the sockets between a proxy and a client that does not read can hold.
const LARGE: usize = 24 << 20;

/// One thread, over this link.
fn one_thread(link: &str) -> Plan {
    Plan::probe()
        .with(&format!("pool.probe = {{ threads = 1, link = '{link}' }}"))
        .with("limits.body-size = '64MiB'")
}

/// The same with one more key for its only route.
fn with_route(link: &str, key: &str) -> Plan {
    one_thread(link)
        .with(&format!("site = [{{ route = [{{ path = '/', pool = 'probe', {key} }}] }}]"))
}

/// Bytes of which no part looks like another.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut words = Vec::with_capacity(count + 8);
    while words.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        words.extend_from_slice(&state.to_le_bytes());
    }
    words.truncate(count);
    words
}

fn stated(path: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn chunked(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut request = head.into_bytes();
    for chunk in body.chunks(70_001) {
        request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

fn spooled(status: &Value) -> u64 {
    status["server"]["proxy"]["spool_bytes"].as_u64().unwrap()
}

async fn until_nothing_is_kept(stack: &Stack) {
    stack.until(|status| spooled(status) == 0 && status["pools"]["probe"]["busy"] == 0).await;
}

#[tokio::test]
async fn a_body_is_received_before_a_thread_is_taken() {
    let body = noise(1 << 20);
    for link in LINKS {
        let stack = one_thread(link).start().await;
        for request in [stated("/echo", &body), chunked("/echo", &body)] {
            let mut slow = stack.connect().await;
            let (most, last) = request.split_at(request.len() - 10);
            slow.send(most).await;
            let status = stack.until(|status| 900 << 10 < spooled(status)).await;
            assert_eq!(status["pools"]["probe"]["busy"], 0, "{link}");
            assert_eq!(stack.get("/").await.verdict(), "200 -", "{link}: nobody is in its way");
            slow.send(last).await;
            let response = slow.response().await;
            assert!(response.body == body, "{link}: {}", response.verdict());
            until_nothing_is_kept(&stack).await;
            assert_eq!(slow.get("/").await.status, 200, "{link}: the connection is still good");
        }
        stack.stop().await.expect_no_errors_logged();
    }
}

#[tokio::test]
async fn a_body_that_was_received_as_a_whole_has_a_length() {
    for link in LINKS {
        let stack = one_thread(link).start().await;
        for length in [10, 64 << 10, 300_000] {
            let mut client = stack.connect().await;
            client.send(chunked("/head", &noise(length))).await;
            let seen = client.response().await.text();
            assert!(seen.contains(&format!("content-length: {length}\n")), "{link}: {seen}");
            assert!(!seen.contains("transfer-encoding"), "{link}: {seen}");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_its_body_is_received_leaves_nothing_behind() {
    let stack = one_thread("auto").start().await;
    let mut client = stack.connect().await;
    let request = stated("/echo", &noise(1 << 20));
    client.send(&request[..900_000]).await;
    stack.until(|status| 0 < spooled(status)).await;
    drop(client);
    until_nothing_is_kept(&stack).await;
    stack.until(|status| status["requests"]["by_reason"]["client-left"] == 1).await;
    let ended = stack.stop().await;
    assert!(ended.access.contains(" 499 "), "{}", ended.access);
}

#[tokio::test]
async fn a_route_without_request_buffering_passes_a_body_on_as_it_comes() {
    let body = noise(400 << 10);
    for link in LINKS {
        let stack = with_route(link, "request-buffering = false").start().await;
        let mut client = stack.connect().await;
        let request = stated("/echo", &body);
        let (head, rest) = request.split_at(request.len() - body.len());
        client.send(head).await;
        let mut answer = Vec::new();
        for (part_number, part) in rest.chunks(50_000).enumerate() {
            client.send(part).await;
            if part_number == 0 {
                assert_eq!(client.answers().head().await.unwrap().status, 200, "{link}");
            }
            // Each part has been through the worker and back before the next one is sent.
            let wanted = (part_number * 50_000 + part.len()).min(body.len());
            while answer.len() < wanted {
                let some = client.answers().some().await.unwrap();
                assert!(!some.is_empty(), "{link}: broken off after {}", answer.len());
                answer.extend(some);
            }
        }
        assert!(answer == body, "{link}");
        until_nothing_is_kept(&stack).await;
    }
}

#[tokio::test]
async fn a_slow_reader_holds_no_thread_once_its_answer_is_complete() {
    let body = noise(LARGE);
    for link in LINKS {
        let stack = one_thread(link).start().await;
        for request in [stated("/echo?stated", &body), chunked("/echo?chunked", &body)] {
            let line_start = String::from_utf8_lossy(&request[..18]).into_owned();
            let before = requests(&stack.status().await);
            let begun = Instant::now();
            let mut slow = stack.connect().await;
            slow.send(request).await;
            let status = stack.until(|s| requests(s) == before + 1 && busy(s) == 0).await;
            let ended = begun.elapsed();
            assert!(0 < spooled(&status), "{link}: {status}");
            assert_eq!(fs::read_dir(stack.folder().join("run/spool")).unwrap().count(), 0);
            assert!(1 <= number(&status["connections"]["writing"]), "{link}: {status}");
            assert_eq!(stack.get("/sleep/300").await.verdict(), "200 -", "{link}");

            let response = slow.response().await;
            assert!(response.body == body, "{link}: {}", response.verdict());
            until_nothing_is_kept(&stack).await;
            assert_eq!(slow.get("/").await.status, 200, "{link}: the connection is still good");
            let line = stack.until_logged_access(&line_start).await;
            assert!(ran(&line) <= ended.as_secs_f64(), "the time in the application: {line}");
        }
        stack.stop().await.expect_no_errors_logged();
    }
}

fn busy(status: &Value) -> u32 {
    number(&status["pools"]["probe"]["busy"])
}

fn requests(status: &Value) -> u32 {
    number(&status["pools"]["probe"]["workers"][0]["requests_total"])
}

/// `run=` of a line of the access log, in seconds.
fn ran(line: &str) -> f64 {
    let value = line.split(" run=").nth(1).and_then(|rest| rest.split(' ').next());
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

#[tokio::test]
async fn nothing_waits_that_the_client_takes() {
    for link in LINKS {
        for word in ["spool", "memory", "off"] {
            let stack = with_route(link, &format!("response-buffering = '{word}'")).start().await;
            // Of a stream that never ends, every piece has to come without the next.
            let mut client = ask(&stack, "/stream/1000000/100").await;
            assert_eq!(client.answers().head().await.unwrap().status, 200);
            for piece in 0..5 {
                let some = client.answers().some().await.unwrap();
                let text = String::from_utf8_lossy(&some).into_owned();
                assert!(text.contains("a piece of a stream\n"), "{link} {word} {piece}: {text}");
                assert!(some.len() < 100, "{link} {word}: not gathered, {} bytes", some.len());
            }
        }
    }
}

#[tokio::test]
async fn a_worker_that_is_killed_breaks_an_answer_off_that_is_half_in_the_spool() {
    for link in LINKS {
        let stack = one_thread(link).with("spool.max-size = '1MiB'").start().await;
        let worker = stack.workers("probe").await[0];
        let mut client = ask(&stack, "/stream/10000000/0").await;
        assert_eq!(client.answers().head().await.unwrap().status, 200);
        stack.until(|status| 900 << 10 < spooled(status)).await;
        assert!(process::signal(worker, Signal::KILL));
        let mut last = Vec::new();
        loop {
            match client.answers().some().await {
                Ok(bytes) if bytes.is_empty() => break,
                Ok(bytes) => last = bytes,
                Err(ReadError::Broken(_)) => break,
                Err(error) => panic!("{link}: {error}"),
            }
        }
        assert!(!last.ends_with(b"0\r\n\r\n"), "{link}: it looks complete");
        until_nothing_is_kept(&stack).await;
    }
}

/// A stop waits for a client that still reads what the worker has long given.
#[tokio::test]
async fn a_stop_waits_for_a_slow_reader() {
    let mut stack = one_thread("auto").with("server.drain-timeout = '60s'").start().await;
    let body = noise(LARGE);
    let mut slow = stack.connect().await;
    slow.send(stated("/echo", &body)).await;
    stack.until(|status| requests(status) == 1 && busy(status) == 0).await;
    stack.signal(Signal::TERM);
    stack.until(|status| status["server"]["draining"] == true).await;
    let response = slow.response().await;
    assert!(response.body == body, "{}", response.verdict());
    assert!(stack.ended().await.success());
}

#[tokio::test]
async fn a_head_request_and_a_pipelined_one_follow_a_slow_answer_in_order() {
    let stack = one_thread("auto").start().await;
    let mut client: Client = stack.connect().await;
    client.send(request("GET", "/bytes/20000000") + &request("GET", "/head?next")).await;
    stack.until(|status| requests(status) == 1 && busy(status) == 0).await;
    assert_eq!(client.response().await.body.len(), 20_000_000);
    assert!(client.response().await.text().starts_with("GET /head?next "));
}
