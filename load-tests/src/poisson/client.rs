//! One connection of the generator: a request at a time, written at once, its answer read as it
//! comes.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// Fields of an answer that are looked at, at most.
const FIELDS_MAX: usize = 32;

/// A kept connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: TcpStream,
    received: Vec<u8>,
    head: Option<Head>,
}

/// What the head of an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) service_us: u64,
    pub(super) is_last: bool,
    /// Bytes of head and body together.
    length: usize,
}

/// How far an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Nothing,
    Begun,
    Complete(Head),
    /// The connection ended without a whole answer.
    Broken,
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, received: Vec::with_capacity(1024), head: None })
    }

    /// Sends a request. It is far smaller than a socket's buffer, so it goes in one piece.
    pub(super) fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.received.clear();
        self.head = None;
        self.stream.write_all(request)
    }

    /// Reads what has come.
    pub(super) fn receive(&mut self) -> Progress {
        let mut piece = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return Progress::Broken,
                Ok(count) => self.received.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Progress::Broken,
            }
        }
        if self.head.is_none() {
            match parse(&self.received) {
                Ok(head) => self.head = head,
                Err(_) => return Progress::Broken,
            }
        }
        match self.head {
            Some(head) if head.length <= self.received.len() => Progress::Complete(head),
            _ if self.received.is_empty() => Progress::Nothing,
            _ => Progress::Begun,
        }
    }
}

/// The head, once it is all there. An answer has to say its length.
fn parse(received: &[u8]) -> Result<Option<Head>, httparse::Error> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head_length) = response.parse(received)? else {
        return Ok(None);
    };
    let field = |name: &str| {
        let mut fields = response.headers.iter();
        let field = fields.find(|field| field.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(field.value).ok()
    };
    let number = |name: &str| field(name).and_then(|value| value.parse::<u64>().ok());
    let body = number("content-length").and_then(|length| usize::try_from(length).ok());
    let body = body.ok_or(httparse::Error::Status)?;
    Ok(Some(Head {
        status: response.code.unwrap_or_default(),
        service_us: number("x-service-us").unwrap_or_default(),
        is_last: field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
        length: head_length + body,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_when_its_body_is() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Service-Us: 51\r\n\r\n";
        let head = parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!((head.status, head.service_us, head.is_last), (200, 51, false));
        assert_eq!(head.length, text.len() + 5);
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nContent-Le"), Ok(None));
        let head = parse(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        assert!(head.unwrap().unwrap().is_last);
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
