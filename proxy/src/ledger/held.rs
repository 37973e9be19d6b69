//! How long the requests that run now have held their rows, by route.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::pool::Pool;

/// What the requests of one route hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Rows.
    pub(crate) rows: u64,
    /// How long they have been held, added up, in microseconds.
    pub(crate) us: u64,
}

/// A look at every row: also at those that another proxy process has claimed.
#[derive(Debug, Default)]
pub(crate) struct HeldRows {
    by_route: HashMap<usize, Held>,
}

impl HeldRows {
    /// Looks at the rows of these pools. `now` is since the epoch.
    pub(crate) fn look<'p>(pools: impl Iterator<Item = &'p Arc<Pool>>, now: Duration) -> Self {
        let mut found = Self::default();
        for worker in pools.flat_map(|pool| pool.workers()) {
            let running = worker.segment.iter().filter_map(|row| row.running());
            running.for_each(|(route, started_us)| found.add(route, started_us, now));
        }
        found
    }

    fn add(&mut self, route: u32, started_unix_us: u64, now: Duration) {
        let age = now.saturating_sub(Duration::from_micros(started_unix_us));
        let held = self.by_route.entry(usize::try_from(route).unwrap_or(0)).or_default();
        held.rows = held.rows.saturating_add(1);
        // Whoever can write the row may have written any time.
        held.us = held.us.saturating_add(u64::try_from(age.as_micros()).unwrap_or(0));
    }

    /// What a route holds.
    pub(crate) fn of(&self, number: usize) -> Held {
        self.by_route.get(&number).copied().unwrap_or_default()
    }
}
