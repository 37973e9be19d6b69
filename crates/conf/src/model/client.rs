//! What every client is held to: connections, times, sizes, and whose word is believed.

use std::time::Duration;

use ipnet::IpNet;

use crate::table::config_table;
use crate::value::{ByteSize, DAY, MILLISECOND};

config_table! {
    /// Client connections that are kept open between requests.
    ///
    /// Replaces `KeepAlive`, `KeepAliveTimeout` and `MaxKeepAliveRequests` of httpd.
    pub struct KeepaliveConfig(decoder) {
        /// Whether a connection is kept after a response.
        pub enabled: bool = default(true),
        /// How long a connection may be idle between two requests.
        /// Longer than the 60 s of common load balancers, so that they close first; an idle
        /// connection costs almost nothing here.
        pub idle_timeout: Duration = default("75s") in MILLISECOND..=DAY,
        /// Requests on one connection, after which it is closed. 0: no limit.
        pub max_requests: u32 = default(0),
    }
}

config_table! {
    /// How long a client may take.
    pub struct TimeoutsConfig(decoder) {
        /// For the whole head of a request, from its first byte; 408 after.
        /// The default is the initial limit of httpd's `mod_reqtimeout`.
        pub head: Duration = default("20s") in MILLISECOND..=DAY,
        /// Between two reads of a request's body; 408 after.
        pub body_idle: Duration = default("20s") in MILLISECOND..=DAY,
        /// Slowest upload in bytes per second, averaged over 10 s; 408 below it. "0B": no minimum.
        /// The default is the rate of httpd's `mod_reqtimeout`.
        pub body_min_rate: ByteSize = default("500B") in ByteSize(0)..=ByteSize::gib(1),
        /// Between two writes to a client that takes nothing; the connection is closed after.
        pub write_idle: Duration = default("60s") in MILLISECOND..=DAY,
        /// Slowest download in bytes per second, averaged over 10 s of waiting for the client; the
        /// connection is closed below it. "0B": no minimum, because a slow reader holds no thread.
        pub write_min_rate: ByteSize = default("0B") in ByteSize(0)..=ByteSize::gib(1),
    }
}

config_table! {
    /// How large a request may be.
    pub struct LimitsConfig(decoder) {
        /// The head of a request, all its fields together; 431 beyond.
        pub head_size: ByteSize = default("32KiB") in ByteSize::kib(1)..=ByteSize::mib(1),
        /// Fields in the head of a request; 431 beyond.
        /// The default is `LimitRequestFields` of httpd.
        pub head_fields: usize = default(100) in 1..=256,
        /// The target, path and query together; 414 beyond.
        /// The default is `LimitRequestLine` of httpd, rounded.
        pub target_size: ByteSize = default("8KiB") in ByteSize(64)..=ByteSize::mib(1),
        /// The body of a request; 413 beyond. A route may set its own.
        pub body_size: ByteSize = default("16MiB") in ByteSize(0)..=ByteSize::gib(1024),
        /// How much of a request's body is kept in memory. A whole body is received before a
        /// thread is taken; what is beyond this size goes to the spool.
        pub body_in_memory: ByteSize = default("64KiB") in ByteSize(0)..=ByteSize::gib(1),
        /// How much of a response is kept in memory that the client has not taken yet; what is
        /// beyond this size goes to the spool. Most pages are smaller, so slow clients of them
        /// cost no file.
        pub response_in_memory: ByteSize = default("256KiB") in ByteSize(0)..=ByteSize::gib(1),
    }
}

config_table! {
    /// Proxies and load balancers in front of this one.
    pub struct ProxiesConfig(decoder) {
        /// Networks whose `X-Forwarded-*` and `Forwarded` fields are believed.
        /// By default nobody's: anyone can send them.
        pub trusted: Vec<IpNet> = default([]),
    }
}
