//! The dispatcher: one owner of the truth, to whom everything happens one after the other.
//!
//! Signals, commands, events of the tasks and the passing of time arrive in one loop. `reload` and
//! `stop` are the two sequences that take longer than one turn of it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use ostler_conf::{Config, Loaded};
use ostler_policy::worker::WorkerEvent;
use ostler_segment::counter::Pool;
use rustix::process::Pid;
use tokio::sync::{mpsc, watch};

use crate::announce::{Announcement, Announcements};
use crate::event::{Event, SetId};
use crate::exit::{self, Exit};
use crate::guard::Guard;
use crate::handle::{Command, Handle, Published, ReloadError};
use crate::listeners::Listeners;
use crate::machinery::Machinery;
use crate::memory;
use crate::message::{FromProxy, PROTOCOL, ToProxy, WorkerId};
use crate::orphans::Doomed;
use crate::recycle::Recycling;
use crate::reload::{Reload, Rolling, answer};
use crate::signals::{Signal, Signals};
use crate::start::{self, Options, StartError};
use crate::stop::Stop;
use crate::systemd;
use crate::worker_set::WorkerSet;
use crate::workers::Workers;

/// Pause after a guard that could not be started: the system is short of something.
const GUARD_RETRY: Duration = Duration::from_secs(1);

/// Where everything that happens comes from.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) signals: Signals,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) commands: mpsc::Receiver<Command>,
}

/// The configuration in force and what was taken for it.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) loaded: Loaded,
    pub(crate) version: u64,
    pub(crate) loaded_unix_ms: u64,
    pub(crate) listeners: Listeners,
    pub(crate) access_log: OwnedFd,
}

impl Live {
    pub(crate) fn config(&self) -> &Config {
        &self.loaded.config
    }
}

/// Why a supervisor ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The proxy process refuses the configuration that it was started with.
    #[error("the configuration was refused: {0}")]
    Refused(String),
}

/// The process that owns all others.
#[derive(Debug)]
pub struct Supervisor {
    pub(crate) options: Options,
    pub(crate) live: Live,
    pub(crate) machinery: Machinery,
    pub(crate) workers: Workers,
    /// The set of each pool of the configuration in force.
    pub(crate) current: BTreeMap<String, SetId>,
    /// The last version that any configuration had.
    pub(crate) versions: u64,
    pub(crate) reload: Option<Reload>,
    /// A reload in force whose workers are not all replaced yet.
    pub(crate) rolling: Option<Rolling>,
    /// Who waits for workers to be replaced.
    pub(crate) recycling: Vec<Recycling>,
    pub(crate) memory: memory::Watch,
    /// Another reload was asked for by signal while one was in progress.
    pub(crate) reload_again: bool,
    pub(crate) config_error: Option<String>,
    pub(crate) stop: Stop,
    /// A configuration was in force at some time.
    pub(crate) has_served: bool,
    is_ready: bool,
    announcements: Announcements,
    refused: Option<RunError>,
    started_unix_ms: u64,
    inputs: Option<Inputs>,
    handle: Handle,
    pub(crate) published: watch::Sender<Published>,
}

impl Supervisor {
    pub(crate) fn new(
        options: Options,
        live: Live,
        machinery: Machinery,
        inputs: Inputs,
        (handle, published): (Handle, watch::Sender<Published>),
    ) -> Self {
        Self {
            options,
            versions: live.version,
            live,
            machinery,
            workers: Workers::default(),
            current: BTreeMap::new(),
            reload: None,
            rolling: None,
            recycling: Vec::new(),
            memory: memory::Watch::default(),
            reload_again: false,
            config_error: None,
            stop: Stop::default(),
            has_served: false,
            is_ready: false,
            announcements: Announcements::default(),
            refused: None,
            started_unix_ms: start::unix_ms(),
            inputs: Some(inputs),
            handle,
            published,
        }
    }

