//! A [`Snapshot`] of Ostler as HTML, as mod_status's `?auto`, as JSON, as Prometheus text, and
//! as one screen of a terminal.
//!
//! Every rendering is a pure function of the snapshot; nothing here reads the system or can
//! change anything. **Invariant:** every text of a snapshot may come from a client or a hostile
//! worker, so no rendering lets one be more than text.

mod moment;
mod snapshot;

pub use moment::UnixTime;
pub use snapshot::{
    ByStatus, Cache, ClosedTotal, Connections, LastExit, Machine, Origin, OriginServer,
    PendingRecycle, Percentiles, Pool, PoolState, Proxy, Request, Requests, Server, ShedTotal,
    Snapshot, Thread, ThreadState, Worker, WorkerState,
};
