//! Renderings of one snapshot, as operators and their tools read them.

#![expect(clippy::unwrap_used, reason = "helpers of tests; clippy only knows test functions")]

mod costly;
mod dashboards;
mod escaping;
mod json;
mod monitors;
mod rendered;
mod sample;
