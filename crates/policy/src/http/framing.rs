//! Where a body ends (RFC 9112 §6.3).
//!
//! Where the RFC lets a server choose, this refuses: both `Transfer-Encoding` and
//! `Content-Length`, or either of them twice. Somebody else could read the end differently.

use super::RequestInvalid;
use super::RequestInvalid::{Malformed, NotImplemented};
use super::fields::{Field, Known};
use super::head::{RequestHead, Version};

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    Empty,
    /// So many bytes.
    Length(u64),
    /// Chunked coding (RFC 9112 §7.1).
    Chunked,
    /// Until the connection closes: answers only.
    UntilClose,
}

/// Decides where the body of a request ends.
///
/// # Errors
///
/// `NotImplemented` for a coding other than chunked, `Malformed` for the rest. The connection
/// closes either way: where the next request starts is unknown.
pub fn request_framing(head: &RequestHead<'_>) -> Result<Framing, RequestInvalid> {
    let framing = stated_framing(head.fields())?;
    match (framing, head.version()) {
        (Some(Framing::Chunked), Version::Http10) => {
            Err(Malformed("Transfer-Encoding in HTTP/1.0"))
        }
        (None | Some(Framing::Length(0)), _) => Ok(Framing::Empty),
        (Some(framing), _) => Ok(framing),
    }
}

/// What the fields of a head say about its body; `None` when they say nothing.
///
/// # Errors
///
/// As [`request_framing`]; for answers the caller turns it into its own error.
pub(crate) fn stated_framing<'b>(
    fields: impl Iterator<Item = Field<'b>>,
) -> Result<Option<Framing>, RequestInvalid> {
    let (mut coding, mut length) = (None, None);
    for field in fields {
        let seen = if field.known == Known::TransferEncoding {
            coding.replace(field.value)
        } else if field.known == Known::ContentLength {
            length.replace(field.value)
        } else {
            None
        };
        if seen.is_some() {
            return Err(Malformed("Content-Length or Transfer-Encoding is repeated"));
        }
    }
    match (coding, length) {
        (None, None) => Ok(None),
        (None, Some(digits)) => parse_length(digits).map(|length| Some(Framing::Length(length))),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => {
            Ok(Some(Framing::Chunked))
        }
        (Some(_), None) => Err(NotImplemented("a transfer coding other than chunked")),
        (Some(_), Some(_)) => Err(Malformed("both Transfer-Encoding and Content-Length")),
    }
}

/// Reads `Content-Length`: ASCII digits only.
///
/// Not `str::parse`, which also takes a leading `+`.
fn parse_length(digits: &[u8]) -> Result<u64, RequestInvalid> {
    const BAD: RequestInvalid = Malformed("Content-Length is not a number");
    if digits.is_empty() {
        return Err(BAD);
    }
    digits.iter().try_fold(0_u64, |total, &byte| {
        let digit = byte.checked_sub(b'0').filter(|&digit| digit <= 9);
        digit.and_then(|digit| total.checked_mul(10)?.checked_add(u64::from(digit))).ok_or(BAD)
    })
}

#[cfg(test)]
mod tests {
    use super::super::head::tests::with_head;
    use super::*;

    #[test]
    fn framing_follows_rfc_9112_or_is_refused() {
        check("", Ok(Framing::Empty));
        check("content-length: 0", Ok(Framing::Empty));
        check("content-length: 5", Ok(Framing::Length(5)));
        check("transfer-encoding: Chunked", Ok(Framing::Chunked));
        for coding in
            ["gzip, chunked", "identity", "xchunked", "chunked, chunked", "chunked;q=1", ""]
        {
            let refused = framing(&format!("transfer-encoding: {coding}"));
            assert!(matches!(refused, Err(NotImplemented(_))), "{coding:?}");
        }
        for length in ["+5", "-5", "0x5", "5 5", "5, 5", "5.0", "", "18446744073709551616"] {
            let refused = framing(&format!("content-length: {length}"));
            assert!(matches!(refused, Err(Malformed(_))), "{length:?}");
        }
        for both in [
            "content-length: 5\r\ncontent-length: 5",
            "content-length: 5\r\ntransfer-encoding: chunked",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        ] {
            assert!(matches!(framing(both), Err(Malformed(_))), "{both:?}");
        }
    }

    #[track_caller]
    fn check(fields: &str, expected: Result<Framing, RequestInvalid>) {
        assert_eq!(framing(fields), expected, "fields: {fields:?}");
    }

    fn framing(fields: &str) -> Result<Framing, RequestInvalid> {
        let fields = if fields.is_empty() { String::new() } else { format!("{fields}\r\n") };
        let bytes = format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
        with_head(bytes.as_bytes(), |head| request_framing(&head))?
    }

    #[test]
    fn chunked_in_http_1_0_is_refused() {
        let bytes = b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n";
        let refused = with_head(bytes, |head| request_framing(&head)).unwrap();
        assert!(matches!(refused, Err(Malformed(_))));
    }
}
