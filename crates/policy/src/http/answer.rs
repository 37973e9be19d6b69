//! The head of an answer: read from a worker, written to a client (RFC 9112 §4).
//!
//! Strict towards workers too: an answer that could be read in two ways is not passed on.

use std::mem::MaybeUninit;

use super::fields::{Field, FieldSpan, Known, Span, members, recognise};
use super::framing::{Framing, stated_framing};
use super::head::{MAX_FIELDS, Version};
use super::server_timing::Reported;

/// The largest head of an answer, in bytes: room for many cookies.
pub const MAX_HEAD_BYTES: usize = 65_536;

/// Why an answer cannot be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer {0}")]
pub struct AnswerInvalid(&'static str);

/// Positions of the parts of one answer's head.
#[derive(Debug)]
pub struct AnswerIndex {
    status: u16,
    version: Version,
    reason: Span,
    fields: Vec<FieldSpan>,
}

impl Default for AnswerIndex {
    fn default() -> Self {
        Self { status: 0, version: Version::Http11, reason: Span::EMPTY, fields: Vec::new() }
    }
}

/// A head that was read: how long it is, and how its body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Bytes the head takes.
    pub length: usize,
    /// Status code, 100 to 999.
    pub status: u16,
    /// Where its body ends.
    pub framing: Framing,
    /// Whether the connection can be used again afterwards.
    pub keeps_connection: bool,
}

impl AnswerIndex {
    /// Reads the head at the beginning of `bytes`; `None` while it is incomplete.
    ///
    /// `to_head` says that the request was `HEAD`, whose answer has no body.
    ///
    /// # Errors
    ///
    /// For a malformed, oversized or ambiguous head.
    pub fn parse(&mut self, bytes: &[u8], to_head: bool) -> Result<Option<Answer>, AnswerInvalid> {
        let mut room = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut []);
        let parser = httparse::ParserConfig::default();
        let length =
            match parser.parse_response_with_uninit_headers(&mut response, bytes, &mut room) {
                Ok(httparse::Status::Complete(length)) => length,
                Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD_BYTES => return Ok(None),
                Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                    return Err(AnswerInvalid("has too large a head"));
                }
                Err(_) => return Err(AnswerInvalid("has a malformed head")),
            };
        let head = bytes.get(..length).unwrap_or_default();
        if has_bare_line_feed(head) {
            return Err(AnswerInvalid("has a line that ends in a bare LF"));
        }
        let (Some(status), Some(version)) = (response.code, response.version) else {
            return Err(AnswerInvalid("has a malformed head"));
        };
        self.status = status;
        self.version = if version == 0 { Version::Http10 } else { Version::Http11 };
        self.reason = Span::of(response.reason.unwrap_or_default().as_bytes(), bytes);
        self.fields.clear();
        self.fields.extend(response.headers.iter().map(|field| FieldSpan {
            known: recognise(field.name.as_bytes()),
            name: Span::of(field.name.as_bytes(), bytes),
            value: Span::of(field.value, bytes),
        }));
        self.decide(bytes, length, to_head).map(Some)
    }

    fn decide(&self, bytes: &[u8], length: usize, to_head: bool) -> Result<Answer, AnswerInvalid> {
        if !(100..=599).contains(&self.status) || self.status == 101 {
            return Err(AnswerInvalid("has a status that cannot be passed on"));
        }
        let stated = stated_framing(self.fields(bytes))
            .map_err(|_ambiguous| AnswerInvalid("has an ambiguous length"))?;
        if self.version == Version::Http10 && stated == Some(Framing::Chunked) {
            return Err(AnswerInvalid("has chunked coding in HTTP/1.0"));
        }
        let has_body = !to_head && self.status >= 200 && !matches!(self.status, 204 | 304);
        let framing = if has_body { stated.unwrap_or(Framing::UntilClose) } else { Framing::Empty };
        let tokens = || {
            self.fields(bytes)
                .filter(|field| field.known == Known::Connection)
                .flat_map(|field| members(field.value))
        };
        let keeps_connection = framing != Framing::UntilClose
            && match self.version {
                Version::Http11 => !tokens().any(|token| token.eq_ignore_ascii_case(b"close")),
                Version::Http10 => tokens().any(|token| token.eq_ignore_ascii_case(b"keep-alive")),
            };
        Ok(Answer { length, status: self.status, framing, keeps_connection })
    }

    /// Every field in the order sent; `bytes` must be those that were parsed.
    pub fn fields<'b>(&'b self, bytes: &'b [u8]) -> impl Iterator<Item = Field<'b>> {
        self.fields.iter().map(move |field| Field {
            known: field.known,
            name: field.name.within(bytes),
            value: field.value.within(bytes),
        })
    }

    /// What the answer says that it cost; `bytes` must be those that were parsed.
    #[must_use]
    pub fn reported(&self, bytes: &[u8]) -> Option<Reported> {
        let mut fields = self.fields.iter().filter(|field| field.known == Known::ServerTiming);
        let mut reported = Reported::default();
        reported.add_field(fields.next()?.value.within(bytes));
        fields.for_each(|field| reported.add_field(field.value.within(bytes)));
        Some(reported)
    }

    /// Writes this head for the client: without what concerns the worker's connection alone.
    pub fn write(&self, bytes: &[u8], out: &mut Vec<u8>, to_client: &ToClient<'_>) {
        write_status_line(out, self.status, self.reason.within(bytes));
        let mut has_date = false;
        for field in self.fields(bytes) {
            has_date |= field.known == Known::Date;
            if self.is_passed_on(&field, bytes, to_client) {
                write_field(out, field.name, field.value);
            }
        }
        if !has_date {
            write_field(out, b"date", to_client.date);
        }
        to_client.write_framing(out);
        out.extend_from_slice(b"\r\n");
    }

    fn is_passed_on(&self, field: &Field<'_>, bytes: &[u8], to_client: &ToClient<'_>) -> bool {
        match field.known {
            Known::Connection | Known::HopByHop | Known::TransferEncoding | Known::Upgrade => false,
            // 204 has no length to state (RFC 9110 §8.6).
            Known::ContentLength => to_client.body != ClientBody::Chunked && self.status != 204,
            Known::Date
            | Known::Expect
            | Known::Host
            | Known::RequestId
            | Known::Forwarded
            | Known::ForwardedFor
            | Known::ForwardedProto
            | Known::ForwardedHost
            | Known::ServerTiming
            | Known::Other => !self.is_nominated(field.name, bytes),
        }
    }

    /// Whether `Connection` says that this field ends here (RFC 9110 §7.6.1).
    fn is_nominated(&self, name: &[u8], bytes: &[u8]) -> bool {
        self.fields(bytes)
            .filter(|field| field.known == Known::Connection)
            .any(|field| members(field.value).any(|member| member.eq_ignore_ascii_case(name)))
    }
}

