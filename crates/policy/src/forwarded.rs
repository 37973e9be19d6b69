//! Who the client is, and what the next hop is told about it (RFC 7239, `X-Forwarded-*`).
//!
//! Only what a trusted proxy says is believed (`proxies.trusted`); what anybody else says is
//! replaced.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::http::fields::{Known, members};
use crate::http::head::RequestHead;

/// The peer of a connection, as far as trust goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP.
    Ip(IpAddr),
    /// Over a UNIX socket: whoever may open it.
    Unix,
}

/// The client of a request, and the fields that say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address: what the log, the access rules and the status page name. `unix` without one.
    pub address: String,
    /// `X-Forwarded-For`.
    pub forwarded_for: String,
    /// `X-Forwarded-Proto`.
    pub proto: String,
    /// `X-Forwarded-Host`.
    pub host: String,
    /// `Forwarded`.
    pub forwarded: String,
    /// The id that a trusted proxy gave the request.
    pub request_id: Option<String>,
}

/// Whether a peer's forwarding fields are believed.
#[must_use]
pub fn is_trusted(peer: Peer, trusted: &[IpNet]) -> bool {
    match peer {
        Peer::Ip(address) => contains(trusted, address),
        Peer::Unix => false,
    }
}

/// Whether one of `networks` holds `address`; an IPv4 address mapped into IPv6 counts as IPv4.
#[must_use]
pub fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// Whether a head carries any field that claims another client.
#[must_use]
pub fn has_claims(head: &RequestHead<'_>) -> bool {
    head.fields().any(|field| {
        matches!(
            field.known,
            Known::Forwarded | Known::ForwardedFor | Known::ForwardedHost | Known::ForwardedProto
        )
    })
}

/// Finds the client of a request that came from `peer` for `host`.
#[must_use]
pub fn client(peer: Peer, trusted: &[IpNet], head: &RequestHead<'_>, host: &str) -> Client {
    let peer_name = match peer {
        Peer::Ip(address) => address.to_canonical().to_string(),
        Peer::Unix => "unix".to_owned(),
    };
    if !is_trusted(peer, trusted) {
        return Client {
            forwarded: forwarded_element(&peer_name, host, "http"),
            forwarded_for: peer_name.clone(),
            address: peer_name,
            proto: "http".to_owned(),
            host: host.to_owned(),
            request_id: None,
        };
    }
    let text = |known| head.values(known).next().and_then(|value| std::str::from_utf8(value).ok());
    let mut chain: Vec<&str> = head
        .values(Known::ForwardedFor)
        .flat_map(members)
        .filter_map(|member| std::str::from_utf8(member).ok())
        .collect();
    // What stands before the client was written by nobody who is trusted.
    chain.drain(..first_believed(&chain, trusted));
    chain.push(&peer_name);
    let address = canonical(chain.first().copied().unwrap_or(&peer_name));
    let proto = match text(Known::ForwardedProto) {
        Some(proto) if proto.eq_ignore_ascii_case("https") => "https",
        _ => "http",
    };
    let original_host = text(Known::ForwardedHost).unwrap_or(host);
    let before = head.values(Known::Forwarded).filter_map(|value| std::str::from_utf8(value).ok());
    let element = forwarded_element(&peer_name, host, proto);
    Client {
        forwarded: before.chain([element.as_str()]).collect::<Vec<_>>().join(", "),
        forwarded_for: chain.join(", "),
        address,
        proto: proto.to_owned(),
        host: original_host.to_owned(),
        request_id: text(Known::RequestId).filter(|id| is_id(id)).map(str::to_owned),
    }
}

/// Walks `X-Forwarded-For` from its end, past trusted proxies, to the first address that is not
/// one: the client. Returns its position.
fn first_believed(chain: &[&str], trusted: &[IpNet]) -> usize {
    let mut first = chain.len();
    for (position, member) in chain.iter().enumerate().rev() {
        let Ok(address) = member.parse::<IpAddr>() else { break };
        first = position;
        if !contains(trusted, address) {
            break;
        }
    }
    first
}

fn canonical(address: &str) -> String {
    let parsed = address.parse::<IpAddr>().map(|address| address.to_canonical().to_string());
    parsed.unwrap_or_else(|_unix| address.to_owned())
}

fn forwarded_element(peer: &str, host: &str, proto: &str) -> String {
    let node = match peer {
        "unix" => "unknown".to_owned(),
        address if address.contains(':') => format!("\"[{address}]\""),
        address => address.to_owned(),
    };
    if host.is_empty() {
        format!("for={node};proto={proto}")
    } else {
        // A host was checked: it holds neither quotes nor backslashes.
        format!("for={node};host=\"{host}\";proto={proto}")
    }
}

/// An id from elsewhere is kept when it is short and plain enough for a log line.
fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::tests::with_head;

    fn find(peer: &str, trusted: &[&str], fields: &str) -> Client {
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        let bytes = format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
        let peer = Peer::Ip(peer.parse().unwrap());
        with_head(bytes.as_bytes(), |head| client(peer, &trusted, &head, "a")).unwrap()
    }

    #[test]
    fn claims_of_strangers_are_replaced() {
        let fields =
            "x-forwarded-for: 9.9.9.9\r\nx-request-id: mine\r\nx-forwarded-proto: https\r\n";
        let found = find("192.0.2.1", &["10.0.0.0/8"], fields);
        assert_eq!(found.address, "192.0.2.1");
        assert_eq!(found.forwarded_for, "192.0.2.1");
        assert_eq!(found.proto, "http");
        assert_eq!(found.forwarded, "for=192.0.2.1;host=\"a\";proto=http");
        assert_eq!(found.request_id, None);
    }

    #[test]
    fn the_client_is_the_last_address_that_no_trusted_proxy_owns() {
        let check = |list: &str, expected: &str| {
            let fields = format!("x-forwarded-for: {list}\r\n");
            assert_eq!(find("10.0.0.1", &["10.0.0.0/8"], &fields).address, expected, "{list}");
        };
        check("9.9.9.9", "9.9.9.9");
        check("8.8.8.8, 9.9.9.9, 10.0.0.2", "9.9.9.9");
        check("10.0.0.3, 10.0.0.2", "10.0.0.3");
        check("8.8.8.8, garbage, 10.0.0.2", "10.0.0.2");
        check("garbage", "10.0.0.1");
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_appended() {
        let fields = "x-forwarded-for: 9.9.9.9\r\nx-forwarded-proto: https\r\n\
            x-forwarded-host: www.example\r\nx-request-id: abc-1\r\nforwarded: for=9.9.9.9\r\n";
        let found = find("10.0.0.1", &["10.0.0.0/8"], fields);
        assert_eq!(found.forwarded_for, "9.9.9.9, 10.0.0.1");
        let forged = find("10.0.0.1", &["10.0.0.0/8"], "x-forwarded-for: 6.6.6.6, 9.9.9.9\r\n");
        assert_eq!(forged.forwarded_for, "9.9.9.9, 10.0.0.1");
        assert_eq!((found.proto.as_str(), found.host.as_str()), ("https", "www.example"));
        assert_eq!(found.forwarded, "for=9.9.9.9, for=10.0.0.1;host=\"a\";proto=https");
        assert_eq!(found.request_id.as_deref(), Some("abc-1"));
    }

    #[test]
    fn ids_that_could_forge_a_log_line_are_not_kept() {
        let found = find("10.0.0.1", &["10.0.0.0/8"], "x-request-id: a b\"c\r\n");
        assert_eq!(found.request_id, None);
    }
}
