//! The host of a request: one, valid, and the same wherever it is named (RFC 9110 §7.2).

use std::borrow::Cow;

use super::RequestInvalid;
use super::RequestInvalid::Malformed;
use super::fields::Known;
use super::head::{RequestHead, Version};

/// Finds the one `Host` field. Empty for HTTP/1.0 without one.
///
/// # Errors
///
/// `Malformed` when it is missing in HTTP/1.1, repeated, or not `host [":" port]`.
pub fn host_field<'b>(head: &RequestHead<'b>) -> Result<&'b str, RequestInvalid> {
    let mut values = head.values(Known::Host);
    let Some(value) = values.next() else {
        return match head.version() {
            Version::Http10 => Ok(""),
            Version::Http11 => Err(Malformed("HTTP/1.1 without Host")),
        };
    };
    if values.next().is_some() {
        return Err(Malformed("more than one Host"));
    }
    checked(value)
}

/// Checks `host [":" port]`.
///
/// # Errors
///
/// `Malformed` for anything else, user information and lists included.
pub fn checked(value: &[u8]) -> Result<&str, RequestInvalid> {
    const BAD: RequestInvalid = Malformed("Host is not a valid host");
    let text = std::str::from_utf8(value).map_err(|_not_ascii| BAD)?;
    let (name, port) = split(text).ok_or(BAD)?;
    let is_port_valid = port.is_none_or(|port| port.is_empty() || port.parse::<u16>().is_ok())
        && !port.unwrap_or_default().starts_with('+');
    let is_name_valid = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(literal) => literal.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(is_name_byte),
    };
    if is_name_valid && is_port_valid { Ok(text) } else { Err(BAD) }
}

/// The name without its port, in lower case and without a final dot: what sites are found by.
#[must_use]
pub fn site_name(host: &str) -> Cow<'_, str> {
    let (name, _) = split(host).unwrap_or((host, None));
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

fn split(host: &str) -> Option<(&str, Option<&str>)> {
    if host.starts_with('[') {
        let (literal, rest) = host.split_once(']')?;
        let name = host.get(..literal.len().saturating_add(1))?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((name, Some(port))),
            None => rest.is_empty().then_some((name, None)),
        };
    }
    let colon = memchr::memchr(b':', host.as_bytes());
    let parts = colon.and_then(|at| Some((host.get(..at)?, host.get(at.saturating_add(1)..)?)));
    Some(parts.map_or((host, None), |(name, port)| (name, Some(port))))
}

/// Whether a byte may stand in a registered name (RFC 3986 §3.2.2), percent-encoding aside:
/// nobody registers such a name, and readers differ in what they make of it.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_an_optional_port() {
        for good in ["a", "www.Example.com:80", "127.0.0.1:8080", "[::1]", "[::1]:443", "a:", "a_b"]
        {
            assert_eq!(checked(good.as_bytes()), Ok(good));
        }
        for bad in [
            "", ":80", "a b", "a,b", "user@a", "a/b", "a:b", "a:99999", "a:+1", "[::1", "[::g]",
            "[::1]x", "a:80:80", "a\\b", "é", "a?b", "a#b", "<a>", "%41",
        ] {
            assert!(checked(bad.as_bytes()).is_err(), "{bad:?} is refused");
        }
    }

    #[test]
    fn sites_are_found_by_the_name_alone() {
        assert_eq!(site_name("WWW.example.com:8080"), "www.example.com");
        assert_eq!(site_name("example.com."), "example.com");
        assert_eq!(site_name("[::1]:80"), "[::1]");
    }
}
