//! Origins: what their servers are asked, and what clients get when these do not do their part.

use std::net::SocketAddr;
use std::time::Duration;

use ostler_e2e::client::{ReadError, request};
use ostler_e2e::server::Reply;
use ostler_e2e::{Client, DEADLINE, Plan, Response, Server, process};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// A body that fits into no buffer on its way.
const MEGABYTE: usize = 1_000_000;

#[tokio::test]
async fn an_origin_is_asked_by_its_own_name_by_the_clients_or_by_a_fixed_one() {
    let server = Server::start(|_| Reply::text("here")).await;
    let address = server.address();
    for (host, expected) in [
        ("", address.to_string()),
        ("host = 'server'", address.to_string()),
        ("host = 'client'", "e2e.example".to_owned()),
        ("host = 'fixed.example:81'", "fixed.example:81".to_owned()),
    ] {
        let stack = origin(&[address], host).start().await;
        assert_eq!(stack.get("/a%20b?c=d").await.text(), "here", "{host}");
        let head = server.heads().pop().unwrap();
        assert!(head.starts_with("GET /a%20b?c=d HTTP/1.1\r\n"), "{host}: {head}");
        assert_eq!(values(&head, "host"), [expected.as_str()], "{host}");
        assert_eq!(values(&head, "x-forwarded-for"), ["127.0.0.1"], "{host}: {head}");
        assert_eq!(values(&head, "x-forwarded-host"), ["e2e.example"], "{host}: {head}");
        assert_eq!(values(&head, "x-request-id").len(), 1, "{host}: {head}");
        stack.stop().await.expect_no_errors_logged();
    }
}

#[tokio::test]
async fn claims_of_an_untrusted_client_do_not_reach_an_origin() {
    let server = Server::start(|_| Reply::text("here")).await;
    let stack = origin(&[server.address()], "").start().await;
    let mut client = stack.connect().await;
    client
        .send(
            "GET / HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 10.9.8.7\r\nForwarded: \
             for=10.9.8.7\r\nX_Forwarded_For: 10.9.8.7\r\nX-Request-Id: mine\r\nConnection: \
             x-hop\r\nX-Hop: 1\r\nX-Kept: 1\r\n\r\n",
        )
        .await;
    assert_eq!(client.response().await.status, 200);
    let head = server.heads().pop().unwrap().to_ascii_lowercase();
    assert!(!head.contains("10.9.8.7") && !head.contains("mine"), "{head}");
    assert!(values(&head, "x-hop").is_empty() && values(&head, "x-kept") == ["1"], "{head}");
}

#[tokio::test]
async fn one_connection_is_answered_by_pools_servers_and_folders_in_turn() {
    let server = Server::start(|_| Reply::text("from the server")).await;
    let plan = Plan::probe().file("files/a.txt", "from the folder").with(&format!(
        "origin.cdn.servers = ['http://{}']
         origin.files.directory = '${{STACK_DIR}}/files'
         [[site]]
         route = [{{ path = '/', pool = 'probe' }}, {{ path = '/cdn/', origin = 'cdn' }},
                  {{ path = '/files/', origin = 'files' }}]",
        server.address()
    ));
    let stack = plan.start().await;
    let mut client = stack.connect().await;
    for _ in 0..5 {
        assert!(client.get("/head").await.text().starts_with("GET /head "));
        assert_eq!(client.get("/cdn/x").await.text(), "from the server");
        assert_eq!(client.get("/files/a.txt").await.text(), "from the folder");
    }
    // And all at once.
    let paths = ["/cdn/x", "/files/a.txt", "/head", "/cdn/x", "/bytes/7"];
    client.send(paths.map(|path| request("GET", path)).concat()).await;
    let mut texts = Vec::new();
    for _ in paths {
        texts.push(client.response().await.text());
    }
    assert!(texts[2].starts_with("GET /head "), "{texts:?}");
    texts[2].clear();
    assert_eq!(texts, ["from the server", "from the folder", "", "from the server", "xxxxxxx"]);
    let status = stack.until(|status| status["requests"]["total"] == 20).await;
    assert_eq!(status["connections"]["accepted_total"], 1, "it was one connection");
    stack.stop().await.expect_no_errors_logged();
}

