//! Workers as their proxy sees them: over a socket, in this process or in one of their own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod process;
mod service;
mod threads;
