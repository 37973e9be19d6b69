//! What is served when nothing is wrong: pools of both kinds, folders, redirects.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use ostler_e2e::client::request;
use ostler_e2e::{Client, Plan, Response, Stack};
use tokio::time::Instant;

/// More than fits into any buffer on the way.
const LARGE: usize = 5_000_000;

const SITE_OF_FILES: &str = r#"
    origin.files.directory = "${STACK_DIR}/files"
    [[site]]
    [[site.route]]
    path = "/static/"
    origin = "files"
"#;

#[tokio::test]
async fn a_pool_of_threads_serves_requests() {
    serves("threads").await;
}

#[tokio::test]
async fn a_pool_of_a_service_serves_requests() {
    serves("service").await;
}

async fn serves(mode: &str) {
    let stack = Stack::start(&format!("pool.probe.environment.PROBE_MODE = '{mode}'")).await;
    let mut client = stack.connect().await;
    assert_eq!(client.get("/").await.body.len(), 66);
    let head = client.get("/head?a=b").await.text();
    assert!(head.starts_with("GET /head?a=b HTTP/1.1\nhost: e2e.example\n"), "{head}");
    assert!(head.contains("x-forwarded-for: 127.0.0.1\n"), "{head}");
    client.send(post("Content-Length: 5", "hello")).await;
    assert_eq!(client.response().await.text(), "hello");
    client.send(post("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n")).await;
    assert_eq!(client.response().await.text(), "hello");
    client.send(request("HEAD", "/")).await;
    let response = client.try_response("HEAD").await.unwrap();
    assert_eq!((response.status, response.field("content-length")), (200, Some("66")));
    assert_eq!(client.get("/status/503").await.verdict(), "503 -", "the worker's own answer");
    assert_eq!(client.get("/stream/3/1").await.text(), "a piece of a stream\n".repeat(3));
    let whoami = client.get("/whoami").await.text();
    assert!(whoami.ends_with(" pool=probe slot=0 generation=1\n"), "{whoami}");
    stack.stop().await.expect_no_errors_logged();
}

#[tokio::test]
async fn a_panic_in_a_handler_costs_its_request_alone() {
    let stack = Stack::start("").await;
    let mut client = stack.connect().await;
    assert_eq!(client.get("/panic").await.verdict(), "500 -");
    assert_eq!(client.get("/").await.status, 200);
    let pools = stack.until_pool("probe", |pool| pool["busy"] == 0).await;
    assert_eq!(pools["probe"]["workers"][0]["generation"], 1);
}

#[tokio::test]
async fn large_bodies_pass_in_both_directions() {
    let stack = Stack::start("").await;
    let lines: Vec<String> = (0..LARGE / 10).map(|number| format!("{number:09}\n")).collect();
    let body = lines.concat();
    let chunks: Vec<String> = body
        .as_bytes()
        .chunks(70_000)
        .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), str::from_utf8(chunk).unwrap()))
        .collect();
    let whole = post(&format!("Content-Length: {}", body.len()), &body);
    let coded = post("Transfer-Encoding: chunked", &(chunks.concat() + "0\r\n\r\n"));
    for request in [whole, coded] {
        // The answer begins before the request ends, so the connection may close after it.
        let response = stack.connect().await.exchange(request).await;
        assert!(response.body == body.as_bytes(), "{}", response.verdict());
    }
    assert_eq!(stack.get(&format!("/bytes/{LARGE}")).await.body.len(), LARGE);
}

#[tokio::test]
async fn a_route_may_allow_larger_bodies() {
    let stack = Stack::start(
        "limits.body-size = '10B'
         [[site]]
         route = [{ path = '/', pool = 'probe' },
                  { path = '/echo', pool = 'probe', body-size = '20B' }]",
    )
    .await;
    let fifteen = |path: &str| {
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 15\r\n\r\n");
        head + "fifteen letters"
    };
    let mut client = stack.connect().await;
    client.send(fifteen("/echo")).await;
    assert_eq!(client.response().await.text(), "fifteen letters");
    client.send(fifteen("/other")).await;
    client.response().await.expect_reason(413, "body-too-large");
    client.closed().await;
}

