//! `[origin.NAME]`: servers that are not ours to run, or a directory.

use std::path::PathBuf;
use std::time::Duration;

use crate::decode::Decoder;
use crate::table::{Key, Section, Table, config_table};
use crate::tree::TableNode;
use crate::value::{DAY, MILLISECOND, OriginHost, ServerUrl};

/// A named group of servers that are not ours to run, or a directory of files.
#[derive(Clone, Debug, PartialEq)]
pub struct OriginConfig {
    /// Who answers.
    pub kind: OriginKind,
}

/// Who answers for an origin.
#[derive(Clone, Debug, PartialEq)]
pub enum OriginKind {
    /// Other servers, over HTTP or HTTPS.
    Servers {
        /// At least one.
        servers: Vec<ServerUrl>,
        /// The `Host` they are asked for.
        host: OriginHost,
        /// For one connect.
        connect_timeout: Duration,
        /// To the first byte of the response.
        response_timeout: Duration,
        /// Of idempotent requests, on another server.
        retries: u32,
        /// Idle connections kept per server.
        max_idle_connections: usize,
    },
    /// Files beneath a directory of our own.
    Directory {
        /// Absolute.
        directory: PathBuf,
    },
}

config_table! {
    /// Where static files live: a CDN or other servers, or a directory.
    /// It has either `servers` or a `directory`.
    pub(crate) struct OriginTable(decoder) checked by check {
        /// URLs of servers, `http` or `https`, without a path; certificates are verified.
        pub servers: Option<Vec<ServerUrl>> = optional,
        /// A directory; nothing outside it is served, whatever the path or a symbolic link says.
        /// A file that changes is served as it is at the next request; where a directory or a
        /// symbolic link above it changes, within a second.
        pub directory: Option<PathBuf> = optional,
        /// The `Host` that servers are asked for: `"server"`, its own name, which is what a CDN
        /// wants; `"client"`, the one the client asked for; or a fixed name.
        pub host: OriginHost = default("server"),
        /// For one connect. The default covers one lost SYN (RFC 6298 §2.1).
        pub connect_timeout: Duration = default("2s") in MILLISECOND..=DAY,
        /// From the request to the first byte of the response; 504 after.
        pub response_timeout: Duration = default("30s") in MILLISECOND..=DAY,
        /// How often a request that may be repeated is tried on another server.
        pub retries: u32 = default(1) in 0..=10,
        /// Idle connections that are kept, per server.
        pub max_idle_connections: usize = default(64) in 0..=10_000,
    }
}

/// Keys that a directory does not have.
const SERVER_KEYS: [&str; 5] =
    ["host", "connect-timeout", "response-timeout", "retries", "max-idle-connections"];

impl Table for OriginConfig {
    const DOC: &[&str] = OriginTable::DOC;

    fn keys() -> Vec<Key> {
        OriginTable::keys()
    }

    fn decode(table: &TableNode, decoder: &mut Decoder<'_>) -> Option<Self> {
        let OriginTable {
            servers,
            directory,
            host,
            connect_timeout,
            response_timeout,
            retries,
            max_idle_connections,
        } = OriginTable::decode(table, decoder)?;
        let kind = match (servers, directory) {
            (Some(servers), _) => OriginKind::Servers {
                servers,
                host,
                connect_timeout,
                response_timeout,
                retries,
                max_idle_connections,
            },
            (None, Some(directory)) => OriginKind::Directory { directory },
            (None, None) => return None,
        };
        Some(Self { kind })
    }

    fn encode(&self) -> Section {
        match &self.kind {
            OriginKind::Servers {
                servers,
                host,
                connect_timeout,
                response_timeout,
                retries,
                max_idle_connections,
            } => OriginTable {
                servers: Some(servers.clone()),
                directory: None,
                host: host.clone(),
                connect_timeout: *connect_timeout,
                response_timeout: *response_timeout,
                retries: *retries,
                max_idle_connections: *max_idle_connections,
            }
            .encode()
            .without(&["directory"]),
            OriginKind::Directory { directory } => Section::of_value("directory", directory),
        }
    }
}

fn check(origin: OriginTable, table: &TableNode, decoder: &mut Decoder<'_>) -> OriginTable {
    let [servers, directory] = ["servers", "directory"].map(|key| table.get(key));
    match (servers, directory) {
        (None, None) => {
            let message = format!("[{}] needs `servers` or a `directory`", table.path);
            decoder.absent(table.at, message);
        }
        (Some(_), Some(directory)) => {
            decoder.problem(directory.at, "an origin has `servers` or a `directory`, not both");
        }
        (None, Some(_)) => {
            for (key, entry) in &table.entries {
                if SERVER_KEYS.contains(&key.as_str()) {
                    let message = format!("`{key}` is for `servers`; a `directory` has none");
                    decoder.problem(entry.key_at, message);
                }
            }
        }
        (Some(_), None) => {}
    }
    if origin.servers.as_ref().is_some_and(Vec::is_empty) {
        decoder.problem(table.place("servers"), "`servers`: must name a server");
    }
    origin
}
