//! What the proxy says about a request: its id and its client.

use std::net::IpAddr;

use http::{Extensions, HeaderMap, Request, request::Parts};

/// The address of whoever opened a TCP connection. Absent on UNIX sockets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// What the proxy says about a request.
///
/// The proxy drops what an untrusted client claims in these fields. A worker that is started by
/// hand and reached without a proxy believes whoever asks.
pub trait RequestExt {
    /// The id that the proxy's log has for this request (`X-Request-Id`).
    fn request_id(&self) -> Option<&str>;

    /// The address of the client: the first of `X-Forwarded-For`, without a proxy the peer's.
    ///
    /// None for a client of the proxy's UNIX listener.
    fn client_address(&self) -> Option<IpAddr>;

    /// Whether the client came over TLS (`X-Forwarded-Proto`).
    fn is_secure(&self) -> bool;
}

impl<B> RequestExt for Request<B> {
    fn request_id(&self) -> Option<&str> {
        text(self.headers(), "x-request-id")
    }

    fn client_address(&self) -> Option<IpAddr> {
        client_address(self.headers(), self.extensions())
    }

    fn is_secure(&self) -> bool {
        is_secure(self.headers())
    }
}

impl RequestExt for Parts {
    fn request_id(&self) -> Option<&str> {
        text(&self.headers, "x-request-id")
    }

    fn client_address(&self) -> Option<IpAddr> {
        client_address(&self.headers, &self.extensions)
    }

    fn is_secure(&self) -> bool {
        is_secure(&self.headers)
    }
}

fn client_address(fields: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
    match text(fields, "x-forwarded-for") {
        Some(chain) => first_address(chain),
        None => extensions.get::<Peer>().map(|peer| peer.0),
    }
}

/// The client, in a value of `X-Forwarded-For`.
pub(crate) fn first_address(chain: &str) -> Option<IpAddr> {
    chain.split(',').next()?.trim().parse().ok()
}

fn is_secure(fields: &HeaderMap) -> bool {
    text(fields, "x-forwarded-proto").is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"))
}

fn text<'a>(fields: &'a HeaderMap, name: &str) -> Option<&'a str> {
    fields.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_whom_the_proxy_names_and_else_the_peer() {
        check_client(None, Some("10.0.0.9"));
        check_client(Some("192.0.2.7"), Some("192.0.2.7"));
        check_client(Some(" 2001:db8::1 , 10.1.1.1"), Some("2001:db8::1"));
        check_client(Some("unix"), None);
    }

    #[test]
    fn the_id_and_the_scheme_are_read_from_their_fields() {
        let request = Request::builder()
            .header("X-Request-Id", "a1b2")
            .header("X-Forwarded-Proto", "HTTPS")
            .body(())
            .unwrap();
        assert_eq!(request.request_id(), Some("a1b2"));
        assert!(request.is_secure());

        let (parts, ()) = Request::new(()).into_parts();
        assert_eq!(parts.request_id(), None);
        assert!(!parts.is_secure());
    }

    #[track_caller]
    fn check_client(chain: Option<&str>, expected: Option<&str>) {
        let mut request = Request::new(());
        request.extensions_mut().insert(Peer("10.0.0.9".parse().unwrap()));
        if let Some(chain) = chain {
            request.headers_mut().insert("x-forwarded-for", chain.parse().unwrap());
        }
        let expected = expected.map(|address| address.parse::<IpAddr>().unwrap());
        assert_eq!(request.client_address(), expected, "{chain:?}");
    }
}
