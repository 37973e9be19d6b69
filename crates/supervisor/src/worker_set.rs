//! The workers of one pool under one configuration.
//!
//! Carries out what `ostler_policy::worker` decides for each slot. A reload or a new proxy process
//! never changes a set: it makes another one and retires this.

use std::time::{Duration, Instant};

use ostler_conf::{PoolConfig, Ready};
use ostler_policy::worker::{WorkerCommand, WorkerEvent, WorkerLife, WorkerLimits, WorkerState};
use ostler_segment::counter::Pool;
use rustix::process::Pid;

use crate::event::SetId;
use crate::exit::{self, Exit};
use crate::identity::Identity;
use crate::machinery::Machinery;
use crate::message::{ToProxy, WorkerId};
use crate::post_mortem::Moment;
use crate::runtime_dir;
use crate::worker_process::{Model, WorkerProcess};

/// A set of workers, one a slot.
#[derive(Debug)]
pub(crate) struct WorkerSet {
    pub(crate) id: SetId,
    pool: String,
    config: PoolConfig,
    identity: Option<Identity>,
    /// Warm workers wait to be released before they serve.
    is_held: bool,
    /// The story of a worker that did not get ready.
    failure: Option<String>,
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    number: u32,
    life: WorkerLife,
    process: Option<WorkerProcess>,
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
        let slot = |number| Slot { number, life: WorkerLife::new(now), process: None };
        let slots = (0..config.processes).map(slot).collect();
        let (pool, config) = (pool.to_owned(), config.clone());
        Self { id, pool, config, identity, is_held: false, failure: None, slots }
    }

    /// Has warm workers wait for `release`.
    pub(crate) fn hold(mut self) -> Self {
        self.is_held = true;
        self
    }

    /// Lets warm workers serve.
    pub(crate) fn release(&mut self, now: Instant, machinery: &mut Machinery) {
        self.is_held = false;
        self.feed(WorkerEvent::Serve, now, machinery);
    }

    /// Gives every slot an event.
    pub(crate) fn feed(&mut self, event: WorkerEvent, now: Instant, machinery: &mut Machinery) {
        for index in 0..self.slots.len() {
            self.step(index, event, now, machinery);
        }
    }

    /// Gives the slot of a worker an event. Returns false where that worker is not here.
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
        for process in self.slots.iter_mut().filter_map(|slot| slot.process.as_mut()) {
            if process.id == *id {
                process.fault = Some(fault.to_owned());
            }
        }
    }

    /// Writes down what a worker is doing that has stuck threads.
    pub(crate) fn record_stuck(&self, id: &WorkerId, machinery: &mut Machinery) {
        let processes = self.slots.iter().filter_map(|slot| slot.process.as_ref());
        for process in processes.filter(|process| process.id == *id) {
            machinery.add_post_mortem(process.post_mortem(Moment::Stuck));
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
        let Some(slot) = self.slots.get_mut(index) else { return false };
        let state = slot.life.state();
        let was_ready = matches!(state, WorkerState::Ready { .. });
        let is_planned = matches!(
            state,
            WorkerState::Draining { .. }
                | WorkerState::Stopping { .. }
                | WorkerState::Killed { retired: true }
        );
        if let Some(process) = slot.process.take() {
            let message = ToProxy::WorkerExited { id: process.id.clone(), exit: exit.to_string() };
            machinery.guard_ended(pid);
            // Before the proxy is told: it leaves the rows of a dead worker as they are until then.
            process.ended(exit, was_ready, is_planned);
            machinery.proxy.tell(message, Vec::new());
        }
        if state == (WorkerState::Killed { retired: false }) {
            machinery.pages.count(&self.pool, Pool::RecycleStartTimeout);
        } else if !is_planned {
            machinery.pages.count(&self.pool, Pool::RecycleExit);
        }
        self.step(index, WorkerEvent::Exited, now, machinery);
        true
    }

    /// Notes the story of a worker that did not get ready.
    pub(crate) fn failed(&mut self, story: String) {
        self.failure = Some(story);
    }

    /// Returns the story of the worker that did not get ready last.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Returns the processes.
    pub(crate) fn pids(&self) -> impl Iterator<Item = Pid> {
        self.slots.iter().filter_map(|slot| slot.process.as_ref()).map(|process| process.pid)
    }

    /// Returns the workers that have a process.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &WorkerId> {
        self.slots.iter().filter_map(|slot| slot.process.as_ref()).map(|process| &process.id)
    }

    /// Returns how long a worker that was told to end may take.
    pub(crate) fn stop_timeout(&self) -> Duration {
        self.config.stop_timeout
    }

    /// Returns when time changes something.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.slots.iter().filter_map(|slot| slot.life.due()).min()
    }

    /// Returns whether every worker is warm and waits to be released.
    pub(crate) fn is_warm(&self) -> bool {
        self.slots.iter().all(|slot| slot.life.state() == WorkerState::Warm)
    }

    /// Returns whether every worker serves.
    pub(crate) fn is_serving(&self) -> bool {
        self.slots.iter().all(|slot| matches!(slot.life.state(), WorkerState::Ready { .. }))
    }

    /// Returns whether nothing is left and nothing will be started.
    pub(crate) fn is_gone(&self) -> bool {
        self.slots.iter().all(|slot| slot.life.state() == WorkerState::Gone)
    }

    /// Counts why all workers are being replaced.
    pub(crate) fn count(&self, reason: Pool, machinery: &Machinery) {
        for _ in self.slots.iter().filter(|slot| slot.life.has_process()) {
            machinery.pages.count(&self.pool, reason);
        }
    }

    fn position(&self, is_it: impl Fn(&WorkerProcess) -> bool) -> Option<usize> {
        self.slots.iter().position(|slot| slot.process.as_ref().is_some_and(&is_it))
    }

    fn limits(&self) -> WorkerLimits {
        WorkerLimits {
            start_timeout: self.config.start_timeout,
            drain_timeout: self.config.drain_timeout,
            stop_timeout: self.config.stop_timeout,
        }
    }

    /// One step of one slot, and those that follow from it at once.
    fn step(&mut self, index: usize, event: WorkerEvent, now: Instant, machinery: &mut Machinery) {
        let limits = self.limits();
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let Some(slot) = self.slots.get_mut(index) else { return };
            let (life, command) = slot.life.step(event, now, &limits);
            slot.life = life;
            next = match command {
                Some(WorkerCommand::Spawn) => Some(self.spawn(index, machinery)),
                Some(WorkerCommand::Kill) if event == WorkerEvent::Tick => {
                    self.timed_out(index, machinery);
                    None
                }
                Some(command) => {
                    self.carry_out(index, command, now, machinery);
                    None
                }
                None if life.state() == WorkerState::Warm && !self.is_held => {
                    Some(WorkerEvent::Serve)
                }
                None => None,
            };
            // A program that does not report is asked at once.
            if next == Some(WorkerEvent::Ready) && self.config.ready == Ready::Notify {
                next = None;
            }
        }
    }

    /// Starts a process. Returns the event to go on with.
    fn spawn(&mut self, index: usize, machinery: &mut Machinery) -> WorkerEvent {
        let Some(slot) = self.slots.get_mut(index) else { return WorkerEvent::Exited };
        let id = machinery.generations.next(&self.pool, slot.number);
        let config = &self.config;
        let model = Model { set: self.id, config, identity: self.identity.as_ref() };
        match WorkerProcess::start(id.clone(), &model, machinery) {
            Ok(process) => {
                let pid = process.pid;
                let process = slot.process.insert(process);
                let WorkerId { pool, slot, generation } = &id;
                tracing::info!(pool, slot, generation, pid = pid.as_raw_pid(), "worker_started");
                machinery.guard_started(pid);
                introduce(process, config.concurrency, machinery);
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
    pub(crate) fn introduce(&self, now: Instant, machinery: &mut Machinery) {
        for (index, slot) in self.slots.iter().enumerate() {
            let Some(process) = &slot.process else { continue };
            introduce(process, self.config.concurrency, machinery);
            let command = match slot.life.state() {
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
            self.tell(index, command, now, machinery);
        }
    }

    /// Whether its workers can go on when the proxy has died: those that may have requests show
    /// in their segments which of them run.
    pub(crate) fn survives_proxy(&self) -> bool {
        let may_have_requests = |slot: &&Slot| {
            let state = slot.life.state();
            matches!(state, WorkerState::Ready { .. } | WorkerState::Draining { .. })
        };
        let mut processes =
            self.slots.iter().filter(may_have_requests).filter_map(|slot| slot.process.as_ref());
        processes.all(|process| process.ring.is_used())
    }

    /// A deadline passed, and the process is to be killed.
    fn timed_out(&mut self, index: usize, machinery: &mut Machinery) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let is_start = slot.life.state() == (WorkerState::Killed { retired: false });
        if let Some(process) = &mut slot.process {
            if is_start {
                let limit = self.config.start_timeout;
                process.fault = Some(format!("not ready within start-timeout ({limit:?})"));
            }
            if process.is_busy() {
                machinery.add_post_mortem(process.post_mortem(Moment::Killed));
            }
            exit::kill_group(process.pid);
        }
    }

    fn carry_out(
        &self,
        index: usize,
        command: WorkerCommand,
        now: Instant,
        machinery: &mut Machinery,
    ) {
        if command == WorkerCommand::Serve
            && let Some(process) = self.slots.get(index).and_then(|slot| slot.process.as_ref())
        {
            let WorkerId { pool, slot, generation } = &process.id;
            tracing::info!(pool, slot, generation, "worker_ready");
        }
        self.tell(index, command, now, machinery);
    }

    /// Carries a command out that concerns a process which runs.
    fn tell(&self, index: usize, command: WorkerCommand, now: Instant, machinery: &mut Machinery) {
        let Some(slot) = self.slots.get(index) else { return };
        let Some(process) = &slot.process else { return };
        let id = process.id.clone();
        match command {
            WorkerCommand::Spawn => {}
            WorkerCommand::WarmUp => {
                let left = slot.life.due().map(|due| due.saturating_duration_since(now));
                let message = self.warm_up(id, left.unwrap_or_default());
                machinery.proxy.tell(message, Vec::new());
            }
            WorkerCommand::Serve => {
                machinery.proxy.tell(ToProxy::WorkerServe { id }, Vec::new());
            }
            WorkerCommand::Withdraw => {
                machinery.proxy.tell(ToProxy::WorkerWithdraw { id }, Vec::new());
            }
            WorkerCommand::Terminate => exit::terminate(process.pid),
            WorkerCommand::Kill => exit::kill_group(process.pid),
        }
    }

    fn warm_up(&self, id: WorkerId, left: Duration) -> ToProxy {
        let timeout_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let (paths, check_status) = match self.config.ready {
            Ready::Notify => (self.config.warm_up.clone(), true),
            Ready::Http => {
                let first = self.config.warm_up.first().map_or("/", String::as_str);
                (vec![first.to_owned()], false)
            }
        };
        ToProxy::WorkerWarm { id, paths, timeout_ms, check_status }
    }
}

/// Tells the proxy of a process.
fn introduce(process: &WorkerProcess, rows: u32, machinery: &mut Machinery) {
    let started = ToProxy::WorkerStarted {
        id: process.id.clone(),
        pid: process.pid.as_raw_pid().unsigned_abs(),
        rows,
        socket: process.socket.clone(),
    };
    match process.ring.descriptors() {
        Ok(descriptors) => machinery.proxy.tell(started, descriptors),
        Err(error) => {
            let WorkerId { pool, slot, .. } = &process.id;
            tracing::error!(pool, slot, %error, "worker_not_introduced");
        }
    }
}
