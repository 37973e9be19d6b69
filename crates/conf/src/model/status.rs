//! `[status]`: the page that shows what every thread is doing.

use std::path::{Path, PathBuf};

use crate::decode::Decoder;
use crate::table::config_table;
use crate::tree::TableNode;
use crate::value::{Allow, ByteSize, ListenAddress, check_plain_path};

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
        /// The effective configuration, routes, features and limits of the system. The default is
        /// that of `mod_info`.
        pub info_path: String = default("/server-info"),
        /// Metrics for Prometheus.
        pub metrics_path: String = default("/metrics"),
        /// 200 while serving; 503 during `shutdown-delay`, or when a pool has no ready worker.
        /// Open to everyone wherever it is served.
        pub health_path: String = default("/ostler-health"),
        /// Whose requests are answered; others get 403. A request with forwarding fields from an
        /// untrusted peer is never allowed.
        pub allow: Allow = default(["127.0.0.1/32", "::1/128", "unix"]),
        /// Database queries that one request may make before it is counted and shown as one that
        /// makes too many, by what the application reports. 0: never. The default is what a page
        /// with a handful of lists needs, well below the twenty that bring a database down.
        pub query_budget: u32 = default(10) in 0..=1_000_000,
        /// What is kept of the past, second by second, for `?at=`: some days at the default.
        /// "0B": nothing; else at least "2MiB". What does not fit any more is overwritten, the oldest
        /// first. Another size takes a restart, and begins the file anew.
        pub history_size: ByteSize = default("64MiB") in ByteSize(0)..=ByteSize::gib(16),
        /// The file it is kept in, mode 0600. It is made where it is missing, in a folder that has
        /// to exist unless it is the default one, and belongs to one supervisor at a time. The
        /// default beside another `runtime-dir` than `/run/ostler` is as lasting as that. Another
        /// file takes a restart.
        pub history_file: PathBuf = computed(
            "/var/lib/ostler/history, or RUNTIME-DIR/history",
            history_file(&decoder.known.runtime_dir)
        ),
    }
}

/// A runtime directory in `/run` is gone after a restart of the machine; what is kept is not to be.
fn history_file(runtime_dir: &Path) -> PathBuf {
    if runtime_dir == Path::new("/run/ostler") {
        return PathBuf::from("/var/lib/ostler/history");
    }
    runtime_dir.join("history")
}

/// The history's longest frame must fit into the file twice.
const MIN_HISTORY: ByteSize = ByteSize::mib(2);

fn check(status: StatusConfig, table: &TableNode, decoder: &mut Decoder<'_>) -> StatusConfig {
    if status.history_size != ByteSize(0) && status.history_size < MIN_HISTORY {
        let message = "`history-size`: at least \"2MiB\", or \"0B\" for no history";
        decoder.problem(table.place("history-size"), message.to_owned());
    }
    let paths = [
        ("path", &status.path),
        ("info-path", &status.info_path),
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
