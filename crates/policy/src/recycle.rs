//! Which worker of a pool is replaced, in what order, and when the one before it may go.
//!
//! Every reason to replace a worker is a request to one [`Scheduler`] a pool. It sees the places
//! of the pool and says one step at a time what to do, under these rules:
//!
//! - **Capacity floor:** a worker that serves is retired only while at least `min_ready` others
//!   do. With `surge` places its replacement serves first; without, it goes first.
//! - **Bound:** no more than `processes` + `surge` places exist, those that drain included. So a
//!   slow drain keeps a surge place, for `drain-timeout` and `stop-timeout` at the longest.
//! - **Order:** by the urgency of the reason, then first come, first served. For
//!   `request-timeout` one worker of the pool at a time.
//! - **Postponed:** a replacement that does not get ready holds its request up, without end: the
//!   floor wins. Two requests do not wait for longer than [`Scheduler::force`] says: a worker
//!   without a free thread, which serves nobody, and one with twice its memory.
//! - **One heir a slot:** where two places share a slot the younger is to stay. It is given up if
//!   the request that it was started for is withdrawn before it serves.
//!
//! A worker that exits on its own needs no request: its place starts the next one itself
//! (`worker`), which counts as not ready meanwhile.

use std::time::Instant;

use crate::worker::WorkerState;

/// Why a worker is to be replaced, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No thread of it is left to work: it serves nobody.
    EveryThreadStuck,
    /// It fails its health check.
    Health,
    /// A proxy process died with requests in it of which nobody can tell whether they ended.
    ProxyExit,
    /// A thread of it is stuck.
    RequestTimeout,
    /// Its processes take too much memory.
    MaxMemory,
    /// An operator asked for it.
    Operator,
    /// It runs under a configuration that is not in force any more.
    Configuration,
    /// A file of the application changed.
    ReloadOnChange,
    /// It is too old.
    MaxAge,
    /// It has served enough.
    MaxRequests,
    /// It has had no request for too long.
    MaxIdle,
}

impl Reason {
    /// Returns the word for it on the status page and in the log.
    pub fn word(self) -> &'static str {
        match self {
            Self::EveryThreadStuck | Self::RequestTimeout => "request-timeout",
            Self::Health => "health",
            Self::ProxyExit => "proxy-exit",
            Self::MaxMemory => "max-memory",
            Self::Operator => "operator",
            Self::Configuration => "config",
            Self::ReloadOnChange => "reload-on-change",
            Self::MaxAge => "max-age",
            Self::MaxRequests => "max-requests",
            Self::MaxIdle => "max-idle",
        }
    }

    /// Less is more urgent. Reasons of one rank are taken in the order of their requests.
    fn rank(self) -> u8 {
        match self {
            Self::EveryThreadStuck => 0,
            Self::Health | Self::ProxyExit => 1,
            Self::RequestTimeout => 2,
            Self::MaxMemory => 3,
            Self::Operator | Self::Configuration | Self::ReloadOnChange => 4,
            Self::MaxAge | Self::MaxRequests | Self::MaxIdle => 5,
        }
    }
}

/// How far a place is, as much as matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has no process, and will start one.
    Vacant,
    /// It has a process that does not serve yet.
    Rising,
    /// It serves.
    Ready,
    /// It drains or was told to end, and nothing will be started in it.
    Leaving,
}

impl Standing {
    /// Returns how far a place in this state is.
    pub fn of(state: WorkerState) -> Self {
        match state {
            WorkerState::Vacant { .. } => Self::Vacant,
            WorkerState::Starting { .. }
            | WorkerState::Warming { .. }
            | WorkerState::Warm
            | WorkerState::Killed { retired: false } => Self::Rising,
            WorkerState::Ready { .. } => Self::Ready,
            WorkerState::Draining { .. }
            | WorkerState::Stopping { .. }
            | WorkerState::Killed { retired: true }
            | WorkerState::Gone => Self::Leaving,
        }
    }
}

/// A place for a worker. It has the number of its slot for life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which place: a younger one has a greater key.
    pub key: u64,
    /// Its slot: under `processes`, and shared with its replacement.
    pub slot: u32,
    /// How far it is.
    pub standing: Standing,
}

