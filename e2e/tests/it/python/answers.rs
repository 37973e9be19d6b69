//! Answers of Python applications: what is passed on, what is refused, and what the log says.

mod files;

use ostler_e2e::client::{ReadError, request};
use ostler_e2e::stack::field;
use ostler_e2e::{Stack, python};

use super::numbers;
use crate::ask;

/// What an application must not do before its answer has begun, and what the log says of it.
const REFUSED: [(&str, &str); 20] = [
    ("/status/number", "the status given to start_response is int, not str"),
    ("/status/words", "the status is \\\"OK 200\\\""),
    ("/status/interim", "the status is \\\"103 Early Hints\\\""),
    ("/status/newline", "the status is \\\"200 OK"),
    ("/fields/none", "the headers given to start_response is NoneType, not list"),
    ("/fields/number", "a header value given to start_response is int, not str"),
    ("/fields/bytes", "a header name given to start_response is bytes, not str"),
    ("/fields/newline", "the value of x-line has control characters"),
    ("/fields/name", "'X Space' is no header name"),
    ("/fields/beyond", "a header value has characters that are not of ISO-8859-1"),
    ("/fields/length", "Content-Length is"),
    ("/fields/many", "the headers given to start_response are too many"),
    ("/piece/text", "a piece of the response's body is str, not bytes"),
    ("/piece/number", "a piece of the response's body is int, not bytes"),
    ("/silent", "start_response was not called"),
    ("/nothing", "the application returned NoneType"),
    ("/twice", "start_response was called a second time"),
    ("/raises", "LookupError: raised by the application"),
    ("/raises/at-once", "LookupError: raised before the first piece"),
    ("/not/a/path", "KeyError: '/not/a/path'"),
];

async fn start() -> Stack {
    let plan = python::subject("answers.py").file("data", numbers(100_000));
    plan.with("pool.web.environment.SUBJECT_FILE = '${STACK_DIR}/data'").start().await
}

