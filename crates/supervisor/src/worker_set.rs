//! The workers of one pool.
//!
//! Carries out what `ostler_policy` decides: `worker` for each place, `recycle` for which of them
//! is replaced when. A reload that changes how workers are started makes a new set with one worker
//! beside the old one; in force, it adopts the places of the old set and replaces them one by one.
//! A new proxy process gets new sets.

mod recycling;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ostler_conf::{PoolConfig, Ready};
use ostler_policy::recycle::{Reason, Scheduler};
use ostler_policy::wear::WearLimits;
use ostler_policy::worker::{WorkerCommand, WorkerEvent, WorkerLimits, WorkerState};
use ostler_segment::Segment;
use ostler_segment::counter::Pool;
use rustix::process::Pid;

use self::recycling::{limits_of, wear_of};
use crate::event::SetId;
use crate::exit::Exit;
use crate::identity::Identity;
use crate::machinery::Machinery;
use crate::message::{PendingRecycle, ToProxy, WorkerId};
use crate::place::{Place, Recipe, Seen};
use crate::post_mortem::Moment;
use crate::runtime_dir;
use crate::stacks::Witness;
use crate::worker_process::{Model, WorkerProcess};

/// The workers of a pool: one a slot, and those that replace some or are being replaced.
#[derive(Debug)]
pub(crate) struct WorkerSet {
    pub(crate) id: SetId,
    pool: String,
    /// In force; the places' recipes may be older.
    config: PoolConfig,
    recipe: Arc<Recipe>,
    scheduler: Scheduler,
    wear: WearLimits,
    /// When the workers are looked at next; `None`: there is nothing to look for.
    look_at: Option<Instant>,
    /// Warm workers wait to be released before they serve.
    is_held: bool,
    /// All places leave, and nothing is started.
    is_ending: bool,
    /// The story of a worker that did not get ready.
    failure: Option<String>,
    /// Workers that did not get ready, and whose stories are not told yet.
    untold: Vec<WorkerId>,
    places: Vec<Place>,
    next_key: u64,
    /// What the proxy process was told last.
    outlook: (Vec<PendingRecycle>, Option<Instant>),
}

impl WorkerSet {
    /// Makes a set whose workers are due to start.
    pub(crate) fn new(
        id: SetId,
        pool: &str,
        config: &PoolConfig,
        identity: Option<Identity>,
        now: Instant,
    ) -> Self {
        let recipe = Arc::new(Recipe { config: config.clone(), identity });
        let mut set = Self {
            id,
            pool: pool.to_owned(),
            config: config.clone(),
            recipe,
            scheduler: Scheduler::new(limits_of(config)),
            wear: wear_of(config),
            look_at: None,
            is_held: false,
            is_ending: false,
            failure: None,
            untold: Vec::new(),
            places: Vec::new(),
            next_key: 0,
            outlook: (Vec::new(), None),
        };
        (0..config.processes).for_each(|slot| set.add_place(slot, now));
        set.look_at = set.next_look(now);
        set
    }

    /// Has warm workers wait for `release`.
    pub(crate) fn hold(mut self) -> Self {
        self.is_held = true;
        self
    }

    /// Begins with one worker, beside the set that it is to adopt.
    pub(crate) fn first_one(mut self) -> Self {
        self.places.truncate(1);
        self
    }

    /// Lets warm workers serve.
    pub(crate) fn release(&mut self, now: Instant, machinery: &mut Machinery) {
        self.is_held = false;
        self.forgive();
        self.feed(WorkerEvent::Serve, now, machinery);
    }

    /// Takes the places of the set before it, which are then replaced.
    pub(crate) fn adopt(&mut self, old: Self) {
        let ours = std::mem::take(&mut self.places);
        let theirs = old.places.len();
        // In this order, so that our own are the younger ones.
        for (index, place) in old.places.into_iter().chain(ours).enumerate() {
            let key = self.take_key();
            if index < theirs && place.is_staying() {
                self.scheduler.request(key, Reason::Configuration);
            }
            self.places.push(Place { key, ..place });
        }
        self.outlook = old.outlook;
    }

    /// Puts a configuration in force under which the workers may go on.
    pub(crate) fn reconfigure(&mut self, config: &PoolConfig, now: Instant) {
        self.config = config.clone();
        self.forgive();
        let identity = self.recipe.identity.clone();
        self.recipe = Arc::new(Recipe { config: config.clone(), identity });
        self.scheduler.set_limits(limits_of(config));
        self.wear = wear_of(config);
        self.look_at = self.next_look(now);
    }

    /// Gives every place an event; one that ends workers ends the set.
    pub(crate) fn feed(&mut self, event: WorkerEvent, now: Instant, machinery: &mut Machinery) {
        let is_end =
            matches!(event, WorkerEvent::Retire | WorkerEvent::Terminate | WorkerEvent::Kill);
        self.is_ending |= is_end;
        if event == WorkerEvent::Tick {
            self.look(now);
            self.schedule(now, machinery);
        }
        for index in 0..self.places.len() {
            self.step(index, event, now, machinery);
        }
        self.forget_gone();
        if event == WorkerEvent::Tick {
            self.tell(now, machinery);
        }
    }

