//! The whole configuration: its sections, and the order they are decoded in.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use super::{
    AccessLogConfig, ErrorLogConfig, HealthConfig, KeepaliveConfig, LimitsConfig, ListenerConfig,
    LogConfig, OriginConfig, PoolConfig, PoolLimitsConfig, ProxiesConfig, RouteConfig,
    ServerConfig, SiteConfig, SpoolConfig, StatusConfig, TimeoutsConfig,
};
use crate::check;
use crate::decode::Decoder;
use crate::table::{Encoded, Fallback, Item, Key, Section, Table};
use crate::tree::TableNode;
use crate::value::ListenAddress;

/// A configuration that was checked: every value is in its range, every name refers to something.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The supervisor and the proxy.
    pub server: ServerConfig,
    /// Client connections between requests; see also [`ListenerConfig::keepalive`].
    pub keepalive: KeepaliveConfig,
    /// How long a client may take.
    pub timeouts: TimeoutsConfig,
    /// How large a request may be.
    pub limits: LimitsConfig,
    /// Where bodies go that are too large for memory.
    pub spool: SpoolConfig,
    /// Where clients connect. At least one; names are unique.
    pub listeners: Vec<ListenerConfig>,
    /// Proxies in front of this one.
    pub proxies: ProxiesConfig,
    /// Pools by name.
    pub pools: BTreeMap<String, PoolConfig>,
    /// Origins by name.
    pub origins: BTreeMap<String, OriginConfig>,
    /// Sites; no two have the same host on the same listener.
    pub sites: Vec<SiteConfig>,
    /// The status page.
    pub status: StatusConfig,
    /// The logs.
    pub log: LogConfig,
}

/// A section as the reference shows it.
pub(crate) struct SectionInfo {
    /// As it is written in a file.
    pub(crate) head: &'static str,
    pub(crate) doc: &'static [&'static str],
    pub(crate) keys: fn() -> Vec<Key>,
}

impl SectionInfo {
    const fn of<T: Table>(head: &'static str) -> Self {
        Self { head, doc: T::DOC, keys: T::keys }
    }
}

/// Every section in the order of the reference.
pub(crate) const SECTIONS: [SectionInfo; 17] = [
    SectionInfo::of::<ServerConfig>("[server]"),
    SectionInfo::of::<KeepaliveConfig>("[keepalive]"),
    SectionInfo::of::<TimeoutsConfig>("[timeouts]"),
    SectionInfo::of::<LimitsConfig>("[limits]"),
    SectionInfo::of::<SpoolConfig>("[spool]"),
    SectionInfo::of::<ListenerConfig>("[[listener]]"),
    SectionInfo::of::<ProxiesConfig>("[proxies]"),
    SectionInfo::of::<PoolConfig>("[pool.NAME]"),
    SectionInfo::of::<PoolLimitsConfig>("[pool.NAME.limits]"),
    SectionInfo::of::<HealthConfig>("[pool.NAME.health]"),
    SectionInfo::of::<OriginConfig>("[origin.NAME]"),
    SectionInfo::of::<SiteConfig>("[[site]]"),
    SectionInfo::of::<RouteConfig>("[[site.route]]"),
    SectionInfo::of::<StatusConfig>("[status]"),
    SectionInfo::of::<LogConfig>("[log]"),
    SectionInfo::of::<AccessLogConfig>("[log.access]"),
    SectionInfo::of::<ErrorLogConfig>("[log.error]"),
];

/// The keys of a file outside any table. `include` is taken away before decoding.
const ROOT_KEYS: [&str; 13] = [
    "include",
    "server",
    "keepalive",
    "timeouts",
    "limits",
    "spool",
    "listener",
    "proxies",
    "pool",
    "origin",
    "site",
    "status",
    "log",
];

/// Where a configuration without listeners listens: not reachable from outside, and no
/// privileged port.
const DEFAULT_LISTENER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

