//! Origins some of whose servers fail: what is sent again, and what clients get of it.

use ostler_e2e::Server;
use ostler_e2e::server::Reply;

use crate::origins::origin;

#[tokio::test]
async fn a_server_that_is_down_is_made_up_for_by_the_other() {
    let up = Server::start(|_| Reply::text("up")).await;
    let stack = origin(&[Server::nobody().await, up.address()], "").start().await;
    let mut client = stack.connect().await;
    for number in 0..10 {
        let response = client.get("/").await;
        assert_eq!(response.text(), "up", "{number}: {response:?}");
    }
    assert_eq!(up.heads().len(), 10);
    let status = stack
        .until(|status| status["requests"]["total"] == 10 && status["requests"]["in_flight"] == 0)
        .await;
    let down = &status["origins"]["servers"]["servers"][0];
    assert_eq!(down["healthy"], false, "{down}");
    assert!(0 < down["errors_total"].as_u64().unwrap(), "{down}");
}

#[tokio::test]
async fn what_may_not_be_repeated_is_sent_once() {
    let breaks = Server::start(|_| Reply::Close(Vec::new())).await;
    let works = Server::start(|_| Reply::text("done")).await;
    let stack = origin(&[breaks.address(), works.address()], "").start().await;
    let mut done = 0;
    for _ in 0..6 {
        let mut client = stack.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").await;
        let response = client.response().await;
        match response.verdict().as_str() {
            "200 -" => done += 1,
            "502 origin-broken" => {}
            other => panic!("{other}: {response:?}"),
        }
    }
    assert_eq!((breaks.heads().len(), works.heads().len()), (3, 3), "each was sent once");
    assert_eq!(done, 3);
}

#[tokio::test]
async fn what_may_be_repeated_is_when_a_server_breaks_off_before_its_answer() {
    let breaks = Server::start(|_| Reply::Close(Vec::new())).await;
    let works = Server::start(|_| Reply::text("done")).await;
    let stack = origin(&[breaks.address(), works.address()], "").start().await;
    for number in 0..6 {
        let response = stack.get("/").await;
        assert_eq!(response.text(), "done", "{number}: {}", response.verdict());
    }
    assert_eq!(works.heads().len(), 6);
    assert!(!breaks.heads().is_empty(), "it was asked");

    let once = origin(&[breaks.address(), works.address()], "retries = 0").start().await;
    let verdicts = [once.get("/").await.verdict(), once.get("/").await.verdict()];
    assert!(verdicts.contains(&"502 origin-broken".to_owned()), "{verdicts:?}");
    assert!(verdicts.contains(&"200 -".to_owned()), "{verdicts:?}");
}

#[tokio::test]
async fn an_origin_that_is_down_altogether_is_502() {
    let nobody = Server::nobody().await;
    let stack = origin(&[nobody], "").start().await;
    let mut client = stack.connect().await;
    for _ in 0..2 {
        let response = client.get("/").await;
        response.expect_reason(502, "origin-connect");
        assert!(!response.closes(), "the client's connection is as good as before");
        assert!(!response.text().contains(&nobody.port().to_string()), "{}", response.text());
    }
    stack.until(|status| status["requests"]["by_reason"]["origin-connect"] == 2).await;
}
