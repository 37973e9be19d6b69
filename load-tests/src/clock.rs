//! Time: the only place that reads a clock or waits.

use std::time::{Duration, Instant};

/// How often a state is looked at that one waits for.
const POLL: Duration = Duration::from_millis(10);

/// The time since a fixed point.
#[expect(clippy::disallowed_methods, reason = "the edge: everything else is handed its times")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Lets time pass while load runs.
#[expect(clippy::disallowed_methods, reason = "what is measured takes place in the meantime")]
pub(crate) fn pass(duration: Duration) {
    std::thread::sleep(duration);
}

/// Waits until `check` gives something; none when it took too long.
pub(crate) fn until<T>(longest: Duration, mut check: impl FnMut() -> Option<T>) -> Option<T> {
    let start = now();
    loop {
        if let Some(seen) = check() {
            return Some(seen);
        }
        if longest < start.elapsed() {
            return None;
        }
        pass(POLL);
    }
}
