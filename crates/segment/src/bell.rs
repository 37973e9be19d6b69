//! The worker's doorbell: who is woken when a request is queued, and when nobody need be.
//!
//! A wake-up costs more than a short handler, so as a rule one thread is awake and looking, and
//! nobody rings for it. Its word `looking` is 1 from the ring on until somebody who found nothing,
//! or is about to be busy for long, sets it to 0. Then the next request rings again.
//!
//! **No request is forgotten.** Who queues a request sets its bit, then looks at `looking`; who
//! goes to sleep sets `looking` to 0, then looks at the bits. All of it is sequentially
//! consistent, so one of them sees the other. A thread that takes a request and leaves others
//! behind either rings for the next thread, or comes back for them itself because handlers here
//! are short. Where one of these turns out not to be short, the proxy rings with `force` for what
//! has waited some milliseconds.
//!
//! A service's event loop sleeps on a pipe, which whoever rings writes to; threads sleep on the
//! futex here.

use std::time::Duration;

use crate::atomic::Ordering;
use crate::map::Words;

/// Words of a bell: one cache line.
pub(crate) const BELL_WORDS: usize = 8;

const KIND: usize = 0;
const LOOKING: usize = 1;
const HANDLER_NS: usize = 2;
const FUTEX: usize = 3;
const RESTS: usize = 4;

const THREADS: u64 = 1;
const SERVICE: u64 = 2;
const RETIRED: u64 = 1 << 8;

/// Handlers that usually take less are waited for: waking another thread costs more than they do.
/// What was measured on both sides of it is in `docs/performance.md`.
pub const WAKE_COST: Duration = Duration::from_micros(50);

/// How a worker takes requests from its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// On threads, which sleep on the futex.
    Threads,
    /// In an event loop, which sleeps on the pipe.
    Service,
}

/// What is left to do after [`Bell::ring`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a worker that sleeps on its pipe does not notice otherwise"]
pub enum Rung {
    /// Nothing.
    Done,
    /// To write to the worker's pipe.
    WritePipe,
}

/// The bell of one worker.
#[derive(Clone, Copy)]
pub struct Bell<'a> {
    words: Words<'a>,
}

impl<'a> Bell<'a> {
    pub(crate) fn new(words: Words<'a>) -> Self {
        Self { words }
    }

    /// Returns how the worker takes requests, once it has said so.
    pub fn kind(&self) -> Option<LinkKind> {
        match self.words.load_acquire(KIND) & !RETIRED {
            THREADS => Some(LinkKind::Threads),
            SERVICE => Some(LinkKind::Service),
            _ => None,
        }
    }

    /// Tells whether the worker takes new requests from its segment.
    pub fn takes_requests(&self) -> bool {
        matches!(self.words.load_acquire(KIND), THREADS | SERVICE)
    }

    /// Says that the worker takes requests from its segment. Its first word on the link.
    pub fn announce(&self, kind: LinkKind) {
        let kind = match kind {
            LinkKind::Threads => THREADS,
            LinkKind::Service => SERVICE,
        };
        self.words.store(KIND, kind, Ordering::Release);
    }

    /// Says that the worker ends, and takes no more than what is queued already.
    pub fn retire(&self) {
        let kind = self.words.load(KIND);
        self.words.store(KIND, kind | RETIRED, Ordering::Release);
    }

    /// Wakes somebody for a queued request, unless somebody is looking anyway.
    pub fn ring(&self) -> Rung {
        if self.words.swap(LOOKING, 1) == 1 { Rung::Done } else { self.wake() }
    }

    /// Wakes somebody, whoever may be looking.
    pub fn force(&self) -> Rung {
        self.words.store(LOOKING, 1, Ordering::SeqCst);
        self.wake()
    }

    fn wake(&self) -> Rung {
        match self.kind() {
            Some(LinkKind::Threads) => {
                self.words.futex_wake(FUTEX);
                Rung::Done
            }
            Some(LinkKind::Service) => Rung::WritePipe,
            None => Rung::Done,
        }
    }

    /// Sleeps, on a thread, until the bell rings, unless `has_work`.
    pub fn sleep(&self, has_work: impl FnOnce() -> bool) {
        let seen = self.words.futex_value(FUTEX);
        if !self.stop_looking(has_work) {
            self.words.futex_wait(FUTEX, seen);
        }
    }

    /// Sleeps, on a thread, until somebody is woken, unless `is_over`. What is queued is left to a
    /// thread that is busy and comes back for it.
    pub fn rest(&self, is_over: impl FnOnce() -> bool) {
        let seen = self.words.futex_value(FUTEX);
        let rests = self.words.load(RESTS);
        self.words.store(RESTS, rests.wrapping_add(1), Ordering::Relaxed);
        if !is_over() {
            self.words.futex_wait(FUTEX, seen);
        }
    }

    /// Returns a number that changes when a thread that was woken leaves what is queued to another
    /// one: then waking it was of no use.
    pub fn rests(&self) -> u64 {
        self.words.load(RESTS)
    }

    /// Says that nobody is looking any more, unless `has_work`: then the caller has to look again.
    pub fn stop_looking(&self, has_work: impl FnOnce() -> bool) -> bool {
        self.words.store(LOOKING, 0, Ordering::SeqCst);
        let has_work = has_work();
        if has_work {
            self.words.store(LOOKING, 1, Ordering::SeqCst);
        }
        has_work
    }

    /// Called by a thread that took a request, before it runs the handler: sees to the requests
    /// it leaves behind.
    pub fn busy(&self, has_work: impl FnOnce() -> bool) {
        if self.is_short() {
            // It comes back for them before another could.
            self.words.store(LOOKING, 1, Ordering::SeqCst);
        } else {
            self.words.store(LOOKING, 0, Ordering::SeqCst);
            if has_work() {
                // Threads are woken by the ring itself.
                let _threads_only = self.ring();
            }
        }
    }

    /// Tells whether handlers are so short that waiting for one costs less than waking a thread.
    pub fn is_short(&self) -> bool {
        let usual = self.words.load(HANDLER_NS);
        0 < usual && u128::from(usual) < WAKE_COST.as_nanos()
    }

    /// Notes how long a handler ran: an average in which each one weighs an eighth.
    pub fn note_handler(&self, ran: Duration) {
        let ran = u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX).max(1);
        let usual = match self.words.load(HANDLER_NS) {
            0 => ran,
            before => (before - before / 8).saturating_add(ran / 8).max(1),
        };
        self.words.store(HANDLER_NS, usual, Ordering::Relaxed);
    }

    /// Wakes every thread, so that each sees that the worker ends.
    pub fn wake_all(&self) {
        self.words.futex_wake_all(FUTEX);
    }
}

impl std::fmt::Debug for Bell<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Bell").field("kind", &self.kind()).finish_non_exhaustive()
    }
}
