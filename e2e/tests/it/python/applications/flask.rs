//! A site made with Flask.

use ostler_e2e::python;
use ostler_e2e::stack::field;
use serde_json::json;

use crate::python::numbers;

#[tokio::test]
async fn a_flask_site_works() {
    let file = numbers(50_000);
    let plan = python::subject("flask_site.py").file("data", file.clone());
    let stack = plan.with("pool.web.environment.SUBJECT_FILE = '${STACK_DIR}/data'").start().await;
    let mut client = stack.connect().await;
    assert_eq!(client.get("/hello/%E2%82%AC%20%3Cb%3E").await.text(), "Hello, € &lt;b&gt;!");
    assert_eq!(client.get("/stream").await.text().lines().count(), 1000);
    assert!(client.get("/file").await.text() == file);
    assert_eq!(client.get("/memory").await.text(), "in memory");
    assert_eq!(client.get("/url").await.text(), "http://e2e.example/hello/a%20b");
    assert_eq!(client.get("/no/such/page").await.status, 404);
    let part = "GET /file HTTP/1.1\r\nHost: a\r\nRange: bytes=6-11\r\n\r\n";
    let part = client.exchange(part).await;
    assert_eq!((part.status, part.text().as_str()), (206, "00001\n"));

    let mut cookie = String::new();
    for count in ["1", "2", "3"] {
        let asked = format!("GET /count HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n");
        let counted = client.exchange(asked).await;
        assert_eq!(counted.text(), count);
        cookie = counted.field("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    }
    let document = json!({ "text": "€", "list": [1, null] }).to_string();
    let (kind, length) = ("Content-Type: application/json", document.len());
    let asked = format!("POST /json HTTP/1.1\r\nHost: a\r\n{kind}\r\nContent-Length: {length}");
    let echoed = client.exchange(format!("{asked}\r\n\r\n{document}")).await;
    assert_eq!(echoed.json().to_string(), document);
    let uploaded = client.exchange(upload(&file)).await.json();
    assert_eq!(uploaded, json!({ "name": "a.txt", "length": file.len(), "note": "with it" }));

    let broken = client.get("/broken").await;
    assert_eq!(broken.status, 500);
    let access = stack.until_logged_access("GET /broken ").await;
    let mark = format!("[{}]", field(&access, "id").unwrap());
    // Flask logs it itself, to `wsgi.errors`.
    let told = stack.logged(|line| line.contains("RuntimeError: broken as asked")).await;
    assert_eq!(field(&told, "line"), Some(mark.as_str()), "{told}");
    assert_eq!(client.get("/hello/again").await.text(), "Hello, again!");
}

/// A form with a file, as a browser sends it.
fn upload(content: &str) -> String {
    let body = format!(
        "--x\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nwith it\r\n\
         --x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\
         Content-Type: text/plain\r\n\r\n{content}\r\n--x--\r\n"
    );
    let length = body.len();
    let kind = "Content-Type: multipart/form-data; boundary=x";
    format!("POST /upload HTTP/1.1\r\nHost: a\r\n{kind}\r\nContent-Length: {length}\r\n\r\n{body}")
}