/// What the client is told about body and connection.
#[derive(Clone, Copy, Debug)]
pub struct ToClient<'b> {
    /// How the body is framed towards it.
    pub body: ClientBody,
    /// The version of its request.
    pub version: Version,
    /// Whether its connection closes after this answer.
    pub closes: bool,
    /// The value for `Date`, when the answer has none.
    pub date: &'b [u8],
}

/// How a body is framed towards the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientBody {
    /// By the length that the head states, or without a body.
    AsStated,
    /// Chunked.
    Chunked,
    /// By closing the connection: HTTP/1.0 and no length.
    UntilClose,
}

impl ClientBody {
    /// Chooses the framing towards a client of `version` for an answer framed so.
    #[must_use]
    pub fn choose(framing: Framing, version: Version) -> Self {
        match (framing, version) {
            (Framing::Empty | Framing::Length(_), _) => Self::AsStated,
            (Framing::Chunked | Framing::UntilClose, Version::Http11) => Self::Chunked,
            (Framing::Chunked | Framing::UntilClose, Version::Http10) => Self::UntilClose,
        }
    }
}

impl ToClient<'_> {
    /// Writes `Transfer-Encoding` and `Connection` as this answer needs them.
    pub fn write_framing(&self, out: &mut Vec<u8>) {
        if self.body == ClientBody::Chunked {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        if self.closes {
            out.extend_from_slice(b"connection: close\r\n");
        } else if self.version == Version::Http10 {
            out.extend_from_slice(b"connection: keep-alive\r\n");
        }
    }
}

/// Writes the status line; the version is always our own (RFC 9110 §2.5).
pub fn write_status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    for place in [100, 10, 1] {
        let digit = status.checked_div(place).unwrap_or_default() % 10;
        out.push(b'0'.saturating_add(u8::try_from(digit).unwrap_or_default()));
    }
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

