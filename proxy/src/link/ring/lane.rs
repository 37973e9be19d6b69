//! One event loop's way to one worker: what it queued, and who on it waits for what.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Waker;
use std::time::Duration;

use atomic_waker::AtomicWaker;
use ostler_segment::{Cell, Lane as LaneWords, LinkKind, Rung, Segment};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

/// Requests that are queued before the worker's bell is rung for them. Until then the loop may
/// have more for the same wake-up; a worker that is awake finds them without.
/// Measured: see `docs/performance.md`.
const RING_AFTER: u32 = 64;

/// How often the timer looks at a lane with requests in flight, while there is cause to.
const SWEEP_EVERY: Duration = Duration::from_millis(1);

/// How often it looks while those whom it wakes leave what is queued to another thread: threads
/// that share a lock, which one of them has.
const SWEEP_IN_VAIN: Duration = Duration::from_millis(8);

/// How often it looks at least.
const SWEEP_AT_LEAST: Duration = Duration::from_millis(32);

thread_local! {
    /// The lanes of the event loop of this thread.
    static LANES: RefCell<Vec<Arc<Lane>>> = const { RefCell::new(Vec::new()) };
}

/// A lane, as its event loop has it.
#[derive(Debug)]
pub(super) struct Lane {
    segment: Arc<Segment>,
    pub(super) number: u32,
    bell: Arc<OwnedFd>,
    /// Nobody waits for it: it only ends the loop's sleep.
    _wakes_loop: AsyncFd<OwnedFd>,
    tasks: Vec<Tasks>,
    in_flight: AtomicU32,
    /// Requests queued since the bell was rung.
    unrung: AtomicU32,
    /// Whether the loop has slept, and so looked, since the timer did.
    has_slept: AtomicBool,
    is_swept: AtomicBool,
    /// Brings a timer back that looks less often.
    hurry: Notify,
    is_slow: AtomicBool,
    is_lost: Arc<AtomicBool>,
}

/// The tasks of one cell.
#[derive(Debug, Default)]
struct Tasks {
    sending: AtomicWaker,
    receiving: AtomicWaker,
}

/// Looks at what the lanes of this thread were told, and lets them wake it from here on. Called
/// before the event loop sleeps.
pub(crate) fn before_sleep() {
    LANES.with_borrow_mut(|lanes| {
        for lane in lanes.iter().filter(|lane| lane.has_requests()) {
            lane.has_slept.store(true, Ordering::Relaxed);
            lane.ring_now();
            // From here on it may wake this loop.
            lane.words().fall_asleep();
            lane.look();
        }
        // What a worker that has gone leaves behind.
        lanes.retain(|lane| !lane.is_lost() || lane.has_requests());
    });
}

/// Lets the lanes of this thread wake it no more. Called when the event loop has slept.
pub(crate) fn after_sleep() {
    LANES.with_borrow(|lanes| {
        for lane in lanes.iter().filter(|lane| lane.has_requests()) {
            lane.words().wake_up();
        }
    });
}

impl Lane {
    /// Makes a lane this event loop's.
    pub(super) fn enter(
        segment: &Arc<Segment>,
        number: u32,
        (bell, eventfd): (&Arc<OwnedFd>, &OwnedFd),
        is_lost: &Arc<AtomicBool>,
    ) -> io::Result<Arc<Self>> {
        let lane = Arc::new(Self {
            segment: Arc::clone(segment),
            number,
            bell: Arc::clone(bell),
            _wakes_loop: watch_descriptor(eventfd.try_clone()?)?,
            tasks: (0..segment.rows()).map(|_| Tasks::default()).collect(),
            in_flight: AtomicU32::new(0),
            unrung: AtomicU32::new(0),
            has_slept: AtomicBool::new(false),
            is_swept: AtomicBool::new(false),
            hurry: Notify::new(),
            is_slow: AtomicBool::new(false),
            is_lost: Arc::clone(is_lost),
        });
        LANES.with_borrow_mut(|lanes| lanes.push(Arc::clone(&lane)));
        Ok(lane)
    }

