//! Names of the page's parts, so that a finding can lead to what it is about.

use crate::scoreboard::Busy;

/// The requests in the application.
pub(crate) const REQUESTS: &str = "requests";
/// What each route costs.
pub(crate) const ROUTES: &str = "routes";
/// Requests that made too many database queries.
pub(crate) const QUERIES: &str = "queries";
/// What changed lately.
pub(crate) const CHANGES: &str = "changes";
/// The origins.
pub(crate) const ORIGINS: &str = "origins";
/// Connections and answers.
pub(crate) const TRAFFIC: &str = "traffic";
/// The numbers of the server.
pub(crate) const SERVER: &str = "server";

/// Returns the name of a pool's part.
pub(crate) fn pool(name: &str) -> String {
    format!("pool-{name}")
}

/// Returns the name of a busy row's line among the requests.
pub(crate) fn row(row: &Busy<'_>) -> String {
    let Busy { pool, worker, thread, .. } = row;
    format!("row-{pool}-{}-{}-{}", worker.slot, worker.generation, thread.thread)
}
