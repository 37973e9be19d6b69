//! The head of a response, as it is written: a status line and fields.
//!
//! For who makes it piece by piece, such as an interpreter. Over the ring link its bytes go out as
//! they are; for a connection the types of `http` are made of it.

use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{StatusCode, response};
use hyper::ext::ReasonPhrase;

/// Room that most heads do with, in bytes.
const USUAL_BYTES: usize = 256;

/// Most bytes and fields: what the proxy takes as a head, less what the link may add.
const MAX_BYTES: usize = 63 * 1024;
const MAX_FIELDS: usize = 250;

/// Something that cannot be in the head of a response (RFC 9110 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadRefused {
    /// The name of a field is not a token.
    #[error("not a name of a field")]
    Name,
    /// A value or a reason has control characters.
    #[error("control characters")]
    Text,
    /// It would be more than 250 fields, or than 63 KiB: the proxy takes little more.
    #[error("more than 250 fields, or more than 63 KiB")]
    TooLarge,
}

/// The head of a response.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    status: StatusCode,
    /// Where the fields begin in `bytes`.
    fields: usize,
    count: usize,
    /// The status line and the fields, each with its end of line.
    bytes: Vec<u8>,
    states_length: bool,
}

impl ResponseHead {
    /// A head without fields, with the usual reason.
    pub fn new(status: StatusCode) -> Self {
        Self::begin(status, status.canonical_reason().unwrap_or_default().as_bytes())
    }

    /// A head without fields, with a reason of its own.
    ///
    /// # Errors
    ///
    /// [`HeadRefused::Text`] or [`HeadRefused::TooLarge`].
    pub fn with_reason(status: StatusCode, reason: &[u8]) -> Result<Self, HeadRefused> {
        if MAX_BYTES < reason.len() {
            Err(HeadRefused::TooLarge)
        } else if reason.iter().copied().all(is_text) {
            Ok(Self::begin(status, reason))
        } else {
            Err(HeadRefused::Text)
        }
    }

    fn begin(status: StatusCode, reason: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        for part in [b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", reason, b"\r\n"] {
            bytes.extend_from_slice(part);
        }
        Self { status, fields: bytes.len(), count: 0, bytes, states_length: false }
    }

    /// What the types of `http` say.
    pub(crate) fn of_parts(parts: &response::Parts) -> Self {
        let reason = parts.extensions.get::<ReasonPhrase>();
        let mut head = match reason {
            Some(reason) => Self::begin(parts.status, reason.as_bytes()),
            None => Self::new(parts.status),
        };
        // The link says where a body ends.
        for (name, value) in parts.headers.iter().filter(|(name, _)| *name != TRANSFER_ENCODING) {
            head.states_length |= name == CONTENT_LENGTH;
            head.write(name.as_str().as_bytes(), value.as_bytes());
        }
        head
    }

    /// The same, as the types of `http` have it, with a length of the body where that is known and
    /// was not stated.
    pub(crate) fn into_parts(self, length: Option<u64>) -> response::Parts {
        let (mut parts, ()) = http::Response::new(()).into_parts();
        parts.status = self.status;
        let (line, fields) = self.bytes.split_at_checked(self.fields).unwrap_or_default();
        let reason = line.get("HTTP/1.1 200 ".len()..).unwrap_or_default().trim_ascii_end();
        let usual = self.status.canonical_reason().unwrap_or_default();
        if reason != usual.as_bytes()
            && let Ok(reason) = ReasonPhrase::try_from(reason)
        {
            parts.extensions.insert(reason);
        }
        for line in fields.split(|&byte| byte == b'\n') {
            let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
            let (name, value) = line.split_at_checked(colon).unwrap_or_default();
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            // Both were looked at when they were added.
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
            {
                // Where there are too many for the map, the last ones are lost.
                let _has_room = parts.headers.try_append(name, value);
            }
        }
        // Whether the request was HEAD is not known here: then 0 would be a guess.
        if let Some(length) = length.filter(|&length| 0 < length)
            && !self.states_length
            && self.may_have_body()
        {
            parts.headers.insert(CONTENT_LENGTH, length.into());
        }
        parts
    }

