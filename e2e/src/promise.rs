//! What the project promises under load and under faults, and what was measured of it.
//!
//! The tests of these promises are short in the normal run. `cargo xtask test --soak` runs them
//! at full length on the release build, and collects their figures in `docs/reliability.md`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

use serde_json::json;

/// Whether tests run at full length.
pub fn is_soak() -> bool {
    std::env::var_os("OSTLER_SOAK").is_some()
}

/// How long a test goes on: this in the normal run, that at full length.
pub fn length(normal: Duration, full: Duration) -> Duration {
    if is_soak() { full } else { normal }
}

/// Notes what was measured of a promise, in words with units.
pub fn note(promise: &str, limit: &str, measured: &str) {
    let Some(path) = std::env::var_os("OSTLER_FIGURES") else { return };
    let line = json!({ "promise": promise, "limit": limit, "measured": measured });
    let file = OpenOptions::new().append(true).create(true).open(path);
    let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    written.expect("figures can be written where they were asked for");
}
