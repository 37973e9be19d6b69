//! Servers of origins: where they are, and which host is asked for.

use std::fmt;

use super::Text;
use super::host::check_host;

/// A server of an origin: `http://HOST[:PORT]` or `https://HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerUrl {
    /// `https`.
    pub tls: bool,
    /// A name or an address, in lower case; an IPv6 address stands in brackets.
    pub host: String,
    /// Without one in the URL, that of the scheme.
    pub port: u16,
}

impl ServerUrl {
    /// The port that is left out of the URL: 80 or 443.
    const fn scheme_port(tls: bool) -> u16 {
        if tls { 443 } else { 80 }
    }

    /// The host, and the port where it is not that of the scheme, as in a `Host` field.
    pub fn authority(&self) -> String {
        let Self { tls, host, port } = self;
        if *port == Self::scheme_port(*tls) { host.clone() } else { format!("{host}:{port}") }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(formatter, "{scheme}://{}", self.authority())
    }
}

impl Text for ServerUrl {
    const KIND: &'static str = "the URL of a server";

    fn parse(text: &str) -> Result<Self, String> {
        let refused = |reason: &str| {
            Err(format!("{text:?} is not a server such as \"https://cdn.example.com\": {reason}"))
        };
        let (tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return refused("it begins with http:// or https://"),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '@']) {
            return refused("it has no user, path or query");
        }
        let Some((host, port)) = split_port(authority) else {
            return refused("its port is a number from 1 to 65535");
        };
        let host = host.to_ascii_lowercase();
        if let Err(reason) = check_host(&host) {
            return refused(reason);
        }
        Ok(Self { tls, host, port: port.unwrap_or_else(|| Self::scheme_port(tls)) })
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

/// Which host the servers of an origin are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginHost {
    /// `"server"`: the server's own name.
    Server,
    /// `"client"`: the one the client asked for.
    Client,
    /// This one, with or without a port.
    Fixed(String),
}

impl Text for OriginHost {
    const KIND: &'static str = "\"server\", \"client\" or a host";

    fn parse(text: &str) -> Result<Self, String> {
        let fixed = |text: &str| {
            let host = text.to_ascii_lowercase();
            let (name, _) = split_port(&host).ok_or("its port is a number from 1 to 65535")?;
            check_host(name).map(|()| Self::Fixed(host.clone()))
        };
        match text {
            "server" => Ok(Self::Server),
            "client" => Ok(Self::Client),
            text => fixed(text).map_err(|reason: &str| format!("{text:?} is not a host: {reason}")),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Server => "server".to_owned(),
            Self::Client => "client".to_owned(),
            Self::Fixed(host) => host.clone(),
        }
    }
}

/// Cuts `HOST[:PORT]`; `None` when the port is not one.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    match authority.rsplit_once(':') {
        // The colons of an IPv6 address without a port.
        Some((_, rest)) if rest.ends_with(']') => Some((authority, None)),
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
            Some((host, Some(port)))
        }
        Some(_) => None,
        None => Some((authority, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check_text;
    use super::*;

    #[test]
    fn a_server_is_a_scheme_a_host_and_a_port() {
        check_text::<ServerUrl>("http://127.0.0.1:9000", Ok("http://127.0.0.1:9000"));
        check_text::<ServerUrl>("https://CDN.example.com/", Ok("https://cdn.example.com"));
        check_text::<ServerUrl>("https://a:443", Ok("https://a"));
        check_text::<ServerUrl>("http://a:443", Ok("http://a:443"));
        check_text::<ServerUrl>("http://[::1]", Ok("http://[::1]"));
        check_text::<ServerUrl>("http://[::1]:81", Ok("http://[::1]:81"));
        for text in ["a", "ftp://a", "//a", "", "HTTP//a"] {
            refuse(text, "it begins with http:// or https://");
        }
        for text in ["http://a/b", "http://a?b", "http://u@a", "http://a//"] {
            refuse(text, "it has no user, path or query");
        }
        for text in ["http://a:0", "http://a:65536", "http://a:", "http://a:b"] {
            refuse(text, "its port is a number from 1 to 65535");
        }
        refuse("http://", "labels of 1 to 63 letters, digits, `-` and `_`, with dots between them");
    }

    #[track_caller]
    fn refuse(text: &str, reason: &str) {
        let message =
            format!("{text:?} is not a server such as \"https://cdn.example.com\": {reason}");
        check_text::<ServerUrl>(text, Err(&message));
    }

    #[test]
    fn the_host_sent_is_the_servers_the_clients_or_a_fixed_one() {
        for text in ["server", "client", "static.example.com", "static.example.com:8080"] {
            check_text::<OriginHost>(text, Ok(text));
        }
        check_text::<OriginHost>(
            "a:b",
            Err("\"a:b\" is not a host: its port is a number from 1 to 65535"),
        );
    }
}
