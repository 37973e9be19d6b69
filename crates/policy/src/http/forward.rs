//! The head that a worker or origin is sent: the client's, without what concerns the client's
//! connection alone, with what the proxy knows (RFC 9110 §7.6).

use super::answer::write_field;
use super::fields::{Field, Known, members};
use super::framing::Framing;
use super::head::{RequestHead, Version};
use crate::decimal::write_decimal;

/// What the proxy adds or decides itself.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'b> {
    /// The target to send: path and query.
    pub target: &'b str,
    /// The protocol of the request line.
    pub version: Version,
    /// The value for `Host`.
    pub host: &'b str,
    /// How the body is sent on.
    pub body: Framing,
    /// The value for `X-Request-Id`.
    pub request_id: &'b str,
    /// The value for `X-Forwarded-For`: a list, the client first.
    pub forwarded_for: &'b str,
    /// The value for `X-Forwarded-Proto`.
    pub forwarded_proto: &'b str,
    /// The value for `X-Forwarded-Host`.
    pub forwarded_host: &'b str,
    /// The value for `Forwarded` (RFC 7239).
    pub forwarded: &'b str,
    /// Whether the connection to the worker is to close afterwards.
    pub closes: bool,
}

/// Appends the head of the forwarded request.
pub fn write_request(out: &mut Vec<u8>, head: &RequestHead<'_>, forward: &Forward<'_>) {
    for part in [head.method(), " ", forward.target, " ", forward.version.as_str(), "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    write_field(out, b"host", forward.host.as_bytes());
    let has_nominations = head.values(Known::Connection).next().is_some();
    for field in head.fields() {
        if matches!(field.known, Known::Other | Known::Date | Known::ServerTiming)
            && !field.name.contains(&b'_')
            && !(has_nominations && is_nominated(head, &field))
        {
            write_field(out, field.name, field.value);
        }
    }
    let added = [
        ("x-request-id", forward.request_id),
        ("x-forwarded-for", forward.forwarded_for),
        ("x-forwarded-proto", forward.forwarded_proto),
        ("x-forwarded-host", forward.forwarded_host),
        ("forwarded", forward.forwarded),
    ];
    for (name, value) in added {
        write_field(out, name.as_bytes(), value.as_bytes());
    }
    match forward.body {
        Framing::Empty if is_body_expected(head.method()) => {
            write_field(out, b"content-length", b"0");
        }
        Framing::Empty | Framing::UntilClose => {}
        Framing::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            write_decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => write_field(out, b"transfer-encoding", b"chunked"),
    }
    if forward.closes {
        write_field(out, b"connection", b"close");
    }
    out.extend_from_slice(b"\r\n");
}

/// Methods whose requests state their length even when it is zero (RFC 9110 §8.6).
fn is_body_expected(method: &str) -> bool {
    matches!(method, "POST" | "PUT" | "PATCH")
}

fn is_nominated(head: &RequestHead<'_>, field: &Field<'_>) -> bool {
    head.values(Known::Connection)
        .any(|list| members(list).any(|member| member.eq_ignore_ascii_case(field.name)))
}

#[cfg(test)]
mod tests {
    use super::super::head::tests::with_head;
    use super::*;

    #[test]
    fn the_worker_gets_what_concerns_it_and_nothing_a_client_made_up() {
        let bytes = b"POST /a HTTP/1.1\r\nHost: A\r\nAccept: x\r\nConnection: x-a, close\r\n\
            X-A: 1\r\nX_B: 2\r\nKeep-Alive: 1\r\nUpgrade: h2c\r\nExpect: 100-continue\r\n\
            Transfer-Encoding: chunked\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=x\r\n\
            X-Request-Id: mine\r\nTE: trailers\r\nCookie: a=b\r\n\r\n";
        let forward = Forward {
            target: "/a?b",
            host: "a",
            body: Framing::Length(5),
            request_id: "id",
            forwarded_for: "127.0.0.1",
            forwarded_proto: "http",
            forwarded_host: "A",
            forwarded: "for=127.0.0.1",
            version: Version::Http11,
            closes: false,
        };
        let mut out = Vec::new();
        with_head(bytes, |head| write_request(&mut out, &head, &forward)).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "POST /a?b HTTP/1.1\r\nhost: a\r\nAccept: x\r\nCookie: a=b\r\nx-request-id: id\r\n\
             x-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\nx-forwarded-host: A\r\n\
             forwarded: for=127.0.0.1\r\ncontent-length: 5\r\n\r\n"
        );
    }
}