    /// Returns a way to ask for things.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs until told to stop, and everything that was started has ended.
    ///
    /// # Errors
    ///
    /// When the configuration turns out to be unusable before it was ever in force.
    pub async fn run(mut self) -> Result<(), RunError> {
        let Some(mut inputs) = self.inputs.take() else { return Ok(()) };
        while !self.has_ended() {
            self.turn(now());
            let due = self.due(now());
            tokio::select! {
                signal = inputs.signals.next() => self.on_signal(signal, now()),
                Some(event) = inputs.events.recv() => self.on_event(event, now()),
                Some(command) = inputs.commands.recv() => self.on_command(command, now()),
                () = wait_until(due) => {}
            }
        }
        let Inputs { mut signals, events, .. } = inputs;
        // Nobody reads them any more; who has one to send shall not wait.
        drop(events);
        self.clean_up(&mut signals).await;
        self.refused.map_or(Ok(()), Err)
    }

    /// What is done after everything that happened: what time or the new state calls for.
    fn turn(&mut self, now: Instant) {
        self.keep_guard(now);
        self.keep_proxy(now);
        self.workers.feed(WorkerEvent::Tick, now, &mut self.machinery);
        self.advance_reload(now);
        self.advance_rolling();
        self.advance_recycling();
        self.look_at_memory(now);
        self.advance_stop(now);
        self.notice_readiness();
        self.machinery.tasks.tidy();
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        let machinery = &self.machinery;
        let proxy = machinery.proxy.due().filter(|_| !self.stop.is_draining());
        let guard = machinery.guard.is_none().then_some(machinery.guard_due);
        let reload = self.reload.as_ref().and_then(Reload::due);
        let workers = [self.workers.due(now), self.memory.due()];
        [proxy, guard, reload, self.stop.due()].into_iter().chain(workers).flatten().min()
    }

    fn on_signal(&mut self, signal: Signal, now: Instant) {
        match signal {
            Signal::Child => self.reap(now),
            Signal::Stop => self.begin_stop(false, None, now),
            Signal::StopNow => self.begin_stop(true, None, now),
            Signal::Reload => self.begin_reload(false, None, now),
            Signal::ReopenLogs => self.reopen_logs(),
            Signal::Nothing => tracing::warn!(signal = "USR2", "signal_ignored"),
        }
    }