impl Config {
    /// Decodes what others refer to first: pools, origins and listeners before sites, pools
    /// before the server's drain.
    ///
    /// What is wrong is in `decoder` afterwards; `None` only if there is something.
    pub(crate) fn decode(root: &mut TableNode, decoder: &mut Decoder<'_>) -> Option<Self> {
        inherit_keepalive(root);
        let root = &*root;
        decoder.refuse_unknown_keys(root, &ROOT_KEYS);
        decoder.known.pools = decoder.named_tables(root, "pool");
        decoder.known.origins = decoder.named_tables(root, "origin");
        let limits: LimitsConfig = decoder.table(root, "limits")?;
        decoder.known.body_size = limits.body_size;
        let keepalive: KeepaliveConfig = decoder.table(root, "keepalive")?;
        let listeners = decode_listeners(root, &keepalive, decoder);
        let sites: Vec<Option<SiteConfig>> = decoder.tables(root, "site");
        let server: ServerConfig = decoder.table(root, "server")?;
        decoder.known.runtime_dir.clone_from(&server.runtime_dir);
        let config = Self {
            server,
            keepalive,
            timeouts: decoder.table(root, "timeouts")?,
            limits,
            spool: decoder.table(root, "spool")?,
            listeners: listeners.into_iter().flatten().collect(),
            proxies: decoder.table(root, "proxies")?,
            pools: present(&decoder.known.pools),
            origins: present(&decoder.known.origins),
            sites: sites.into_iter().flatten().collect(),
            status: decoder.table(root, "status")?,
            log: decoder.table(root, "log")?,
        };
        check::whole(&config, root, decoder);
        Some(config)
    }

    pub(crate) fn encode(&self) -> Section {
        let table = |key: &str, section: Section| Item::new(key, Encoded::Table(section));
        Section(vec![
            table("server", self.server.encode()),
            table("keepalive", self.keepalive.encode()),
            table("timeouts", self.timeouts.encode()),
            table("limits", self.limits.encode()),
            table("spool", self.spool.encode()),
            Item::new("listener", tables(&self.listeners)),
            table("proxies", self.proxies.encode()),
            Item::new("pool", named(&self.pools)),
            Item::new("origin", named(&self.origins)),
            Item::new("site", tables(&self.sites)),
            table("status", self.status.encode()),
            table("log", self.log.encode()),
        ])
    }
}

impl Item {
    fn new(key: &str, encoded: Encoded) -> Self {
        Self { key: key.to_owned(), default: Fallback::Table, encoded }
    }
}

fn tables<T: Table>(tables: &[T]) -> Encoded {
    Encoded::Tables(tables.iter().map(Table::encode).collect())
}

fn named<T: Table>(tables: &BTreeMap<String, T>) -> Encoded {
    Encoded::Named(tables.iter().map(|(name, table)| (name.clone(), table.encode())).collect())
}

fn present<T: Clone>(tables: &BTreeMap<String, Option<T>>) -> BTreeMap<String, T> {
    let present = |(name, table): (&String, &Option<T>)| Some((name.clone(), table.clone()?));
    tables.iter().filter_map(present).collect()
}

fn decode_listeners(
    root: &TableNode,
    keepalive: &KeepaliveConfig,
    decoder: &mut Decoder<'_>,
) -> Vec<Option<ListenerConfig>> {
    let listeners = if root.get("listener").is_some() {
        decoder.tables(root, "listener")
    } else {
        let address = ListenAddress::Tcp(DEFAULT_LISTENER);
        let name = address.to_string();
        vec![Some(ListenerConfig { address, name, keepalive: keepalive.clone() })]
    };
    let names: Vec<Option<&String>> =
        listeners.iter().map(|listener| Some(&listener.as_ref()?.name)).collect();
    decoder.known.listeners = names.iter().map(|name| name.cloned()).collect();
    check::listener_names(&names, root, decoder);
    listeners
}

/// Gives every listener the keys of `[keepalive]` that it does not set itself, so that they keep
/// the place they were written at.
fn inherit_keepalive(root: &mut TableNode) {
    const KEY: &str = "keepalive";
    let Some(base) = root.table(KEY).cloned() else { return };
    let known: Vec<String> = KeepaliveConfig::keys().into_iter().map(|key| key.name).collect();
    for listener in root.tables_mut("listener") {
        let own = listener.table_or_insert(KEY, base.at);
        let Some(own) = own else { continue };
        for (key, entry) in base.entries.iter().filter(|(key, _)| known.contains(key)) {
            own.entries.entry(key.clone()).or_insert_with(|| entry.clone());
        }
    }
}