    /// Adds a field. A name in capitals is written in small letters; what is blank around a value
    /// is left out, and so is `Transfer-Encoding`: the link says where a body ends.
    ///
    /// # Errors
    ///
    /// Nothing is added then.
    pub fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeadRefused> {
        if name.is_empty() || !name.iter().copied().all(is_token) {
            return Err(HeadRefused::Name);
        }
        let value = value.trim_ascii();
        if !value.iter().copied().all(is_text) {
            return Err(HeadRefused::Text);
        }
        if name.eq_ignore_ascii_case(TRANSFER_ENCODING.as_str().as_bytes()) {
            return Ok(());
        }
        if self.count == MAX_FIELDS || MAX_BYTES < self.bytes.len() + name.len() + value.len() {
            return Err(HeadRefused::TooLarge);
        }
        self.count += 1;
        self.states_length |= name.eq_ignore_ascii_case(CONTENT_LENGTH.as_str().as_bytes());
        self.write(name, value);
        Ok(())
    }

    /// Whether a response with this status can have a body (RFC 9110 §6.4.1).
    pub fn may_have_body(&self) -> bool {
        let is_bodiless = matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        !(is_bodiless || self.status.is_informational())
    }

    /// All bytes of it, with a length of the body where that is known and was not stated: not where
    /// no body is allowed, and not what an answer to HEAD would only guess (RFC 9110 §8.6).
    pub(crate) fn finish(mut self, length: Option<u64>, is_to_head: bool) -> Vec<u8> {
        let is_guess = is_to_head && length == Some(0);
        if let Some(length) = length
            && !self.states_length
            && !is_guess
            && self.may_have_body()
        {
            let digits = length.to_string();
            self.write(CONTENT_LENGTH.as_str().as_bytes(), digits.as_bytes());
        }
        self.bytes.extend_from_slice(b"\r\n");
        self.bytes
    }

    fn write(&mut self, name: &[u8], value: &[u8]) {
        self.bytes.reserve(name.len() + value.len() + 4);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        if let Some(name) = self.bytes.get_mut(start..) {
            name.make_ascii_lowercase();
        }
        self.bytes.extend_from_slice(b": ");
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(b"\r\n");
    }
}

