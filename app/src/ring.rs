//! The ring link: requests from the proxy through shared memory.
//!
//! A request comes as the bytes of an HTTP/1.1 head and its body, without any coding: the stream's
//! end is the body's. The answer goes back likewise. Who takes a request and when somebody is
//! woken for it is in `ostler_segment`; here are this worker's side of it and nothing else.

mod answer;
mod clock;
mod upload;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Context;
use std::time::Duration;

use crate::threads::StuckRequest;
pub(crate) use answer::Answer;
use atomic_waker::AtomicWaker;
pub(crate) use clock::start as start_clock;
use ostler_segment::{
    Access, Bell, Cell, CellTicket, Cost, LinkKind, RowState, Rung, Segment, SegmentError,
    take_inherited,
};
use rustix::io::Errno;
use rustix::process::Pid;
pub(crate) use upload::{Reader, Received, Upload};

/// Why the ring link cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The memory or a descriptor is not what it should be.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// There are not as many descriptors as the segment has lanes.
    #[error("OSTLER_LINK names {found} descriptors beside the segment, which has {lanes} lanes")]
    Eventfds {
        /// Lanes of the segment.
        lanes: u32,
        /// Descriptors beside the segment's.
        found: usize,
    },
}

/// This worker's side of the link.
#[derive(Debug)]
pub(crate) struct Ring {
    segment: Segment,
    bell: OwnedFd,
    /// Of each lane.
    lanes: Vec<OwnedFd>,
    /// Of each cell: the task that reads the request, and the one that answers it.
    tasks: Vec<Tasks>,
    /// Of each cell: held by who reports of the request, and by who ends it.
    reports: Vec<Mutex<()>>,
}

#[derive(Debug, Default)]
struct Tasks {
    reading: AtomicWaker,
    answering: AtomicWaker,
}

/// A request that this worker took.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    ring: Arc<Ring>,
    row: u32,
    /// Whom to tell what becomes of it.
    lane: u32,
    ticket: CellTicket,
}

impl Ring {
    /// Takes over the descriptors that `OSTLER_LINK` names.
    pub(crate) fn inherit(numbers: &[i32]) -> Result<Self, RingError> {
        let mut descriptors = take_inherited(numbers)?.into_iter();
        let (Some(segment), Some(bell)) = (descriptors.next(), descriptors.next()) else {
            return Err(RingError::Eventfds { lanes: 0, found: 0 });
        };
        let segment = Segment::map(segment.as_fd(), Access::Write)?;
        let lanes: Vec<OwnedFd> = descriptors.collect();
        if lanes.len() != segment.head().lanes as usize {
            let found = lanes.len() + 1;
            return Err(RingError::Eventfds { lanes: segment.head().lanes, found });
        }
        let tasks = (0..segment.rows()).map(|_| Tasks::default()).collect();
        let reports = (0..segment.rows()).map(|_| Mutex::default()).collect();
        Ok(Self { segment, bell, lanes, tasks, reports })
    }

    /// Says that this worker takes requests here, before it says that it is ready.
    pub(crate) fn announce(&self, kind: LinkKind) {
        self.bell().announce(kind);
    }

    /// What this worker's threads or its event loop sleep on.
    pub(crate) fn bell(&self) -> Bell<'_> {
        self.segment.bell().expect("a segment with lanes has a bell")
    }

    /// The pipe that the bell of a service is heard on.
    pub(crate) fn pipe(&self) -> io::Result<OwnedFd> {
        self.bell.try_clone()
    }

    /// Says that this worker ends, and takes no more than what is queued already. What a proxy
    /// that has died left here is nobody's concern.
    pub(crate) fn retire(&self) {
        self.bell().retire();
        for number in 0..self.segment.head().lanes {
            let owner = self.segment.lane(number).and_then(|lane| lane.owner());
            if owner.is_some_and(|owner| is_dead(owner.pid)) {
                self.abandon(number);
            }
        }
    }

    fn abandon(&self, lane: u32) {
        let rows = 0..self.segment.rows();
        for row in rows.filter(|&row| self.cell(row).lane() == lane) {
            self.cell(row).abandon();
            self.wake_tasks(row);
        }
    }

    fn wake_tasks(&self, row: u32) {
        if let Some(tasks) = self.tasks.get(row as usize) {
            tasks.reading.wake();
            tasks.answering.wake();
        }
    }

    /// Tells whether a request may be waiting.
    pub(crate) fn has_queued(&self) -> bool {
        self.segment.has_queued()
    }

    /// Tells whether a task is to be told of something.
    pub(crate) fn has_news(&self) -> bool {
        self.segment.has_news()
    }

    /// Wakes the tasks that there is news for.
    pub(crate) fn pass_news_on(&self) {
        self.segment.drain_news(|row| self.wake_tasks(row));
    }

    /// Takes a request, the first from cell `start` on.
    pub(crate) fn take(self: &Arc<Self>, start: u32) -> Option<Taken> {
        let mut start = start;
        loop {
            let row = self.segment.dequeue(start)?;
            start = row.wrapping_add(1);
            // One that was taken back meanwhile is not there any more.
            if let Some(ticket) = self.cell(row).take() {
                let lane = self.cell(row).lane();
                return Some(Taken { ring: Arc::clone(self), row, lane, ticket });
            }
        }
    }

    /// The requests that are marked as stuck.
    pub(crate) fn stuck(&self) -> Vec<StuckRequest> {
        let rows = (0..self.segment.rows()).filter_map(|index| {
            let row = self.segment.row(index);
            let snapshot = row.snapshot().filter(|_| row.state() == Some(RowState::Stuck))?;
            Some(StuckRequest { tid: snapshot.tid, row: (index, snapshot.sequence) })
        });
        rows.collect()
    }

    /// Wakes one of this worker's own threads: there is something for it that is not in a cell.
    pub(crate) fn force(&self) {
        let rung = self.bell().force();
        debug_assert_eq!(rung, Rung::Done, "threads sleep on the futex");
    }

    /// Tells the proxy's event loop that there is news of a cell.
    fn tell(&self, lane: u32, row: u32) {
        let sleeps = self.segment.lane(lane).is_some_and(|lane| lane.tell(row));
        if sleeps && let Some(eventfd) = self.lanes.get(lane as usize) {
            ring_eventfd(eventfd);
        }
    }

    fn cell(&self, row: u32) -> Cell<'_> {
        self.segment.cell(row).expect("rows of a segment with lanes have cells")
    }
}