    fn on_command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Reload { force, reply } => self.begin_reload(force, Some(reply), now),
            Command::Recycle { pool, reason, reply } => self.begin_recycle(pool, reason, reply),
            Command::Stop { now: at_once, reply } => self.begin_stop(at_once, Some(reply), now),
        }
    }

    fn on_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::WorkerReady(id) => {
                self.workers.feed_worker(&id, WorkerEvent::Ready, now, &mut self.machinery);
            }
            Event::WorkerTold { id, set, story, last_words } => {
                if let Some(set) = self.workers.get_mut(set) {
                    set.told(&id, story);
                }
                if !last_words.is_empty() {
                    let message = ToProxy::WorkerLastWords { id, lines: last_words };
                    self.machinery.proxy.tell(message, Vec::new());
                }
            }
            Event::Memory(found) => self.note_memory(&found),
            Event::FromProxy { incarnation, message } => {
                if incarnation == self.machinery.proxy.incarnation() {
                    self.on_message(message, now);
                }
            }
            Event::ProxyLost { incarnation, error } => self.on_proxy_lost(incarnation, error, now),
        }
    }

    fn on_message(&mut self, message: FromProxy, now: Instant) {
        match message {
            FromProxy::Hello { protocol: PROTOCOL, .. } => {}
            FromProxy::Hello { .. } => {
                self.machinery.proxy.give_up("it speaks another version of the protocol");
            }
            FromProxy::ConfigApplied { version } => self.on_applied(version, now),
            FromProxy::ConfigRefused { version, message } => {
                self.on_refused(version, message, now);
            }
            FromProxy::WorkerWarmed { id, error: None } => {
                self.workers.feed_worker(&id, WorkerEvent::Warmed, now, &mut self.machinery);
            }
            FromProxy::WorkerWarmed { id, error: Some(fault) } => {
                self.workers.warm_failed(&id, &fault, now, &mut self.machinery);
            }
            FromProxy::WorkerWithdrawn { id } => {
                self.workers.feed_worker(&id, WorkerEvent::Withdrawn, now, &mut self.machinery);
            }
            FromProxy::WorkerUnfit { id, reason } => self.replace_unfit(&id, reason, now),
            FromProxy::Synced => {
                if let Some(announcement) = self.announcements.next() {
                    self.say(announcement);
                }
            }
            FromProxy::Drained => self.stop.drained(),
        }
    }

    fn on_applied(&mut self, version: u64, now: Instant) {
        if version == self.live.version {
            self.machinery.proxy.serves();
            self.has_served = true;
        } else {
            self.commit_reload(version, now);
        }
    }

    fn on_refused(&mut self, version: u64, message: String, now: Instant) {
        if version != self.live.version {
            self.refuse_reload(version, message, now);
        } else if self.has_served {
            tracing::error!(reason = message, "config_refused");
            self.machinery.proxy.give_up("it refuses the configuration that was in force");
        } else {
            tracing::error!(reason = message, "config_refused");
            self.refused = Some(RunError::Refused(message));
            self.begin_stop(true, None, now);
        }
    }

    fn on_proxy_lost(&mut self, incarnation: u32, error: Option<io::Error>, now: Instant) {
        let proxy = &mut self.machinery.proxy;
        if incarnation != proxy.incarnation() || self.stop.is_draining() {
            return;
        }
        match error {
            Some(error) => proxy.give_up(&error.to_string()),
            None => proxy.lost(now),
        }
    }

    fn reap(&mut self, now: Instant) {
        let guard = self.machinery.guard.as_ref().map(Guard::pid);
        let known: Vec<Pid> =
            self.workers.pids().chain(self.machinery.proxy.pid()).chain(guard).collect();
        let ended = exit::reap(&known);
        let is_over = ended.is_empty() && !self.machinery.orphans.is_looked_again();
        for (pid, exit) in ended {
            if Some(pid) == guard {
                tracing::error!(pid = pid.as_raw_pid(), %exit, "guard_exited");
                self.machinery.guard_due =
                    self.machinery.guard.take().map_or(now, |guard| guard.next_due());
            } else if Some(pid) == self.machinery.proxy.pid() {
                self.on_proxy_exit(pid, exit, now);
            } else {
                self.workers.exited(pid, exit, now, &mut self.machinery);
            }
        }
        if !is_over {
            let groups: Vec<Pid> = known.into_iter().chain(self.workers.pids()).collect();
            let living: Vec<WorkerId> = self.workers.ids().cloned().collect();
            self.machinery.orphans.kill(&groups, Doomed::NotOf(&living));
        }
    }

    /// Everything the proxy process knew about its workers is lost with it, so they are replaced.
    fn on_proxy_exit(&mut self, pid: Pid, exit: Exit, now: Instant) {
        let is_planned = self.stop.is_draining();
        self.machinery.guard_ended(pid);
        self.machinery.proxy.ended(exit, now, is_planned);
        let why = "the proxy process ended during the reload".to_owned();
        self.fail_reload(ReloadError::System(why), now);
        self.interrupt_recycling();
        for announcement in self.announcements.give_up() {
            self.say(announcement);
        }
        self.is_ready = false;
        self.replace_workers(now);
    }

    fn replace_workers(&mut self, now: Instant) {
        for set in std::mem::take(&mut self.current).into_values() {
            let why = Some(Pool::RecycleProxyExit);
            self.workers.end(set, WorkerEvent::Terminate, why, now, &mut self.machinery);
        }
        self.workers.feed(WorkerEvent::Terminate, now, &mut self.machinery);
    }

    fn keep_guard(&mut self, now: Instant) {
        if self.machinery.guard.is_some() || now < self.machinery.guard_due {
            return;
        }
        let groups = self.workers.pids().chain(self.machinery.proxy.pid());
        match Guard::start(groups, now, &mut self.machinery.tasks) {
            Ok(guard) => {
                tracing::info!(pid = guard.pid().as_raw_pid(), "guard_started");
                self.machinery.guard = Some(guard);
            }
            Err(error) => {
                tracing::error!(%error, "guard_not_started");
                self.machinery.guard_due = now + GUARD_RETRY;
            }
        }
    }

    /// Starts the proxy process when one is due, and ends one that does not get ready.
    fn keep_proxy(&mut self, now: Instant) {
        let is_due = self.machinery.proxy.due().is_some_and(|due| due <= now);
        if !is_due || self.stop.is_draining() {
            return;
        }
        if self.machinery.proxy.pid().is_some() {
            self.machinery.proxy.overdue();
        } else if let Err(error) = self.start_proxy(now) {
            tracing::error!(%error, "proxy_not_started");
            self.machinery.proxy.give_up("it was not told everything");
            self.machinery.proxy.failed(now, false);
        }
    }

    /// Starts a proxy process, tells it everything, and starts workers for it.
    fn start_proxy(&mut self, now: Instant) -> Result<(), StartError> {
        let machinery = &mut self.machinery;
        let identity = machinery.proxy_identity.as_ref();
        let pid = machinery.proxy.start(now, identity, &machinery.events, &mut machinery.tasks)?;
        machinery.guard_started(pid);
        let hello = ToProxy::Hello {
            protocol: PROTOCOL,
            supervisor_pid: std::process::id(),
            started_unix_ms: self.started_unix_ms,
            incarnation: machinery.proxy.incarnation(),
        };
        machinery.proxy.tell(hello, vec![machinery.pages.server()?]);
        self.tell_access_log()?;
        for listener in self.live.listeners.iter() {
            self.tell_listener(listener)?;
        }
        let config = self.live.config().clone();
        self.tell_config(&config, self.live.version, self.live.loaded_unix_ms)?;
        if self.config_error.is_some() {
            self.tell_config_error();
        }
        if self.stop.is_lame_duck() {
            self.machinery.proxy.tell(ToProxy::LameDuck, Vec::new());
        }
        for (name, pool) in &self.live.loaded.config.pools {
            let set = self.workers.add(name, pool, false, now);
            let set = set.map_err(|error| StartError::Refused(error.to_string()))?;
            self.current.insert(name.clone(), set);
        }
        Ok(())
    }

    /// Tells the service manager once everything serves.
    fn notice_readiness(&mut self) {
        if self.is_ready || self.stop.is_draining() || !self.machinery.proxy.is_serving() {
            return;
        }
        let is_whole = |&set: &SetId| self.workers.get(set).is_some_and(WorkerSet::is_serving);
        if self.current.values().all(is_whole) {
            self.is_ready = true;
            self.announce(Announcement::Ready);
        }
    }

    /// Says something once the proxy process has done what it was told before.
    pub(crate) fn announce(&mut self, announcement: Announcement) {
        if let Some(announcement) = self.announcements.add(announcement, &self.machinery.proxy) {
            self.say(announcement);
        }
    }

    fn say(&self, announcement: Announcement) {
        self.tell_ready();
        match announcement {
            Announcement::Ready => tracing::info!("ready"),
            Announcement::Reloaded(reply, outcome) => answer(reply, outcome),
            // One who asked and left does not care.
            Announcement::Recycled(reply, outcome) => drop(reply.send(outcome)),
        }
    }

    fn tell_ready(&self) {
        if self.is_ready && !self.stop.is_stopping() {
            let pools = self.current.len();
            systemd::ready(&format!("configuration {}, {pools} pools", self.live.version));
        }
    }

    fn reopen_logs(&mut self) {
        let reopened = start::follow_logs(self.live.config())
            .and_then(|()| start::open_access_log(self.live.config()));
        match reopened {
            Ok(file) => {
                self.live.access_log = file;
                if let Err(error) = self.tell_access_log() {
                    tracing::error!(%error, "access_log_not_passed_on");
                }
                tracing::info!("logs_reopened");
            }
            Err(error) => tracing::error!(%error, "logs_not_reopened"),
        }
    }
}

/// The clock of the supervisor.
#[expect(clippy::disallowed_methods, reason = "the edge where time enters")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
