//! Programs that read the state: those made for httpd, unchanged, and those made for ours.
//!
//! Each reads what the JSON document says at the same moment.

mod apache;
mod cost;
mod document;
mod httpd_monitors;
mod promtool;