/// What a pool is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Workers.
    pub processes: u32,
    /// Workers beyond them, while some are replaced.
    pub surge: u32,
    /// Workers that serve at least, as far as recycling has a say.
    pub min_ready: u32,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a place in this slot, and start a worker there.
    Start {
        /// The slot.
        slot: u32,
    },
    /// Let the worker of a place finish what it has, and end for good.
    Retire {
        /// The place.
        key: u64,
        /// What for; `None` for a replacement that is not wanted any more.
        reason: Option<Reason>,
    },
}

#[derive(Clone, Copy, Debug)]
struct Request {
    key: u64,
    reason: Reason,
    /// From when on the floor does not hold it up.
    forced_at: Option<Instant>,
}

/// The requests of one pool that are not carried out yet. See the module.
#[derive(Clone, Debug)]
pub struct Scheduler {
    limits: Limits,
    /// In the order in which they are carried out.
    requests: Vec<Request>,
}

impl Scheduler {
    /// Returns a scheduler without requests.
    pub fn new(limits: Limits) -> Self {
        Self { limits, requests: Vec::new() }
    }

    /// Changes what the pool is to have.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Requests that the worker of a place be replaced. Of two reasons the more urgent counts.
    pub fn request(&mut self, key: u64, reason: Reason) {
        let mut request = Request { key, reason, forced_at: None };
        if let Some(at) = self.requests.iter().position(|known| known.key == key) {
            let known = self.requests.remove(at);
            request.forced_at = known.forced_at;
            if known.reason.rank() <= reason.rank() {
                request.reason = known.reason;
                self.requests.insert(at, request);
                return;
            }
        }
        let rank = request.reason.rank();
        let at = self.requests.partition_point(|known| known.reason.rank() <= rank);
        self.requests.insert(at, request);
    }

    /// Has the request about a place wait no longer than until `at`, whatever the floor says.
    pub fn force(&mut self, key: u64, at: Instant) {
        if let Some(request) = self.requests.iter_mut().find(|request| request.key == key) {
            request.forced_at.get_or_insert(at);
        }
    }

    /// Forgets the request about a place: its process has ended, so the next one is new anyway.
    ///
    /// A place whose configuration is not in force stays requested: it would start the same again.
    pub fn exited(&mut self, key: u64) {
        self.requests.retain(|it| it.key != key || it.reason == Reason::Configuration);
    }

    /// Forgets a place that does not exist any more.
    pub fn gone(&mut self, key: u64) {
        self.requests.retain(|request| request.key != key);
    }

    /// Withdraws every request for one reason.
    pub fn cancel(&mut self, reason: Reason) {
        self.requests.retain(|request| request.reason != reason);
    }

    /// Returns the requests about places that have not begun to leave, in order.
    pub fn pending(&self, places: &[Place]) -> impl Iterator<Item = (Place, Reason)> {
        let stays = |key| places.iter().find(move |it| it.key == key && stays(it));
        self.requests.iter().filter_map(move |it| Some((*stays(it.key)?, it.reason)))
    }

    /// Returns why a place is to be replaced, if it is.
    pub fn reason(&self, key: u64) -> Option<Reason> {
        self.request_of(key).map(|request| request.reason)
    }

    /// Returns when time alone brings the next step.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        self.requests.iter().filter_map(|it| it.forced_at).filter(|&at| now < at).min()
    }

    /// Returns what to do. To be asked again until there is nothing, with the step carried out.
    pub fn next(&self, places: &[Place], now: Instant) -> Option<Step> {
        let view = View { scheduler: self, places };
        view.beyond_the_slots()
            .or_else(|| view.beside_an_heir())
            .or_else(|| view.not_ready())
            .or_else(|| view.overdue(now))
            .or_else(|| view.missing())
            .or_else(|| view.first_request())
    }

    fn request_of(&self, key: u64) -> Option<&Request> {
        self.requests.iter().find(|request| request.key == key)
    }
}

/// The pool at one moment.
#[derive(Clone, Copy)]
struct View<'a> {
    scheduler: &'a Scheduler,
    places: &'a [Place],
}

impl<'a> View<'a> {
    /// There are more slots than processes: the pool was made smaller.
    fn beyond_the_slots(self) -> Option<Step> {
        let processes = self.scheduler.limits.processes;
        let place = self.staying().find(|it| processes <= it.slot && self.may_leave(it))?;
        Some(Step::Retire { key: place.key, reason: Some(Reason::Configuration) })
    }

