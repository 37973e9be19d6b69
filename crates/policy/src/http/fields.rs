//! The fields of a head, as positions in the bytes they were read from.
//!
//! A head is parsed once into a reusable list of positions; nothing is copied. Fields with a
//! meaning for the proxy are recognised here, once, so that later steps compare an enum.

use std::ops::Range;

/// A field that means something to the proxy itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// `Connection`: names the fields that end here (RFC 9110 §7.6.1).
    Connection,
    /// `Content-Length` (RFC 9110 §8.6).
    ContentLength,
    /// `Date` (RFC 9110 §6.6.1).
    Date,
    /// `Expect` (RFC 9110 §10.1.1).
    Expect,
    /// `Host` (RFC 9110 §7.2).
    Host,
    /// `Transfer-Encoding` (RFC 9112 §6.1).
    TransferEncoding,
    /// `Upgrade` (RFC 9110 §7.8).
    Upgrade,
    /// `X-Request-Id`.
    RequestId,
    /// `Forwarded` (RFC 7239) and the `X-Forwarded-*` family.
    Forwarded,
    /// `X-Forwarded-For`.
    ForwardedFor,
    /// `X-Forwarded-Proto`.
    ForwardedProto,
    /// `X-Forwarded-Host`.
    ForwardedHost,
    /// `Server-Timing`: what an answer says it cost.
    ServerTiming,
    /// Meant for the next hop only, whatever `Connection` says: `Keep-Alive`,
    /// `Proxy-Connection`, `Proxy-Authorization`, `Proxy-Authenticate`, `TE`, `Trailer`.
    HopByHop,
    /// Everything else: passed on untouched.
    Other,
}

/// Where one field stands in the bytes of its head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Nothing.
    pub(crate) const EMPTY: Self = Self { start: 0, end: 0 };

    /// The position of `part` within `whole`; empty when it lies elsewhere, as an empty string
    /// of the tokenizer's own may.
    pub(crate) fn of(part: &[u8], whole: &[u8]) -> Self {
        let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        let end = start.wrapping_add(part.len());
        let is_within = start <= end && end <= whole.len();
        match (u32::try_from(start), u32::try_from(end)) {
            (Ok(start), Ok(end)) if is_within => Self { start, end },
            (Ok(_) | Err(_), _) => Self::EMPTY,
        }
    }

    pub(crate) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    pub(crate) fn within(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.range()).unwrap_or_default()
    }
}

/// One field's position and what it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldSpan {
    pub(crate) known: Known,
    pub(crate) name: Span,
    pub(crate) value: Span,
}

/// One field of a head.
#[derive(Clone, Copy, Debug)]
pub struct Field<'b> {
    /// What it means to the proxy.
    pub known: Known,
    /// Its name as it was sent.
    pub name: &'b [u8],
    /// Its value, without surrounding white space.
    pub value: &'b [u8],
}

/// Recognises a field name, whatever its case.
pub(crate) fn recognise(name: &[u8]) -> Known {
    // The length decides first, so that most names cost one comparison at most.
    let candidates: &[(&[u8], Known)] = match name.len() {
        2 => &[(b"te", Known::HopByHop)],
        4 => &[(b"host", Known::Host), (b"date", Known::Date)],
        6 => &[(b"expect", Known::Expect)],
        7 => &[(b"upgrade", Known::Upgrade), (b"trailer", Known::HopByHop)],
        9 => &[(b"forwarded", Known::Forwarded)],
        10 => &[(b"connection", Known::Connection), (b"keep-alive", Known::HopByHop)],
        12 => &[(b"x-request-id", Known::RequestId)],
        13 => &[(b"server-timing", Known::ServerTiming)],
        14 => &[(b"content-length", Known::ContentLength)],
        15 => &[(b"x-forwarded-for", Known::ForwardedFor)],
        16 => &[
            (b"proxy-connection", Known::HopByHop),
            (b"x-forwarded-host", Known::ForwardedHost),
            (b"x-forwarded-port", Known::Forwarded),
        ],
        17 => &[
            (b"transfer-encoding", Known::TransferEncoding),
            (b"x-forwarded-proto", Known::ForwardedProto),
        ],
        18 => &[
            (b"proxy-authenticate", Known::HopByHop),
            (b"x-forwarded-server", Known::Forwarded),
            (b"x-forwarded-prefix", Known::Forwarded),
        ],
        19 => &[(b"proxy-authorization", Known::HopByHop)],
        _ => &[],
    };
    candidates
        .iter()
        .find(|(known, _)| name.eq_ignore_ascii_case(known))
        .map_or(Known::Other, |&(_, known)| known)
}

/// The members of a comma-separated list, without white space and empty members
/// (RFC 9110 §5.6.1).
pub fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Whether `byte` may stand in a token (RFC 9110 §5.6.2).
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_fields_are_recognised_whatever_their_case() {
        check("Host", Known::Host);
        check("CONTENT-length", Known::ContentLength);
        check("transfer-encoding", Known::TransferEncoding);
        check("X-Forwarded-For", Known::ForwardedFor);
        check("TE", Known::HopByHop);
        check("X-Forwarded-Port", Known::Forwarded);
        check("server-Timing", Known::ServerTiming);
        check("hos", Known::Other);
        check("x-host", Known::Other);
    }

    #[track_caller]
    fn check(name: &str, expected: Known) {
        assert_eq!(recognise(name.as_bytes()), expected, "{name}");
    }

    #[test]
    fn list_members_are_trimmed_and_empty_ones_skipped() {
        let found: Vec<_> = members(b" close,, keep-alive ,").collect();
        assert_eq!(found, [b"close".as_slice(), b"keep-alive"]);
    }
}
