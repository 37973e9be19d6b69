//! What the status page shows: the state of the server at one moment.
//!
//! Serialized, it is the document of `?json`, key for key; that is also how it is kept in the
//! history, so that a key that is missing has its default. Whatever is not known is `None`, and
//! `null` in the document.

mod event;
mod histogram;
mod pool;
mod post_mortem;
mod route;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::moment::UnixTime;

pub use event::{Event, EventKind};
pub use histogram::{BOUNDS_MS, Histogram};
pub use pool::{
    Blame, Blamed, LastExit, PendingRecycle, Percentiles, Pool, PoolState, Recycled, Request,
    ShedTotal, Thread, ThreadState, Worker, WorkerState,
};

pub use post_mortem::{HeldRequest, Moment, PostMortem, ThreadTrace};
pub use route::{Costs, OverBudget, Route, RouteWindow};

/// Version of the document. A reader may rely on the keys of its version.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// The whole state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Snapshot {
    /// Always 1.
    pub schema_version: u32,
    /// The server itself.
    pub server: Server,
    /// Client connections.
    pub connections: Connections,
    /// Requests, whatever they were routed to.
    pub requests: Requests,
    /// Pools by name.
    pub pools: BTreeMap<String, Pool>,
    /// Origins by name.
    pub origins: BTreeMap<String, Origin>,
    /// Every route, in the order of the configuration: what it costs.
    pub routes: Vec<Route>,
    /// What changed lately, the latest first: at most [`Event::KEPT`].
    pub events: Vec<Event>,
    /// The machine.
    pub machine: Machine,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            server: Server::default(),
            connections: Connections::default(),
            requests: Requests::default(),
            pools: BTreeMap::new(),
            origins: BTreeMap::new(),
            routes: Vec::new(),
            events: Vec::new(),
            machine: Machine::default(),
        }
    }
}

impl Snapshot {
    /// Returns when it was taken.
    pub fn taken(&self) -> UnixTime {
        self.server.started.plus_seconds(self.server.uptime_s)
    }
}

/// The server: supervisor and proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Server {
    /// Always `ostler`.
    pub name: String,
    /// Version of the product.
    pub version: String,
    /// Process of the supervisor.
    pub pid: u32,
    /// How many proxies there have been, this one included.
    pub generation: u64,
    /// When the supervisor started.
    pub started: UnixTime,
    /// Seconds since the supervisor started.
    pub uptime_s: f64,
    /// It takes no more connections.
    pub draining: bool,
    /// How many configurations have been in force, this one included.
    pub config_version: u64,
    /// When the configuration in force came into force.
    pub config_loaded: UnixTime,
    /// What it changed.
    pub config_changes: ConfigChanges,
    /// Why a newer configuration was refused.
    pub config_error: Option<String>,
    /// The proxy process.
    pub proxy: Proxy,
    /// What is kept of the past; `None`: nothing.
    pub history: Option<History>,
    /// A request that makes more database queries than this is counted and shown; 0: none is.
    pub query_budget: u64,
}

/// What a configuration changed of the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ConfigChanges {
    /// Keys and tables, such as `pool.web.threads`: at most eight, those first whose value does not
    /// follow from others. None for the first configuration of a proxy process.
    pub keys: Vec<String>,
    /// How many more there were.
    pub left_out: u64,
}

/// What is kept of the past, for `?at=`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct History {
    /// The first moment that is kept.
    pub from: UnixTime,
    /// The last one.
    pub until: UnixTime,
    /// Bytes it has on disk.
    pub bytes: u64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            name: "ostler".to_owned(),
            version: String::new(),
            pid: 0,
            generation: 1,
            started: UnixTime::default(),
            uptime_s: 0.0,
            draining: false,
            config_version: 1,
            config_loaded: UnixTime::default(),
            config_changes: ConfigChanges::default(),
            config_error: None,
            proxy: Proxy::default(),
            history: None,
            query_budget: 0,
        }
    }
}

/// The proxy process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Proxy {
    /// Its process.
    pub pid: u32,
    /// Resident memory.
    pub rss_bytes: Option<u64>,
    /// Processor time used, user and system.
    pub cpu_s: Option<f64>,
    /// Open descriptors.
    pub fds: Option<u64>,
    /// Most descriptors it may open.
    pub fds_max: Option<u64>,
    /// Bytes of bodies in files.
    pub spool_bytes: u64,
    /// Most bytes of bodies in files that there may be; 0: not known.
    pub spool_max_bytes: u64,
}

