//! The ring link: requests through the worker's segment.
//!
//! An event loop has a lane in every worker it sends to. While the loop runs, workers signal
//! nobody: before it sleeps, it looks at what its lanes were told ([`before_sleep`]), and only
//! then may they wake it. The same holds the other way: what the loop queued is rung for when it
//! has nothing else to do, or has queued some more. A loop that never comes to sleep is seen to
//! by a timer.

mod exchange;
mod lane;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use ostler_segment::{Bell, Owner, Segment};

pub(crate) use exchange::{RingExchange, RingReceiving, RingSending};
use lane::Lane;
pub(crate) use lane::{after_sleep, before_sleep, watch_descriptor};

/// The ring link of one worker.
#[derive(Debug)]
pub(crate) struct Ring {
    segment: Arc<Segment>,
    owner: Owner,
    bell: Arc<OwnedFd>,
    /// Wakes the event loop that has the lane.
    eventfds: Vec<OwnedFd>,
    /// By event loop; `None`: there is no lane left for it.
    lanes: Vec<OnceLock<Option<Arc<Lane>>>>,
    /// Whether the worker's process has ended.
    is_lost: Arc<AtomicBool>,
}

impl Ring {
    /// The link of a worker, if it comes with one. Its descriptors are the pipe of the worker's
    /// bell, and the eventfds of the lanes.
    pub(crate) fn new(
        segment: &Arc<Segment>,
        owner: Owner,
        descriptors: Vec<OwnedFd>,
    ) -> Option<Self> {
        let mut eventfds = descriptors.into_iter();
        let bell = Arc::new(eventfds.next().filter(|_| segment.has_link())?);
        let eventfds: Vec<OwnedFd> = eventfds.collect();
        let is_complete = eventfds.len() == segment.head().lanes as usize;
        let lanes = eventfds.iter().map(|_| OnceLock::new()).collect();
        let segment = Arc::clone(segment);
        let is_lost = Arc::default();
        is_complete.then_some(Self { segment, owner, bell, eventfds, lanes, is_lost })
    }

    /// Prepares the cell of a row. Called on the event loop, with the permit of the row.
    ///
    /// `None` when the worker does not know the link, or the loop has no lane, or the cell is not
    /// free: the request goes over HTTP then.
    pub(super) fn open(&self, event_loop: usize, row: u32) -> Option<RingExchange> {
        self.segment.bell().filter(Bell::takes_requests)?;
        let lane = self.lanes.get(event_loop)?.get_or_init(|| self.enter()).as_ref()?;
        RingExchange::open(Arc::clone(lane), row, self.owner.incarnation)
    }

    /// Gives this event loop a lane.
    fn enter(&self) -> Option<Arc<Lane>> {
        let mut numbers = 0..self.segment.head().lanes;
        let number = numbers
            .find(|&number| self.segment.lane(number).is_some_and(|lane| lane.claim(self.owner)))?;
        let eventfd = self.eventfds.get(number as usize)?;
        match Lane::enter(&self.segment, number, (&self.bell, eventfd), &self.is_lost) {
            Ok(lane) => Some(lane),
            Err(error) => {
                tracing::error!(%error, "lane_not_watched");
                None
            }
        }
    }

    /// Tells the worker that nobody waits for the answer to a request of another proxy.
    pub(crate) fn tell_worker(&self, row: u32) {
        self.segment.add_news(row);
        if let Some(bell) = self.segment.bell() {
            lane::heed(bell.ring(), &self.bell);
        }
    }

    /// Notes that the worker's process has ended: whoever waits for it is told.
    pub(crate) fn lose(&self) {
        self.is_lost.store(true, Ordering::Release);
        for lane in self.lanes.iter().filter_map(|lane| lane.get()?.as_ref()) {
            lane.wake_all();
        }
    }
}

fn closed() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}
