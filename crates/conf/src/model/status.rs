//! `[status]`: the page that shows what every thread is doing.

use crate::decode::Decoder;
use crate::table::config_table;
use crate::tree::TableNode;
use crate::value::{Allow, ListenAddress, check_plain_path};

config_table! {
    /// The status page, the metrics and the health of the whole.
    pub struct StatusConfig(decoder) checked by check {
        /// A listener of its own, which still answers when `max-connections` is reached.
        /// "": none.
        pub address: Option<ListenAddress> = default("127.0.0.1:9180"),
        /// Also on every listener, before any route.
        pub sites: bool = default(false),
        /// The status page, with or without a final slash. The default is that of `mod_status`.
        pub path: String = default("/server-status"),
        /// Metrics for Prometheus.
        pub metrics_path: String = default("/metrics"),
        /// 200 while serving; 503 during `shutdown-delay`, or when a pool has no ready worker.
        /// Open to everyone wherever it is served.
        pub health_path: String = default("/ostler-health"),
        /// Whose requests are answered; others get 403. A request with forwarding fields from an
        /// untrusted peer is never allowed.
        pub allow: Allow = default(["127.0.0.1/32", "::1/128", "unix"]),
    }
}

fn check(status: StatusConfig, table: &TableNode, decoder: &mut Decoder<'_>) -> StatusConfig {
    let paths = [
        ("path", &status.path),
        ("metrics-path", &status.metrics_path),
        ("health-path", &status.health_path),
    ];
    for (index, (key, path)) in paths.iter().enumerate() {
        if let Err(message) = check_plain_path(path) {
            decoder.problem(table.place(key), format!("`{key}`: {message}"));
        }
        let bare = |path: &str| path.trim_end_matches('/').to_owned();
        if let Some((other, _)) = paths[..index].iter().find(|(_, other)| bare(other) == bare(path))
        {
            let message = format!("`{key}`: {path:?} is already the `{other}`");
            decoder.problem(table.place(key), message);
        }
    }
    status
}
