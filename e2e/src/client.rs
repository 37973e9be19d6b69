//! A client that says exactly the bytes it is told to, and reads answers strictly.
//!
//! It repairs nothing: an answer that breaks RFC 9112 or ends too early is a [`ReadError`], so
//! that a truncated answer can never look complete to a test.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::DEADLINE;

/// One raw connection to a listener.
#[derive(Debug)]
pub struct Client {
    writer: OwnedWriteHalf,
    answers: Answers,
}

/// The answers that come on one connection, in order.
#[derive(Debug)]
pub struct Answers {
    reader: OwnedReadHalf,
    buffer: Vec<u8>,
    /// Whether the head of an answer was read and its body was not, or not yet.
    is_inside: bool,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names in lower case, in order of arrival.
    pub fields: Vec<(String, String)>,
    /// The body, without its transfer coding.
    pub body: Vec<u8>,
    /// Whether only the end of the connection ended the body.
    pub ended_by_close: bool,
}

/// Why there is no whole answer.
#[derive(Debug)]
pub enum ReadError {
    /// The connection ended before the first byte of an answer.
    Closed,
    /// The connection ended inside an answer.
    Truncated(String),
    /// The answer breaks RFC 9112.
    Malformed(String),
    /// The connection broke, such as by a reset.
    Broken(io::Error),
    /// Nothing came for as long as [`DEADLINE`].
    Deadline(String),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => write!(f, "closed without an answer"),
            Self::Truncated(so_far) => write!(f, "closed inside an answer, after {so_far:?}"),
            Self::Malformed(what) => write!(f, "malformed answer: {what}"),
            Self::Broken(error) => write!(f, "connection broke: {error}"),
            Self::Deadline(so_far) => write!(f, "no answer in time, only {so_far:?}"),
        }
    }
}

impl Response {
    /// The value of a field that is there once, named in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(field, _)| field == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is there twice: {:?}", self.fields);
        value
    }

    /// The reason word of an answer that the proxy made.
    pub fn reason(&self) -> Option<&str> {
        self.field("x-ostler-reason")
    }

    /// Whether the server says that it closes the connection after this answer.
    pub fn closes(&self) -> bool {
        let words = self.field("connection").unwrap_or_default().split(',');
        words.map(str::trim).any(|word| word.eq_ignore_ascii_case("close"))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        let json = serde_json::from_slice(&self.body);
        json.unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    /// Status and reason in one word pair, such as `503 queue-full`, for tallies and messages.
    pub fn verdict(&self) -> String {
        format!("{} {}", self.status, self.reason().unwrap_or("-"))
    }

    /// Fails the test unless the proxy gave this answer for this reason.
    #[track_caller]
    pub fn expect_reason(&self, status: u16, reason: &str) {
        assert_eq!(self.verdict(), format!("{status} {reason}"), "{self:?}");
    }
}

impl Client {
    /// Connects, and sends small pieces at once.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = timeout(DEADLINE, TcpStream::connect(address)).await;
        Self::over(stream.expect("connected in time").expect("connected"))
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// Nobody listens there, or does not accept.
    pub async fn try_connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::over(timeout(DEADLINE, TcpStream::connect(address)).await??))
    }

    /// The answers, apart from what is sent.
    pub fn answers(&mut self) -> &mut Answers {
        &mut self.answers
    }

    /// Connects from an address of our choice, such as 127.0.0.2.
    pub async fn connect_from(local: IpAddr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(local, 0)).expect("bound to an address of this machine");
        Self::over(socket.connect(address).await.expect("connected"))
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP has this option");
        let (reader, writer) = stream.into_split();
        Self { writer, answers: Answers { reader, buffer: Vec::new(), is_inside: false } }
    }

    /// Sends bytes; fails the test when the other side takes them no longer.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.expect("sent");
    }

    /// Sends bytes.
    ///
    /// # Errors
    ///
    /// The other side closed the connection or takes nothing.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        timeout(DEADLINE, self.writer.write_all(bytes.as_ref())).await?
    }

    /// Ends our side of the connection; answers can still be read.
    pub async fn half_close(&mut self) {
        self.writer.shutdown().await.expect("our side ends");
    }

    /// Sends `GET path` with a Host field and reads the answer.
    pub async fn get(&mut self, path: &str) -> Response {
        self.send(request("GET", path)).await;
        self.response().await
    }

    /// Sends bytes and reads one answer at the same time, as a long body both ways needs.
    pub async fn exchange(&mut self, bytes: impl AsRef<[u8]>) -> Response {
        let sent = self.writer.write_all(bytes.as_ref());
        let (sent, response) = tokio::join!(sent, self.answers.read("GET"));
        let response = response.unwrap_or_else(|error| panic!("{error}"));
        sent.expect("sent");
        response
    }

    /// Reads one final answer to a request that was not HEAD; skips interim ones.
    #[track_caller]
    pub fn response(&mut self) -> impl Future<Output = Response> {
        let caller = std::panic::Location::caller();
        async move {
            let response = self.answers.read("GET").await;
            response.unwrap_or_else(|error| panic!("{caller}: {error}"))
        }
    }

    /// Reads one final answer to a request with this method; skips interim ones.
    ///
    /// # Errors
    ///
    /// There is no whole and well-formed answer.
    pub async fn try_response(&mut self, method: &str) -> Result<Response, ReadError> {
        self.answers.read(method).await
    }

    /// Fails the test unless the connection ends here, with no further byte.
    #[track_caller]
    pub fn closed(&mut self) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            self.answers.end().await.unwrap_or_else(|error| panic!("{caller}: {error}"));
        }
    }
}

impl Answers {
    /// Whether bytes of an answer have come that was not read to its end.
    pub fn has_begun(&self) -> bool {
        self.is_inside || !self.buffer.is_empty()
    }