#[tokio::test]
async fn hosts_and_longest_prefixes_choose_the_route() {
    let stack = Stack::start(
        "[[site]]
         route = [{ path = '/', redirect = 'https://any.example/', status = 301 }]
         [[site]]
         hosts = ['*.wild.example']
         route = [{ path = '/', redirect = 'https://wild.example/', status = 307 }]
         [[site]]
         hosts = ['one.wild.example']
         route = [{ path = '/', redirect = 'https://one.example/', status = 308 },
                  { path = '/a/', redirect = 'https://a.example/' },
                  { path = '=/a/b', pool = 'probe' }]",
    )
    .await;
    let mut client = stack.connect().await;
    for (host, path, status, location) in [
        ("x.example", "/p?q", 301, Some("https://any.example/p?q")),
        ("two.wild.example", "/p", 307, Some("https://wild.example/p")),
        ("wild.example", "/p", 301, Some("https://any.example/p")),
        ("one.wild.example", "/p", 308, Some("https://one.example/p")),
        ("one.wild.example", "/a/p", 302, Some("https://a.example/p")),
        ("ONE.wild.example:80", "/a/b", 200, None),
        ("one.wild.example", "/a/b/c", 302, Some("https://a.example/b/c")),
    ] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        let response = client.response().await;
        assert_eq!(
            (response.status, response.field("location")),
            (status, location),
            "{host} {path}"
        );
    }
}

#[tokio::test]
async fn a_route_may_be_for_some_networks_alone() {
    let stack = Stack::start(
        "[[site]]
         route = [{ path = '/', pool = 'probe' },
                  { path = '/admin', pool = 'probe', allow = ['127.0.0.9/32'] }]",
    )
    .await;
    stack.get("/admin").await.expect_reason(403, "forbidden");
    stack.get("/%61dmin/x").await.expect_reason(403, "forbidden");
    let mut client = Client::connect_from([127, 0, 0, 9].into(), stack.address()).await;
    assert_eq!(client.get("/admin").await.status, 200);
}

#[tokio::test]
async fn a_folder_is_served_with_validators_and_ranges() {
    let stack = files().start().await;
    let mut client = stack.connect().await;
    let whole = client.get("/static/a.txt").await;
    assert_eq!((whole.status, whole.text().as_str()), (200, "0123456789"));
    assert_eq!(whole.field("content-type"), Some("text/plain; charset=utf-8"));
    let etag = whole.field("etag").unwrap().to_owned();
    let modified = whole.field("last-modified").unwrap().to_owned();

    let ask = async |client: &mut Client, field: &str| -> Response {
        client.send(format!("GET /static/a.txt HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n")).await;
        client.response().await
    };
    for (field, status, text) in [
        (format!("If-None-Match: {etag}"), 304, ""),
        ("If-None-Match: \"other\"".to_owned(), 200, "0123456789"),
        (format!("If-None-Match: \"other\", {etag}"), 304, ""),
        ("If-None-Match: *".to_owned(), 304, ""),
        (format!("If-Modified-Since: {modified}"), 304, ""),
        ("If-Modified-Since: Thu, 01 Jan 1970 00:00:01 GMT".to_owned(), 200, "0123456789"),
        ("Range: bytes=2-4".to_owned(), 206, "234"),
        ("Range: bytes=7-".to_owned(), 206, "789"),
        ("Range: bytes=-2".to_owned(), 206, "89"),
        ("Range: bytes=8-100".to_owned(), 206, "89"),
        ("Range: lines=1-2".to_owned(), 200, "0123456789"),
        (format!("Range: bytes=2-4\r\nIf-Range: {etag}"), 206, "234"),
        ("Range: bytes=2-4\r\nIf-Range: \"other\"".to_owned(), 200, "0123456789"),
    ] {
        let response = ask(&mut client, &field).await;
        assert_eq!((response.status, response.text().as_str()), (status, text), "{field}");
    }
    let part = ask(&mut client, "Range: bytes=2-4").await;
    assert_eq!(part.field("content-range"), Some("bytes 2-4/10"));
    let beyond = ask(&mut client, "Range: bytes=10-").await;
    beyond.expect_reason(416, "range");
    assert_eq!(beyond.field("content-range"), Some("bytes */10"));
}

