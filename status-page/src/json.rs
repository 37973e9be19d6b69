//! The document of `?json`.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::scoreboard;
use crate::snapshot::{Pool, Snapshot};

/// Returns the snapshot as one JSON document.
///
/// Idle rows of a service pool past the 64th are left out.
///
/// # Panics
///
/// Never: a snapshot has text keys only, and numbers that JSON has no word for become `null`.
pub fn json(snapshot: &Snapshot) -> String {
    let mut shown = Cow::Borrowed(snapshot);
    if snapshot.pools.values().any(Pool::is_service) {
        scoreboard::keep_listed(shown.to_mut());
    }
    serde_json::to_string(&*shown).expect("a snapshot has text keys and plain values only")
}
