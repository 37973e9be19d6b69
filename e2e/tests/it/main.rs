//! End-to-end tests over the real binaries: each starts its own stack, and waits on state.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test tells of a failure by panicking")]

use ostler_e2e::client::request;
use ostler_e2e::{Client, Stack};

mod access_log;
mod admission;
mod browser;
mod buffering;
mod cases;
mod commands;
mod faults;
mod gunicorn;
mod history;
mod identity;
mod info;
mod keepalive;
mod life;
mod metrics;
mod operators;
mod origins;
mod overload;
mod python;
mod python_costs;
mod readers;
mod recycle;
mod reliability;
mod reload;
mod replacement;
mod retries;
mod ring;
mod routes;
mod scoreboard;
mod serving;
mod stacks;
mod status;
mod stuck;
mod tls_origins;
mod top;

/// Sends a GET on a connection of its own, and does not wait for the answer.
async fn ask(stack: &Stack, path: &str) -> Client {
    let mut client = stack.connect().await;
    client.send(request("GET", path)).await;
    client
}