    /// The cell of a row.
    pub(super) fn cell(&self, row: u32) -> Option<Cell<'_>> {
        self.segment.cell(row)
    }

    /// Counts a request that begins.
    pub(super) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that has ended.
    pub(super) fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    fn has_requests(&self) -> bool {
        0 < self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether the worker's process has ended.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }

    /// Puts a queued cell where the worker finds it.
    pub(super) fn enqueue(self: &Arc<Self>, row: u32) {
        self.segment.enqueue(row);
        let unrung = self.unrung.load(Ordering::Relaxed) + 1;
        self.unrung.store(unrung, Ordering::Relaxed);
        if RING_AFTER <= unrung || self.is_long() {
            self.ring_now();
        }
        self.sweep();
    }

    /// Tells the worker's event loop to look at a cell again.
    pub(super) fn add_news(&self, row: u32) {
        self.segment.add_news(row);
        self.ring();
    }

    /// Has `waker` woken when there is room to send, or something else to know.
    pub(super) fn on_room(&self, row: u32, waker: &Waker) {
        if let Some(tasks) = self.tasks.get(row as usize) {
            tasks.sending.register(waker);
        }
    }

    /// Has `waker` woken when there is something to receive, or something else to know.
    pub(super) fn on_answer(&self, row: u32, waker: &Waker) {
        if let Some(tasks) = self.tasks.get(row as usize) {
            tasks.receiving.register(waker);
        }
    }

    /// Wakes everybody who waits here.
    pub(super) fn wake_all(&self) {
        self.tasks.iter().for_each(Tasks::wake);
    }

    /// Whether handlers run on threads and take so long that each request gets a thread of its own:
    /// then nothing is saved by ringing late.
    fn is_long(&self) -> bool {
        self.segment
            .bell()
            .is_some_and(|bell| bell.kind() == Some(LinkKind::Threads) && !bell.is_short())
    }

    /// Rings for what was queued.
    fn ring_now(&self) {
        if 0 < self.unrung.load(Ordering::Relaxed) {
            self.unrung.store(0, Ordering::Relaxed);
            self.ring();
        }
    }

    fn ring(&self) {
        if let Some(bell) = self.segment.bell() {
            heed(bell.ring(), &self.bell);
        }
    }

    fn rests(&self) -> u64 {
        self.segment.bell().map_or(0, |bell| bell.rests())
    }

    fn force(&self) {
        if let Some(bell) = self.segment.bell() {
            heed(bell.force(), &self.bell);
        }
    }

    /// Wakes the tasks of the cells that the worker told of.
    fn look(&self) {
        self.words().drain(|row| {
            if let Some(tasks) = self.tasks.get(row as usize) {
                tasks.wake();
            }
        });
    }

    fn words(&self) -> LaneWords<'_> {
        self.segment.lane(self.number).expect("this lane was claimed")
    }

    /// Sees to it that there is a timer while requests are in flight, for two things that nobody
    /// else notices: a loop that is always busy, so that it never looks before it sleeps; and
    /// requests that wait behind a handler which is not as short as usual, so that nobody was
    /// woken for them.
    #[expect(clippy::disallowed_methods, reason = "ends when nothing is in flight")]
    fn sweep(self: &Arc<Self>) {
        if self.is_slow.load(Ordering::Relaxed) {
            self.hurry.notify_one();
        }
        if !self.is_swept.swap(true, Ordering::Relaxed) {
            tokio::spawn(Arc::clone(self).sweep_until_idle());
        }
    }

    async fn sweep_until_idle(self: Arc<Self>) {
        let mut every = SWEEP_EVERY;
        let mut was_queued = false;
        let mut rests = self.rests();
        while self.has_requests() && !self.is_lost() {
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = self.hurry.notified() => {}
            }
            self.ring_now();
            self.look();
            let is_queued = self.segment.has_queued();
            if is_queued && was_queued {
                self.force();
            }
            was_queued = is_queued;
            let was_in_vain = is_queued && self.rests() != rests;
            rests = self.rests();
            let has_cause = is_queued || !self.has_slept.swap(false, Ordering::Relaxed);
            every = match has_cause {
                true if was_in_vain => (every * 2).min(SWEEP_IN_VAIN),
                true => SWEEP_EVERY,
                false => (every * 2).min(SWEEP_AT_LEAST),
            };
            self.is_slow.store(!has_cause && SWEEP_EVERY < every, Ordering::Relaxed);
        }
        self.is_slow.store(false, Ordering::Relaxed);
        self.is_swept.store(false, Ordering::Relaxed);
    }
}

impl Tasks {
    fn wake(&self) {
        self.sending.wake();
        self.receiving.wake();
    }
}

/// Does what is left to do after a ring.
pub(super) fn heed(rung: Rung, pipe: &OwnedFd) {
    if rung == Rung::WritePipe {
        // A full pipe has rings that were not heard yet; one without a reader has no worker.
        let _written = rustix::io::write(pipe, &[1]);
    }
}

/// Watches a descriptor that is owned here.
#[expect(deprecated, reason = "what can go wrong with a borrowed descriptor cannot with this")]
pub(crate) fn watch_descriptor(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}
