//! Who is an operator: who may see the status page and the reasons of errors, and where.

use std::net::{IpAddr, Ipv4Addr};

use ostler_e2e::{Client, Stack};

/// Another address of this machine, which `status.allow` does not name by default.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 7));

#[tokio::test]
async fn strangers_see_health_alone() {
    let stack = Stack::start("").await;
    for (path, status) in [
        ("/server-status", 403),
        ("/server-status?json", 403),
        ("/server-status?auto", 403),
        ("/server-status/", 403),
        ("/metrics", 403),
        ("/ostler-health", 200),
    ] {
        let mut client = Client::connect_from(STRANGER, stack.status_address()).await;
        let response = client.get(path).await;
        assert_eq!(response.status, status, "{path}");
        assert_eq!(response.field("x-ostler-reason"), None, "{path}");
        assert!(!response.text().contains("probe"), "{path}: {}", response.text());
    }
}

#[tokio::test]
async fn reasons_are_told_to_those_alone_who_may_see_the_page() {
    let stack = Stack::start("").await;
    let bad = "GET /../ HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut stranger = Client::connect_from(STRANGER, stack.address()).await;
    stranger.send(bad).await;
    let response = stranger.response().await;
    assert_eq!((response.status, response.field("x-ostler-reason")), (400, None));
    assert!(response.field("x-request-id").is_some(), "the id is for everyone: {response:?}");
    let mut operator = stack.connect().await;
    operator.send(bad).await;
    operator.response().await.expect_reason(400, "bad-request");
}

#[tokio::test]
async fn a_forwarded_request_from_an_untrusted_peer_is_not_let_in() {
    let stack = Stack::start("").await;
    for field in
        ["X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1", "X-Forwarded-Host: a.example"]
    {
        let mut client = Client::connect(stack.status_address()).await;
        let head = format!("GET /server-status HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
        client.send(head).await;
        assert_eq!(client.response().await.status, 403, "{field}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_about_its_client() {
    let stack = Stack::start("proxies.trusted = ['127.0.0.1/32']").await;
    for (client_address, status) in [("127.0.0.1", 200), ("192.0.2.7", 403)] {
        let mut client = Client::connect(stack.status_address()).await;
        let field = format!("X-Forwarded-For: {client_address}");
        client.send(format!("GET /server-status HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n")).await;
        assert_eq!(client.response().await.status, status, "{client_address}");
    }
    let mut client = stack.connect().await;
    client.send("GET /head HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n").await;
    let seen = client.response().await.text();
    assert!(seen.contains("x-forwarded-for: 192.0.2.7, 127.0.0.1\n"), "{seen}");
}

#[tokio::test]
async fn the_page_may_be_on_every_listener_before_any_route() {
    let stack = Stack::start("status.sites = true").await;
    assert_eq!(stack.get("/server-status?json").await.json()["schema_version"], 1);
    assert_eq!(stack.get("/ostler-health").await.status, 200);
    let mut stranger = Client::connect_from(STRANGER, stack.address()).await;
    assert_eq!(stranger.get("/server-status").await.status, 403);

    let private = Stack::start("").await;
    assert!(private.get("/server-status").await.text().starts_with("Hello"), "the pool answers");
}
