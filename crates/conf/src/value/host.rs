//! Host names of sites.

use std::fmt;
use std::net::Ipv6Addr;

use super::Text;

/// Which `Host` a site is for, in lower case and without a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// This host. An IPv6 address stands in brackets.
    Exact(String),
    /// `"*.example.com"`: every host that ends in it, at any depth, but not `example.com`
    /// itself. Held without the `*.`.
    Wildcard(String),
}

impl fmt::Display for HostPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => write!(formatter, "{host}"),
            Self::Wildcard(suffix) => write!(formatter, "*.{suffix}"),
        }
    }
}

impl Text for HostPattern {
    const KIND: &'static str = "a host";

    fn parse(text: &str) -> Result<Self, String> {
        let host = text.to_ascii_lowercase();
        let wildcard = host.strip_prefix("*.");
        check_host(wildcard.unwrap_or(&host)).map_err(|reason| {
            format!(
                "{text:?} is not a host such as \"www.example.com\" or \"*.example.com\": {reason}"
            )
        })?;
        match wildcard {
            Some(suffix) if suffix.starts_with('[') => {
                Err(format!("{text:?} is not a host: an address has no wildcard"))
            }
            Some(suffix) => Ok(Self::Wildcard(suffix.to_owned())),
            None => Ok(Self::Exact(host)),
        }
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

/// Checks a host in lower case: a name of labels, an IPv4 address, or an IPv6 address in brackets.
///
/// # Errors
///
/// Says what is not allowed.
pub(crate) fn check_host(host: &str) -> Result<(), &'static str> {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let valid = address.parse::<Ipv6Addr>().is_ok();
        return if valid { Ok(()) } else { Err("not an IPv6 address in brackets") };
    }
    if host.contains(':') {
        return Err("it stands without a port, and an IPv6 address in brackets");
    }
    if !host.is_ascii() {
        return Err("write an international name in its ASCII form, `xn--…`");
    }
    if host.contains('*') {
        return Err("`*.` may stand at its beginning only");
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(allowed);
    if host.len() <= 253 && host.split('.').all(label) {
        Ok(())
    } else {
        Err("labels of 1 to 63 letters, digits, `-` and `_`, with dots between them")
    }
}

#[cfg(test)]
mod tests {
    use super::super::check_text;
    use super::*;

    #[test]
    fn a_host_is_lower_case_and_has_no_port() {
        check_text::<HostPattern>("www.example.com", Ok("www.example.com"));
        check_text::<HostPattern>("WWW.Example.com", Ok("www.example.com"));
        check_text::<HostPattern>("*.example.com", Ok("*.example.com"));
        check_text::<HostPattern>("localhost", Ok("localhost"));
        check_text::<HostPattern>("127.0.0.1", Ok("127.0.0.1"));
        check_text::<HostPattern>("[::1]", Ok("[::1]"));
        refuse("example.com:80", "it stands without a port, and an IPv6 address in brackets");
        refuse("::1", "it stands without a port, and an IPv6 address in brackets");
        refuse("[::x]", "not an IPv6 address in brackets");
        refuse("bücher.example", "write an international name in its ASCII form, `xn--…`");
        refuse("www.*.com", "`*.` may stand at its beginning only");
        refuse("*", "`*.` may stand at its beginning only");
        for text in ["", "a..b", "a.", ".a", "a b", "http//x", "*."] {
            refuse(text, "labels of 1 to 63 letters, digits, `-` and `_`, with dots between them");
        }
        check_text::<HostPattern>(
            "*.[::1]",
            Err("\"*.[::1]\" is not a host: an address has no wildcard"),
        );
    }

    #[track_caller]
    fn refuse(text: &str, reason: &str) {
        let message = format!(
            "{text:?} is not a host such as \"www.example.com\" or \"*.example.com\": {reason}"
        );
        check_text::<HostPattern>(text, Err(&message));
    }
}