#[tokio::test]
async fn servers_are_asked_in_turn() {
    let first = Server::start(|_| Reply::text("first")).await;
    let second = Server::start(|_| Reply::text("second")).await;
    let stack = origin(&[first.address(), second.address()], "").start().await;
    let mut client = stack.connect().await;
    let mut order = Vec::new();
    for _ in 0..10 {
        order.push(client.get("/").await.text());
    }
    assert!(order.windows(2).all(|pair| pair[0] != pair[1]), "{order:?}");
    assert_eq!((first.heads().len(), second.heads().len()), (5, 5));
    let servers = |status: &Value| status["origins"]["servers"]["servers"].clone();
    let is_over = |server: &Value| server["requests_total"] == 5 && server["in_flight"] == 0;
    let all_over = |status: &Value| (0..2).all(|number| is_over(&servers(status)[number]));
    let status = stack.until(all_over).await;
    for (shown, server) in servers(&status).as_array().unwrap().iter().zip([&first, &second]) {
        assert_eq!(shown["url"], format!("http://{}", server.address()));
        assert_eq!(shown["requests_total"], 5, "{shown}");
        assert_eq!(shown["errors_total"], 0, "{shown}");
        assert_eq!(shown["in_flight"], 0, "{shown}");
    }
}

#[tokio::test]
async fn an_origin_comes_back_as_soon_as_it_listens() {
    let nobody = Server::nobody().await;
    let stack = origin(&[nobody], "").start().await;
    let mut client = stack.connect().await;
    let server = |status: &Value| status["origins"]["servers"]["servers"][0].clone();
    let started = server(&stack.status().await)["since"].clone();
    client.get("/").await.expect_reason(502, "origin-connect");
    let failed = server(&stack.until(|status| server(status)["healthy"] == false).await);
    assert_eq!(failed["reason"], format!("{nobody} refuses connections"), "{failed}");
    assert!(started.as_str() <= failed["since"].as_str(), "{started} {failed}");
    client.get("/").await.expect_reason(502, "origin-connect");
    let errors = |server: &Value| server["errors_total"].as_u64();
    let again = stack.until(|status| errors(&failed) < errors(&server(status))).await;
    let again = server(&again);
    assert_eq!(again["since"], failed["since"], "since the first failure");
    let upload = Upload::listen(nobody, b"\r\n\r\n").await;
    assert_eq!(client.get("/").await.text(), "taken");
    upload.request().await;
    let well = server(&stack.until(|status| server(status)["healthy"] == true).await);
    assert_eq!(well["reason"], Value::Null);
    assert!(failed["since"].as_str() <= well["since"].as_str(), "{failed} {well}");
}

#[tokio::test]
async fn an_origin_that_does_not_answer_in_time_is_504() {
    let server = Server::start(|head| {
        if head.starts_with("GET /slow") { Reply::Silence } else { Reply::text("quick") }
    })
    .await;
    let stack =
        origin(&[server.address()], "response-timeout = '300ms'\nretries = 0").start().await;
    let mut client = stack.connect().await;
    let asked = Instant::now();
    client.get("/slow").await.expect_reason(504, "origin-timeout");
    let waited = asked.elapsed();
    assert!(Duration::from_millis(290) < waited && waited < Duration::from_secs(3), "{waited:?}");
    assert_eq!(stack.get("/").await.text(), "quick");
    stack.until(|status| status["origins"]["servers"]["servers"][0]["in_flight"] == 0).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_never_looks_complete() {
    for (name, answer) in [
        ("length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"),
        ("chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nonly this"),
        ("chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n"),
        ("end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n0\r\n"),
    ] {
        let server = Server::start(move |_| Reply::Close(answer.into())).await;
        let stack = origin(&[server.address()], "").start().await;
        let mut client = stack.connect().await;
        client.send(request("GET", "/")).await;
        let answer = client.try_response("GET").await;
        assert!(
            matches!(answer, Err(ReadError::Truncated(_) | ReadError::Broken(_))),
            "{name}: {answer:?}"
        );
        stack
            .until(|status| {
                let requests = &status["requests"];
                requests["by_reason"]["origin-broken"] == 1 && requests["in_flight"] == 0
            })
            .await;
        assert_eq!(server.heads().len(), 1, "{name}: begun, so never repeated");
        // HTTP/1.0 has only the end of the connection to tell, so that must not be a clean one.
        let mut old = stack.connect().await;
        old.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
        let answer = old.try_response("GET").await;
        assert!(
            matches!(answer, Err(ReadError::Truncated(_) | ReadError::Broken(_))),
            "{name}, HTTP/1.0: {answer:?}"
        );
    }
}

#[tokio::test]
async fn what_an_origin_sends_too_much_is_no_answer_to_the_next_request() {
    const LONG: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nsixHTTP/1.1 200 OK\r\n\
                        Content-Length: 6\r\n\r\nforged";
    let server = Server::start(|head| {
        let is_long = head.starts_with("GET /long");
        if is_long { Reply::Keep(LONG.into()) } else { Reply::text("true") }
    })
    .await;
    let stack = origin(&[server.address()], "").start().await;
    let mut client = stack.connect().await;
    for _ in 0..5 {
        assert_eq!(client.get("/long").await.text(), "six");
        assert_eq!(client.get("/").await.text(), "true");
    }
}

#[tokio::test]
async fn answers_that_are_no_http_are_502() {
    for answer in [
        "hello\r\n\r\n",
        "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nName with space: 1\r\nContent-Length: 0\r\n\r\n",
    ] {
        let server = Server::start(move |_| Reply::Close(answer.into())).await;
        let stack = origin(&[server.address()], "").start().await;
        let response = stack.get("/").await;
        assert_eq!(response.verdict(), "502 origin-broken", "{answer:?}: {response:?}");
    }
}

#[tokio::test]
async fn bodies_arrive_whole_by_length_and_in_chunks() {
    let body: Vec<u8> = (0..MEGABYTE / 10).flat_map(|i| format!("{i:09}\n").into_bytes()).collect();
    for is_chunked in [false, true] {
        let upload = Upload::listen(([127, 0, 0, 1], 0).into(), b"000099999\n").await;
        let stack = origin(&[upload.address], "").start().await;
        let mut client = stack.connect().await;
        let mut bytes = b"POST /up HTTP/1.1\r\nHost: a\r\n".to_vec();
        if is_chunked {
            bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(70_001) {
                bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                bytes.extend([chunk, b"\r\n"].concat());
            }
            bytes.extend(b"0\r\n\r\n");
        } else {
            bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes());
            bytes.extend(&body);
        }
        let response = client.exchange(bytes).await;
        assert_eq!(response.text(), "taken", "chunked: {is_chunked}");
        let (head, sent) = upload.request().await;
        assert!(head.starts_with("POST /up HTTP/1.1\r\n"), "{head}");
        assert!(sent == body, "chunked: {is_chunked}: {} bytes came", sent.len());
    }
}

