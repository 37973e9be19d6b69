//! The head of a request as it came: its bytes, and what is where in them.
//!
//! For who makes something of its own of a head, such as an interpreter. Reading one costs no memory
//! but a list of places; a [`request::Parts`] is made of it where somebody wants that.

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Method, Uri, Version, request};

use crate::Body;
use crate::request::{Peer, first_address};

/// Fields for which there is room without asking for memory.
const USUAL_FIELDS: usize = 64;

/// Most fields of a head: more than the proxy lets through.
const MAX_FIELDS: usize = 1024;

/// The head of a request is not one. The proxy sends none like that.
#[derive(Debug, thiserror::Error)]
#[error("a malformed head")]
pub(crate) struct HeadInvalid;

/// A part of a head: from which byte to which. Both fit, as a head of gigabytes does not come.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u32,
    end: u32,
}

impl Place {
    fn new(start: usize, length: usize) -> Self {
        let fitted = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: fitted(start), end: fitted(start.saturating_add(length)) }
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// The head of a request.
///
/// Fields are in the order in which they came; a name that came twice is there twice, and names are
/// spelled as they came.
pub struct RequestHead {
    bytes: Bytes,
    method: Place,
    target: Place,
    version: Version,
    /// Names and values.
    fields: Vec<(Place, Place)>,
    known: Known,
    /// Who opened a TCP connection.
    peer: Option<IpAddr>,
}

/// Where the values are that are asked for at every request: of the first field of a name.
#[derive(Debug, Default)]
struct Known {
    host: Option<Place>,
    content_length: Option<Place>,
    request_id: Option<Place>,
    forwarded_for: Option<Place>,
    forwarded_proto: Option<Place>,
}

impl Known {
    fn note(&mut self, name: &[u8], value: Place) {
        let (known, place) = match name.len() {
            4 => ("host", &mut self.host),
            12 => ("x-request-id", &mut self.request_id),
            14 => ("content-length", &mut self.content_length),
            15 => ("x-forwarded-for", &mut self.forwarded_for),
            17 => ("x-forwarded-proto", &mut self.forwarded_proto),
            _ => return,
        };
        if place.is_none() && name.eq_ignore_ascii_case(known.as_bytes()) {
            *place = Some(value);
        }
    }
}

impl RequestHead {
    /// Reads a head, and tells how many bytes it has; `None` while it is not complete. Nothing is
    /// copied.
    pub(crate) fn parse(bytes: &Bytes) -> Result<Option<(Self, usize)>, HeadInvalid> {
        match Self::parse_with::<USUAL_FIELDS>(bytes) {
            Err(httparse::Error::TooManyHeaders) => Self::parse_with::<MAX_FIELDS>(bytes),
            parsed => parsed,
        }
        .map_err(|_error| HeadInvalid)
    }

