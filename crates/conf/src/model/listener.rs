//! `[[listener]]`: where clients connect.

use super::KeepaliveConfig;
use crate::decode::Decoder;
use crate::table::config_table;
use crate::tree::TableNode;
use crate::value::ListenAddress;

config_table! {
    /// A socket that clients connect to.
    ///
    /// A configuration without any listens on `127.0.0.1:8080`.
    pub struct ListenerConfig(decoder) checked by check {
        /// `"ADDRESS:PORT"`, or `"unix:PATH"`. Port 0: one that the kernel chooses.
        pub address: ListenAddress = required("127.0.0.1:0"),
        /// What sites, the log and the status page call it.
        pub name: String = computed(
            "its address",
            address.as_ref().map(ToString::to_string).unwrap_or_default()
        ),
        /// Any key of `[keepalive]`; it holds for this listener instead.
        pub keepalive: KeepaliveConfig = table,
    }
}

/// What the status page's listener is called; no other may be.
const STATUS: &str = "status";

fn check(listener: ListenerConfig, table: &TableNode, decoder: &mut Decoder<'_>) -> ListenerConfig {
    if listener.name == STATUS {
        let message = format!("`name`: `{STATUS}` is the name of the status page's own listener");
        decoder.problem(table.place("name"), message);
    }
    listener
}