#[tokio::test]
async fn an_origin_may_answer_before_it_has_the_whole_body() {
    let server = Server::start(|_| Reply::text("no")).await;
    let stack = origin(&[server.address()], "").start().await;
    let mut client = stack.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").await;
    assert_eq!(client.response().await.text(), "no");
    assert_eq!(client.get("/").await.text(), "no", "the connection goes on");
}

#[tokio::test]
async fn a_route_may_take_its_prefix_off() {
    let server = Server::start(|_| Reply::text("here")).await;
    let plan = origin(&[server.address()], "").with(
        "[[site]]
         route = [{ path = '/kept/', origin = 'servers' },
                  { path = '/said/', origin = 'servers', strip-prefix = false },
                  { path = '/gone/', origin = 'servers', strip-prefix = true },
                  { path = '/bare', origin = 'servers', strip-prefix = true }]",
    );
    let stack = plan.start().await;
    let mut client = stack.connect().await;
    for (asked, seen) in [
        ("/kept/a/b?c", "/kept/a/b?c"),
        ("/said/a", "/said/a"),
        ("/gone/a/b?c=%2F", "/a/b?c=%2F"),
        ("/gone/", "/"),
        ("/gone/?q", "/?q"),
        ("/bare", "/"),
        ("/bare?q", "/?q"),
        ("/bare/x", "/x"),
        ("/gone/%61%20b", "/%61%20b"),
    ] {
        assert_eq!(client.get(asked).await.status, 200, "{asked}");
        let head = server.heads().pop().unwrap();
        assert_eq!(head.split(' ').nth(1), Some(seen), "{asked}");
    }
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_usable() {
    let server = Server::start(|head| {
        let field = if head.contains("If-None-Match") || head.contains("if-none-match") {
            "HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n\r\n"
        } else if head.starts_with("HEAD") {
            "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nETag: \"v1\"\r\n\r\n"
        } else if head.starts_with("DELETE") {
            "HTTP/1.1 204 No Content\r\n\r\n"
        } else {
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nETag: \"v1\"\r\n\r\nbody"
        };
        Reply::Keep(field.into())
    })
    .await;
    let stack = origin(&[server.address()], "").start().await;
    let mut client = stack.connect().await;
    for _ in 0..2 {
        let head = ask(&mut client, "HEAD", "").await;
        assert_eq!((head.status, head.field("content-length")), (200, Some("1234")), "{head:?}");
        assert_eq!(head.field("etag"), Some("\"v1\""));
        let unchanged = ask(&mut client, "GET", "If-None-Match: \"v1\"\r\n").await;
        assert_eq!((unchanged.status, unchanged.field("etag")), (304, Some("\"v1\"")));
        let head = ask(&mut client, "HEAD", "If-None-Match: \"v1\"\r\n").await;
        assert_eq!(head.status, 304, "{head:?}");
        let none = ask(&mut client, "DELETE", "").await;
        assert_eq!((none.status, none.field("content-length")), (204, None), "{none:?}");
        assert_eq!(ask(&mut client, "GET", "").await.text(), "body");
    }
    let status = stack.until(|status| status["requests"]["total"] == 10).await;
    assert_eq!(status["connections"]["accepted_total"], 1);
}

#[tokio::test]
async fn an_answer_that_ends_with_the_connection_is_passed_on_whole() {
    let long = "x".repeat(200_000);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n{long}");
    let server = Server::start(move |_| Reply::Close(answer.clone().into())).await;
    let stack = origin(&[server.address()], "").start().await;
    let mut client = stack.connect().await;
    for _ in 0..2 {
        let response = client.get("/").await;
        assert_eq!(response.body.len(), long.len());
        assert!(!response.ended_by_close, "chunks tell where it ends");
    }
}

/// Everything goes to an origin of these servers, with `more` in its table.
pub(crate) fn origin(servers: &[SocketAddr], more: &str) -> Plan {
    let urls: Vec<String> = servers.iter().map(|address| format!("'http://{address}'")).collect();
    Plan::bare().with(&format!(
        "[origin.servers]
         servers = [{}]
         {more}
         [[site]]
         route = [{{ path = '/', origin = 'servers' }}]",
        urls.join(", ")
    ))
}

async fn ask(client: &mut Client, method: &str, fields: &str) -> Response {
    client.send(format!("{method} /x HTTP/1.1\r\nHost: e2e.example\r\n{fields}\r\n")).await;
    let response = client.try_response(method).await;
    response.unwrap_or_else(|error| panic!("{method} {fields:?}: {error}"))
}

/// The values of a field in the head of a request.
pub(crate) fn values<'head>(head: &'head str, name: &str) -> Vec<&'head str> {
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields
        .filter(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect()
}

