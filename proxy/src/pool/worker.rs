//! One worker process as the proxy sees it.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ostler_policy::stuck::{Stuck, StuckThreads};
use ostler_segment::Segment;
use ostler_supervisor::message::{Unfit, WorkerId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::net::UnixStream;
use tokio::sync::Notify;

use super::runs::Runs;
use crate::link::Ring;

/// How often a process that is believed to be dying is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// How long the rows of a process that has ended are left as they are, for the supervisor to read.
const BURIAL_WAIT: Duration = Duration::from_secs(1);

/// Where a worker is in its life, for the status page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Standing {
    Starting,
    Warming,
    Ready,
    Draining,
    Killed,
}

impl Standing {
    const ALL: [Self; 5] =
        [Self::Starting, Self::Warming, Self::Ready, Self::Draining, Self::Killed];
}

/// Whether the other side has neither closed nor sent anything. Asks the kernel: what the event
/// loop knows may be a turn old.
fn is_quiet(stream: &UnixStream) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let peeked = rustix::net::recv(stream, &mut [0_u8; 1], flags);
    matches!(peeked, Err(Errno::AGAIN))
}

/// A worker process.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    /// Its number in the pool's admission; never used again.
    pub(crate) number: u64,
    pub(crate) pid: u32,
    /// The socket it serves HTTP on.
    pub(crate) socket: PathBuf,
    /// Its rows: the permits and the scoreboard.
    pub(crate) segment: Arc<Segment>,
    /// Who holds its rows.
    pub(crate) runs: Runs,
    /// The ring link, where its pool has it. Whether the worker uses it shows in the segment.
    pub(crate) ring: Option<Ring>,
    pub(crate) started: Instant,
    standing: AtomicU8,
    /// A task asks it whether it is well.
    has_health_watch: AtomicBool,
    /// Told when the last permit of a withdrawn worker is back that is waited for.
    pub(crate) idle: Notify,
    /// Tells whether the process lives; `None`: it was gone when it became known.
    process: Option<OwnedFd>,
    /// Its threads that do not come back.
    stuck: Mutex<StuckThreads>,
    /// How many of them are past their grace.
    overdue: AtomicU32,
    /// Connections that wait for the next request, the freshest last.
    kept: Mutex<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    stream: UnixStream,
    /// A connection belongs to the loop that opened it.
    event_loop: usize,
    since: Instant,
}

impl Worker {
    /// A worker that has just been started.
    pub(crate) fn new(
        (id, number, pid): (WorkerId, u64, u32),
        socket: PathBuf,
        (segment, ring): (Arc<Segment>, Option<Ring>),
        started: Instant,
    ) -> Self {
        let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let process = process.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let runs = Runs::new(segment.rows());
        let stuck = Mutex::new(StuckThreads::new(segment.rows()));
        Self {
            id,
            number,
            pid,
            socket,
            segment,
            runs,
            ring,
            started,
            standing: AtomicU8::new(Standing::Starting as u8),
            has_health_watch: AtomicBool::new(false),
            idle: Notify::new(),
            process,
            stuck,
            overdue: AtomicU32::new(0),
            kept: Mutex::default(),
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        let standing = usize::from(self.standing.load(Ordering::Relaxed));
        Standing::ALL.get(standing).copied().unwrap_or(Standing::Killed)
    }

    pub(crate) fn set_standing(&self, standing: Standing) {
        self.standing.store(standing as u8, Ordering::Relaxed);
    }

    /// Notes that a task asks it whether it is well. Returns whether none did.
    pub(crate) fn begin_health_watch(&self) -> bool {
        !self.has_health_watch.swap(true, Ordering::Relaxed)
    }

    /// Notes that this task has ended.
    pub(crate) fn end_health_watch(&self) {
        self.has_health_watch.store(false, Ordering::Relaxed);
    }

    /// Whether it gets no new requests any more.
    pub(super) fn is_withdrawn(&self) -> bool {
        matches!(self.standing(), Standing::Draining | Standing::Killed)
    }

    /// A descriptor that is readable once the process has ended; `None`: it has.
    pub(crate) fn process(&self) -> Option<OwnedFd> {
        self.process.as_ref()?.try_clone().ok()
    }

    /// Whether the process has ended.
    pub(crate) fn has_exited(&self) -> bool {
        let Some(process) = &self.process else { return true };
        let mut polled = [PollFd::new(process, PollFlags::IN)];
        poll(&mut polled, Some(&Timespec::default())).is_ok_and(|ready| 0 < ready)
    }

    /// Where the process has ended: waits until the supervisor has said so, but not for ever. Until
    /// then its rows show what was inside it.
    pub(crate) async fn is_buried(&self) {
        let look = async {
            while self.has_exited() && self.standing() != Standing::Killed {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        // Whoever does not hear of it by then, has other things to do than to look at rows.
        let _heard = tokio::time::timeout(BURIAL_WAIT, look).await;
    }

    /// Whether the process ends within `wait`: its sockets close a moment before its death can
    /// be seen.
    pub(crate) async fn exits_within(&self, wait: Duration) -> bool {
        let look = async {
            while !self.has_exited() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(wait, look).await.is_ok()
    }

    /// Changes what is known of its stuck threads. Returns why it is to be replaced, if that is
    /// news, and something to be done about: one that was withdrawn is on its way out already.
    pub(super) fn stuck(
        &self,
        change: impl FnOnce(&mut StuckThreads) -> Option<Stuck>,
    ) -> Option<Unfit> {
        let mut stuck = self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        let every_thread = change(&mut stuck)? == Stuck::Every;
        (!self.is_withdrawn()).then_some(Unfit::Stuck { every_thread })
    }

    /// How many of its permits are held by requests that are stuck and past their grace.
    pub(super) fn overdue(&self) -> u32 {
        self.overdue.load(Ordering::Relaxed)
    }

    /// Counts a stuck request that is past its grace. A drain waits for it no more.
    pub(super) fn add_overdue(&self) {
        self.overdue.fetch_add(1, Ordering::Relaxed);
        self.idle.notify_one();
    }

    /// Counts the end of one, before its permit is back.
    pub(super) fn end_overdue(&self) {
        self.overdue.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes a kept connection of this event loop that is no older than `max_idle`.
    pub(crate) fn take_kept(
        &self,
        event_loop: usize,
        max_idle: Duration,
        now: Instant,
    ) -> Option<UnixStream> {
        let mut kept = self.kept();
        while let Some(at) = kept.iter().rposition(|kept| kept.event_loop == event_loop) {
            let connection = kept.swap_remove(at);
            let is_fresh = now.saturating_duration_since(connection.since) < max_idle;
            if is_fresh && is_quiet(&connection.stream) {
                return Some(connection.stream);
            }
        }
        None
    }

    /// Keeps a connection for the next request of this event loop.
    pub(crate) fn keep(&self, event_loop: usize, stream: UnixStream, now: Instant) {
        if self.is_withdrawn() {
            return;
        }
        let mut kept = self.kept();
        let count = kept.iter().filter(|kept| kept.event_loop == event_loop).count();
        if count < self.segment.rows() as usize {
            kept.push(Kept { stream, event_loop, since: now });
        }
    }

    /// Closes the kept connections that are older than `max_idle`.
    pub(crate) fn close_idle_since(&self, max_idle: Duration, now: Instant) {
        self.kept().retain(|kept| now.saturating_duration_since(kept.since) < max_idle);
    }

    /// Closes every kept connection.
    pub(crate) fn close_idle_connections(&self) {
        self.kept().clear();
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
