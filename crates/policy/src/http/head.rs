//! Reads a request head, strictly (RFC 9112 §2–3, §5).
//!
//! `HeadScan` finds where the head ends while bytes arrive and refuses a line that does not end
//! in CRLF; `HeadIndex::parse` then splits it. Both look at every byte once. A head that could be
//! understood in two ways is refused: bare CR or LF, white space before a colon, line folding.

use std::mem::MaybeUninit;

use super::RequestInvalid;
use super::RequestInvalid::Malformed;
use super::fields::{Field, FieldSpan, Known, Span, recognise};

/// The most fields a head may have, whatever the configuration says.
pub const MAX_FIELDS: usize = 256;

/// The longest method and the version, with some room.
const AROUND_TARGET: usize = 48;

/// How large a request head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// `limits.head-size`, in bytes.
    pub head_bytes: usize,
    /// `limits.head-fields`; at most [`MAX_FIELDS`].
    pub fields: usize,
    /// `limits.target-size`, in bytes.
    pub target_bytes: usize,
}

/// The version of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: no chunked coding, connections close unless asked otherwise.
    Http10,
    /// HTTP/1.1.
    Http11,
}

impl Version {
    /// As it stands on the request line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }
}

/// Finds the end of a head in bytes that arrive bit by bit, without reading any byte twice.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScan {
    /// Start of the line that is not complete yet.
    line: usize,
    /// From here on nothing was looked at.
    seen: usize,
    /// Start of the request line, after an empty line in front of it.
    start: usize,
}

/// Where a complete head lies in the bytes that were scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadEnd {
    /// Where the request line begins.
    pub start: usize,
    /// Behind the empty line that ends the head.
    pub end: usize,
}

impl HeadScan {
    /// Returns where the head ends, or `None` while it is incomplete.
    ///
    /// `bytes` holds everything received so far, from the same start at each call. One empty line
    /// before the request line is skipped (RFC 9112 §2.2).
    ///
    /// # Errors
    ///
    /// `Malformed` for a line that ends in a bare LF, and the limits of the request line and head.
    pub fn advance(
        &mut self,
        bytes: &[u8],
        limits: &HeadLimits,
    ) -> Result<Option<HeadEnd>, RequestInvalid> {
        while let Some(offset) = memchr::memchr(b'\n', bytes.get(self.seen..).unwrap_or_default()) {
            let feed = self.seen.saturating_add(offset);
            let line = bytes.get(self.line..feed).unwrap_or_default();
            let Some((b'\r', content)) = line.split_last() else {
                return Err(Malformed("a line of the head ends in a bare LF"));
            };
            let next = feed.saturating_add(1);
            if content.is_empty() {
                match (self.line == self.start, self.start) {
                    (true, 0) => self.start = next,
                    (true, _) => return Err(Malformed("empty lines before the request line")),
                    (false, _) => return self.complete(next, limits),
                }
            }
            self.line = next;
            self.seen = next;
        }
        self.seen = bytes.len();
        self.refuse_early(bytes, limits).map(|()| None)
    }

    fn complete(self, end: usize, limits: &HeadLimits) -> Result<Option<HeadEnd>, RequestInvalid> {
        if limits.head_bytes < end.saturating_sub(self.start) {
            return Err(RequestInvalid::HeadTooLarge);
        }
        Ok(Some(HeadEnd { start: self.start, end }))
    }

    /// Refuses what no further byte could make valid, so that nobody waits for a time-out.
    fn refuse_early(self, bytes: &[u8], limits: &HeadLimits) -> Result<(), RequestInvalid> {
        let head = bytes.get(self.start..).unwrap_or_default();
        if self.line == self.start {
            if limits.target_bytes.saturating_add(AROUND_TARGET) < head.len() {
                return Err(RequestInvalid::TargetTooLong);
            }
            let method = head.split(|&byte| byte == b' ').next().unwrap_or_default();
            let is_start_of_line = matches!(method, b"" | b"\r") && head.len() <= 1;
            if !is_start_of_line && !method.iter().all(|&byte| super::fields::is_token_byte(byte)) {
                return Err(Malformed("the method is not a token"));
            }
        }
        if limits.head_bytes < head.len() {
            return Err(RequestInvalid::HeadTooLarge);
        }
        Ok(())
    }
}

/// Positions of the parts of one head. Kept and reused from request to request.
#[derive(Debug)]
pub struct HeadIndex {
    method: Span,
    target: Span,
    version: Version,
    fields: Vec<FieldSpan>,
}

impl Default for HeadIndex {
    fn default() -> Self {
        Self {
            method: Span::EMPTY,
            target: Span::EMPTY,
            version: Version::Http11,
            fields: Vec::new(),
        }
    }
}

