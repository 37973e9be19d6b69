//! What a worker and the proxy share: the segment, and the eventfds that either wakes the other by.
//!
//! Both get the same descriptors in the same order: the segment, the worker's bell, one a lane.
//! A worker whose pool has `link = "http"` gets none, and its proxy the segment alone.

use std::os::fd::{AsFd, OwnedFd};

use ostler_conf::{Link, PoolConfig};
use ostler_segment::{MAX_LANES, Segment, SegmentHead};
use rustix::event::{EventfdFlags, eventfd};

use crate::message::WorkerId;
use crate::worker_process::StartWorkerError;

/// Proxies that can have a worker on the ring link at once: one, and one that replaces it.
const PROXIES: u32 = 2;

/// What the proxy gets.
#[derive(Debug)]
pub(crate) struct Ring {
    segment: OwnedFd,
    eventfds: Vec<OwnedFd>,
}

/// What the worker gets.
#[derive(Debug)]
pub(crate) struct WorkerSide {
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Ring {
    /// Makes what a worker shares with proxies of so many event loops.
    pub(crate) fn create(
        id: &WorkerId,
        config: &PoolConfig,
        event_loops: usize,
    ) -> Result<(Self, WorkerSide), StartWorkerError> {
        let lanes = match config.link {
            Link::Auto => u32::try_from(event_loops).unwrap_or(MAX_LANES).saturating_mul(PROXIES),
            Link::Http => 0,
        };
        let lanes = lanes.min(MAX_LANES);
        let segment = Segment::create(&SegmentHead {
            pool: id.pool.clone(),
            slot: id.slot,
            generation: id.generation,
            rows: config.concurrency,
            lanes,
        })?;
        let count = if lanes == 0 { 0 } else { 1 + lanes };
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let eventfds: Vec<OwnedFd> =
            (0..count).map(|_| eventfd(0, flags)).collect::<Result<_, _>>()?;
        let shared = std::iter::once(&segment).chain(&eventfds).filter(|_| 0 < lanes);
        let descriptors: Vec<OwnedFd> = shared
            .map(|fd| rustix::io::fcntl_dupfd_cloexec(fd.as_fd(), 0))
            .collect::<Result<_, _>>()?;
        Ok((Self { segment, eventfds }, WorkerSide { descriptors }))
    }

    /// What travels beside `WorkerStarted`.
    pub(crate) fn into_descriptors(self) -> Vec<OwnedFd> {
        std::iter::once(self.segment).chain(self.eventfds).collect()
    }
}

impl WorkerSide {
    /// The value of `OSTLER_LINK`: the numbers of its descriptors, from `first` on. `None` without
    /// a ring link.
    pub(crate) fn variable(&self, first: i32) -> Option<String> {
        let numbers: Vec<String> =
            (first..).take(self.descriptors.len()).map(|number| number.to_string()).collect();
        (!numbers.is_empty()).then(|| numbers.join(","))
    }
}
