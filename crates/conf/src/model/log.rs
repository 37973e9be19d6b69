//! `[log]`: where lines go, and how they look.

use crate::table::config_table;
use crate::value::{AccessFormat, Level, LogPath};

config_table! {
    /// The logs.
    pub struct LogConfig(decoder) {
        /// The access log: a line for each request.
        pub access: AccessLogConfig = table,
        /// The error log: the life of processes and the configuration, and what went wrong.
        pub error: ErrorLogConfig = table,
    }
}

config_table! {
    /// The access log: a line for each request, written when it ends.
    pub struct AccessLogConfig(decoder) {
        /// A file, or "-" for standard output.
        pub path: LogPath = default("-"),
        /// `extended` (`combined`, then key=value pairs: reason, pool, queue, run, id),
        /// `combined`, `common` or `json`.
        pub format: AccessFormat = default("extended"),
    }
}

config_table! {
    /// The error log: the life of processes and the configuration, and what went wrong.
    pub struct ErrorLogConfig(decoder) {
        /// A file, or "-" for standard error.
        pub path: LogPath = default("-"),
        /// The least important events that are written: `error`, `warn`, `info`, `debug`, `trace`.
        pub level: Level = default("info"),
    }
}
