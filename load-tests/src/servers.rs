//! What each server is told, so that all do the same work: answer on one port, write an access
//! log, keep connections on both sides as long as clients like.

pub(crate) mod apache;
pub(crate) mod bare;
pub(crate) mod granian;
pub(crate) mod gunicorn;
pub(crate) mod haproxy;
pub(crate) mod nginx;
pub(crate) mod ostler;
