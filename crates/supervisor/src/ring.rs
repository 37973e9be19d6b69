//! What a worker and the proxy share: the segment, and what either wakes the other by.
//!
//! Both get the segment, one end of the pipe that is the worker's bell, and an eventfd a lane, in
//! this order. There are lanes for two proxies, because one may replace the other. The supervisor
//! keeps the proxy's side, for the next proxy. A worker whose pool has `link = "http"` gets none, and its proxy the segment alone.
//!
//! The bell is a pipe because the proxy writes to it: whether that may block is a property of its
//! end alone, where an eventfd would share it with the worker, which could so stop the proxy.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use ostler_conf::{Link, PoolConfig};
use ostler_segment::{Access, MAX_LANES, Segment, SegmentHead};
use rustix::event::{EventfdFlags, eventfd};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::message::WorkerId;
use crate::worker_process::StartWorkerError;

/// Proxies that a worker serves at one time at most.
const PROXIES: usize = 2;

/// What a proxy gets.
#[derive(Debug)]
pub(crate) struct Ring {
    descriptors: Vec<OwnedFd>,
}

/// What the worker gets.
#[derive(Debug)]
pub(crate) struct WorkerSide {
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Ring {
    /// Makes what a worker shares with two proxies of so many event loops.
    pub(crate) fn create(
        id: &WorkerId,
        config: &PoolConfig,
        event_loops: usize,
    ) -> Result<(Self, WorkerSide), StartWorkerError> {
        let lanes = match config.link {
            Link::Auto => u32::try_from(PROXIES * event_loops).unwrap_or(MAX_LANES).min(MAX_LANES),
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
            return Ok((Self { descriptors: vec![segment] }, WorkerSide { descriptors: vec![] }));
        }
        let (worker_bell, proxy_bell) =
            pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(io::Error::from)?;
        let mut ours = vec![segment.try_clone()?, worker_bell];
        let mut theirs = vec![segment, proxy_bell];
        for _ in 0..lanes {
            let lane = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                .map_err(io::Error::from)?;
            ours.push(lane.try_clone()?);
            theirs.push(lane);
        }
        Ok((Self { descriptors: theirs }, WorkerSide { descriptors: ours }))
    }

    /// The segment, to look at, and to write down what is found out about the process.
    pub(crate) fn segment(&self) -> Result<Segment, StartWorkerError> {
        let file =
            self.descriptors.first().ok_or(io::ErrorKind::NotFound).map_err(io::Error::from)?;
        Ok(Segment::map(file.as_fd(), Access::Figures)?)
    }

    /// What travels beside `WorkerStarted`, for one more proxy.
    pub(crate) fn descriptors(&self) -> io::Result<Vec<OwnedFd>> {
        self.descriptors.iter().map(OwnedFd::try_clone).collect()
    }

    /// Whether the worker takes its requests from its segment, so that whatever becomes of a proxy,
    /// it shows there which of them run.
    pub(crate) fn is_used(&self) -> bool {
        let segment = self.descriptors.first();
        let segment = segment.and_then(|it| Segment::map(it.as_fd(), Access::Read).ok());
        segment.is_some_and(|segment| segment.bell().is_some_and(|bell| bell.kind().is_some()))
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
