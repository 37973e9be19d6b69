//! End-to-end tests over the real binaries: each starts its own stack, and waits on state.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test tells of a failure by panicking")]

mod admission;
mod cases;
mod commands;
mod faults;
mod gunicorn;
mod keepalive;
mod life;
mod origins;
mod serving;
mod status;
