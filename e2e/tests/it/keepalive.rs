//! When a client's connection is kept, and when it closes.

use std::time::Duration;

use ostler_e2e::client::{ReadError, request};
use ostler_e2e::{Client, DEADLINE, POLL, Plan, Stack};
use tokio::time::{Instant, interval};

#[tokio::test]
async fn every_response_closes_when_keepalive_is_disabled() {
    let stack = Stack::start("keepalive.enabled = false").await;
    for path in ["/", "/head", "/status/404"] {
        let mut client = stack.connect().await;
        let response = client.get(path).await;
        assert!(response.closes(), "{path}: {response:?}");
        client.closed().await;
    }
    let mut client = stack.connect().await;
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    assert!(client.response().await.closes(), "asked to keep it");
    client.closed().await;
}

#[tokio::test]
async fn the_last_allowed_request_of_a_connection_closes_it() {
    let stack = Stack::start("keepalive.max-requests = 3").await;
    let mut client = stack.connect().await;
    assert!(!client.get("/").await.closes(), "first");
    assert!(!client.get("/").await.closes(), "second");
    assert!(client.get("/").await.closes(), "third");
    client.closed().await;
    stack.until(|s| s["connections"]["closed_total"]["max-requests"] == 1).await;
}

#[tokio::test]
async fn pipelined_requests_beyond_the_allowed_ones_are_not_run() {
    let stack = Stack::start("keepalive.max-requests = 2").await;
    let mut client = stack.connect().await;
    client.send(request("GET", "/head").repeat(3)).await;
    assert!(!client.response().await.closes(), "first");
    assert!(client.response().await.closes(), "second");
    client.closed().await;
    let pools = stack.until_pool("probe", |pool| pool["busy"] == 0).await;
    assert_eq!(pools["probe"]["workers"][0]["requests_total"], 2);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_timeout() {
    let stack = Stack::start("keepalive.idle-timeout = '1s'").await;
    let mut client = stack.connect().await;
    let response = client.get("/").await;
    let answered = Instant::now();
    assert!(!response.closes(), "{response:?}");
    client.closed().await;
    let idle = answered.elapsed();
    assert!(Duration::from_millis(950) < idle && idle < Duration::from_secs(3), "{idle:?}");
    stack.until(|s| s["connections"]["closed_total"]["idle-timeout"] == 1).await;
}

#[tokio::test]
async fn a_request_that_began_before_the_idle_timeout_is_served() {
    let stack = Stack::start("keepalive.idle-timeout = '1s'").await;
    let mut client = stack.connect().await;
    client.get("/").await;
    client.send("G").await;
    // Another connection, idle since later, shows when the time-out has passed.
    let mut witness = stack.connect().await;
    witness.get("/").await;
    witness.closed().await;
    client.send(&request("GET", "/head")[1..]).await;
    let response = client.response().await;
    assert!(response.text().starts_with("GET /head "), "{response:?}");
}

#[tokio::test]
async fn a_connection_that_sends_nothing_is_closed_without_an_answer() {
    let stack = Stack::start("keepalive.idle-timeout = '1s'\ntimeouts.head = '1s'").await;
    stack.connect().await.closed().await;
}

#[tokio::test]
async fn a_dribbled_head_gets_408_however_its_bytes_are_spread() {
    let stack = Stack::start("timeouts.head = '1s'").await;
    let mut client = stack.connect().await;
    dribble_until_408(&mut client).await;
}

#[tokio::test]
async fn a_dribbled_head_of_a_later_request_gets_408_too() {
    let stack = Stack::start("timeouts.head = '1s'").await;
    let mut client = stack.connect().await;
    client.get("/").await;
    dribble_until_408(&mut client).await;
}

#[tokio::test]
async fn a_body_that_stops_coming_gets_408() {
    let stack = Stack::start("timeouts.body-idle = '1s'").await;
    let mut client = stack.connect().await;
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc").await;
    let response = client.response().await;
    response.expect_reason(408, "body-timeout");
    assert!(response.closes(), "{response:?}");
    client.closed().await;
    let status = stack.until(|status| status["requests"]["total"] == 1).await;
    assert_eq!(status["pools"]["probe"]["workers"][0]["requests_total"], 0);
}

#[tokio::test]
async fn a_listener_may_have_its_own_keepalive() {
    let plan = Plan::probe().with(
        "keepalive.max-requests = 2
         [[listener]]
         name = 'public'
         address = '127.0.0.1:0'
         [[listener]]
         name = 'short'
         address = '127.0.0.3:0'
         keepalive = { enabled = false }
         [[listener]]
         name = 'long'
         address = '127.0.0.4:0'
         keepalive = { max-requests = 3 }",
    );
    let stack = plan.start().await;
    for (name, requests) in [("short", 1), ("public", 2), ("long", 3)] {
        let mut client = Client::connect(stack.listener(name)).await;
        for number in 1..=requests {
            assert_eq!(client.get("/").await.closes(), number == requests, "{name} {number}");
        }
        client.closed().await;
    }
}

#[tokio::test]
async fn pipelined_answers_keep_the_order_of_their_requests() {
    let stack = Stack::start("").await;
    let mut client = stack.connect().await;
    let slow_first = request("GET", "/sleep/100") + &request("GET", "/head?2");
    client.send(slow_first + &request("GET", "/bytes/100000") + &request("GET", "/head?4")).await;
    assert!(client.response().await.text().starts_with("Hello"), "the slow one is first");
    assert!(client.response().await.text().starts_with("GET /head?2 "), "then the second");
    assert_eq!(client.response().await.body.len(), 100_000);
    assert!(client.response().await.text().starts_with("GET /head?4 "), "then the last");
}

/// Sends a head byte by byte, far more slowly than the time-out, until it is refused.
async fn dribble_until_408(client: &mut Client) {
    let began = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-A: ").await;
    let mut ticks = interval(POLL * 5);
    loop {
        ticks.tick().await;
        // Refused when the other side has closed already; its answer is read below.
        let is_closed = client.try_send("a").await.is_err();
        if is_closed || Duration::from_millis(1_500) < began.elapsed() {
            break;
        }
        assert!(began.elapsed() < DEADLINE, "never refused");
    }
    let response = client.response().await;
    response.expect_reason(408, "head-timeout");
    assert!(response.closes(), "{response:?}");
    assert!(Duration::from_millis(950) < began.elapsed(), "{:?}", began.elapsed());
    client.closed().await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let stack = Stack::start("timeouts.write-idle = '700ms'\npool.probe.threads = 1").await;
    // More than any socket's buffers hold.
    let mut stalled = crate::ask(&stack, "/bytes/60000000").await;
    let begun = Instant::now();
    stack.until(|status| status["requests"]["by_reason"]["client-left"] == 1).await;
    assert!(Duration::from_millis(700) <= begun.elapsed(), "{:?}", begun.elapsed());
    let error = stalled.try_response("GET").await.unwrap_err();
    assert!(matches!(error, ReadError::Truncated(_) | ReadError::Broken(_)), "{error}");
    assert_eq!(stack.get("/").await.status, 200);
    let access = stack.stop().await.access;
    assert!(access.contains(" 200 ") && access.contains(" reason=client-left "), "{access}");
}
