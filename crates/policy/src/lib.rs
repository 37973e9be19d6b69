//! Pure decisions of Ostler: what a request says, where it goes, whether it is admitted, and how a
//! worker lives.
//!
//! Same input, same output: no sockets, no processes, no clock (`now` is an argument), no
//! randomness. The proxy and the supervisor carry out what is decided here.

#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::string_slice)]

pub mod admission;
pub mod decimal;
pub mod forwarded;
pub mod http;
pub mod keepalive;
pub mod machine;
pub mod recycle;
pub mod route;
pub mod stuck;
pub mod wear;
pub mod worker;
