//! The harness of the end-to-end tests: the real binaries on ports that the kernel chose.
//!
//! A test starts a [`Stack`] from a few lines of TOML, speaks to it with a raw [`Client`], and
//! waits on what the status page says, never on time. Every wait has a deadline, and what the
//! stack logged is part of every failure. When a stack is dropped, nothing of it is left behind.

#![expect(clippy::panic, reason = "a harness tells of a failure by ending the test")]
#![expect(clippy::missing_panics_doc, reason = "nearly everything here panics when a test fails")]

mod binary;
pub mod browser;
pub mod case;
pub mod client;
pub mod load;
mod log;
pub mod oha;
mod plan;
pub mod process;
pub mod program;
pub mod promise;
pub mod python;
pub mod server;
pub mod stack;
pub mod terminal;
pub mod wait;
pub mod workers;

use std::time::Duration;

pub use browser::Driver;
pub use client::{Client, Response};
pub use load::{Load, Tally};
pub use oha::Oha;
pub use plan::Plan;
pub use server::Server;
pub use stack::Stack;
pub use workers::Workers;

/// How long any one wait may take before its test fails.
///
/// Far above what the waits take, so that a busy machine does not make a test fail.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// How often state is looked at while a test waits for it.
pub const POLL: Duration = Duration::from_millis(10);