/// Writes one field.
pub fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn has_bare_line_feed(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head)
        .any(|at| at.checked_sub(1).and_then(|before| head.get(before)) != Some(&b'\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &str) -> Result<Option<Answer>, AnswerInvalid> {
        AnswerIndex::default().parse(bytes.as_bytes(), false)
    }

    #[test]
    fn the_framing_of_an_answer_follows_rfc_9112() {
        let framing = |bytes: &str| parse(bytes).map(|answer| answer.unwrap().framing);
        let with = |fields: &str| framing(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
        assert_eq!(with("content-length: 5\r\n"), Ok(Framing::Length(5)));
        assert_eq!(with("transfer-encoding: chunked\r\n"), Ok(Framing::Chunked));
        assert_eq!(with(""), Ok(Framing::UntilClose));
        assert_eq!(framing("HTTP/1.1 204 No Content\r\n\r\n"), Ok(Framing::Empty));
        assert_eq!(framing("HTTP/1.1 304 Not\r\ncontent-length: 9\r\n\r\n"), Ok(Framing::Empty));
        assert_eq!(framing("HTTP/1.1 100 Continue\r\n\r\n"), Ok(Framing::Empty));
    }

    #[test]
    fn ambiguous_answers_are_not_passed_on() {
        for bytes in [
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
            "HTTP/1.1 200 OK\ncontent-length: 5\r\n\r\n",
            "HTTP/1.1 101 Switching\r\n\r\n",
            "HTTP/1.1 600 What\r\n\r\n",
            "garbage\r\n\r\n",
        ] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
        assert_eq!(parse("HTTP/1.1 200 OK\r\ncontent"), Ok(None));
    }

    #[test]
    fn a_connection_is_kept_unless_the_worker_says_otherwise() {
        let keeps = |bytes: &str| parse(bytes).unwrap().unwrap().keeps_connection;
        assert!(keeps("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
        assert!(!keeps("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: x, Close\r\n\r\n"));
        assert!(!keeps("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n"));
        assert!(keeps("HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n"));
        assert!(!keeps("HTTP/1.1 200 OK\r\n\r\n"));
    }

    #[test]
    fn the_client_gets_the_head_without_what_ends_at_the_proxy() {
        let bytes = b"HTTP/1.1 200 Fine\r\nDate: x\r\nConnection: x-a, close\r\nX-A: 1\r\n\
            Keep-Alive: 5\r\nTransfer-Encoding: chunked\r\nX-B: 2\r\n\r\n";
        let mut index = AnswerIndex::default();
        let answer = index.parse(bytes, false).unwrap().unwrap();
        let body = ClientBody::choose(answer.framing, Version::Http11);
        let to_client = ToClient { body, version: Version::Http11, closes: true, date: b"now" };
        let mut out = Vec::new();
        index.write(bytes, &mut out, &to_client);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 200 Fine\r\nDate: x\r\nX-B: 2\r\ntransfer-encoding: chunked\r\n\
             connection: close\r\n\r\n"
        );
    }

    #[test]
    fn a_reason_phrase_that_is_not_ascii_is_left_out() {
        let bytes = b"HTTP/1.1 200 O\xbdK\r\ncontent-length: 0\r\n\r\n";
        let mut index = AnswerIndex::default();
        index.parse(bytes, false).unwrap();
        let to_client = ToClient {
            body: ClientBody::AsStated,
            version: Version::Http11,
            closes: false,
            date: b"now",
        };
        let mut out = Vec::new();
        index.write(bytes, &mut out, &to_client);
        assert!(out.starts_with(b"HTTP/1.1 200 \r\n"), "{out:?}");
    }

    #[test]
    fn a_date_is_added_where_the_worker_sent_none() {
        let bytes = b"HTTP/1.1 200 \r\ncontent-length: 3\r\n\r\n";
        let mut index = AnswerIndex::default();
        index.parse(bytes, false).unwrap();
        let to_client = ToClient {
            body: ClientBody::AsStated,
            version: Version::Http10,
            closes: false,
            date: b"now",
        };
        let mut out = Vec::new();
        index.write(bytes, &mut out, &to_client);
        let expected =
            "HTTP/1.1 200 \r\ncontent-length: 3\r\ndate: now\r\nconnection: keep-alive\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
