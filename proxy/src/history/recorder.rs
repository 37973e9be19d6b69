//! The thread that records: at each whole second, or not at all if it is late.
//!
//! It writes only while this process holds the file's lock, so that the frames of two processes
//! never mix: the one that is replaced gives the lock back when it begins to drain, and the next
//! one looks through the file again when it gets it.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use ostler_status::{EventLog, Snapshot, Step, TrendLog};

use super::ring::Ring;
use super::tape::Tape;
use super::{HOUR_MS, add_minutes, snapshots};
use crate::clock;
use crate::shared::{Complaints, Shared};
use crate::snapshot;

/// How long after a failure it is tried again to go on with the file.
const RETRY: Duration = Duration::from_mins(1);

/// The thread. Dropping this ends it as soon as what it writes is written; nobody waits for that.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// Nothing is sent: its end is the message.
    _stop: Sender<()>,
}

impl Recorder {
    /// Starts to record.
    ///
    /// # Errors
    ///
    /// When the thread cannot be made.
    pub(crate) fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new().name("history".to_owned());
        thread.spawn(move || run(&shared, &stopped))?;
        Ok(Self { _stop: stop })
    }
}

fn run(shared: &Shared, stopped: &Receiver<()>) {
    let mut recording = Recording::new(shared);
    recording.look();
    let mut last_second = 0;
    loop {
        let now = clock::unix_now();
        let rest = Duration::from_nanos(1_000_000_000 - u64::from(now.subsec_nanos()));
        match stopped.recv_timeout(rest) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
        }
        let second = clock::unix_now().as_secs();
        if second != last_second {
            recording.tick();
            last_second = second;
        }
    }
    if let Some(ring) = shared.history.ring.as_ref().filter(|_| recording.has_lock) {
        ring.unlock();
    }
}

/// What is recorded, and how far it is.
struct Recording<'s> {
    shared: &'s Shared,
    log: EventLog,
    /// This process has the lock of the file.
    has_lock: bool,
    /// The file can be written, and what is written can be read again.
    is_ours: bool,
    /// When it is tried again to go on with the file.
    retry_at: Option<Instant>,
    tape: Tape,
    complaints: Complaints,
}

impl<'s> Recording<'s> {
    fn new(shared: &'s Shared) -> Self {
        Self {
            shared,
            log: EventLog::default(),
            has_lock: false,
            is_ours: false,
            retry_at: None,
            tape: Tape::default(),
            complaints: Complaints::new(),
        }
    }

    /// Makes readable what is there, whoever writes.
    fn look(&self) {
        let history = &self.shared.history;
        let Some(ring) = &history.ring else { return };
        if let Err(error) = ring.scan().and_then(|()| history.sum_up(ring)) {
            tracing::error!(%error, "history_not_read");
        }
    }

    fn tick(&mut self) {
        let shared = self.shared;
        let ring = shared.history.ring.as_ref();
        if let Some(ring) = ring.filter(|_| !self.is_ours) {
            self.has_lock = self.has_lock || ring.try_lock();
            if !self.has_lock {
                return;
            }
            self.try_resume(ring);
        }
        let snapshot = self.record();
        if let Some(ring) = ring.filter(|_| self.is_ours)
            && let Err(error) = self.keep(ring, snapshot)
            && self.complaints.is_due()
        {
            tracing::error!(%error, "history_not_written");
        }
    }

    /// Goes on with the file. Where that fails, nothing is written: it is tried again later.
    fn try_resume(&mut self, ring: &Ring) {
        let now = clock::now();
        if self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        self.retry_at = Some(now + RETRY);
        match ring.begin().and_then(|is_new| ring.scan().map(|()| is_new)) {
            Ok(is_new) => {
                if is_new {
                    tracing::info!(bytes = ring.size(), "history_begun");
                }
                self.is_ours = true;
                if let Err(error) = self.resume(ring) {
                    tracing::error!(%error, "history_not_resumed");
                }
            }
            Err(error) => tracing::error!(%error, "history_not_begun"),
        }
    }

    /// Takes up what the file ends with.
    fn resume(&mut self, ring: &Ring) -> io::Result<()> {
        self.shared.history.sum_up(ring)?;
        let Some(group) = ring.with_index(|index| index.groups.back().copied()) else {
            return Ok(());
        };
        let mut trends = TrendLog::default();
        let from_ms = group.from_ms.saturating_sub(HOUR_MS);
        add_minutes(ring, &mut trends, (from_ms, group.from_ms))?;
        let snapshots = snapshots(ring, &group)?;
        for snapshot in &snapshots {
            trends.note(snapshot);
        }
        if let Some(first) = snapshots.first() {
            self.tape.next_step = Step::number_of(first.taken());
        }
        if let Some(last) = snapshots.into_iter().next_back() {
            self.log = EventLog::resume(last);
        }
        let mut recent = self.shared.history.recent();
        (recent.trends, recent.events) = (trends, self.log.events());
        Ok(())
    }

    /// Takes a snapshot, and makes known what changed.
    fn record(&mut self) -> Snapshot {
        let live = self.shared.live.load();
        let mut snapshot = snapshot::take(self.shared, &live, "");
        self.log.note(&snapshot);
        let mut recent = self.shared.history.recent();
        recent.trends.note(&snapshot);
        recent.events = self.log.events();
        snapshot.events.clone_from(&recent.events);
        snapshot
    }

    fn keep(&mut self, ring: &Ring, mut snapshot: Snapshot) -> io::Result<()> {
        snapshot.thin();
        let history = &self.shared.history;
        let steps = |from, to| history.recent().trends.steps(from, to);
        if let Some(summary) = self.tape.write(ring, &snapshot, steps)? {
            history.add_summary(ring, summary);
        }
        Ok(())
    }
}
