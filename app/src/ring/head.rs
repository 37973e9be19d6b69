//! Reads the head of a request and writes that of an answer, as HTTP/1.1 has them.
//!
//! The peer is the proxy, which checked and limited the head of the request.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{Method, StatusCode, Uri, Version, request, response};
use hyper::ext::ReasonPhrase;

/// Fields for which there is room without asking for memory.
const USUAL_FIELDS: usize = 64;

/// Most fields of a head: more than the proxy lets through.
const MAX_FIELDS: usize = 1024;

/// The head of a request is not one. The proxy sends none like that.
#[derive(Debug, thiserror::Error)]
#[error("a malformed head")]
pub(crate) struct HeadInvalid;

/// A head, and how many bytes it has.
pub(crate) type Parsed = (request::Parts, usize);

/// Reads a head; `None` while it is not complete. What it has of the bytes is not copied.
pub(crate) fn parse(bytes: &Bytes) -> Result<Option<Parsed>, HeadInvalid> {
    match parse_with::<USUAL_FIELDS>(bytes) {
        Err(httparse::Error::TooManyHeaders) => parse_with::<MAX_FIELDS>(bytes),
        parsed => parsed,
    }
    .map_err(|_error| HeadInvalid)
}

fn parse_with<const FIELDS: usize>(bytes: &Bytes) -> Result<Option<Parsed>, httparse::Error> {
    let mut fields = [const { std::mem::MaybeUninit::uninit() }; FIELDS];
    let mut head = httparse::Request::new(&mut []);
    let length = match head.parse_with_uninit_headers(bytes, &mut fields)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let (mut parts, ()) = http::Request::new(()).into_parts();
    let method = head.method.unwrap_or_default();
    parts.method =
        Method::from_bytes(method.as_bytes()).map_err(|_not_one| httparse::Error::Token)?;
    let target = bytes.slice_ref(head.path.unwrap_or_default().as_bytes());
    parts.uri = Uri::from_maybe_shared(target).map_err(|_not_one| httparse::Error::Token)?;
    parts.version = if head.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    parts.headers.reserve(head.headers.len());
    for field in head.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let name = name.map_err(|_not_one| httparse::Error::HeaderName)?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value));
        parts.headers.append(name, value.map_err(|_not_one| httparse::Error::HeaderValue)?);
    }
    Ok(Some((parts, length)))
}

/// Writes the head of an answer with a body of `length` bytes, where that is known.
pub(crate) fn write(
    out: &mut Vec<u8>,
    head: &response::Parts,
    length: Option<u64>,
    is_to_head: bool,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.push(b' ');
    let reason = head.extensions.get::<ReasonPhrase>().map(ReasonPhrase::as_bytes);
    let usual = head.status.canonical_reason().unwrap_or_default();
    out.extend_from_slice(reason.unwrap_or(usual.as_bytes()));
    out.extend_from_slice(b"\r\n");
    for (name, value) in &head.headers {
        // The link says where a body ends.
        if name != TRANSFER_ENCODING {
            write_field(out, name.as_str(), value.as_bytes());
        }
    }
    let is_stated = head.headers.contains_key(CONTENT_LENGTH);
    if let Some(length) = length.filter(|&length| !is_stated && states(head, length, is_to_head)) {
        write_field(out, CONTENT_LENGTH.as_str(), length.to_string().as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether a length is to be stated: not where no body is allowed, and not what an answer to HEAD
/// would only guess (RFC 9110 §8.6).
fn states(head: &response::Parts, length: u64, is_to_head: bool) -> bool {
    let is_guess = is_to_head && length == 0;
    may_have_body(head.status) && !is_guess
}

/// Whether an answer with this status can have a body (RFC 9110 §6.4.1).
pub(super) fn may_have_body(status: StatusCode) -> bool {
    let is_bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    !(is_bodiless || status.is_informational())
}

fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_complete() {
        let whole = "POST /a%20b?c=d HTTP/1.1\r\nhost: x\r\nX-Twice: 1\r\nx-twice: 2\r\n\r\nbody";
        let head_length = whole.len() - "body".len();
        for length in 0..head_length {
            assert!(parse(&Bytes::copy_from_slice(&whole.as_bytes()[..length])).unwrap().is_none());
        }
        let (parts, length) = parse(&Bytes::from_static(whole.as_bytes())).unwrap().unwrap();
        assert_eq!(length, head_length);
        assert_eq!((parts.method, parts.uri.to_string().as_str()), (Method::POST, "/a%20b?c=d"));
        let twice: Vec<_> = parts.headers.get_all("x-twice").iter().collect();
        assert_eq!(twice, ["1", "2"]);
    }

    #[test]
    fn many_fields_are_read_and_garbage_is_not() {
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(USUAL_FIELDS + 1));
        let (parts, _) = parse(&Bytes::from(many)).unwrap().unwrap();
        assert_eq!(parts.headers.get_all("a").iter().count(), USUAL_FIELDS + 1);
        let more = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_FIELDS + 1));
        assert!(parse(&Bytes::from(more)).is_err());
        assert!(parse(&Bytes::from_static(b"\0\0\0")).is_err());
    }

    #[test]
    fn a_length_is_stated_once_and_only_where_there_can_be_a_body() {
        check(200, &[], Some(5), false, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
        check(200, &[], None, false, "HTTP/1.1 200 OK\r\n\r\n");
        let stated = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n";
        check(200, &[("content-length", "7")], Some(0), true, stated);
        check(200, &[], Some(0), true, "HTTP/1.1 200 OK\r\n\r\n");
        check(204, &[], Some(0), false, "HTTP/1.1 204 No Content\r\n\r\n");
        check(304, &[], Some(0), false, "HTTP/1.1 304 Not Modified\r\n\r\n");
        let mut named = http::Response::new(());
        named.extensions_mut().insert(ReasonPhrase::from_static(b"Fine"));
        let mut out = Vec::new();
        write(&mut out, &named.into_parts().0, None, false);
        assert_eq!(out, b"HTTP/1.1 200 Fine\r\n\r\n");
        check(299, &[("transfer-encoding", "chunked")], None, false, "HTTP/1.1 299 \r\n\r\n");
    }

    #[track_caller]
    fn check(
        status: u16,
        fields: &[(&'static str, &'static str)],
        length: Option<u64>,
        is_to_head: bool,
        expected: &str,
    ) {
        let mut response = http::Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in fields {
            response.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        let mut out = Vec::new();
        write(&mut out, &response.into_parts().0, length, is_to_head);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
