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

/// Requests that are queued before the worker's bell is rung for them. Until then the loop may
/// have more for the same wake-up; a worker that is awake finds them without.
/// Measured: see `docs/performance.md`.
const RING_AFTER: u32 = 16;

/// How often a loop looks for requests that wait behind a handler which usually is short.
const SWEEP_EVERY: Duration = Duration::from_millis(1);

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
    is_swept: AtomicBool,
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
        for lane in lanes.iter() {
            lane.ring_now();
            lane.look();
        }
        // What a worker that has gone leaves behind.
        lanes.retain(|lane| !lane.is_lost() || 0 < lane.in_flight.load(Ordering::Relaxed));
    });
}

/// Lets the lanes of this thread wake it no more. Called when the event loop has slept.
pub(crate) fn after_sleep() {
    LANES.with_borrow(|lanes| {
        for lane in lanes.iter().filter(|lane| 0 < lane.in_flight.load(Ordering::Relaxed)) {
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
            is_swept: AtomicBool::new(false),
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

    /// Whether the worker's process has ended.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }

    /// Puts a queued cell where the worker finds it.
    pub(super) fn enqueue(self: &Arc<Self>, row: u32) {
        self.segment.enqueue(row);
        let unrung = self.unrung.load(Ordering::Relaxed) + 1;
        self.unrung.store(unrung, Ordering::Relaxed);
        if RING_AFTER <= unrung {
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

    /// Rings for what was queued.
    fn ring_now(&self) {
        if 0 < self.unrung.load(Ordering::Relaxed) {
            self.unrung.store(0, Ordering::Relaxed);
            self.ring();
        }
    }

    fn ring(&self) {
        self.heed(self.segment.bell().map(|bell| bell.ring()));
    }

    fn force(&self) {
        self.heed(self.segment.bell().map(|bell| bell.force()));
    }

    fn heed(&self, rung: Option<Rung>) {
        if rung == Some(Rung::WriteEventfd) {
            // It fails only when so many rings were not heard that none is missed.
            let _written = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
    }

    /// Wakes the tasks of the cells that the worker told of. It may wake the loop from here on,
    /// until [`after_sleep`]: also where there was news, for perhaps nobody waits for that any
    /// more, and then the loop does sleep.
    fn look(&self) {
        if self.in_flight.load(Ordering::Relaxed) == 0 {
            return;
        }
        let words = self.words();
        words.fall_asleep();
        words.drain(|row| {
            if let Some(tasks) = self.tasks.get(row as usize) {
                tasks.wake();
            }
        });
    }

    fn words(&self) -> LaneWords<'_> {
        self.segment.lane(self.number).expect("this lane was claimed")
    }

    /// Sees to it that no request waits longer behind a handler that is not as short as usual:
    /// nobody was woken for it because somebody would have been back at once.
    #[expect(clippy::disallowed_methods, reason = "ends when nothing is in flight")]
    fn sweep(self: &Arc<Self>) {
        let is_staged = self
            .segment
            .bell()
            .is_some_and(|bell| bell.kind() == Some(LinkKind::Threads) && bell.is_short());
        if !is_staged || self.is_swept.swap(true, Ordering::Relaxed) {
            return;
        }
        let lane = Arc::clone(self);
        tokio::spawn(async move {
            let mut every = tokio::time::interval(SWEEP_EVERY);
            let mut was_queued = false;
            while 0 < lane.in_flight.load(Ordering::Relaxed) && !lane.is_lost() {
                every.tick().await;
                let is_queued = lane.segment.has_queued();
                if is_queued && was_queued {
                    lane.force();
                }
                was_queued = is_queued;
            }
            lane.is_swept.store(false, Ordering::Relaxed);
        });
    }
}

impl Tasks {
    fn wake(&self) {
        self.sending.wake();
        self.receiving.wake();
    }
}

#[expect(deprecated, reason = "what can go wrong with a borrowed descriptor cannot with this")]
fn watch_descriptor(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}