/// Whether there is no such process. One that we may not signal exists.
fn is_dead(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_none_or(|pid| rustix::process::test_kill_process(pid) == Err(Errno::SRCH))
}

fn ring_eventfd(eventfd: &OwnedFd) {
    // It fails only when so many rings were not heard that none is missed.
    let _written = rustix::io::write(eventfd, &1_u64.to_ne_bytes());
}

impl Taken {
    /// Returns the number of its cell, which is that of its row.
    pub(crate) fn row(&self) -> u32 {
        self.row
    }

    /// Notes how long the handler ran, for who decides whom to wake.
    pub(crate) fn note_handler(&self, ran: Duration) {
        self.ring.bell().note_handler(ran);
    }

    /// Shows in the scoreboard which thread serves it, and from when on that works for it.
    pub(crate) fn show_thread(&self, tid: u32) {
        let clock_us = clock::last_us().unwrap_or_default();
        self.ring.segment.row(self.row).set_thread(tid, clock_us);
    }

    /// Adds to what the request has cost, unless it has ended.
    pub(crate) fn add_costs(&self, amounts: &[(Cost, u64)]) {
        self.with_reports(|| {
            if self.cell().is_running(self.ticket) {
                let row = self.ring.segment.row(self.row);
                for &(cost, amount) in amounts {
                    row.add_cost(cost, amount);
                }
            }
        });
    }

    /// Ends the request: its cell goes back to the proxy, with all that is known of its cost.
    fn finish(&self) {
        if let Some(used_us) = clock::used_us() {
            self.ring.segment.row(self.row).add_cpu(used_us);
        }
        self.with_reports(|| self.cell().finish(self.ticket));
    }

    /// Does something that reports and the end of the request must not do at one time.
    fn with_reports<T>(&self, work: impl FnOnce() -> T) -> T {
        let lock = self.ring.reports.get(self.row as usize);
        let _held = lock.map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner));
        work()
    }

    fn cell(&self) -> Cell<'_> {
        self.ring.cell(self.row)
    }

    fn wake_tasks(&self) {
        self.ring.wake_tasks(self.row);
    }

    fn tell_proxy(&self) {
        self.ring.tell(self.lane, self.row);
    }

    /// Whether this worker's handlers may block the thread they are on.
    pub(crate) fn may_block(&self) -> bool {
        self.ring.bell().kind() == Some(LinkKind::Threads)
    }

    /// Tells whether nobody waits for the answer any more.
    pub(crate) fn is_left(&self) -> bool {
        self.cell().is_left(self.ticket)
    }

    /// Has this task woken when nobody waits for the answer any more. True if that is so already.
    pub(crate) fn watch(&self, context: &Context<'_>) -> bool {
        self.wait_answering(context, |_| false)
    }

    fn wait_answering(&self, context: &Context<'_>, ready: impl Fn(&Cell<'_>) -> bool) -> bool {
        if let Some(tasks) = self.ring.tasks.get(self.row as usize) {
            tasks.answering.register(context.waker());
        }
        self.cell().wait_for_news(|cell| cell.is_left(self.ticket) || ready(cell))
    }

    fn wait_reading(&self, context: &Context<'_>, ready: impl Fn(&Cell<'_>) -> bool) -> bool {
        if let Some(tasks) = self.ring.tasks.get(self.row as usize) {
            tasks.reading.register(context.waker());
        }
        self.cell().wait_for_news(|cell| cell.is_left(self.ticket) || ready(cell))
    }
}