impl HeadIndex {
    /// Splits a complete head: from the request line to the empty line.
    ///
    /// # Errors
    ///
    /// Whatever breaks the grammar of RFC 9112 §3 and §5, or a limit.
    pub fn parse(&mut self, head: &[u8], limits: &HeadLimits) -> Result<(), RequestInvalid> {
        let mut room = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MAX_FIELDS];
        let room = room.get_mut(..limits.fields.min(MAX_FIELDS)).unwrap_or_default();
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(head, room) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err(Malformed("the head is incomplete")),
            Err(error) => return Err(why_refused(head, error, limits)),
        }
        let (Some(method), Some(target), Some(version)) =
            (request.method, request.path, request.version)
        else {
            return Err(Malformed("the request line is incomplete"));
        };
        if limits.target_bytes < target.len() {
            return Err(RequestInvalid::TargetTooLong);
        }
        self.method = Span::of(method.as_bytes(), head);
        self.target = Span::of(target.as_bytes(), head);
        self.version = if version == 0 { Version::Http10 } else { Version::Http11 };
        self.fields.clear();
        self.fields.extend(request.headers.iter().map(|field| FieldSpan {
            known: recognise(field.name.as_bytes()),
            name: Span::of(field.name.as_bytes(), head),
            value: Span::of(field.value, head),
        }));
        Ok(())
    }

    /// The head as a whole: `bytes` must be those that were parsed.
    #[must_use]
    pub fn head<'b>(&'b self, bytes: &'b [u8]) -> RequestHead<'b> {
        // The tokenizer lets ASCII only into methods, and UTF-8 into targets.
        let text = |span: Span| std::str::from_utf8(span.within(bytes)).unwrap_or_default();
        let (method, target) = (text(self.method), text(self.target));
        RequestHead { bytes, index: self, method, target }
    }
}

/// Gives the tokenizer's refusal its name.
fn why_refused(head: &[u8], error: httparse::Error, limits: &HeadLimits) -> RequestInvalid {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ');
    let (target, version) = (words.nth(1).unwrap_or_default(), words.next());
    match error {
        httparse::Error::TooManyHeaders => RequestInvalid::HeadTooLarge,
        httparse::Error::Version if words.next().is_none() && is_other_version(version) => {
            RequestInvalid::Version
        }
        httparse::Error::Version => Malformed("the request line has no valid version"),
        httparse::Error::HeaderName => Malformed("a field name is not a token"),
        httparse::Error::HeaderValue => Malformed("a field value holds a control byte"),
        httparse::Error::Token if limits.target_bytes < target.len() => {
            RequestInvalid::TargetTooLong
        }
        httparse::Error::NewLine => Malformed("a bare CR, or a line that does not end in CRLF"),
        httparse::Error::Token | httparse::Error::Status => {
            Malformed("the request line is malformed")
        }
    }
}

