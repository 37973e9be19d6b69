//! HTTP/1.1 as machines over bytes: heads, targets, framing, chunked coding (RFC 9110, RFC 9112).
//!
//! Strict where the RFC leaves a choice: what two readers could understand differently is
//! refused, in both directions. Nothing here reads or writes a socket.

#![warn(clippy::arithmetic_side_effects)]

pub mod answer;
pub mod body;
pub mod chunked;
pub mod fields;
pub mod forward;
pub mod framing;
pub mod head;
pub mod host;
pub mod server_timing;
pub mod target;

/// Why a request is refused before it reaches a route.
///
/// The proxy's error table gives each its status and reason; the text goes to the log only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestInvalid {
    /// The head breaks RFC 9112, or could be read in two ways.
    #[error("{0}")]
    Malformed(&'static str),
    /// The head is larger than `limits.head-size`, or has more than `limits.head-fields` fields.
    #[error("the request head is larger than its limit")]
    HeadTooLarge,
    /// The target is longer than `limits.target-size`.
    #[error("the request target is longer than its limit")]
    TargetTooLong,
    /// A transfer coding other than chunked, or a method this proxy does not carry.
    #[error("{0} is not implemented")]
    NotImplemented(&'static str),
    /// A version other than HTTP/1.0 and HTTP/1.1.
    #[error("HTTP version not supported")]
    Version,
    /// The body is larger than the limit of its route.
    #[error("the request body is larger than its limit")]
    BodyTooLarge,
}
