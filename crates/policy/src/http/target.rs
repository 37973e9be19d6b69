//! The request target: its form, and the path that routes are found by (RFC 9112 §3.2).
//!
//! The path a route is chosen by is decoded first, because the application decodes it too: with
//! `/%61dmin` neither a route nor its access rule may be avoided. What could be read in two ways
//! (dot segments, an encoded zero byte, broken encoding) is refused; the target itself is passed
//! on as it was sent.

use std::borrow::Cow;

use super::RequestInvalid;
use super::RequestInvalid::{Malformed, NotImplemented};
use super::host;

/// A target after its checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'b> {
    /// Path and query as sent, always beginning with a slash (or `*` for `OPTIONS *`).
    pub origin_form: &'b str,
    /// The decoded path with repeated slashes merged: what routes and files are found by.
    pub path: Cow<'b, [u8]>,
    /// The authority of an absolute-form target.
    pub authority: Option<&'b str>,
}

impl<'b> Target<'b> {
    /// The query with its question mark; empty without one.
    #[must_use]
    pub fn query(&self) -> &'b str {
        let mark = memchr::memchr(b'?', self.origin_form.as_bytes());
        mark.and_then(|at| self.origin_form.get(at..)).unwrap_or_default()
    }
}

/// Checks the form of a target and decodes its path.
///
/// # Errors
///
/// `NotImplemented` for `CONNECT` and `TRACE`, `Malformed` for the rest.
pub fn checked<'b>(method: &str, target: &'b str) -> Result<Target<'b>, RequestInvalid> {
    match method {
        "CONNECT" => return Err(NotImplemented("CONNECT")),
        "TRACE" => return Err(NotImplemented("TRACE")),
        _ => {}
    }
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(Malformed("the target holds a byte that must be encoded"));
    }
    if target == "*" {
        return match method {
            "OPTIONS" => Ok(Target {
                origin_form: target,
                path: Cow::Borrowed(target.as_bytes()),
                authority: None,
            }),
            _ => Err(Malformed("asterisk-form is for OPTIONS alone")),
        };
    }
    let (authority, origin_form) = split_absolute(target)?;
    if !origin_form.starts_with('/') {
        return Err(Malformed("the target is neither a path nor an absolute URI"));
    }
    let mark = memchr::memchr(b'?', origin_form.as_bytes()).unwrap_or(origin_form.len());
    let path = origin_form.get(..mark).unwrap_or_default();
    Ok(Target { origin_form, path: routing_path(path)?, authority })
}

/// Takes `http://authority` off an absolute-form target (RFC 9112 §3.2.2).
fn split_absolute(target: &str) -> Result<(Option<&str>, &str), RequestInvalid> {
    let is_http = target.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
    let is_https = target.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
    let rest = match (is_http, is_https) {
        (true, _) => target.get(7..),
        (_, true) => target.get(8..),
        _ => return Ok((None, target)),
    }
    .unwrap_or_default();
    let length = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, origin_form) = rest.split_at(length);
    let authority = host::checked(authority.as_bytes())?;
    match origin_form {
        "" => Ok((Some(authority), "/")),
        query if query.starts_with('?') => Err(Malformed("an absolute URI without a path")),
        origin_form => Ok((Some(authority), origin_form)),
    }
}

/// Decodes a path and merges repeated slashes.
fn routing_path(path: &str) -> Result<Cow<'_, [u8]>, RequestInvalid> {
    let bytes = path.as_bytes();
    let plain =
        memchr::memchr(b'%', bytes).is_none() && memchr::memmem::find(bytes, b"//").is_none();
    let decoded = if plain { Cow::Borrowed(bytes) } else { Cow::Owned(decode(bytes)?) };
    if decoded.split(|&byte| byte == b'/').any(|segment| matches!(segment, b"." | b"..")) {
        return Err(Malformed("the path has a dot segment"));
    }
    Ok(decoded)
}

fn decode(path: &[u8]) -> Result<Vec<u8>, RequestInvalid> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.iter().copied();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => match (bytes.next().and_then(hex_digit), bytes.next().and_then(hex_digit)) {
                (Some(high), Some(low)) => (high << 4) | low,
                (None, _) | (_, None) => {
                    return Err(Malformed("the path has a broken percent-encoding"));
                }
            },
            byte => byte,
        };
        if byte == 0 {
            return Err(Malformed("the path has an encoded zero byte"));
        }
        if byte != b'/' || decoded.last() != Some(&b'/') {
            decoded.push(byte);
        }
    }
    Ok(decoded)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_decoded_and_its_slashes_merged() {
        check("/", "/");
        check("/a/b?c=%zz", "/a/b");
        check("/%61dmin", "/admin");
        check("//admin///x", "/admin/x");
        check("/a%2Fb", "/a/b");
        check("/a%2fb//", "/a/b/");
        check("http://a/b", "/b");
        check("HTTP://a:80", "/");
        check("/...", "/...");
    }

    #[track_caller]
    fn check(target: &str, path: &str) {
        let checked = checked("GET", target).unwrap();
        assert_eq!(std::str::from_utf8(&checked.path), Ok(path), "{target}");
    }

    #[test]
    fn ambiguous_targets_are_refused() {
        for target in [
            "",
            "a",
            "*",
            "/a#b",
            "/\u{e9}",
            "/a/../b",
            "/..",
            "/.",
            "/%2e%2e/x",
            "/a/%2E./b",
            "/%",
            "/%4",
            "/%zz",
            "/%00",
            "http://",
            "http:///a",
            "http://u@a/",
            "http://a?b",
            "ftp://a/",
            "a.example:80",
            "/a\u{7f}",
        ] {
            assert!(checked("GET", target).is_err(), "{target:?} is refused");
        }
        assert!(checked("OPTIONS", "*").is_ok());
        assert_eq!(checked("CONNECT", "a:80"), Err(NotImplemented("CONNECT")));
    }
}