    /// Reads one final answer to a request with this method; skips interim ones.
    ///
    /// # Errors
    ///
    /// There is no whole and well-formed answer.
    pub async fn read(&mut self, method: &str) -> Result<Response, ReadError> {
        loop {
            let response = self.read_any(method == "HEAD").await?;
            if response.status >= 200 {
                return Ok(response);
            }
        }
    }

    /// Reads one answer, interim or final; `bodyless` when the request was HEAD.
    ///
    /// # Errors
    ///
    /// There is no whole and well-formed answer.
    pub async fn read_any(&mut self, bodyless: bool) -> Result<Response, ReadError> {
        let mut response = self.head().await?;
        self.is_inside = true;
        let coding = response.field("transfer-encoding").map(str::to_owned);
        let length = response.field("content-length").map(str::to_owned);
        match (coding.as_deref(), length) {
            _ if bodyless || matches!(response.status, 100..=199 | 204 | 304) => {}
            (Some("chunked"), None) => response.body = self.chunks().await?,
            (None, Some(length)) => {
                let length = length.parse().map_err(|error| malformed(&length, &error))?;
                self.fill(length).await?;
                response.body = self.buffer.drain(..length).collect();
            }
            (None, None) => {
                while self.more().await? {}
                response.body = std::mem::take(&mut self.buffer);
                response.ended_by_close = true;
            }
            (coding, length) => {
                return Err(ReadError::Malformed(format!("framing {coding:?} and {length:?}")));
            }
        }
        self.is_inside = false;
        Ok(response)
    }

    /// Waits for the end of the connection; a reset is an end as well.
    ///
    /// # Errors
    ///
    /// More bytes came, or the connection is open still after [`DEADLINE`].
    pub async fn end(&mut self) -> Result<(), String> {
        match self.more().await {
            _ if !self.buffer.is_empty() => Err(format!("got {:?}", self.so_far())),
            Ok(true) => Err("got bytes".to_owned()),
            Ok(false) | Err(ReadError::Broken(_)) => Ok(()),
            Err(error) => Err(format!("still open: {error}")),
        }
    }

    /// Reads the head of an answer, and leaves its body in the buffer.
    ///
    /// # Errors
    ///
    /// There is no whole and well-formed head.
    pub async fn head(&mut self) -> Result<Response, ReadError> {
        let mut end = find(&self.buffer, b"\r\n\r\n");
        while end.is_none() {
            let nothing = self.buffer.is_empty();
            if !self.more().await? {
                let truncated = ReadError::Truncated(self.so_far());
                return Err(if nothing { ReadError::Closed } else { truncated });
            }
            end = find(&self.buffer, b"\r\n\r\n");
        }
        let head: Vec<u8> = self.buffer.drain(..end.unwrap_or_default() + 4).collect();
        parse_head(&head)
    }

    /// Reads some of a body, whatever its coding; empty at the end of the connection.
    ///
    /// # Errors
    ///
    /// The connection broke, or nothing came.
    pub async fn some(&mut self) -> Result<Vec<u8>, ReadError> {
        if self.buffer.is_empty() {
            self.more().await?;
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    async fn chunks(&mut self) -> Result<Vec<u8>, ReadError> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let size = usize::from_str_radix(&line, 16);
            let size = size.map_err(|error| malformed(&line, &error))?;
            if size == 0 {
                break;
            }
            self.fill(size + 2).await?;
            body.extend(self.buffer.drain(..size));
            let end: Vec<u8> = self.buffer.drain(..2).collect();
            if end != b"\r\n" {
                return Err(ReadError::Malformed(format!("chunk ends in {end:?}")));
            }
        }
        while !self.line().await?.is_empty() {}
        Ok(body)
    }

    async fn line(&mut self) -> Result<String, ReadError> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.fill(self.buffer.len() + 1).await?;
        }
    }

    /// Reads until so many bytes are there.
    async fn fill(&mut self, length: usize) -> Result<(), ReadError> {
        while self.buffer.len() < length {
            if !self.more().await? {
                return Err(ReadError::Truncated(self.so_far()));
            }
        }
        Ok(())
    }

    /// Reads once; false at the end of the connection.
    async fn more(&mut self) -> Result<bool, ReadError> {
        match timeout(DEADLINE, self.reader.read_buf(&mut self.buffer)).await {
            Ok(Ok(count)) => Ok(0 < count),
            Ok(Err(error)) => Err(ReadError::Broken(error)),
            Err(_) => Err(ReadError::Deadline(self.so_far())),
        }
    }

    fn so_far(&self) -> String {
        let shown = &self.buffer[..self.buffer.len().min(300)];
        String::from_utf8_lossy(shown).into_owned()
    }
}

/// A request without a body.
pub fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: e2e.example\r\n\r\n")
}

fn parse_head(head: &[u8]) -> Result<Response, ReadError> {
    let head = String::from_utf8_lossy(head);
    let bad = |what: &str| ReadError::Malformed(format!("{what}: {head:?}"));
    let mut lines = head.trim_end_matches("\r\n").split("\r\n");
    let mut first = lines.next().unwrap_or_default().splitn(3, ' ');
    if !matches!(first.next(), Some("HTTP/1.1" | "HTTP/1.0")) {
        return Err(bad("version"));
    }
    let status = first.next().filter(|code| code.len() == 3).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| bad("status"))?;
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| bad("field"))?;
        if name.is_empty() || name.contains(' ') || line.contains(['\r', '\n', '\0']) {
            return Err(bad("field"));
        }
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(Response { status, fields, body: Vec::new(), ended_by_close: false })
}

fn malformed(what: &str, error: &std::num::ParseIntError) -> ReadError {
    ReadError::Malformed(format!("{what:?}: {error}"))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