#[tokio::test]
async fn a_folder_answers_head_and_knows_its_index() {
    let stack = files().start().await;
    let mut client = stack.connect().await;
    client.send(request("HEAD", "/static/a.txt")).await;
    let response = client.try_response("HEAD").await.unwrap();
    assert_eq!((response.status, response.field("content-length")), (200, Some("10")));
    let index = client.get("/static/").await;
    assert_eq!((index.status, index.text().as_str()), (200, "<p>front"));
    assert_eq!(index.field("content-type"), Some("text/html; charset=utf-8"));
    client.get("/static/none.txt").await.expect_reason(404, "no-file");
    client.send("POST /static/a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
    let refused = client.response().await;
    refused.expect_reason(405, "method");
    assert_eq!(refused.field("allow"), Some("GET, HEAD"));
}

#[tokio::test]
async fn nothing_outside_a_folder_is_served() {
    let stack = files().file("secret.txt", "secret").file("files/sub/b.txt", "b").start().await;
    let root = stack.folder().join("files");
    symlink("../secret.txt", root.join("escape.txt")).unwrap();
    symlink(stack.folder().join("secret.txt"), root.join("absolute.txt")).unwrap();
    symlink("..", root.join("up")).unwrap();
    for (path, verdict) in [
        ("/static/../secret.txt", "400 bad-request"),
        ("/static/%2e%2e/secret.txt", "400 bad-request"),
        ("/static/..%2fsecret.txt", "400 bad-request"),
        ("/static/sub/../../secret.txt", "400 bad-request"),
        ("/static/escape.txt", "404 no-file"),
        ("/static/absolute.txt", "404 no-file"),
        ("/static/up/secret.txt", "404 no-file"),
        ("/static//etc/passwd", "404 no-file"),
        ("/static/%2fetc/passwd", "404 no-file"),
    ] {
        let response = stack.get(path).await;
        assert_eq!(response.verdict(), verdict, "{path}");
        assert!(!response.text().contains("secret\n"), "{path}");
    }
    assert_eq!(stack.get("/static/sub/b.txt").await.text(), "b");
}

#[tokio::test]
async fn a_file_that_changes_is_served_as_it_is_now() {
    let stack = files().file("files/v1/b.txt", "one").file("files/v2/b.txt", "two").start().await;
    let folder = stack.folder().join("files");
    symlink("v1", folder.join("now")).unwrap();
    let mut client = stack.connect().await;
    let mut last = client.get("/static/a.txt").await;
    assert_eq!(last.text(), "0123456789");

    // Written to, cut, and replaced by another of its name: known to the very next request.
    for (content, is_in_place) in [("longer than before", true), ("short", true), ("new", false)] {
        if is_in_place {
            fs::write(folder.join("a.txt"), content).unwrap();
        } else {
            fs::write(folder.join("a.new"), content).unwrap();
            fs::rename(folder.join("a.new"), folder.join("a.txt")).unwrap();
        }
        let next = client.get("/static/a.txt").await;
        assert_eq!(next.text(), content);
        assert_ne!(next.field("etag"), last.field("etag"));
        last = next;
    }
    fs::remove_file(folder.join("a.txt")).unwrap();
    client.get("/static/a.txt").await.expect_reason(404, "no-file");

    // A link on the way to it: known within a second.
    assert_eq!(client.get("/static/now/b.txt").await.text(), "one");
    symlink("v2", folder.join("next")).unwrap();
    fs::rename(folder.join("next"), folder.join("now")).unwrap();
    let switched = Instant::now();
    while client.get("/static/now/b.txt").await.text() != "two" {
        assert!(switched.elapsed() < Duration::from_secs(2), "the old file is still served");
    }

    // Nothing stays open for nobody: the space of a removed file has to become free.
    let proxy = stack.proxy().await;
    let is_open = || {
        let descriptors = fs::read_dir(format!("/proc/{proxy}/fd")).unwrap();
        descriptors
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .any(|path| path.starts_with(&folder) && path.extension().is_some())
    };
    let asked = Instant::now();
    while is_open() {
        assert!(asked.elapsed() < Duration::from_secs(5), "a file is kept open");
        stack.status().await;
    }
}

#[tokio::test]
async fn a_large_file_is_served_whole() {
    let bytes: Vec<u8> = (0..LARGE).map(|number| u8::try_from(number % 251).unwrap()).collect();
    let stack = files().file("files/large.bin", bytes.clone()).start().await;
    let response = stack.get("/static/large.bin").await;
    assert!(response.body == bytes, "{}", response.verdict());
}

#[tokio::test]
async fn the_arena_shows_its_problems() {
    let plan = Plan::bare().with(
        r#"[pool.arena]
           command = ["arena"]
           threads = 2
           environment = { ARENA_DATABASE = "${STACK_DIR}/arena.sqlite" }
           [[site]]
           route = [{ path = "/", pool = "arena" }]"#,
    );
    let stack = plan.start().await;
    let front = stack.get("/").await;
    assert_eq!(front.status, 200);
    assert_eq!(front.field("content-type"), Some("text/html; charset=utf-8"));
    assert!(front.text().contains("href=\"/problems/"), "{}", front.text());
    stack.stop().await.expect_no_errors_logged();
}

#[tokio::test]
async fn listeners_with_one_address_and_port_zero_all_accept() {
    let stack = Stack::start(
        "status.address = '127.0.0.1:0'
         [[listener]]
         name = 'public'
         address = '127.0.0.1:0'
         [[listener]]
         name = 'second'
         address = '127.0.0.1:0'",
    )
    .await;
    for name in ["public", "second"] {
        assert_eq!(
            Client::connect(stack.listener(name)).await.get("/").await.status,
            200,
            "{name}"
        );
    }
}

fn files() -> Plan {
    let plan = Plan::bare().with(SITE_OF_FILES);
    plan.file("files/a.txt", "0123456789").file("files/index.html", "<p>front")
}

fn post(framing: &str, body: &str) -> String {
    format!("POST /echo HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{body}")
}