/// What names of fields are made of (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'!' | b'#'..=b'\'' | b'*' | b'+'
        | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// What values of fields are made of (RFC 9110 §5.5).
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (b' ' <= byte && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_stated_once_and_only_where_there_can_be_a_body() {
        check(200, &[], Some(5), false, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
        check(200, &[], None, false, "HTTP/1.1 200 OK\r\n\r\n");
        let stated = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n";
        check(200, &[("content-length", "7")], Some(0), true, stated);
        check(200, &[], Some(0), true, "HTTP/1.1 200 OK\r\n\r\n");
        check(204, &[], Some(0), false, "HTTP/1.1 204 No Content\r\n\r\n");
        check(304, &[], Some(0), false, "HTTP/1.1 304 Not Modified\r\n\r\n");
        check(299, &[("x-a", "b")], None, false, "HTTP/1.1 299 \r\nx-a: b\r\n\r\n");
        let named = ResponseHead::with_reason(StatusCode::OK, b"Fine").unwrap();
        assert_eq!(named.finish(None, false), b"HTTP/1.1 200 Fine\r\n\r\n");
    }

    #[test]
    fn a_field_is_written_as_it_was_given_or_refused() {
        check_field(b"Content-Type", b" text/plain ", Ok("content-type: text/plain"));
        check_field(b"x", b"", Ok("x: "));
        check_field(b"x", b"a\tb", Ok("x: a\tb"));
        check_field(b"Transfer-Encoding", b"chunked", Ok(""));
        for name in [&b""[..], b"a b", b"a:", b"\xe4", b"a\r\n"] {
            check_field(name, b"", Err(HeadRefused::Name));
        }
        for value in [&b"a\r\nb: c"[..], b"\0", b"\x7f", b"a\nb"] {
            check_field(b"x", value, Err(HeadRefused::Text));
        }
        let refused = ResponseHead::with_reason(StatusCode::OK, b"a\r\nb: c").unwrap_err();
        assert_eq!(refused, HeadRefused::Text);
    }

    #[test]
    fn no_more_is_taken_than_the_proxy_takes() {
        let mut head = ResponseHead::new(StatusCode::OK);
        for _ in 0..MAX_FIELDS {
            head.add(b"x", b"y").unwrap();
        }
        assert_eq!(head.add(b"x", b"y"), Err(HeadRefused::TooLarge));
        let mut head = ResponseHead::new(StatusCode::OK);
        let value = "y".repeat(MAX_BYTES);
        assert_eq!(head.add(b"x", value.as_bytes()), Err(HeadRefused::TooLarge));
        let half = &value.as_bytes()[MAX_BYTES / 2..];
        head.add(b"x", half).unwrap();
        assert_eq!(head.add(b"x", half), Err(HeadRefused::TooLarge));
        head.add(b"x", &half[64..]).unwrap();
        assert!(head.finish(Some(u64::MAX), false).len() < 64 * 1024);
    }

    #[test]
    fn the_types_of_http_say_the_same() {
        let mut head = ResponseHead::with_reason(StatusCode::NOT_FOUND, b"Gone Fishing").unwrap();
        for (name, value) in [("Set-Cookie", "a=b: c"), ("set-cookie", "d"), ("x-empty", "")] {
            head.add(name.as_bytes(), value.as_bytes()).unwrap();
        }
        let bytes = head.clone().finish(None, false);
        assert_eq!(head.clone().into_parts(Some(7)).headers["content-length"], "7");
        let parts = head.into_parts(None);
        assert_eq!(parts.status, StatusCode::NOT_FOUND);
        assert_eq!(parts.extensions.get::<ReasonPhrase>().unwrap().as_bytes(), b"Gone Fishing");
        let cookies: Vec<_> = parts.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=b: c", "d"]);
        assert_eq!(parts.headers["x-empty"], "");
        assert_eq!(ResponseHead::of_parts(&parts).finish(None, false), bytes);

        let mut coded = parts;
        coded.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        assert_eq!(ResponseHead::of_parts(&coded).finish(None, false), bytes);
        assert!(ResponseHead::new(StatusCode::OK).into_parts(None).extensions.is_empty());
    }

    #[track_caller]
    fn check(
        status: u16,
        fields: &[(&str, &str)],
        length: Option<u64>,
        is_to_head: bool,
        expected: &str,
    ) {
        let mut head = ResponseHead::new(StatusCode::from_u16(status).unwrap());
        for (name, value) in fields {
            head.add(name.as_bytes(), value.as_bytes()).unwrap();
        }
        let written = String::from_utf8(head.finish(length, is_to_head)).unwrap();
        assert_eq!(written, expected);
    }

    #[track_caller]
    fn check_field(name: &[u8], value: &[u8], expected: Result<&str, HeadRefused>) {
        let mut head = ResponseHead::new(StatusCode::OK);
        let added = head.add(name, value);
        let written = String::from_utf8(head.finish(None, false)).unwrap();
        let field = written.strip_prefix("HTTP/1.1 200 OK\r\n").unwrap();
        let field = field.strip_suffix("\r\n").unwrap();
        match expected {
            Ok(line) if !line.is_empty() => assert_eq!(field, format!("{line}\r\n"), "{name:?}"),
            Ok(_) | Err(_) => assert_eq!(field, "", "{name:?}"),
        }
        assert_eq!(added, expected.map(drop), "{name:?}: {value:?}");
    }
}
