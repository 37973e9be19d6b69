//! `[server]`: the processes and what they own together.

use std::path::PathBuf;
use std::time::Duration;

use crate::decode::Decoder;
use crate::table::config_table;
use crate::value::{DAY, HOUR};

config_table! {
    /// The supervisor and the proxy.
    pub struct ServerConfig(decoder) {
        /// Threads of the proxy, one event loop each.
        /// At most 64: the supervisor hands over the sockets of a listener in one packet.
        pub threads: usize = computed("CPUs", decoder.surroundings.cpus.clamp(1, 64)) in 1..=64,
        /// Open client connections.
        /// At the limit the oldest idle one is closed first, then accepting pauses.
        pub max_connections: usize = default(10000) in 1..=10_000_000,
        /// Length of the kernel's queue of connections that were not accepted yet.
        /// The default is that of httpd; the kernel lowers it to `net.core.somaxconn`.
        pub listen_backlog: u32 = default(511) in 1..=65_535,
        /// The user that the proxy becomes when started as root.
        /// Without effect when started as another user.
        pub user: Option<String> = optional,
        /// A folder for sockets, made at start.
        /// When not root: `$XDG_RUNTIME_DIR/ostler`, else a folder beneath the temporary one.
        pub runtime_dir: PathBuf =
            computed("/run/ostler, or a private folder when not root", decoder.surroundings.runtime_dir()),
        /// The socket that commands such as `ostler reload` speak to.
        pub control_socket: PathBuf =
            computed("RUNTIME-DIR/control.sock", runtime_dir.join("control.sock")),
        /// Reload when a configuration file changes.
        pub watch: bool = default(false),
        /// How long to keep serving after TERM while the health path answers 503.
        /// The default is for a machine without a load balancer that would have to notice.
        pub shutdown_delay: Duration = default("0s") in Duration::ZERO..=HOUR,
        /// How long requests that were accepted may take to finish when stopping.
        /// By default a little more than the slowest pool needs.
        pub drain_timeout: Duration = computed(
            "the longest pool drain-timeout plus 5 s",
            longest_drain(decoder) + Duration::from_secs(5)
        ) in Duration::ZERO..=DAY + HOUR,
    }
}

fn longest_drain(decoder: &Decoder<'_>) -> Duration {
    let pools = decoder.known.pools.values().flatten();
    let longest = pools.map(|pool| pool.drain_timeout).max();
    // Without pools: what a pool has by default.
    longest.unwrap_or(Duration::from_mins(1))
}
