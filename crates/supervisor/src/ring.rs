//! What a worker and the proxy share: the segment, and what either wakes the other by.
//!
//! Both get the segment, one end of the pipe that is the worker's bell, and an eventfd a lane, in
//! this order. A worker whose pool has `link = "http"` gets none, and its proxy the segment alone.
//!
//! The bell is a pipe because the proxy writes to it: whether that may block is a property of its
//! end alone, where an eventfd would share it with the worker, which could so stop the proxy.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use ostler_conf::{Link, PoolConfig};
use ostler_segment::{MAX_LANES, Segment, SegmentHead};
use rustix::event::{EventfdFlags, eventfd};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::message::WorkerId;
use crate::worker_process::StartWorkerError;

/// What the proxy gets.
#[derive(Debug)]
pub(crate) struct Ring {
    segment: OwnedFd,
    /// Of the ring link, where there is one.
    link: Vec<OwnedFd>,
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
            Link::Auto => u32::try_from(event_loops).unwrap_or(MAX_LANES).min(MAX_LANES),
            Link::Http => 0,
        };
        let segment = Segment::create(&SegmentHead {
            pool: id.pool.clone(),
            slot: id.slot,
            generation: id.generation,
            rows: config.concurrency,
            lanes,
        })?;
        if lanes == 0 {
            return Ok((Self { segment, link: vec![] }, WorkerSide { descriptors: vec![] }));
        }
        let (worker_bell, proxy_bell) =
            pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(io::Error::from)?;
        let mut ours = vec![segment.try_clone()?, worker_bell];
        let mut link = vec![proxy_bell];
        for _ in 0..lanes {
            let lane = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                .map_err(io::Error::from)?;
            ours.push(lane.try_clone()?);
            link.push(lane);
        }
        Ok((Self { segment, link }, WorkerSide { descriptors: ours }))
    }

    /// The shared memory.
    pub(crate) fn segment(&self) -> BorrowedFd<'_> {
        self.segment.as_fd()
    }

    /// What travels beside `WorkerStarted`.
    pub(crate) fn into_descriptors(self) -> Vec<OwnedFd> {
        std::iter::once(self.segment).chain(self.link).collect()
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