    /// Two places share a slot: the elder goes as soon as it may, or the heir is not wanted.
    fn beside_an_heir(self) -> Option<Step> {
        self.staying().find_map(|elder| {
            let heir = self.heir(elder)?;
            let reason = self.scheduler.reason(elder.key);
            if elder.standing != Standing::Ready
                || (heir.standing == Standing::Ready && self.may_leave(elder))
            {
                return Some(Step::Retire { key: elder.key, reason });
            }
            let is_unwanted = reason.is_none() && heir.standing != Standing::Ready;
            is_unwanted.then_some(Step::Retire { key: heir.key, reason: None })
        })
    }

    /// A worker that does not serve yet and is to be replaced: nobody would miss it.
    fn not_ready(self) -> Option<Step> {
        let is_it = |it: &&Place| it.standing != Standing::Ready;
        self.staying().filter(is_it).find_map(|place| {
            let reason = Some(self.scheduler.reason(place.key)?);
            Some(Step::Retire { key: place.key, reason })
        })
    }

    /// A request has waited as long as it may.
    fn overdue(self, now: Instant) -> Option<Step> {
        let is_due = |it: &&Request| it.forced_at.is_some_and(|at| at <= now);
        self.scheduler.requests.iter().filter(is_due).find_map(|request| {
            let place = self.staying().find(|it| it.key == request.key)?;
            Some(Step::Retire { key: place.key, reason: Some(request.reason) })
        })
    }

    /// A slot has no place that stays.
    fn missing(self) -> Option<Step> {
        let is_taken = |slot: u32| self.staying().any(|it| it.slot == slot);
        let slot = (0..self.scheduler.limits.processes).find(|&slot| !is_taken(slot))?;
        self.has_room().then_some(Step::Start { slot })
    }

    /// The first request that no other one holds up. Those behind it wait for it.
    fn first_request(self) -> Option<Step> {
        let waiting = self.scheduler.requests.iter().find_map(|request| {
            let processes = self.scheduler.limits.processes;
            let is_it = |it: &&Place| it.key == request.key && it.slot < processes;
            let place = self.staying().find(is_it)?;
            let is_begun = self.heir(place).is_some();
            let is_held_up = request.reason == Reason::RequestTimeout && self.has_stuck_one();
            (!is_begun && !is_held_up).then_some((place, request))
        });
        let (place, request) = waiting?;
        if self.has_room() && 0 < self.scheduler.limits.surge {
            return Some(Step::Start { slot: place.slot });
        }
        let goes_first = self.scheduler.limits.surge == 0 || !self.is_fit(place);
        let retire = Step::Retire { key: place.key, reason: Some(request.reason) };
        (goes_first && self.may_leave(place)).then_some(retire)
    }

    /// Whether a worker with a stuck thread is being replaced.
    fn has_stuck_one(self) -> bool {
        self.places.iter().any(|place| {
            self.scheduler.reason(place.key) == Some(Reason::RequestTimeout)
                && (place.standing == Standing::Leaving || self.heir(place).is_some())
        })
    }

    /// Whether the floor lets a place go.
    fn may_leave(self, place: &Place) -> bool {
        let fit = self.places.iter().filter(|it| self.is_fit(it)).count();
        let floor = self.scheduler.limits.min_ready as usize;
        !self.is_fit(place) || floor < fit
    }

    /// Whether a place serves requests.
    fn is_fit(self, place: &Place) -> bool {
        let is_stuck = self.scheduler.reason(place.key) == Some(Reason::EveryThreadStuck);
        place.standing == Standing::Ready && !is_stuck
    }

    /// Whether one more place may be made.
    fn has_room(self) -> bool {
        let Limits { processes, surge, .. } = self.scheduler.limits;
        self.places.len() < (processes.saturating_add(surge)) as usize
    }

    /// The youngest place of a slot, where that is another one.
    fn heir(self, place: &Place) -> Option<&'a Place> {
        let younger = self.places.iter().filter(|it| it.slot == place.slot && stays(it));
        younger.max_by_key(|it| it.key).filter(|heir| place.key < heir.key)
    }

    fn staying(self) -> impl Iterator<Item = &'a Place> {
        self.places.iter().filter(|place| stays(place))
    }
}

fn stays(place: &Place) -> bool {
    place.standing != Standing::Leaving
}

#[cfg(test)]
mod tests;