    fn parse_with<const FIELDS: usize>(
        bytes: &Bytes,
    ) -> Result<Option<(Self, usize)>, httparse::Error> {
        let mut fields = [const { std::mem::MaybeUninit::uninit() }; FIELDS];
        let mut head = httparse::Request::new(&mut []);
        let length = match head.parse_with_uninit_headers(bytes, &mut fields)? {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial => return Ok(None),
        };
        let place = |part: &[u8]| {
            let start = part.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr());
            Place::new(start, part.len())
        };
        let mut known = Known::default();
        let fields = head.headers.iter().map(|field| {
            let (name, value) = (field.name.as_bytes(), place(field.value));
            known.note(name, value);
            (place(name), value)
        });
        let fields = fields.collect();
        let parsed = Self {
            bytes: bytes.clone(),
            method: place(head.method.unwrap_or_default().as_bytes()),
            target: place(head.path.unwrap_or_default().as_bytes()),
            version: if head.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 },
            fields,
            known,
            peer: None,
        };
        Ok(Some((parsed, length)))
    }

    /// The method.
    pub fn method(&self) -> &[u8] {
        self.part(self.method)
    }

    /// The target, as it was sent: path and query.
    pub fn target(&self) -> &[u8] {
        self.part(self.target)
    }

    /// The protocol of the client. Over HTTP, where it is the link's, always 1.1.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Names and values of the fields.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|&(name, value)| (self.part(name), self.part(value)))
    }

    /// The value of `Host`.
    pub fn host(&self) -> Option<&[u8]> {
        self.value(self.known.host)
    }

    /// The value of `Content-Length`.
    pub(crate) fn content_length(&self) -> Option<u64> {
        let digits = self.value(self.known.content_length)?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// The id that the proxy's log has for the request (`X-Request-Id`).
    pub fn request_id(&self) -> Option<&[u8]> {
        self.value(self.known.request_id)
    }

    /// Who passed the request on, the client first (`X-Forwarded-For`).
    pub fn forwarded_for(&self) -> Option<&[u8]> {
        self.value(self.known.forwarded_for)
    }

    /// The address of the client: the first of `X-Forwarded-For`, without a proxy the peer's.
    ///
    /// None for a client of the proxy's UNIX listener.
    pub fn client_address(&self) -> Option<IpAddr> {
        match self.forwarded_for() {
            Some(chain) => first_address(std::str::from_utf8(chain).ok()?),
            None => self.peer,
        }
    }

    /// Whether the client came over TLS (`X-Forwarded-Proto`).
    pub fn is_secure(&self) -> bool {
        let scheme = self.value(self.known.forwarded_proto);
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https"))
    }

    /// The same, as the types of `http` have it.
    pub(crate) fn into_parts(self) -> Result<request::Parts, HeadInvalid> {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = Method::from_bytes(self.method()).map_err(|_not_one| HeadInvalid)?;
        let target = self.bytes.slice(self.target.range());
        parts.uri = Uri::from_maybe_shared(target).map_err(|_not_one| HeadInvalid)?;
        parts.version = self.version;
        parts.headers.reserve(self.fields.len());
        for &(name, value) in &self.fields {
            let name = HeaderName::from_bytes(self.part(name)).map_err(|_not_one| HeadInvalid)?;
            let value = HeaderValue::from_maybe_shared(self.bytes.slice(value.range()));
            parts.headers.append(name, value.map_err(|_not_one| HeadInvalid)?);
        }
        Ok(parts)
    }

    /// The head of a request that came over a connection, and its body.
    pub(crate) fn of_request(request: http::Request<Body>) -> (Self, Body) {
        let (parts, body) = request.into_parts();
        let mut bytes = Vec::with_capacity(1024);
        let mut add = |part: &[u8]| {
            let start = bytes.len();
            bytes.extend_from_slice(part);
            Place::new(start, part.len())
        };
        let method = add(parts.method.as_str().as_bytes());
        let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
        let target = add(target.as_bytes());
        let mut known = Known::default();
        let fields = parts.headers.iter().map(|(name, value)| {
            let (name, value) = (name.as_str().as_bytes(), add(value.as_bytes()));
            known.note(name, value);
            (add(name), value)
        });
        let fields = fields.collect();
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
        let head = Self {
            bytes: bytes.into(),
            method,
            target,
            version: parts.version,
            fields,
            known,
            peer,
        };
        (head, body)
    }

    fn value(&self, place: Option<Place>) -> Option<&[u8]> {
        place.map(|place| self.part(place))
    }

    fn part(&self, place: Place) -> &[u8] {
        self.bytes.get(place.range()).unwrap_or_default()
    }
}

