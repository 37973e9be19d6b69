//! How long the requests that run now have held their rows, by route.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::books::micros;
use crate::pool::{HeldRow, Pool};

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
    /// Those of which only the row says whose they are.
    hearsay: Vec<(Arc<Pool>, HeldRow)>,
}

impl HeldRows {
    /// Looks at the rows of these pools.
    pub(crate) fn look<'p>(pools: impl Iterator<Item = &'p Arc<Pool>>, now: Instant) -> Self {
        let mut found = Self::default();
        for pool in pools {
            for worker in pool.workers() {
                for row in worker.runs.look(&worker.segment, now) {
                    if row.is_hearsay {
                        found.hearsay.push((Arc::clone(pool), row));
                    } else {
                        found.add(row.route as usize, &row);
                    }
                }
            }
        }
        found
    }

    /// Believes what rows say of their routes where these lead to the pool of the row. All others
    /// are of no route.
    pub(super) fn believe(&mut self, name: impl Fn(u32) -> Option<Arc<str>>) {
        for (pool, row) in std::mem::take(&mut self.hearsay) {
            let leads_here = name(row.route).is_some_and(|name| pool.has_route(&name));
            self.add(if leads_here { row.route as usize } else { 0 }, &row);
        }
    }

    fn add(&mut self, number: usize, row: &HeldRow) {
        let held = self.by_route.entry(number).or_default();
        held.rows = held.rows.saturating_add(1);
        held.us = held.us.saturating_add(micros(row.held_for));
    }

    /// What a route holds.
    pub(crate) fn of(&self, number: usize) -> Held {
        self.by_route.get(&number).copied().unwrap_or_default()
    }
}