    /// Gives the place of a worker an event. Returns false where that worker is not here.
    pub(crate) fn feed_worker(
        &mut self,
        id: &WorkerId,
        event: WorkerEvent,
        now: Instant,
        machinery: &mut Machinery,
    ) -> bool {
        let found = self.position(|process| process.id == *id);
        if let Some(index) = found {
            self.step(index, event, now, machinery);
        }
        found.is_some()
    }

    /// Notes what a worker did not do as it should; it will be killed for that.
    pub(crate) fn blame(&mut self, id: &WorkerId, fault: &str) {
        for process in self.places.iter_mut().filter_map(|place| place.process.as_mut()) {
            if process.id == *id {
                process.fault = Some(fault.to_owned());
            }
        }
    }

    /// Returns the workers that have a process, if they are of this pool.
    pub(crate) fn witnesses(&self, pool: &str) -> impl Iterator<Item = Witness> {
        let places = self.places.iter().filter(move |_| self.pool == pool);
        places.filter_map(Place::witness)
    }

    /// Writes down what a worker is doing that has stuck threads.
    pub(crate) fn record_stuck(&self, id: &WorkerId, machinery: &mut Machinery) {
        let processes = self.places.iter().filter_map(|place| place.process.as_ref());
        for process in processes.filter(|process| process.id == *id) {
            let record = process.post_mortem(Moment::Stuck);
            machinery.complete_post_mortem(record, process.asker());
        }
    }

    /// Notes the end of a process. Returns false where it is none of these.
    pub(crate) fn exited(
        &mut self,
        pid: Pid,
        exit: Exit,
        now: Instant,
        machinery: &mut Machinery,
    ) -> bool {
        let Some(index) = self.position(|process| process.pid == pid) else { return false };
        let Some(place) = self.places.get_mut(index) else { return false };
        let (state, was_ready) = (place.life.state(), place.is_ready());
        let is_planned = !place.is_staying();
        if let Some(process) = place.process.take() {
            let message = ToProxy::WorkerExited { id: process.id.clone(), exit };
            machinery.guard_ended(pid);
            if !was_ready && !is_planned {
                self.untold.push(process.id.clone());
            }
            // Before the proxy is told: it leaves the rows of a dead worker as they are until then.
            process.ended(exit, is_planned);
            machinery.proxy.tell(message, Vec::new());
        }
        if state == (WorkerState::Killed { retired: false }) {
            machinery.pages.count(&self.pool, Pool::RecycleStartTimeout);
        } else if !is_planned {
            machinery.pages.count(&self.pool, Pool::RecycleExit);
        }
        self.scheduler.exited(place.key);
        self.step(index, WorkerEvent::Exited, now, machinery);
        self.forget_gone();
        true
    }

    /// Notes the story of a worker that ended. It counts if that did not get ready.
    pub(crate) fn told(&mut self, id: &WorkerId, story: String) {
        if let Some(at) = self.untold.iter().position(|untold| untold == id) {
            self.untold.swap_remove(at);
            self.failure = Some(story);
        }
    }

    /// Forgets that workers did not get ready: only those that start from here on matter.
    fn forgive(&mut self) {
        self.failure = None;
        self.untold.clear();
    }

    /// Returns the story of the worker that did not get ready last.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Returns the processes.
    pub(crate) fn pids(&self) -> impl Iterator<Item = Pid> {
        self.places.iter().filter_map(|place| place.process.as_ref()).map(|process| process.pid)
    }

    /// Returns the processes of its workers, with their segments.
    pub(crate) fn segments(&self) -> impl Iterator<Item = (Pid, Arc<Segment>)> {
        let processes = self.places.iter().filter_map(|place| place.process.as_ref());
        processes.map(|process| (process.pid, Arc::clone(&process.segment)))
    }