/// Whether this is the name of a version that exists in form: `HTTP/` digit `.` digit.
fn is_other_version(word: Option<&[u8]>) -> bool {
    let digits = word.and_then(|word| word.strip_prefix(b"HTTP/"));
    matches!(digits, Some([major, b'.', minor]) if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// A request head: a view of its bytes.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'b> {
    bytes: &'b [u8],
    index: &'b HeadIndex,
    method: &'b str,
    target: &'b str,
}

impl<'b> RequestHead<'b> {
    /// The method, as it was sent; methods are case-sensitive (RFC 9110 §9.1).
    #[must_use]
    pub fn method(&self) -> &'b str {
        self.method
    }

    /// The target, as it was sent.
    #[must_use]
    pub fn target(&self) -> &'b str {
        self.target
    }

    /// The version on the request line.
    #[must_use]
    pub fn version(&self) -> Version {
        self.index.version
    }

    /// Every field in the order sent.
    pub fn fields(&self) -> impl Iterator<Item = Field<'b>> + use<'b> {
        let bytes = self.bytes;
        self.index.fields.iter().map(move |field| Field {
            known: field.known,
            name: field.name.within(bytes),
            value: field.value.within(bytes),
        })
    }

    /// The values of every field of one kind.
    pub fn values(&self, known: Known) -> impl Iterator<Item = &'b [u8]> + use<'b> {
        let bytes = self.bytes;
        let fields = self.index.fields.iter();
        fields.filter(move |field| field.known == known).map(move |field| field.value.within(bytes))
    }

    /// The first value of a field that the proxy itself gives no meaning to.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'b [u8]> {
        let is_it = |field: &&FieldSpan| {
            field.name.range().len() == name.len()
                && field.name.within(self.bytes).eq_ignore_ascii_case(name.as_bytes())
        };
        self.index.fields.iter().find(is_it).map(|field| field.value.within(self.bytes))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const LIMITS: HeadLimits =
        HeadLimits { head_bytes: 32_768, fields: 100, target_bytes: 8_192 };

    /// Scans and parses `bytes` as one complete head and hands it to `look`.
    pub(crate) fn with_head<T>(
        bytes: &[u8],
        look: impl FnOnce(RequestHead<'_>) -> T,
    ) -> Result<T, RequestInvalid> {
        let end = HeadScan::default().advance(bytes, &LIMITS)?.expect("the head is complete");
        let head = &bytes[end.start..end.end];
        let mut index = HeadIndex::default();
        index.parse(head, &LIMITS)?;
        Ok(look(index.head(head)))
    }

    #[test]
    fn a_head_is_split_into_its_parts() {
        let seen =
            with_head(b"\r\nPOST /a?b=c HTTP/1.0\r\nHost: x\r\nA:  b c \r\n\r\nrest", |head| {
                let fields: Vec<_> = head.fields().map(|field| (field.name, field.value)).collect();
                assert_eq!(fields, [(b"Host".as_slice(), b"x".as_slice()), (b"A", b"b c")]);
                (head.method().to_owned(), head.target().to_owned(), head.version())
            });
        assert_eq!(seen, Ok(("POST".to_owned(), "/a?b=c".to_owned(), Version::Http10)));
    }

    #[test]
    fn the_end_is_found_wherever_the_bytes_are_cut() {
        let whole = b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET";
        let mut scan = HeadScan::default();
        for length in 0..27 {
            assert_eq!(scan.advance(&whole[..length], &LIMITS), Ok(None), "{length} bytes");
        }
        let end = Ok(Some(HeadEnd { start: 0, end: 27 }));
        assert_eq!(scan.advance(&whole[..27], &LIMITS), end);
        assert_eq!(HeadScan::default().advance(whole, &LIMITS), end);
    }

    #[test]
    fn what_breaks_the_grammar_is_refused() {
        use RequestInvalid::{HeadTooLarge, TargetTooLong, Version};
        let malformed = |bytes: &str| {
            let refused = with_head(bytes.as_bytes(), |_| ());
            assert!(matches!(refused, Err(Malformed(_))), "{bytes:?}: {refused:?}");
        };
        malformed("GET / HTTP/1.1\nhost: a\r\n\r\n");
        malformed("GET / HTTP/1.1\r\nhost: a\n\r\n");
        malformed("GET / HTTP/1.1\r\nhost: a\r\n\n");
        malformed("GET / HTTP/1.1\rhost: a\r\n\r\n");
        malformed("GET  / HTTP/1.1\r\n\r\n");
        malformed("GET /  HTTP/1.1\r\n\r\n");
        malformed("GET / HTTP/1.1 \r\n\r\n");
        malformed(" GET / HTTP/1.1\r\n\r\n");
        malformed("GET / http/1.1\r\n\r\n");
        malformed("GET /\r\n\r\n");
        malformed("GET / HTTP/1\r\n\r\n");
        malformed("G(T / HTTP/1.1\r\n\r\n");
        malformed("GET / HTTP/1.1\r\n host: a\r\n\r\n");
        malformed("GET / HTTP/1.1\r\nhost : a\r\n\r\n");
        malformed("GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n");
        malformed("GET / HTTP/1.1\r\na: b\0\r\n\r\n");
        malformed("GET / HTTP/1.1\r\na: b\rc\r\n\r\n");
        malformed("GET / HTTP/1.1\r\nno-colon\r\n\r\n");
        malformed("GET / HTTP/1.1\r\n: empty\r\n\r\n");
        malformed("\r\n\r\nGET / HTTP/1.1\r\n\r\n");

        let refused = |bytes: String| with_head(bytes.as_bytes(), |_| ());
        assert_eq!(refused("GET / HTTP/2.0\r\n\r\n".to_owned()), Err(Version));
        assert_eq!(refused("GET / HTTP/1.2\r\n\r\n".to_owned()), Err(Version));
        let long = "a".repeat(9_000);
        assert_eq!(refused(format!("GET /{long} HTTP/1.1\r\n\r\n")), Err(TargetTooLong));
        let many = "a: b\r\n".repeat(101);
        assert_eq!(refused(format!("GET / HTTP/1.1\r\n{many}\r\n")), Err(HeadTooLarge));
        let large = format!("a: {}\r\n", "b".repeat(8_000)).repeat(5);
        assert_eq!(refused(format!("GET / HTTP/1.1\r\n{large}\r\n")), Err(HeadTooLarge));
    }

    #[test]
    fn what_can_no_longer_become_a_request_is_refused_at_once() {
        let refused = |bytes: &[u8]| HeadScan::default().advance(bytes, &LIMITS);
        assert!(matches!(refused(b"\x16\x03\x01\x02"), Err(Malformed(_))), "a TLS hello");
        assert_eq!(refused(b"GE"), Ok(None));
        assert_eq!(refused(b"\r"), Ok(None));
        let long = [b"GET /".as_slice(), &[b'a'; 9_000]].concat();
        assert_eq!(refused(&long), Err(RequestInvalid::TargetTooLong));
    }
}
