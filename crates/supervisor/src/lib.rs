//! Starts, watches and replaces the processes of Ostler.
//!
//! The supervisor reads the configuration, binds listeners, creates shared memory, and keeps one
//! proxy process and every pool's workers running. It speaks no HTTP. What to do with a worker is
//! decided by `ostler_policy::worker`; this crate carries it out.
//!
//! **Invariants:** one dispatcher (`supervisor`) owns all state and never waits for another
//! process; every process it starts ends with it, whatever ends it (`stub`, `guard`); nothing old
//! is let go before what replaces it works (`reload`).

pub mod channel;
pub mod guard;
pub mod log;
pub mod message;
pub mod post_mortem;
pub mod stacks;
pub mod stub;

mod announce;
mod config_version;
mod dispositions;
mod event;
mod exit;
mod figures;
mod handle;
mod history;
mod identity;
mod last_words;
mod limits;
mod link;
mod listeners;
mod machinery;
mod notify;
mod orphans;
mod output;
mod pages;
mod place;
mod proxy;
mod python;
mod recycle;
mod reload;
mod replace;
mod ring;
mod routes;
mod rules;
mod runtime_dir;
mod signals;
mod spawn;
mod start;
mod stop;
mod supervisor;
mod systemd;
mod tasks;
mod tell;
mod worker_control;
mod worker_process;
mod worker_set;
mod workers;

pub use handle::{Handle, Published, RecycleError, ReloadError, StacksError, Watched};
pub use listeners::BindError;
pub use python::{check_imports, check_pools};
pub use runtime_dir::RuntimeDirError;
pub use start::{Options, StartError};
pub use supervisor::{RunError, Supervisor};
