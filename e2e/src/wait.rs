//! Waiting until something is as wanted, for at most [`DEADLINE`].

use std::fmt::Display;
use std::panic::Location;

use tokio::time::{Instant, interval};

use crate::{DEADLINE, POLL};

/// Looks every [`POLL`] until what is seen is as wanted; returns it. A failure names who waits, and
/// what was seen last.
pub async fn until<V: Display>(
    caller: &Location<'_>,
    mut look: impl AsyncFnMut() -> V,
    wanted: impl Fn(&V) -> bool,
) -> V {
    let (mut ticks, deadline) = (interval(POLL), Instant::now() + DEADLINE);
    loop {
        ticks.tick().await;
        let seen = look().await;
        if wanted(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "{caller}: never came to be, but:\n{seen:#}");
    }
}
