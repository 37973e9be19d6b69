//! What a browser sends: forms, cookies, and where a form comes from.

use std::io::{self, Read};

use http::HeaderMap;
use http::header::{COOKIE, HOST, ORIGIN};

/// Largest form. The longest honest one has a name and a password.
const MAX_FORM_BYTES: u64 = 16 * 1024;

/// The fields of a form, in order.
#[derive(Debug, Default)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a form from a request body, and no more of it than a form may have.
    pub(crate) fn read(body: impl Read) -> io::Result<Self> {
        let mut bytes = Vec::new();
        body.take(MAX_FORM_BYTES).read_to_end(&mut bytes)?;
        Ok(Self::parse(&bytes))
    }

    /// Takes a query or a form apart.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        Self(form_urlencoded::parse(bytes).into_owned().collect())
    }

    /// The first field of that name; empty without one.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// The value of a cookie.
pub(crate) fn cookie<'a>(fields: &'a HeaderMap, name: &str) -> Option<&'a str> {
    fields
        .get_all(COOKIE)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

/// Whether a form comes from a page of this site.
///
/// Every browser names the origin of a form (Fetch §3.2). Who sends none is no browser and holds
/// nobody's cookie, which is `SameSite=Lax` besides.
pub(crate) fn is_from_here(fields: &HeaderMap) -> bool {
    let Some(origin) = fields.get(ORIGIN) else { return true };
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let hosts = [fields.get("x-forwarded-host"), fields.get(HOST)];
    authority.is_some_and(|(_, authority)| {
        hosts.into_iter().flatten().any(|host| host.as_bytes() == authority.as_bytes())
    })
}

/// Where to go after signing in: a path of this site, or the front page.
pub(crate) fn safe_path(next: &str) -> &str {
    let is_path = next.starts_with('/') && !next.starts_with("//");
    let is_plain = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_path && is_plain { next } else { "/" }
}

/// A name for the leader board: 2 to 24 letters, digits, `-`, `_` or `.`.
pub(crate) fn is_name(name: &str) -> bool {
    (2..=24).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_decoded_and_a_missing_field_is_empty() {
        let form = Form::read(&b"name=ada&answer=two+horses%20%26+a+cart&name=eve"[..]).unwrap();
        assert_eq!(form.field("name"), "ada");
        assert_eq!(form.field("answer"), "two horses & a cart");
        assert_eq!(form.field("password"), "");
    }

    #[test]
    fn no_more_is_read_than_a_form_may_have() {
        let form = Form::read(io::repeat(b'a')).unwrap();
        assert_eq!(form.0[0].0.len(), 16 * 1024);
    }

    #[test]
    fn a_cookie_is_found_among_others_by_its_whole_name() {
        let fields = fields(&[("cookie", "xid=1; id=2"), ("cookie", "b=a=c")]);
        assert_eq!(cookie(&fields, "id"), Some("2"));
        assert_eq!(cookie(&fields, "b"), Some("a=c"));
        assert_eq!(cookie(&fields, "d"), None);
    }

    #[test]
    fn a_form_of_another_site_is_told_apart() {
        for (list, expected) in [
            (&[("host", "arena.test:8080")][..], true),
            (&[("host", "arena.test:8080"), ("origin", "http://arena.test:8080")], true),
            (&[("host", "arena.test:8080"), ("origin", "http://arena.test")], false),
            (&[("host", "arena.test"), ("origin", "https://evil.test")], false),
            (&[("host", "arena.test"), ("origin", "null")], false),
            (
                &[
                    ("host", "10.0.0.1"),
                    ("x-forwarded-host", "arena.test"),
                    ("origin", "https://arena.test"),
                ],
                true,
            ),
        ] {
            assert_eq!(is_from_here(&fields(list)), expected, "{list:?}");
        }
    }

    #[test]
    fn signing_in_leads_to_no_other_site() {
        for (next, expected) in [
            ("/problems/knight", "/problems/knight"),
            ("", "/"),
            ("//evil.test/", "/"),
            ("/\\evil.test/", "/"),
            ("https://evil.test/", "/"),
            ("/a\r\nset-cookie:b", "/"),
        ] {
            assert_eq!(safe_path(next), expected, "{next:?}");
        }
    }

    #[test]
    fn a_name_is_short_and_plain() {
        for (name, expected) in [
            ("ada", true),
            ("Ada.L-1_2", true),
            ("a", false),
            ("a b", false),
            ("<b>", false),
            ("abcdefghijklmnopqrstuvwxyz", false),
        ] {
            assert_eq!(is_name(name), expected, "{name}");
        }
    }

    fn fields(list: &[(&'static str, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in list {
            fields.append(*name, value.parse().unwrap());
        }
        fields
    }
}
