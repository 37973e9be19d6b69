//! Starts, watches and replaces the processes of Ostler.
//!
//! The supervisor reads the configuration, binds listeners, creates shared memory, and keeps one
//! proxy process and every pool's workers running. It speaks no HTTP. What to do with a worker is
//! decided by `ostler_policy::worker`; this crate carries it out.

pub mod channel;
pub mod message;
