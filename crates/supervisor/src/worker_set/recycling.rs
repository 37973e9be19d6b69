//! Which workers of a set are replaced: what was asked for, what they have worn, and doing it step
//! by step.

use std::time::{Duration, Instant};

use ostler_conf::PoolConfig;
use ostler_policy::recycle::{Limits, Reason, Step};
use ostler_policy::wear::WearLimits;
use ostler_policy::worker::WorkerEvent;
use ostler_segment::counter::Pool;
use rustix::process::Pid;

use super::WorkerSet;
use crate::machinery::Machinery;
use crate::message::{PendingRecycle, ToProxy, WorkerId};
use crate::place::Place;
use crate::worker_process::WorkerProcess;

/// How often workers are looked at that may have served enough. Short, because a busy worker
/// serves hundreds of requests between two looks; reading the rows takes microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Most pending recycles that are shown. They travel in one message.
const MAX_SHOWN: usize = 64;

impl WorkerSet {
    /// Asks for every worker to be replaced.
    pub(crate) fn recycle(&mut self, reason: Reason) {
        self.forgive();
        for place in &self.places {
            // One that starts may have read a file before it changed.
            let is_new_enough = reason != Reason::ReloadOnChange || place.process.is_none();
            if place.is_staying() && (place.is_ready() || !is_new_enough) {
                self.scheduler.request(place.key, reason);
            }
        }
    }

    /// Asks for one worker to be replaced. Returns false where that worker is not here.
    pub(crate) fn recycle_worker(&mut self, id: &WorkerId, reason: Reason, now: Instant) -> bool {
        let is_it = |process: &WorkerProcess| process.id == *id;
        let Some(place) = self.position(is_it).and_then(|at| self.places.get(at)) else {
            return false;
        };
        if place.is_ready() {
            self.scheduler.request(place.key, reason);
            if reason == Reason::EveryThreadStuck {
                self.scheduler.force(place.key, now + self.config.start_timeout);
            }
        }
        true
    }

    /// Asks for the workers to be replaced in which a proxy process that died has left requests
    /// over HTTP.
    pub(crate) fn recycle_lost(&mut self, incarnation: u32) {
        let is_lost = |process: &WorkerProcess| process.segment.is_lost_with(incarnation);
        for place in self.places.iter().filter(|place| place.is_ready()) {
            if place.process.as_ref().is_some_and(is_lost) {
                self.scheduler.request(place.key, Reason::ProxyExit);
            }
        }
    }

    /// Withdraws what was asked for by `recycle`.
    pub(crate) fn cancel(&mut self, reason: Reason) {
        self.scheduler.cancel(reason);
    }

    /// Returns whether every slot has a serving worker, and none is to be replaced because of what
    /// people did.
    pub(crate) fn is_settled(&self) -> bool {
        let by_people = [Reason::Operator, Reason::Configuration, Reason::ReloadOnChange];
        let is_good = |place: &Place| {
            let is_asked =
                self.scheduler.reason(place.key).is_some_and(|reason| by_people.contains(&reason));
            place.is_ready() && !is_asked
        };
        let has_good = |slot| self.places.iter().any(|it| it.slot == slot && is_good(it));
        let staying = self.places.iter().filter(|place| place.is_staying()).count();
        (0..self.config.processes).all(has_good) && staying == self.config.processes as usize
    }

    /// Notes how much memory the group of a process has. One with twice its limit goes soon, even
    /// below the floor.
    pub(crate) fn note_memory(&mut self, pid: Pid, bytes: u64) {
        for place in &mut self.places {
            if place.process.as_ref().is_some_and(|process| process.pid == pid) {
                place.seen.memory = Some(bytes);
            }
        }
    }

    /// Looks whether workers have worn enough, when it is time to.
    pub(super) fn look(&mut self, now: Instant) {
        if !self.is_scheduled() || self.look_at.is_none_or(|at| now < at) {
            return;
        }
        for place in self.places.iter_mut().filter(|place| place.is_ready()) {
            let Some(wear) = place.wear(now) else { continue };
            if let Some(reason) = self.wear.exceeded(&wear, place.seed()) {
                self.scheduler.request(place.key, reason);
            }
            if self.wear.is_twice_the_memory(&wear) {
                self.scheduler.force(place.key, now + self.config.start_timeout);
            }
        }
        self.look_at = self.next_look(now);
    }

