//! One line of a pool's queue: the requests that wait under the same limit.
//!
//! The first line is for every route without a `max-share`; each route with one has a line of its
//! own, so that requests over their share stand aside and hold up nobody behind them.

use std::collections::BTreeMap;
use std::time::Instant;

use ostler_conf::Share;

use super::pace::Pace;
use super::{RouteId, Ticket};

/// A request that waits.
#[derive(Debug)]
pub(super) struct Waiting<W> {
    pub(super) route: RouteId,
    pub(super) since: Instant,
    pub(super) waiter: W,
}

/// One line.
#[derive(Debug)]
pub(super) struct Line<W> {
    /// Whose line it is, and its share of the rows; `None`: everybody else's.
    pub(super) limit: Option<(RouteId, Share)>,
    pub(super) pace: Pace,
    /// In the order they came.
    pub(super) waiting: BTreeMap<Ticket, Waiting<W>>,
}

impl<W> Line<W> {
    pub(super) fn new(limit: Option<(RouteId, Share)>) -> Self {
        Self { limit, pace: Pace::default(), waiting: BTreeMap::new() }
    }

    /// Whether it is the line of this route alone.
    pub(super) fn is_for(&self, route: RouteId) -> bool {
        self.limit.is_some_and(|(limited, _)| limited == route)
    }

    /// Rows that it may hold of so many.
    pub(super) fn rows(&self, capacity: u32) -> u32 {
        self.limit.map_or(capacity, |(_, share)| share.of(capacity))
    }

    /// Requests that may wait in it, of so many in the whole queue.
    pub(super) fn places(&self, queue_length: usize) -> usize {
        let Some((_, share)) = self.limit else { return queue_length };
        let length = u32::try_from(queue_length).unwrap_or(u32::MAX);
        queue_length.min(share.of(length) as usize)
    }

    /// Whether it holds all the rows it may.
    pub(super) fn is_full(&self, capacity: u32) -> bool {
        self.limit.is_some_and(|(_, share)| share.of(capacity) <= self.pace.held())
    }
}
