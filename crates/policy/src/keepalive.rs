//! Whether a client's connection persists after an answer (RFC 9112 §9.3; `KeepAlive`,
//! `MaxKeepAliveRequests` of httpd).

use ostler_conf::KeepaliveConfig;

use crate::http::fields::{Known, members};
use crate::http::head::{RequestHead, Version};

/// What happens to the connection after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// It waits for the next request.
    Keep,
    /// The client asked for it to close, or its version does not keep connections.
    CloseForClient,
    /// `keepalive.enabled = false`.
    CloseDisabled,
    /// `keepalive.max-requests` is reached.
    CloseMaxRequests,
    /// The proxy drains.
    CloseDrain,
}

impl Persistence {
    /// Whether the connection closes.
    #[must_use]
    pub fn closes(self) -> bool {
        self != Self::Keep
    }
}

/// Decides for request number `served` (from 1) of a connection.
#[must_use]
pub fn decide(
    config: &KeepaliveConfig,
    head: &RequestHead<'_>,
    served: u32,
    is_draining: bool,
) -> Persistence {
    if is_draining {
        return Persistence::CloseDrain;
    }
    if !config.enabled {
        return Persistence::CloseDisabled;
    }
    let asks = |token: &[u8]| {
        head.values(Known::Connection)
            .any(|list| members(list).any(|member| member.eq_ignore_ascii_case(token)))
    };
    let client_keeps = match head.version() {
        Version::Http11 => !asks(b"close"),
        Version::Http10 => asks(b"keep-alive") && !asks(b"close"),
    };
    if !client_keeps {
        return Persistence::CloseForClient;
    }
    if config.max_requests != 0 && config.max_requests <= served {
        return Persistence::CloseMaxRequests;
    }
    Persistence::Keep
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::http::head::tests::with_head;

    #[test]
    fn the_client_the_limits_and_the_drain_decide() {
        let on = KeepaliveConfig {
            enabled: true,
            idle_timeout: Duration::from_secs(5),
            max_requests: 3,
        };
        let off = KeepaliveConfig { enabled: false, ..on };
        let endless = KeepaliveConfig { max_requests: 0, ..on };
        check(&on, "HTTP/1.1", "", 1, Persistence::Keep);
        check(&on, "HTTP/1.1", "Close", 1, Persistence::CloseForClient);
        check(&on, "HTTP/1.0", "", 1, Persistence::CloseForClient);
        check(&on, "HTTP/1.0", "Keep-Alive", 2, Persistence::Keep);
        check(&on, "HTTP/1.1", "", 3, Persistence::CloseMaxRequests);
        check(&endless, "HTTP/1.1", "", u32::MAX, Persistence::Keep);
        check(&off, "HTTP/1.1", "keep-alive", 1, Persistence::CloseDisabled);
    }

    #[track_caller]
    fn check(
        config: &KeepaliveConfig,
        version: &str,
        connection: &str,
        served: u32,
        expected: Persistence,
    ) {
        let bytes = format!("GET / {version}\r\nhost: a\r\nconnection: {connection}\r\n\r\n");
        let decided = with_head(bytes.as_bytes(), |head| decide(config, &head, served, false));
        assert_eq!(decided, Ok(expected), "{version} {connection:?} {served}");
        let drained = with_head(bytes.as_bytes(), |head| decide(config, &head, served, true));
        assert_eq!(drained, Ok(Persistence::CloseDrain));
    }
}