    pub(super) fn next_look(&self, now: Instant) -> Option<Instant> {
        (self.wear != WearLimits::default()).then_some(now + LOOK_EVERY)
    }

    /// Replaces workers as far as that is possible at this moment.
    pub(super) fn schedule(&mut self, now: Instant, machinery: &mut Machinery) {
        self.forget_gone();
        while self.is_scheduled() {
            let views: Vec<_> = self.places.iter().map(Place::view).collect();
            match self.scheduler.next(&views, now) {
                Some(Step::Start { slot }) => self.add_place(slot, now),
                Some(Step::Retire { key, reason }) => self.retire(key, reason, now, machinery),
                None => return,
            }
            self.forget_gone();
        }
    }

    fn retire(
        &mut self,
        key: u64,
        reason: Option<Reason>,
        now: Instant,
        machinery: &mut Machinery,
    ) {
        let Some(index) = self.places.iter().position(|place| place.key == key) else { return };
        let process = self.places.get(index).and_then(|place| place.process.as_ref());
        if let (Some(reason), Some(process)) = (reason, process) {
            let WorkerId { pool, slot, generation } = &process.id;
            tracing::info!(pool, slot, generation, reason = reason.word(), "worker_recycled");
            machinery.pages.count(pool, counter(reason));
            let message = ToProxy::WorkerRecycled {
                id: process.id.clone(),
                reason: reason.word().to_owned(),
            };
            machinery.proxy.tell(message, Vec::new());
        }
        self.step(index, WorkerEvent::Retire, now, machinery);
    }

    /// Tells the proxy process what is to come, for the status page, where that changed.
    pub(super) fn tell(&mut self, now: Instant, machinery: &mut Machinery) {
        if self.is_held || self.is_ending {
            return;
        }
        let views: Vec<_> = self.places.iter().map(Place::view).collect();
        let pending = self.scheduler.pending(&views);
        let pending: Vec<PendingRecycle> = pending
            .take(MAX_SHOWN)
            .map(|(it, reason)| PendingRecycle { slot: it.slot, reason: reason.word().to_owned() })
            .collect();
        let vacant = self.places.iter().filter(|place| !place.life.has_process());
        let retries = vacant.filter_map(|place| place.life.due());
        let next = (pending, retries.min());
        if next != self.outlook {
            let wait = next.1.map(|at| at.saturating_duration_since(now).as_millis());
            let message = ToProxy::PoolOutlook {
                pool: self.pool.clone(),
                pending: next.0.clone(),
                retry_in_ms: wait.map(|wait| u64::try_from(wait).unwrap_or(u64::MAX)),
            };
            machinery.proxy.tell(message, Vec::new());
            self.outlook = next;
        }
    }
}

/// What the scheduler has to know of a configuration.
pub(super) fn limits_of(config: &PoolConfig) -> Limits {
    let PoolConfig { processes, surge, min_ready, .. } = *config;
    Limits { processes, surge, min_ready }
}

/// What workers may wear under a configuration.
pub(super) fn wear_of(config: &PoolConfig) -> WearLimits {
    let set = |number: u64| Some(number).filter(|&number| number != 0);
    WearLimits {
        max_requests: set(u64::from(config.max_requests)),
        max_age: config.max_age,
        max_memory: set(config.max_memory.0),
        max_idle: config.max_idle,
    }
}

fn counter(reason: Reason) -> Pool {
    match reason {
        Reason::EveryThreadStuck | Reason::RequestTimeout => Pool::RecycleRequestTimeout,
        Reason::Health => Pool::RecycleHealth,
        Reason::ProxyExit => Pool::RecycleProxyExit,
        Reason::MaxMemory => Pool::RecycleMaxMemory,
        Reason::Operator => Pool::RecycleOperator,
        Reason::Configuration => Pool::RecycleConfig,
        Reason::ReloadOnChange => Pool::RecycleReloadOnChange,
        Reason::MaxAge => Pool::RecycleMaxAge,
        Reason::MaxRequests => Pool::RecycleMaxRequests,
        Reason::MaxIdle => Pool::RecycleMaxIdle,
    }
}
