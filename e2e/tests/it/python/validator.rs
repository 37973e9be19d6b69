//! Everything that PEP 3333 offers an application, used under the validator of Python's own
//! library, which speaks up when either side breaks a rule.

use ostler_e2e::client::request;
use ostler_e2e::stack::Ended;
use ostler_e2e::{Client, Stack, python};
use serde_json::json;

/// A body whose lines end in every way.
const LINES: &str = "one\ntwo\r\n\nlast";

/// How the body is read, what each call gives, and how many bytes were left after that.
const READS: [(&str, &[&str], usize); 9] = [
    ("read/4", &["one\n", "two\r", "\n\nla", "st"], 0),
    ("read/14", &[LINES], 0),
    ("read/1000", &[LINES], 0),
    ("readline", &["one\n", "two\r\n", "\n", "last"], 0),
    ("readline/2", &["on", "e\n", "tw", "o\r", "\n", "\n", "la", "st"], 0),
    ("readlines", &["one\n", "two\r\n", "\n", "last"], 0),
    ("readlines/5", &["one\n", "two\r\n"], 5),
    ("iterate", &["one\n", "two\r\n", "\n", "last"], 0),
    ("mixed", &["on", "e\n", "t", "wo\r\n", "\n", "last"], 0),
];

/// Bodies that are given in many ways, and what arrives.
const BODIES: [(&str, &str); 12] = [
    ("/write", "one two three"),
    ("/exc-info/before", "begun anew"),
    ("/generator", "one two"),
    ("/body/list", "one two"),
    ("/body/tuple", "one two"),
    ("/body/object", "one two"),
    ("/body/map", "one two"),
    ("/body/none", ""),
    ("/body/nothing", ""),
    ("/length", "one two"),
    ("/status/404", ""),
    ("/status/201", ""),
];

/// Requests to the second site have their bodies passed on as they come.
async fn start() -> Stack {
    let streamed = "
        [[site]]
        route = [{ path = '/', pool = 'web' }]
        [[site]]
        hosts = ['streamed.example']
        route = [{ path = '/', pool = 'web', request-buffering = false }]";
    python::subject("validated.py").with(streamed).start().await
}

#[tokio::test]
async fn the_body_of_a_request_is_read_in_every_way() {
    let stack = start().await;
    let mut client = stack.connect().await;
    for host in ["buffered.example", "streamed.example"] {
        for (way, pieces, rest) in READS {
            for framed in framings(LINES) {
                let head = format!("POST /input/{way} HTTP/1.1\r\nHost: {host}\r\n");
                let told = client.exchange(head + &framed).await.json();
                assert_eq!(told, json!({ "pieces": pieces, "rest": rest }), "{way} at {host}");
            }
            let empty = client.get(&format!("/input/{way}")).await.json();
            let pieces = if way == "mixed" { vec![""; 3] } else { Vec::new() };
            assert_eq!(empty, json!({ "pieces": pieces, "rest": 0 }), "{way}");
        }
        long_body(&mut client, host).await;
    }
    expect_silence(&stack.stop().await);
}

/// More than is kept in memory: the worker reads it from a file, or as it comes.
async fn long_body(client: &mut Client, host: &str) {
    let line = "0123456789abcde\n";
    let body = line.repeat(50_000);
    for framed in framings(&body) {
        let head = format!("POST /input/iterate HTTP/1.1\r\nHost: {host}\r\n");
        let told = client.exchange(head + &framed).await.json();
        let pieces = told["pieces"].as_array().unwrap();
        assert!(pieces.len() == 50_000 && pieces.iter().all(|piece| piece == line), "{host}");
    }
}

#[tokio::test]
async fn lines_for_the_errors_are_logged() {
    let stack = start().await;
    assert_eq!(stack.get("/errors").await.text(), "told");
    let lines = [
        "written to the errors",
        "the first of two lines",
        "the second of two lines",
        "a line in two parts",
    ];
    for line in lines {
        stack.logged(|logged| logged.contains(line)).await;
    }
    expect_silence(&stack.stop().await);
}

#[tokio::test]
async fn a_body_is_given_in_every_way() {
    let stack = start().await;
    let mut client = stack.connect().await;
    for (path, expected) in BODIES {
        let answer = client.get(path).await;
        assert_eq!(answer.text(), expected, "{path}");
        client.send(request("HEAD", path)).await;
        let head = client.try_response("HEAD").await.unwrap();
        assert_eq!((head.status, head.body.len()), (answer.status, 0), "{path}");
    }
    let many = client.get("/body/many").await.text();
    let numbers = many.split_ascii_whitespace().map(|number| number.parse::<u32>().unwrap());
    assert!(numbers.eq(0..2000), "{many}");
    let large: String = ('A'..='Z').map(|letter| letter.to_string().repeat(100_000)).collect();
    assert!(client.get("/body/large").await.text() == large);
    for code in [204, 304] {
        let answer = client.get(&format!("/status/{code}")).await;
        assert_eq!((answer.status, answer.field("content-length")), (code, None));
        assert_eq!(answer.field("etag"), Some("\"1\""));
    }
    let ended = stack.stop().await;
    for (closed, times) in [("the generator is closed", 2), ("the pieces are closed", 2)] {
        assert_eq!(ended.stderr.matches(closed).count(), times, "{closed}: {}", ended.stderr);
    }
    expect_silence(&ended);
}

#[tokio::test]
async fn an_answer_begins_anew_as_long_as_nothing_of_it_was_sent() {
    let stack = start().await;
    let anew = stack.get("/exc-info/before").await;
    assert_eq!((anew.status, anew.field("x-anew")), (500, Some("yes")));
    let mut client = stack.connect().await;
    client.send(request("GET", "/exc-info/after")).await;
    let head = client.answers().head().await.unwrap();
    assert_eq!((head.status, head.field("x-anew")), (200, None));
    let mut rest = Vec::new();
    while let Ok(more) = client.answers().some().await
        && !more.is_empty()
    {
        rest.extend(more);
    }
    let rest = String::from_utf8_lossy(&rest);
    assert!(!rest.contains("begun anew") && !rest.ends_with("0\r\n\r\n"), "{rest}");
    // What could not be told to the client is told to the operator.
    stack.logged(|line| line.contains("ValueError: the reason to begin anew")).await;
    expect_silence(&stack.stop().await);
}

/// The body with its length, and in chunks.
fn framings(body: &str) -> [String; 2] {
    let length = body.len();
    let (one, other) = body.split_at(length / 2 + 1);
    let chunks = [one, other].map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).concat();
    [
        format!("Content-Length: {length}\r\n\r\n{body}"),
        format!("Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"),
    ]
}

/// Fails the test if the validator found anything.
#[track_caller]
fn expect_silence(ended: &Ended) {
    for found in ["AssertionError", "WSGIWarning", "garbage collected without being closed"] {
        assert!(!ended.stderr.contains(found), "{found}: {}", ended.stderr);
    }
}
