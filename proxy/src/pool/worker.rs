//! One worker process as the proxy sees it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ostler_segment::Segment;
use ostler_supervisor::message::WorkerId;
use tokio::net::UnixStream;
use tokio::sync::{Notify, watch};

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
    pub(crate) segment: Segment,
    pub(crate) started: Instant,
    standing: AtomicU8,
    /// Told when the last permit of a withdrawn worker is back.
    pub(crate) idle: Notify,
    /// Becomes true when the process has ended.
    exited: watch::Sender<bool>,
    /// Connections that wait for the next request: one list for each event loop, because a
    /// connection belongs to the loop that opened it.
    kept: Box<[Mutex<Vec<Kept>>]>,
}

#[derive(Debug)]
struct Kept {
    stream: UnixStream,
    since: Instant,
}

impl Worker {
    /// A worker that has just been started.
    pub(crate) fn new(
        (id, number, pid): (WorkerId, u64, u32),
        socket: PathBuf,
        segment: Segment,
        event_loops: usize,
        started: Instant,
    ) -> Self {
        Self {
            id,
            number,
            pid,
            socket,
            segment,
            started,
            standing: AtomicU8::new(Standing::Starting as u8),
            idle: Notify::new(),
            exited: watch::Sender::new(false),
            kept: (0..event_loops).map(|_| Mutex::default()).collect(),
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        let standing = usize::from(self.standing.load(Ordering::Relaxed));
        Standing::ALL.get(standing).copied().unwrap_or(Standing::Killed)
    }

    pub(crate) fn set_standing(&self, standing: Standing) {
        self.standing.store(standing as u8, Ordering::Relaxed);
    }

    /// Whether it gets no new requests any more.
    pub(super) fn is_withdrawn(&self) -> bool {
        matches!(self.standing(), Standing::Draining | Standing::Killed)
    }

    /// Notes that the process has ended.
    pub(crate) fn note_exit(&self) {
        self.exited.send_replace(true);
    }

    /// Whether the process ends within `wait`: its sockets close a moment before its death is
    /// reported.
    pub(crate) async fn exits_within(&self, wait: Duration) -> bool {
        let mut exited = self.exited.subscribe();
        let is_gone = tokio::time::timeout(wait, exited.wait_for(|&exited| exited)).await;
        is_gone.is_ok()
    }

    /// Takes a kept connection of this event loop that is no older than `max_idle`.
    pub(crate) fn take_kept(&self, event_loop: usize, max_idle: Duration, now: Instant) -> Option<UnixStream> {
        let mut kept = self.kept.get(event_loop)?.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(connection) = kept.pop() {
            let is_fresh = now.saturating_duration_since(connection.since) < max_idle;
            // Nothing to read is the only good answer: the end or a stray byte is not.
            let probe = connection.stream.try_read(&mut [0]);
            let is_quiet = probe.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
            if is_fresh && is_quiet {
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
        if let Some(kept) = self.kept.get(event_loop) {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < self.segment.rows() as usize {
                kept.push(Kept { stream, since: now });
            }
        }
    }

    /// Closes the kept connections that are older than `max_idle`.
    pub(crate) fn close_idle_since(&self, max_idle: Duration, now: Instant) {
        for kept in &self.kept {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.retain(|kept| now.saturating_duration_since(kept.since) < max_idle);
        }
    }

    /// Closes every kept connection.
    pub(crate) fn close_idle_connections(&self) {
        for kept in &self.kept {
            kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}
