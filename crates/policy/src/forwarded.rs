//! Who the client is, and what the next hop is told about it (RFC 7239, `X-Forwarded-*`).
//!
//! Only what a trusted proxy says is believed (`proxies.trusted`); what anybody else says is
//! replaced.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::decimal::push_decimal;
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
pub struct Client<'b> {
    /// Its address: what the log, the access rules and the status page name. `unix` without one.
    pub address: String,
    /// `X-Forwarded-For`.
    pub forwarded_for: String,
    /// `X-Forwarded-Proto`.
    pub proto: &'static str,
    /// `X-Forwarded-Host`.
    pub host: &'b str,
    /// `Forwarded`.
    pub forwarded: String,
    /// The id that a trusted proxy gave the request.
    pub request_id: Option<&'b str>,
}

impl Peer {
    /// Its address; `unix` without one.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Ip(address) => match address.to_canonical() {
                IpAddr::V4(address) => dotted(address),
                IpAddr::V6(address) => address.to_string(),
            },
            Self::Unix => "unix".to_owned(),
        }
    }
}

/// As `to_string`, for a fraction of its cost: every request says who its client is.
fn dotted(address: Ipv4Addr) -> String {
    let mut text = String::with_capacity("255.255.255.255".len());
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index != 0 {
            text.push('.');
        }
        push_decimal(&mut text, octet.into());
    }
    text
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
pub fn client<'b>(
    peer: Peer,
    trusted: &[IpNet],
    head: &RequestHead<'b>,
    host: &'b str,
) -> Client<'b> {
    let peer_name = peer.name();
    if !is_trusted(peer, trusted) {
        return Client {
            forwarded: forwarded_element(&peer_name, host, "http"),
            forwarded_for: peer_name.clone(),
            address: peer_name,
            proto: "http",
            host,
            request_id: None,
        };
    }
    let text = |known| head.values(known).next().and_then(|value| std::str::from_utf8(value).ok());
    let chain = claimed_chain(head);
    let believed = believed_part(&chain, trusted);
    let mut forwarded_for: Vec<&str> = believed.iter().map(|(member, _)| *member).collect();
    forwarded_for.push(&peer_name);
    let address = match believed.first() {
        Some((_, address)) => {
            address.map_or_else(|| UNKNOWN.to_owned(), |address| address.to_string())
        }
        None => peer_name.clone(),
    };
    let proto = match text(Known::ForwardedProto) {
        Some(proto) if proto.eq_ignore_ascii_case("https") => "https",
        _ => "http",
    };
    let original_host = text(Known::ForwardedHost).unwrap_or(host);
    let before = head.values(Known::Forwarded).filter_map(|value| std::str::from_utf8(value).ok());
    let element = forwarded_element(&peer_name, host, proto);
    Client {
        forwarded: before.chain([element.as_str()]).collect::<Vec<_>>().join(", "),
        forwarded_for: forwarded_for.join(", "),
        address,
        proto,
        host: original_host,
        request_id: text(Known::RequestId).filter(|id| is_id(id)),
    }
}

/// What stands for a client whose address a trusted proxy names in a way that is not understood:
/// it is in no network, so no rule lets it in by mistake.
const UNKNOWN: &str = "unknown";

/// The addresses that are claimed, the client first: `X-Forwarded-For`, else `Forwarded`.
fn claimed_chain<'b>(head: &RequestHead<'b>) -> Vec<(&'b str, Option<IpAddr>)> {
    let text = |member: &'b [u8]| std::str::from_utf8(member).unwrap_or(UNKNOWN);
    let with_address = |member: &'b str| (member, node_address(member));
    if head.values(Known::ForwardedFor).next().is_some() {
        let members = head.values(Known::ForwardedFor).flat_map(members);
        return members.map(text).map(with_address).collect();
    }
    // `X-Forwarded-Port` and its like are recognised as `Forwarded` too, but name no node.
    head.fields()
        .filter(|field| field.name.eq_ignore_ascii_case(b"forwarded"))
        .flat_map(|field| members(field.value))
        .map(text)
        .map(|element| with_address(for_node(element)))
        .collect()
}

/// The node of `for=` in one element of `Forwarded` (RFC 7239 §4).
fn for_node(element: &str) -> &str {
    let mut pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let found = pairs.find(|(name, _)| name.eq_ignore_ascii_case("for"));
    found.map_or(UNKNOWN, |(_, node)| node.trim_matches('"'))
}

/// An address with or without a port (RFC 7239 §6); `None` for anything else.
fn node_address(node: &str) -> Option<IpAddr> {
    let bare = node.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let with_port = || node.parse::<std::net::SocketAddr>().map(|address| address.ip());
    bare.or_else(|_with_port| with_port()).ok().map(|address| address.to_canonical())
}

