//! `health` of a pool: how a worker shows that it is well.

use std::time::Duration;

use crate::decode::Decoder;
use crate::table::{Encoded, Table, config_table};
use crate::tree::{Node, TableNode};
use crate::value::{DAY, MILLISECOND, Value, check_plain_path};

config_table! {
    /// A request, with `Host: localhost`, that a serving worker of the pool is asked every so
    /// often. Any status under 500 is well.
    /// An answer that does not come in time is no failure while the worker answers others or has
    /// no free thread: then it is only busy.
    pub struct HealthConfig(decoder) checked by check {
        /// The path to request.
        pub path: String = required("/"),
        /// Between two requests.
        pub interval: Duration = default("5s") in MILLISECOND..=DAY,
        /// How long an answer may take.
        pub timeout: Duration = default("2s") in MILLISECOND..=DAY,
        /// After so many failures in a row the worker is replaced. One alone may be chance.
        pub failures: u32 = default(3) in 1..=1000,
    }
}

fn check(health: HealthConfig, table: &TableNode, decoder: &mut Decoder<'_>) -> HealthConfig {
    let plain = health.path.split_once('?').map_or(health.path.as_str(), |(path, _)| path);
    if let Err(message) = check_plain_path(plain) {
        decoder.problem(table.place("path"), format!("`path`: {message}"));
    }
    health
}

/// An inline table.
impl Value for HealthConfig {
    const KIND: &'static str = "a table";

    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
        let Some(table) = node.as_table() else {
            decoder.expected(node, "", "a table", "");
            return None;
        };
        <Self as Table>::decode(table, decoder)
    }

    fn print(&self) -> String {
        let pairs = self.encode().0.into_iter().filter_map(|item| {
            let Encoded::Value(value) = item.encoded else { return None };
            Some(format!("{} = {value}", item.key))
        });
        format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
    }
}