#[tokio::test]
async fn what_is_wrong_before_the_answer_begins_is_a_500_and_is_logged() {
    let stack = start().await;
    let mut client = stack.connect().await;
    let mut wrong = Vec::new();
    for (path, said) in REFUSED {
        let answer = client.get(path).await;
        let is_smuggled = answer.fields.iter().any(|(name, _)| name == "x-smuggled");
        if answer.status != 500 || answer.text().contains("never to be seen") || is_smuggled {
            wrong.push(format!("{path}: {answer:?} {}", answer.text()));
            continue;
        }
        let access = stack.until_logged_access(&format!("GET {path} ")).await;
        let mark = marked(&access);
        // The traceback is several lines: what is wrong may stand in any of them.
        let is_said = |line: &str| field(line, "line") == Some(&mark) && line.contains(said);
        if !stack.log().lines().any(is_said) {
            wrong.push(format!("{path}: {mark} {said:?} is not logged"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", stack.log());
    assert_eq!(client.get("/late").await.text(), "late", "the worker is as good as before");
}

#[tokio::test]
async fn what_is_about_the_connection_is_left_out() {
    let stack = start().await;
    let mut client = stack.connect().await;
    for path in ["/fields/hop", "/fields/coding", "/status/no-reason"] {
        let answer = client.get(path).await;
        assert_eq!((answer.status, answer.closes()), (200, false), "{path}: {answer:?}");
        assert_eq!(answer.text(), "never to be seen", "{path}");
    }
}

#[tokio::test]
async fn fields_are_passed_on_as_they_are() {
    let stack = start().await;
    let answer = stack.get("/fields/latin").await;
    // One byte of latin-1, as the client of these tests shows what is not UTF-8.
    assert_eq!(answer.field("x-latin"), Some("\u{fffd}"));
    let same = answer.fields.iter().filter(|(name, _)| name == "x-same");
    assert_eq!(same.map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["1", "2"]);
}

#[tokio::test]
async fn what_is_wrong_after_the_answer_began_breaks_it_off() {
    let stack = start().await;
    for (path, said) in [
        ("/raises/later", "LookupError: raised after the first piece"),
        ("/piece/later", "a piece of the response's body is str, not bytes"),
        ("/long", "40 bytes shorter than its Content-Length"),
    ] {
        let mut client = stack.connect().await;
        client.send(request("GET", path)).await;
        let broken = client.try_response("GET").await.unwrap_err();
        let is_cut = matches!(broken, ReadError::Truncated(_) | ReadError::Broken(_));
        assert!(is_cut, "{path}: {broken}");
        let mark = marked(&stack.until_logged_access(&format!("GET {path} ")).await);
        stack.logged(|line| field(line, "line") == Some(&mark) && line.contains(said)).await;
    }
    assert_eq!(stack.get("/whole").await.text(), "0123456789");
}

#[tokio::test]
async fn more_bytes_than_the_stated_length_are_cut_and_logged() {
    let stack = start().await;
    let mut client = stack.connect().await;
    let answer = client.get("/short").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "01234"));
    assert_eq!(client.get("/late").await.text(), "late", "the next answer begins where it should");
    stack.logged(|line| line.contains("5 bytes longer than its Content-Length")).await;
}

#[tokio::test]
async fn a_body_that_goes_on_beyond_its_length_does_not_keep_the_thread() {
    let stack = start().await;
    assert_eq!(stack.get("/short/without-end?without-end").await.text(), "01234");
    assert_eq!(closed(&stack, "without-end").await, "1");
}

#[tokio::test]
async fn a_body_is_closed_once_however_it_ends() {
    let stack = start().await;
    for path in ["/whole", "/short", "/piece/text", "/silent", "/raises/at-once"] {
        stack.get(&format!("{path}?{path}")).await;
        assert_eq!(closed(&stack, path).await, "1", "{path}");
    }
    for path in ["/long", "/raises/later", "/piece/later"] {
        let broken = ask(&stack, &format!("{path}?{path}")).await.try_response("GET").await;
        assert!(broken.is_err(), "{path}: {broken:?}");
        assert_eq!(closed(&stack, path).await, "1", "{path}");
    }
    let mut client = stack.connect().await;
    client.send(request("HEAD", "/whole?head")).await;
    client.try_response("HEAD").await.unwrap();
    assert_eq!(closed(&stack, "head").await, "1");
}

#[tokio::test]
async fn a_body_is_closed_when_its_client_leaves() {
    let stack = start().await;
    let mut client = ask(&stack, "/endless?left").await;
    assert_eq!(client.answers().head().await.unwrap().status, 200);
    assert_eq!(stack.get("/count?left").await.text(), "0");
    drop(client);
    assert_eq!(closed(&stack, "left").await, "1");
}

/// How often the body of the request with this query was closed, once the request is over.
async fn closed(stack: &Stack, query: &str) -> String {
    stack.until_pool("web", |pool| pool["busy"] == 0).await;
    stack.get(&format!("/count?{query}")).await.text()
}

#[tokio::test]
async fn each_piece_is_sent_before_the_next_one_is_made() {
    let stack = start().await;
    let mut client = ask(&stack, "/steps").await;
    assert_eq!(client.answers().head().await.unwrap().status, 200);
    let mut come = String::new();
    while !come.contains("the first") {
        come += &String::from_utf8(client.answers().some().await.unwrap()).unwrap();
    }
    assert!(!come.contains("second"), "{come}");
    assert_eq!(stack.get("/step").await.text(), "set");
    while !come.ends_with("0\r\n\r\n") {
        come += &String::from_utf8(client.answers().some().await.unwrap()).unwrap();
    }
    assert!(come.contains(", the second"), "{come}");
}

#[tokio::test]
async fn an_answer_to_head_has_no_body_and_the_length_that_was_stated() {
    let stack = start().await;
    let mut client = stack.connect().await;
    client.send(request("HEAD", "/whole")).await;
    let head = client.try_response("HEAD").await.unwrap();
    assert_eq!((head.status, head.field("content-length")), (200, Some("10")));
    assert_eq!(client.get("/late").await.text(), "late", "no byte of a body came");
    stack.stop().await.expect_no_errors_logged();
}

/// What a line of the worker begins with that is about the request of this line of the access log.
fn marked(access: &str) -> String {
    format!("[{}]", field(access, "id").expect("every request has one"))
}