/// A server that takes one request, however its body is framed, and answers `taken`.
struct Upload {
    address: SocketAddr,
    /// Every byte that came.
    received: JoinSet<Vec<u8>>,
}

impl Upload {
    /// Takes a request whose body, or head, ends in `last`.
    async fn listen(address: SocketAddr, last: &'static [u8]) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut received = JoinSet::new();
        received.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            while !is_whole(&bytes, last) {
                let count = stream.read_buf(&mut bytes).await.unwrap();
                assert!(0 < count, "broken off after {} bytes", bytes.len());
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\ntaken";
            stream.write_all(answer).await.unwrap();
            bytes
        });
        Self { address, received }
    }

    /// The head that came, and the body without its transfer coding.
    async fn request(mut self) -> (String, Vec<u8>) {
        let bytes = timeout(DEADLINE, self.received.join_next()).await.expect("a request came");
        let bytes = bytes.unwrap().unwrap();
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let (head, mut rest) = (String::from_utf8_lossy(&bytes[..end]), &bytes[end + 4..]);
        if values(&head, "transfer-encoding").is_empty() {
            let length = values(&head, "content-length").first().map(|v| v.parse().unwrap());
            assert_eq!(length.unwrap_or(0), rest.len(), "{head}");
            return (head.into_owned(), rest.to_vec());
        }
        assert_eq!(values(&head, "transfer-encoding"), ["chunked"], "{head}");
        assert_eq!(values(&head, "content-length"), [""; 0], "{head}");
        let mut body = Vec::new();
        loop {
            let line = rest.windows(2).position(|window| window == b"\r\n").expect("a size");
            let size = str::from_utf8(&rest[..line]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            let (data, after) = rest[line + 2..].split_at(size);
            body.extend(data);
            rest = after.strip_prefix(b"\r\n").expect("a chunk ends in CRLF");
            if size == 0 {
                assert_eq!(rest, b"", "something after the end");
                return (head.into_owned(), body);
            }
        }
    }
}

/// Whether the last bytes of a request have come, and with chunks their end as well.
fn is_whole(bytes: &[u8], last: &[u8]) -> bool {
    let chunked = [last, b"\r\n0\r\n\r\n"].concat();
    bytes.ends_with(last) || bytes.ends_with(&chunked)
}

#[tokio::test]
async fn counters_of_servers_do_not_go_back_when_the_proxy_is_killed_or_the_origin_changed() {
    let server = Server::start(|_| Reply::text("here")).await;
    let mut stack = origin(&[server.address()], "").start().await;
    let requests = |status: &Value, count: u64| {
        status["origins"]["servers"]["servers"][0]["requests_total"] == count
    };
    stack.get("/").await;
    stack.get("/").await;
    stack.until(|status| requests(status, 2)).await;
    let proxy = stack.proxy().await;
    assert!(process::signal(proxy, rustix::process::Signal::KILL));
    assert_eq!(stack.get("/").await.text(), "here");
    let status = stack.until(|status| requests(status, 3)).await;
    assert_ne!(status["server"]["proxy"]["pid"], proxy);

    stack
        .reload(&format!(
            "[origin.servers]
         servers = ['http://{}']
         retries = 0
         [[site]]
         route = [{{ path = '/', origin = 'servers' }}]",
            server.address()
        ))
        .await;
    assert_eq!(stack.get("/").await.text(), "here");
    stack.until(|status| requests(status, 4)).await;
}
