//! The requests that are counted. Changing one makes its record worthless: give it a new name.

/// One kind of request, and what it is answered with.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    head: &'static str,
    body_bytes: usize,
    pub(crate) status: u16,
    /// Why it may be answered otherwise; empty: it may not.
    pub(crate) unless: &'static str,
}

impl Measured {
    /// As it is sent.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let head = self.head.replace('\n', "\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(b"\r\n\r\n");
        bytes.resize(bytes.len() + self.body_bytes, b'x');
        bytes
    }
}

/// All of them, on kept connections.
pub(crate) const REQUESTS: &[Measured] = &[
    Measured {
        name: "get",
        head: "GET / HTTP/1.1\nHost: bench.example",
        body_bytes: 0,
        status: 200,
        unless: "",
    },
    Measured { name: "get-browser", head: BROWSER, body_bytes: 0, status: 200, unless: "" },
    Measured {
        name: "post-4k",
        head: "POST /submit HTTP/1.1\nHost: bench.example\nContent-Type: application/json\n\
            Content-Length: 4096",
        body_bytes: 4096,
        status: 200,
        unless: "",
    },
    Measured {
        name: "file-1k",
        head: "GET /static/file.txt HTTP/1.1\nHost: bench.example",
        body_bytes: 0,
        status: 200,
        unless: "skipped, this version of valgrind does not know openat2",
    },
    Measured {
        name: "not-found",
        head: "GET /nothing HTTP/1.1\nHost: few.example",
        body_bytes: 0,
        status: 404,
        unless: "",
    },
    Measured {
        name: "get-of-10-routes",
        head: "GET /route/7 HTTP/1.1\nHost: few.example",
        body_bytes: 0,
        status: 200,
        unless: "",
    },
    Measured {
        name: "get-of-10000-routes",
        head: "GET /route/7 HTTP/1.1\nHost: many.example",
        body_bytes: 0,
        status: 200,
        unless: "",
    },
];

/// What a browser sends: sixteen fields.
const BROWSER: &str = "\
GET /problems/two-sum?sort=new HTTP/1.1
Host: bench.example
Connection: keep-alive
sec-ch-ua: \"Chromium\";v=\"128\", \"Not;A=Brand\";v=\"24\"
sec-ch-ua-mobile: ?0
sec-ch-ua-platform: \"Linux\"
Upgrade-Insecure-Requests: 1
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8
Sec-Fetch-Site: same-origin
Sec-Fetch-Mode: navigate
Sec-Fetch-User: ?1
Sec-Fetch-Dest: document
Referer: http://bench.example/problems
Accept-Encoding: gzip, deflate, br, zstd
Accept-Language: en-GB,en;q=0.9
Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; seen=1";