    /// Returns the workers that have a process.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &WorkerId> {
        self.places.iter().filter_map(|place| place.process.as_ref()).map(|process| &process.id)
    }

    /// Returns how long a worker that was told to end may take.
    pub(crate) fn stop_timeout(&self) -> Duration {
        self.config.stop_timeout
    }

    /// Returns when time changes something.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let lives = self.places.iter().filter_map(|place| place.life.due());
        let forced = self.scheduler.due(now).filter(|_| self.is_scheduled());
        lives.chain(forced).chain(self.look_at.filter(|_| self.is_scheduled())).min()
    }

    /// Returns whether every worker is warm and waits to be released.
    pub(crate) fn is_warm(&self) -> bool {
        self.places.iter().all(|place| place.life.state() == WorkerState::Warm)
    }

    /// Returns whether as many workers serve as have to.
    pub(crate) fn is_serving(&self) -> bool {
        let ready = self.places.iter().filter(|place| place.is_ready()).count();
        self.config.min_ready as usize <= ready
    }

    /// Returns whether nothing is left and nothing will be started.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_ending && self.places.is_empty()
    }

    /// Counts why all workers are being replaced.
    pub(crate) fn count(&self, reason: Pool, machinery: &Machinery) {
        for _ in self.places.iter().filter(|place| place.life.has_process()) {
            machinery.pages.count(&self.pool, reason);
        }
    }

    fn is_scheduled(&self) -> bool {
        !self.is_held && !self.is_ending
    }

    fn add_place(&mut self, slot: u32, now: Instant) {
        let key = self.take_key();
        self.places.push(Place::new(key, slot, Arc::clone(&self.recipe), now));
    }

    fn take_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    fn forget_gone(&mut self) {
        let Self { places, scheduler, .. } = self;
        places.retain(|place| {
            let is_gone = place.life.state() == WorkerState::Gone;
            if is_gone {
                scheduler.gone(place.key);
            }
            !is_gone
        });
    }

    fn position(&self, is_it: impl Fn(&WorkerProcess) -> bool) -> Option<usize> {
        self.places.iter().position(|place| place.process.as_ref().is_some_and(&is_it))
    }

    fn limits(&self) -> WorkerLimits {
        WorkerLimits {
            start_timeout: self.config.start_timeout,
            drain_timeout: self.config.drain_timeout,
            stop_timeout: self.config.stop_timeout,
        }
    }

    /// One step of one place, and those that follow from it at once.
    fn step(&mut self, index: usize, event: WorkerEvent, now: Instant, machinery: &mut Machinery) {
        let limits = self.limits();
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let Some(place) = self.places.get_mut(index) else { return };
            let (life, command) = place.life.step(event, now, &limits);
            place.life = life;
            let ready = place.recipe.config.ready;
            next = match command {
                Some(WorkerCommand::Spawn) => Some(self.spawn(index, now, machinery)),
                Some(WorkerCommand::Kill) if event == WorkerEvent::Tick => {
                    place.timed_out(limits.start_timeout, machinery);
                    None
                }
                Some(command) => {
                    place.carry_out(command, now, machinery);
                    None
                }
                None if life.state() == WorkerState::Warm && !self.is_held => {
                    Some(WorkerEvent::Serve)
                }
                None => None,
            };
            // A program that does not report is asked at once.
            if next == Some(WorkerEvent::Ready) && ready == Ready::Notify {
                next = None;
            }
        }
    }

    /// Starts a process. Returns the event to go on with.
    fn spawn(&mut self, index: usize, now: Instant, machinery: &mut Machinery) -> WorkerEvent {
        let Some(place) = self.places.get_mut(index) else { return WorkerEvent::Exited };
        let id = machinery.generations.next(&self.pool, place.slot);
        let Recipe { config, identity } = place.recipe.as_ref();
        let model = Model { set: self.id, config, identity: identity.as_ref() };
        match WorkerProcess::start(id.clone(), &model, machinery) {
            Ok(process) => {
                let pid = process.pid;
                place.process = Some(process);
                place.seen = Seen::nothing(now);
                let WorkerId { pool, slot, generation } = &id;
                tracing::info!(pool, slot, generation, pid = pid.as_raw_pid(), "worker_started");
                machinery.guard_started(pid);
                place.introduce(machinery);
                WorkerEvent::Ready
            }
            Err(error) => {
                runtime_dir::remove(&machinery.runtime_dir.worker_socket(&id));
                runtime_dir::remove(&machinery.runtime_dir.notify_socket(&id));
                let reason = error.to_string();
                tracing::error!(pool = id.pool, slot = id.slot, reason, "worker_not_started");
                self.failure = Some(format!("pool {:?}, worker {}: {reason}", id.pool, id.slot));
                WorkerEvent::Exited
            }
        }
    }

    /// Tells a proxy that knows nothing yet of the workers, and where each is in its life.
    pub(crate) fn introduce(&mut self, now: Instant, machinery: &mut Machinery) {
        for place in &self.places {
            place.introduce(machinery);
            let command = match place.life.state() {
                WorkerState::Warming { .. } => WorkerCommand::WarmUp,
                WorkerState::Ready { .. } => WorkerCommand::Serve,
                WorkerState::Draining { .. }
                | WorkerState::Stopping { .. }
                | WorkerState::Killed { .. } => WorkerCommand::Withdraw,
                WorkerState::Vacant { .. }
                | WorkerState::Starting { .. }
                | WorkerState::Warm
                | WorkerState::Gone => continue,
            };
            place.tell(command, now, machinery);
        }
        // What is to come is told anew.
        self.outlook = (Vec::new(), None);
    }

    /// Whether its workers can go on when the proxy has died: those that may have requests show
    /// in their segments which of them run.
    pub(crate) fn survives_proxy(&self) -> bool {
        let may_have_requests = |place: &&Place| {
            let state = place.life.state();
            matches!(state, WorkerState::Ready { .. } | WorkerState::Draining { .. })
        };
        let mut processes =
            self.places.iter().filter(may_have_requests).filter_map(|place| place.process.as_ref());
        processes.all(|process| process.ring.is_used())
    }
}