/// Client connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Connections {
    /// Open ones: the sum of `reading`, `writing`, `idle` and `upgraded`.
    pub open: u64,
    /// Those a request is read from.
    pub reading: u64,
    /// Those with a request in work or an answer on its way.
    pub writing: u64,
    /// Those waiting for a request.
    pub idle: u64,
    /// Those that speak another protocol by now.
    pub upgraded: u64,
    /// Most that may be open.
    pub max: u64,
    /// Accepted since the supervisor started.
    pub accepted_total: u64,
    /// Closed since the supervisor started, by reason.
    pub closed_total: ClosedTotal,
}

/// Connections closed, by reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[serde(default)]
pub struct ClosedTotal {
    /// The client closed it.
    pub client: u64,
    /// It was idle too long.
    pub idle_timeout: u64,
    /// It had served as many requests as one may.
    pub max_requests: u64,
    /// Room was needed at the limit of connections.
    pub pressure: u64,
    /// The server drained.
    pub drain: u64,
    /// Protocol error, timeout or broken socket.
    pub error: u64,
}

impl ClosedTotal {
    /// Returns each reason with its number.
    pub(crate) fn entries(&self) -> [(&'static str, u64); 6] {
        [
            ("client", self.client),
            ("idle-timeout", self.idle_timeout),
            ("max-requests", self.max_requests),
            ("pressure", self.pressure),
            ("drain", self.drain),
            ("error", self.error),
        ]
    }
}

/// Requests, whatever they were routed to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Requests {
    /// Ended ones.
    pub total: u64,
    /// Begun and not ended.
    pub in_flight: u64,
    /// Bytes received from clients.
    pub bytes_received_total: u64,
    /// Bytes sent to clients.
    pub bytes_sent_total: u64,
    /// Answers by class of status.
    pub by_status: ByStatus,
    /// Answers of our own by reason.
    pub by_reason: BTreeMap<String, u64>,
    /// Time of all ended requests, in milliseconds.
    pub duration_ms_total: u64,
}

/// Answers by class of status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ByStatus {
    /// 100 to 199.
    #[serde(rename = "1xx")]
    pub informational: u64,
    /// 200 to 299.
    #[serde(rename = "2xx")]
    pub success: u64,
    /// 300 to 399.
    #[serde(rename = "3xx")]
    pub redirection: u64,
    /// 400 to 499.
    #[serde(rename = "4xx")]
    pub client_error: u64,
    /// 500 to 599.
    #[serde(rename = "5xx")]
    pub server_error: u64,
}

impl ByStatus {
    /// Returns each class with its number.
    pub(crate) fn entries(&self) -> [(&'static str, u64); 5] {
        [
            ("1xx", self.informational),
            ("2xx", self.success),
            ("3xx", self.redirection),
            ("4xx", self.client_error),
            ("5xx", self.server_error),
        ]
    }
}

/// A group of servers, or a directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Origin {
    /// Its servers; none for a directory.
    pub servers: Vec<OriginServer>,
    /// Its cache, if it has one.
    pub cache: Option<Cache>,
}

/// One server of an origin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct OriginServer {
    /// Its URL.
    pub url: String,
    /// It takes requests.
    pub healthy: bool,
    /// Since when it takes requests, or takes none.
    pub since: Option<UnixTime>,
    /// Why it takes no requests.
    pub reason: Option<String>,
    /// Requests in it.
    pub in_flight: u64,
    /// Requests it ended.
    pub requests_total: u64,
    /// Requests it failed.
    pub errors_total: u64,
}

/// A cache.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Cache {
    /// Bytes in it.
    pub bytes: u64,
    /// Requests it answered.
    pub hits_total: u64,
    /// Requests it did not answer.
    pub misses_total: u64,
}

/// What `mod_status` tells of the machine and of the process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Machine {
    /// Name that the operator asked for: the Host of the request.
    pub server_name: String,
    /// When the program was built, as text.
    pub built: String,
    /// Load averages of 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Processor time of supervisor and proxy in user mode, in seconds.
    pub cpu_user_s: f64,
    /// Processor time of supervisor and proxy in the kernel, in seconds.
    pub cpu_system_s: f64,
    /// Processor time of the workers in user mode, in seconds.
    pub cpu_children_user_s: f64,
    /// Processor time of the workers in the kernel, in seconds.
    pub cpu_children_system_s: f64,
}
