//! What a Python application is told of a request: its environ, from exact bytes.

use ostler_e2e::{Plan, Stack, python};
use serde_json::Value;

/// A key, and its value; none where it must not be there.
type Told = (&'static str, Option<&'static str>);

/// What a request is about, its bytes, and what the application sees of it.
type Case = (&'static str, &'static str, &'static [Told]);

const CASES: &[Case] = &[
    (
        "a plain request",
        "GET /a/b?c=d&e HTTP/1.1\r\nHost: site.example\r\n\r\n",
        &[
            ("REQUEST_METHOD", Some("GET")),
            ("SCRIPT_NAME", Some("")),
            ("PATH_INFO", Some("/a/b")),
            ("QUERY_STRING", Some("c=d&e")),
            ("REQUEST_URI", Some("/a/b?c=d&e")),
            ("RAW_URI", Some("/a/b?c=d&e")),
            ("SERVER_PROTOCOL", Some("HTTP/1.1")),
            ("SERVER_NAME", Some("site.example")),
            ("SERVER_PORT", Some("80")),
            ("REQUEST_SCHEME", Some("http")),
            ("HTTP_HOST", Some("site.example")),
            ("REMOTE_ADDR", Some("127.0.0.1")),
            ("CONTENT_TYPE", None),
            ("CONTENT_LENGTH", None),
            ("HTTP_CONTENT_TYPE", None),
            ("HTTP_CONTENT_LENGTH", None),
            ("body", Some("")),
        ],
    ),
    (
        "the server",
        "GET / HTTP/1.1\r\nHost: site.example:8443\r\n\r\n",
        &[
            ("wsgi.version", Some("(1, 0)")),
            ("wsgi.url_scheme", Some("http")),
            ("wsgi.multithread", Some("True")),
            ("wsgi.multiprocess", Some("True")),
            ("wsgi.run_once", Some("False")),
            ("wsgi.input_terminated", Some("True")),
            ("mod_wsgi.process_group", Some("web")),
            ("mod_wsgi.application_group", Some("")),
            ("SERVER_NAME", Some("site.example")),
            ("SERVER_PORT", Some("8443")),
            ("QUERY_STRING", Some("")),
        ],
    ),
    (
        "escapes in the path are decoded to bytes, each a letter of latin-1",
        "GET /%E2%82%AC%2Fx//y%20z/%C3%A9?q=%E2%82%AC%2F HTTP/1.1\r\nHost: a\r\n\r\n",
        &[
            ("PATH_INFO", Some("/\u{e2}\u{82}\u{ac}/x//y z/\u{c3}\u{a9}")),
            ("REQUEST_URI", Some("/%E2%82%AC%2Fx//y%20z/%C3%A9?q=%E2%82%AC%2F")),
            ("RAW_URI", Some("/%E2%82%AC%2Fx//y%20z/%C3%A9?q=%E2%82%AC%2F")),
            ("QUERY_STRING", Some("q=%E2%82%AC%2F")),
        ],
    ),
    (
        "an empty query",
        "GET /a? HTTP/1.1\r\nHost: a\r\n\r\n",
        &[("QUERY_STRING", Some("")), ("REQUEST_URI", Some("/a?")), ("PATH_INFO", Some("/a"))],
    ),
    (
        "an absolute target",
        "GET http://b.example/c?d HTTP/1.1\r\nHost: b.example\r\n\r\n",
        &[("PATH_INFO", Some("/c")), ("QUERY_STRING", Some("d")), ("HTTP_HOST", Some("b.example"))],
    ),
    (
        "fields",
        "GET / HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nx-one: 2\r\nCookie: a=1\r\nCookie: b=2\r\n\
         Authorization: Basic eDp5\r\nX-Empty:\r\nX-Latin: \u{e9}\r\nX_Under: 1\r\n\
         Proxy: http://evil.example/\r\nX-Two:  a \t b  \r\n\r\n",
        &[
            ("HTTP_X_ONE", Some("1, 2")),
            ("HTTP_COOKIE", Some("a=1; b=2")),
            ("HTTP_AUTHORIZATION", Some("Basic eDp5")),
            ("HTTP_X_EMPTY", Some("")),
            // Sent as UTF-8: two bytes, each a letter of latin-1.
            ("HTTP_X_LATIN", Some("\u{c3}\u{a9}")),
            ("HTTP_X_UNDER", None),
            ("HTTP_PROXY", None),
            ("HTTP_X_TWO", Some("a \t b")),
        ],
    ),
    (
        "a body with its length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc",
        &[
            ("REQUEST_METHOD", Some("POST")),
            ("CONTENT_TYPE", Some("text/plain")),
            ("CONTENT_LENGTH", Some("3")),
            ("HTTP_CONTENT_TYPE", None),
            ("HTTP_CONTENT_LENGTH", None),
            ("body", Some("abc")),
        ],
    ),
    (
        "a body in chunks has its length once it is all there",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        &[
            ("CONTENT_LENGTH", Some("5")),
            ("HTTP_TRANSFER_ENCODING", None),
            ("HTTP_CONTENT_LENGTH", None),
            ("wsgi.input_terminated", Some("True")),
            ("body", Some("abcde")),
        ],
    ),
    (
        "an empty body",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        &[("CONTENT_LENGTH", Some("0")), ("body", Some(""))],
    ),
    (
        "a body that is passed on in chunks has no length",
        "POST / HTTP/1.1\r\nHost: streamed.example\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\n\r\n",
        &[
            ("CONTENT_LENGTH", None),
            ("HTTP_TRANSFER_ENCODING", None),
            ("wsgi.input_terminated", Some("True")),
            ("body", Some("abc")),
        ],
    ),
    (
        "what an untrusted client says of who it is",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\
         Forwarded: for=203.0.113.9;proto=https\r\nX-Forwarded-Host: b.example\r\n\r\n",
        &[
            ("REMOTE_ADDR", Some("127.0.0.1")),
            ("wsgi.url_scheme", Some("http")),
            ("REQUEST_SCHEME", Some("http")),
            ("HTTP_HOST", Some("a")),
            ("HTTP_X_FORWARDED_FOR", Some("127.0.0.1")),
        ],
    ),
];

/// A client of an older protocol.
const OLD: &[Case] = &[(
    "a client of HTTP/1.0",
    "PROPFIND / HTTP/1.0\r\n\r\n",
    &[("SERVER_PROTOCOL", Some("HTTP/1.0")), ("REQUEST_METHOD", Some("PROPFIND")), ("HTTPS", None)],
)];

/// The same for clients that are believed.
const TRUSTED: &[Case] = &[
    (
        "a trusted proxy says who the client is",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\
         \r\n",
        &[
            ("REMOTE_ADDR", Some("203.0.113.9")),
            ("wsgi.url_scheme", Some("https")),
            ("REQUEST_SCHEME", Some("https")),
            ("HTTPS", Some("on")),
            ("SERVER_PORT", Some("443")),
        ],
    ),
    (
        "a trusted proxy names what is no address",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: unknown\r\n\r\n",
        &[("REMOTE_ADDR", Some(""))],
    ),
    (
        "a trusted proxy spells an address in its own way",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 2001:DB8:0::1\r\n\r\n",
        &[("REMOTE_ADDR", Some("2001:db8::1"))],
    ),
    (
        "a trusted proxy says nothing",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        &[("REMOTE_ADDR", Some("127.0.0.1")), ("wsgi.url_scheme", Some("http"))],
    ),
];

/// An application that is mounted at `/shop`.
const MOUNTED: &[Case] = &[
    (
        "inside of the mount",
        "GET /shop/caf%C3%A9?a HTTP/1.1\r\nHost: a\r\n\r\n",
        &[
            ("SCRIPT_NAME", Some("/shop")),
            ("PATH_INFO", Some("/caf\u{c3}\u{a9}")),
            ("REQUEST_URI", Some("/shop/caf%C3%A9?a")),
        ],
    ),
    (
        "the mount itself",
        "GET /shop HTTP/1.1\r\nHost: a\r\n\r\n",
        &[("SCRIPT_NAME", Some("/shop")), ("PATH_INFO", Some(""))],
    ),
    (
        "the mount with a slash",
        "GET /shop/ HTTP/1.1\r\nHost: a\r\n\r\n",
        &[("SCRIPT_NAME", Some("/shop")), ("PATH_INFO", Some("/"))],
    ),
    (
        "outside of the mount",
        "GET /shopping/a HTTP/1.1\r\nHost: a\r\n\r\n",
        &[("SCRIPT_NAME", Some("")), ("PATH_INFO", Some("/shopping/a"))],
    ),
];

fn plan() -> Plan {
    python::subject("environ.py").with(
        "[[site]]
         route = [{ path = '/', pool = 'web' }]
         [[site]]
         hosts = ['streamed.example']
         route = [{ path = '/', pool = 'web', request-buffering = false }]",
    )
}

#[tokio::test]
async fn the_environ_tells_what_the_client_sent() {
    let stack = plan().start().await;
    check(&stack, CASES).await;
    check(&stack, OLD).await;
    stack.stop().await.expect_no_errors_logged();
}

#[tokio::test]
async fn a_trusted_proxy_is_believed() {
    let stack = plan().with("proxies.trusted = ['127.0.0.0/8']").start().await;
    check(&stack, TRUSTED).await;
}

#[tokio::test]
async fn an_application_is_mounted_below_a_path() {
    let stack = plan().with("pool.web.mount = '/shop'").start().await;
    check(&stack, MOUNTED).await;
}

#[tokio::test]
async fn the_callable_has_its_name_where_none_is_given() {
    for wsgi in ["environ", "./site/environ.py", "environ:application"] {
        let stack = plan().with(&format!("pool.web.wsgi = '{wsgi}'")).start().await;
        let told = stack.get("/").await.json();
        assert_eq!(told["mod_wsgi.callable_object"], "application", "{wsgi}");
    }
}

#[tokio::test]
async fn the_environ_tells_of_the_pool() {
    let stack = plan().with("pool.web = { processes = 2, threads = 1 }").start().await;
    let told = stack.get("/").await.json();
    assert_eq!(told["wsgi.multithread"], "False");
    assert_eq!(told["wsgi.multiprocess"], "True");
    for key in ["wsgi.input", "wsgi.errors", "wsgi.file_wrapper", "mod_wsgi.version"] {
        assert!(told.get(key).is_some(), "{key}: {told}");
    }
}

async fn check(stack: &Stack, cases: &[Case]) {
    let mut wrong = Vec::new();
    for (about, bytes, expected) in cases {
        let answer = stack.connect().await.exchange(bytes).await;
        assert_eq!(answer.status, 200, "{about}: {}", answer.text());
        let told = answer.json();
        let differs = |(key, value): &&Told| told.get(key).and_then(Value::as_str) != *value;
        let found = expected.iter().filter(differs);
        wrong.extend(found.map(|(key, value)| {
            format!("{about}: {key} is {:?}, and not {value:?}", told.get(key))
        }));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