/// Walks the chain from its end, past trusted proxies, to the first address that is not one: the
/// client. What stands before it was written by nobody who is trusted.
fn believed_part<'c, 'b>(
    chain: &'c [(&'b str, Option<IpAddr>)],
    trusted: &[IpNet],
) -> &'c [(&'b str, Option<IpAddr>)] {
    let is_proxy = |address: Option<IpAddr>| address.is_some_and(|it| contains(trusted, it));
    let client = chain.iter().rposition(|&(_, address)| !is_proxy(address)).unwrap_or(0);
    chain.get(client..).unwrap_or_default()
}

fn forwarded_element(peer: &str, host: &str, proto: &str) -> String {
    let (before, node, after) = match peer {
        "unix" => ("for=", "unknown", ""),
        address if address.contains(':') => ("for=\"[", address, "]\""),
        address => ("for=", address, ""),
    };
    if host.is_empty() {
        [before, node, after, ";proto=", proto].concat()
    } else {
        // A host was checked: it holds neither quotes nor backslashes.
        [before, node, after, ";host=\"", host, "\";proto=", proto].concat()
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

    /// A client whose texts are its own.
    struct Found {
        address: String,
        forwarded_for: String,
        proto: &'static str,
        host: String,
        forwarded: String,
        request_id: Option<String>,
    }

    impl From<Client<'_>> for Found {
        fn from(client: Client<'_>) -> Self {
            Self {
                address: client.address,
                forwarded_for: client.forwarded_for,
                proto: client.proto,
                host: client.host.to_owned(),
                forwarded: client.forwarded,
                request_id: client.request_id.map(str::to_owned),
            }
        }
    }

    fn find(peer: &str, trusted: &[&str], fields: &str) -> Found {
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        let bytes = format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
        let peer = Peer::Ip(peer.parse().unwrap());
        with_head(bytes.as_bytes(), |head| client(peer, &trusted, &head, "a").into()).unwrap()
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
        check("9.9.9.9:51234", "9.9.9.9");
        check("[2001:db8::1]:443", "2001:db8::1");
        check("8.8.8.8, garbage, 10.0.0.2", "unknown");
        check("garbage", "unknown");
        let forwarded = |value: &str, expected: &str| {
            let fields = format!("forwarded: {value}\r\n");
            assert_eq!(find("10.0.0.1", &["10.0.0.0/8"], &fields).address, expected, "{value}");
        };
        forwarded("for=9.9.9.9", "9.9.9.9");
        forwarded("for=8.8.8.8, proto=http;For=\"[2001:db8::1]:80\", for=10.0.0.2", "2001:db8::1");
        forwarded("for=_hidden", "unknown");
        forwarded("proto=https", "unknown");
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_appended() {
        let fields = "x-forwarded-for: 9.9.9.9\r\nx-forwarded-proto: https\r\n\
            x-forwarded-host: www.example\r\nx-request-id: abc-1\r\nforwarded: for=9.9.9.9\r\n";
        let found = find("10.0.0.1", &["10.0.0.0/8"], fields);
        assert_eq!(found.forwarded_for, "9.9.9.9, 10.0.0.1");
        let forged = find("10.0.0.1", &["10.0.0.0/8"], "x-forwarded-for: 6.6.6.6, 9.9.9.9\r\n");
        assert_eq!(forged.forwarded_for, "9.9.9.9, 10.0.0.1");
        assert_eq!((found.proto, found.host.as_str()), ("https", "www.example"));
        assert_eq!(found.forwarded, "for=9.9.9.9, for=10.0.0.1;host=\"a\";proto=https");
        assert_eq!(found.request_id.as_deref(), Some("abc-1"));
    }

    #[test]
    fn a_peer_is_named_by_its_canonical_address() {
        let check = |address: &str, expected: &str| {
            assert_eq!(Peer::Ip(address.parse().unwrap()).name(), expected, "{address}");
        };
        check("192.0.2.255", "192.0.2.255");
        check("0.10.100.9", "0.10.100.9");
        check("::ffff:10.0.0.1", "10.0.0.1");
        check("2001:db8::1", "2001:db8::1");
        assert_eq!(Peer::Unix.name(), "unix");
        assert_eq!(
            forwarded_element("2001:db8::1", "a", "http"),
            "for=\"[2001:db8::1]\";host=\"a\";proto=http"
        );
        assert_eq!(forwarded_element("unix", "", "http"), "for=unknown;proto=http");
    }

    #[test]
    fn ids_that_could_forge_a_log_line_are_not_kept() {
        let found = find("10.0.0.1", &["10.0.0.0/8"], "x-request-id: a b\"c\r\n");
        assert_eq!(found.request_id, None);
    }
}