impl fmt::Debug for RequestHead {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No values: they may be secret.
        let (method, target) = (self.method(), self.target());
        let line = [String::from_utf8_lossy(method), String::from_utf8_lossy(target)];
        formatter.debug_struct("RequestHead").field("line", &line).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_complete() {
        let whole = "POST /a%20b?c=d HTTP/1.1\r\nhost: x\r\nX-Twice: 1\r\nx-twice: 2\r\n\r\nbody";
        let head_length = whole.len() - "body".len();
        for length in 0..head_length {
            let part = Bytes::copy_from_slice(&whole.as_bytes()[..length]);
            assert!(RequestHead::parse(&part).unwrap().is_none());
        }
        let (head, length) = parse(whole);
        assert_eq!(length, head_length);
        assert_eq!((head.method(), head.target()), (&b"POST"[..], &b"/a%20b?c=d"[..]));
        let fields: Vec<_> = head.fields().collect();
        let expected: [(&[u8], &[u8]); 3] =
            [(b"host", b"x"), (b"X-Twice", b"1"), (b"x-twice", b"2")];
        assert_eq!(fields, expected);
        assert_eq!((head.host(), head.request_id()), (Some(&b"x"[..]), None));
        assert_eq!(head.version(), Version::HTTP_11);
        assert_eq!(parse("GET / HTTP/1.0\r\n\r\n").0.version(), Version::HTTP_10);

        let parts = head.into_parts().unwrap();
        assert_eq!((parts.method, parts.uri.to_string().as_str()), (Method::POST, "/a%20b?c=d"));
        let twice: Vec<_> = parts.headers.get_all("x-twice").iter().collect();
        assert_eq!(twice, ["1", "2"]);
    }

    #[test]
    fn many_fields_are_read_and_garbage_is_not() {
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(USUAL_FIELDS + 1));
        assert_eq!(parse(&many).0.fields().count(), USUAL_FIELDS + 1);
        let more = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_FIELDS + 1));
        assert!(RequestHead::parse(&Bytes::from(more)).is_err());
        assert!(RequestHead::parse(&Bytes::from_static(b"\0\0\0")).is_err());
    }

    #[test]
    fn a_request_of_a_connection_has_the_same_head() {
        let request = http::Request::put("/a?b").header("X-One", "1").header("x-one", "2");
        let mut request = request.body(Body::from("body")).unwrap();
        request.extensions_mut().insert(Peer("192.0.2.7".parse().unwrap()));
        let (head, body) = RequestHead::of_request(request);
        assert_eq!((head.method(), head.target()), (&b"PUT"[..], &b"/a?b"[..]));
        let fields: Vec<_> = head.fields().collect();
        assert_eq!(fields, [(&b"x-one"[..], &b"1"[..]), (b"x-one", b"2")]);
        assert_eq!(head.client_address(), Some("192.0.2.7".parse().unwrap()));
        assert_eq!(body.length(), Some(4));
    }

    #[test]
    fn what_the_proxy_says_is_the_first_field_of_its_name() {
        let (head, _) = parse(
            "GET / HTTP/1.1\r\nX-Request-ID: a1\r\nx-request-id: b2\r\nContent-Length: 7\r\n\
             x-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: HTTPS\r\n\r\n",
        );
        assert_eq!(head.request_id(), Some(&b"a1"[..]));
        assert_eq!((head.content_length(), head.is_secure()), (Some(7), true));
        assert_eq!(head.forwarded_for(), Some(&b"192.0.2.7"[..]));
        assert_eq!(head.client_address(), Some("192.0.2.7".parse().unwrap()));
        for chain in ["unix", "192.0.2.7:80", "unknown, 192.0.2.7", "\u{e9}"] {
            let (head, _) = parse(&format!("GET / HTTP/1.1\r\nx-forwarded-for: {chain}\r\n\r\n"));
            assert_eq!(head.client_address(), None, "{chain}");
        }
        let (bare, _) = parse("GET / HTTP/1.1\r\ncontent-length: x\r\n\r\n");
        assert_eq!((bare.content_length(), bare.is_secure()), (None, false));
    }

    fn parse(text: &str) -> (RequestHead, usize) {
        RequestHead::parse(&Bytes::copy_from_slice(text.as_bytes())).unwrap().unwrap()
    }
}
