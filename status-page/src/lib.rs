//! A [`Snapshot`] of Ostler as HTML, as `mod_status`'s `?auto`, as JSON, as Prometheus text, and
//! as one screen of a terminal.
//!
//! Every rendering is a pure function of the snapshot; nothing here reads the system or can
//! change anything. **Invariant:** every text of a snapshot may come from a client or a hostile
//! worker, so no rendering lets one be more than text.

mod anchor;
mod auto;
mod crash;
mod events;
mod html;
mod info;
mod json;
mod metrics;
mod moment;
mod overview;
mod scoreboard;
mod snapshot;
mod stacks;
mod text;
mod thin;
mod trends;
pub mod units;
mod verdict;

pub use auto::auto;
pub use events::EventLog;
pub use html::{
    CONTENT_SECURITY_POLICY, DEFAULT_REFRESH_S, HtmlOptions, html, info_html, stacks_html,
};
pub use info::{Fact, Feature, Info, InfoLimit, InfoPart, InfoRoute, ListenerRoutes, info_json};
pub use json::json;
pub use metrics::prometheus;
pub use moment::UnixTime;
pub use overview::{Overview, Summary, overview_json};
pub use snapshot::{
    BOUNDS_MS, Blame, Blamed, ByStatus, Cache, ClosedTotal, ConfigChanges, Connections, Costs,
    Event, EventKind, HeldRequest, Histogram, History, LastExit, Machine, Moment, Origin,
    OriginServer, OverBudget, PendingRecycle, Percentiles, Pool, PoolState, PostMortem, Proxy,
    Recycled, Request, Requests, Route, RouteWindow, Server, ShedTotal, Snapshot, Thread,
    ThreadState, ThreadTrace, Worker, WorkerState,
};
pub use stacks::{Stacks, StacksBusy, StacksThread, StacksWorker, stacks_json, stacks_text};
pub use text::{TextStyle, text, text_in};
pub use trends::{PoolStep, PoolTrend, Step, TrendLog, Trends};
pub use verdict::{Severity, Verdict, verdicts};
