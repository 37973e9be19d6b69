//! The access log: a line for each request, in either form.

use ostler_e2e::Stack;
use serde_json::Value;

#[tokio::test]
async fn the_access_log_tells_of_each_request() {
    let stack = Stack::start("").await;
    let mut client = stack.connect().await;
    client
        .send("GET /a?b HTTP/1.1\r\nHost: a\r\nUser-Agent: \"x\\\r\nReferer: \x09r\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status, 200);
    let id = {
        client.send("GET /../ HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.response().await.field("x-request-id").unwrap().to_owned()
    };
    drop(client);
    let access = stack.stop().await.access;
    let lines: Vec<&str> = access.lines().collect();
    assert_eq!(lines.len(), 2, "{access}");
    assert!(lines[0].starts_with("127.0.0.1 - - ["), "{access}");
    assert!(lines[0].contains("\"GET /a?b HTTP/1.1\" 200 "), "{access}");
    assert!(lines[0].contains(r#" "r" "\"x\\" "#), "quotes are escaped: {access}");
    assert!(lines[0].contains(" reason=- pool=probe "), "{access}");
    assert!(lines[1].contains("\" 400 ") && lines[1].contains(" reason=bad-request "), "{access}");
    assert!(lines[1].ends_with(&format!(" id={id}")), "{access}");
}

#[tokio::test]
async fn the_access_log_may_be_json() {
    let stack = Stack::start("log.access.format = 'json'").await;
    let mut client = stack.connect().await;
    client.get("/a\"b").await;
    client.get("/c").await;
    let access = stack.stop().await.access;
    let lines: Vec<Value> =
        access.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(lines.len(), 2, "{access}");
    assert!(lines[1].to_string().contains("/c"), "{access}");
}
