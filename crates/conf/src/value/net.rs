//! Addresses to listen on, and networks.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ipnet::IpNet;

use super::{Text, Value};
use crate::decode::Decoder;
use crate::tree::{Data, Node};

/// Where a listener accepts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenAddress {
    /// `"127.0.0.1:8080"`, `"[::]:80"`. Port 0: one that the kernel chooses.
    Tcp(SocketAddr),
    /// `"unix:/run/ostler/http.sock"`.
    Unix(PathBuf),
}

/// Most bytes in the path of a UNIX socket: `sun_path` of unix(7) less its final NUL.
pub(crate) const MAX_SOCKET_PATH: usize = 107;

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(formatter, "{address}"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return PathBuf::parse(path).map(Self::Unix);
        }
        text.parse().ok().map(Self::Tcp).ok_or_else(|| {
            format!(
                "{text:?} is not an address such as \"127.0.0.1:8080\", \"[::]:80\" or \"unix:/PATH\""
            )
        })
    }
}

impl Text for ListenAddress {
    const KIND: &'static str = "an address";
    const HINT: &'static str = "write a string such as \"127.0.0.1:8080\"";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn text(&self) -> String {
        self.to_string()
    }

    fn relative_to(self, directory: &Path) -> Self {
        match self {
            Self::Tcp(address) => Self::Tcp(address),
            Self::Unix(path) => Self::Unix(path.relative_to(directory)),
        }
    }
}

/// An address, or `""` for none.
impl Text for Option<ListenAddress> {
    const KIND: &'static str = "an address or \"\"";
    const HINT: &'static str = ListenAddress::HINT;

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
    }

    fn text(&self) -> String {
        self.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    fn relative_to(self, directory: &Path) -> Self {
        self.map(|address| address.relative_to(directory))
    }
}

/// A network; an address alone is the network of this address.
impl Text for IpNet {
    const KIND: &'static str = "a network";
    const HINT: &'static str = "write a string such as \"10.0.0.0/8\"";

    fn parse(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::from(address));
        }
        let network: Self = text.parse().ok().ok_or_else(|| {
            format!("{text:?} is not a network such as \"10.0.0.0/8\" or \"2001:db8::/32\"")
        })?;
        if network.trunc() == network {
            Ok(network)
        } else {
            Err(format!("{text:?} has bits set beyond its prefix; write \"{}\"", network.trunc()))
        }
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

/// Whose requests are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow {
    /// Clients with an address in one of these.
    pub networks: Vec<IpNet>,
    /// Clients on a UNIX socket.
    pub unix: bool,
}

impl Value for Allow {
    const KIND: &'static str = "an array of networks and \"unix\"";

    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
        let Data::Array(elements) = &node.data else {
            let message = format!("expected {}, found {}", Self::KIND, node.data);
            decoder.problem(node.at, message);
            return None;
        };
        let mut allow = Self { networks: Vec::new(), unix: false };
        for element in elements {
            if matches!(&element.data, Data::Text(text) if text == "unix") {
                allow.unix = true;
            } else {
                allow.networks.extend(IpNet::decode(element, decoder));
            }
        }
        Some(allow)
    }

    fn print(&self) -> String {
        let networks = self.networks.iter().map(Value::print);
        let unix = self.unix.then(|| "\"unix\"".to_owned());
        format!("[{}]", networks.chain(unix).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::super::check_text;
    use super::*;

    #[test]
    fn a_listener_has_an_address_with_a_port_or_a_socket() {
        for text in ["127.0.0.1:8080", "0.0.0.0:0", "[::]:80", "unix:/run/ostler/http.sock"] {
            check_text::<ListenAddress>(text, Ok(text));
        }
        for text in ["8080", ":8080", "localhost:80", "127.0.0.1", "1.2.3.4:65536", "::1:80", ""] {
            let message = format!(
                "{text:?} is not an address such as \"127.0.0.1:8080\", \"[::]:80\" or \"unix:/PATH\""
            );
            check_text::<ListenAddress>(text, Err(&message));
        }
        check_text::<ListenAddress>("unix:", Err("must not be empty"));
        check_text::<Option<ListenAddress>>("", Ok(""));
    }

    #[test]
    fn a_network_has_no_bits_beyond_its_prefix() {
        check_text::<IpNet>("10.0.0.0/8", Ok("10.0.0.0/8"));
        check_text::<IpNet>("10.1.2.3", Ok("10.1.2.3/32"));
        check_text::<IpNet>("::1", Ok("::1/128"));
        check_text::<IpNet>(
            "10.0.0.1/8",
            Err("\"10.0.0.1/8\" has bits set beyond its prefix; write \"10.0.0.0/8\""),
        );
        for text in ["", "10.0.0.0/33", "10.0.0/8", "all", "localhost"] {
            let message =
                format!("{text:?} is not a network such as \"10.0.0.0/8\" or \"2001:db8::/32\"");
            check_text::<IpNet>(text, Err(&message));
        }
    }
}
