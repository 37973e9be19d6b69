//! The dispatcher: one owner of the truth, to whom everything happens one after the other.
//!
//! Signals, commands, events of the tasks and the passing of time arrive in one loop. `reload` and
//! `stop` are the two sequences that take longer than one turn of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ostler_conf::Config;
use ostler_policy::worker::WorkerEvent;
use rustix::process::Pid;
use tokio::sync::{mpsc, watch};

use crate::announce::{Announcement, Announcements};
use crate::config_version::ConfigVersion;
use crate::event::{Event, SetId};
use crate::exit;
use crate::figures;
use crate::guard::Guard;
use crate::handle::{Command, Handle, Published, ReloadError, ReloadReply};
use crate::listeners::Listeners;
use crate::machinery::Machinery;
use crate::message::{FromProxy, PROTOCOL, ToProxy, Unfit, WorkerId};
use crate::orphans::Doomed;
use crate::proxy::Role;
use crate::recycle::Recycling;
use crate::reload::{Reload, Rolling, answer};
use crate::signals::{Signal, Signals};
use crate::start::{self, Options};
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
    pub(crate) version: Arc<ConfigVersion>,
    pub(crate) listeners: Listeners,
    pub(crate) access_log: OwnedFd,
}

impl Live {
    pub(crate) fn config(&self) -> &Config {
        &self.version.loaded.config
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
    pub(crate) figures: figures::Watch,
    /// Another reload was asked for by signal while one was in progress.
    pub(crate) reload_again: bool,
    pub(crate) config_error: Option<String>,
    pub(crate) stop: Stop,
    /// A configuration was in force at some time.
    pub(crate) has_served: bool,
    pub(crate) is_ready: bool,
    pub(crate) announcements: Announcements,
    /// Pools whose threads the proxy process has asked about, and not heard yet.
    pub(crate) asked_by_proxy: BTreeSet<String>,
    /// Who waits for the proxy process to be replaced.
    pub(crate) replacement: Option<ReloadReply>,
    refused: Option<RunError>,
    pub(crate) started_unix_ms: u64,
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
            versions: live.version.number,
            live,
            machinery,
            workers: Workers::default(),
            current: BTreeMap::new(),
            reload: None,
            rolling: None,
            recycling: Vec::new(),
            figures: figures::Watch::default(),
            reload_again: false,
            config_error: None,
            stop: Stop::default(),
            has_served: false,
            is_ready: false,
            announcements: Announcements::default(),
            asked_by_proxy: BTreeSet::new(),
            replacement: None,
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
        self.look_at_workers(now);
        self.advance_stop(now);
        self.notice_readiness();
        self.machinery.tasks.tidy();
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        let machinery = &self.machinery;
        let proxy = machinery.proxy.due().filter(|_| !self.stop.is_draining());
        let guard = machinery.guard.is_none().then_some(machinery.guard_due);
        let reload = self.reload.as_ref().and_then(Reload::due);
        let workers = [self.workers.due(now), self.figures.due()];
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
            Command::ReplaceProxy { reply } => self.begin_replacement(reply, now),
            Command::Recycle { pool, reason, reply } => self.begin_recycle(pool, reason, reply),
            Command::Stacks { pool, reply } => self.begin_stacks(pool, reply),
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
            Event::PostMortem(record) => self.machinery.add_post_mortem(*record),
            Event::Stacks(stacks) => self.tell_stacks(&stacks),
            Event::Memory(found) => self.note_memory(&found),
            Event::FromProxy { incarnation, message } => {
                if let Some(role) = self.machinery.proxy.role(incarnation) {
                    self.on_message((incarnation, role), message, now);
                }
            }
            Event::ProxyLost { incarnation, error } => self.on_proxy_lost(incarnation, error, now),
        }
    }

    fn on_message(&mut self, (incarnation, role): (u32, Role), message: FromProxy, now: Instant) {
        match message {
            FromProxy::Hello { protocol: PROTOCOL, .. } => {}
            FromProxy::Hello { .. } => {
                let why = "it speaks another version of the protocol";
                self.machinery.proxy.give_up_one(incarnation, why);
            }
            FromProxy::ConfigApplied { version } => match role {
                Role::Serving => self.on_applied(version, now),
                Role::Next => self.commit_replacement(now),
                Role::Old => {}
            },
            FromProxy::ConfigRefused { version, message } => match role {
                Role::Serving => self.on_refused(version, message, now),
                Role::Next => {
                    self.replacement_failed(ReloadError::Config(message));
                    self.machinery.proxy.give_up_next("it refuses the configuration in force");
                }
                Role::Old => {}
            },
            FromProxy::WorkerWarmed { id, error: None } => {
                self.workers.feed_worker(&id, WorkerEvent::Warmed, now, &mut self.machinery);
            }
            FromProxy::WorkerWarmed { id, error: Some(fault) } => {
                self.workers.warm_failed(&id, &fault, now, &mut self.machinery);
            }
            FromProxy::WorkerWithdrawn { id } => {
                if !self.machinery.proxy.withdrawn(incarnation, &id) {
                    return;
                }
                self.workers.feed_worker(&id, WorkerEvent::Withdrawn, now, &mut self.machinery);
            }
            FromProxy::WorkerUnfit { id, reason } => {
                // What it does is written down before it is told to end.
                if let Unfit::Stuck { .. } = reason {
                    self.workers.record_stuck(&id, &mut self.machinery);
                }
                self.replace_unfit(&id, reason, now);
            }
            FromProxy::Stacks { pool } => self.begin_stacks_for_proxy(pool),
            FromProxy::Synced if role != Role::Serving => {}
            FromProxy::Synced => {
                if let Some(announcement) = self.announcements.next() {
                    self.say(announcement);
                }
            }
            FromProxy::Drained if role == Role::Serving => self.stop.drained(),
            FromProxy::Drained => {}
        }
    }

    fn on_applied(&mut self, version: u64, now: Instant) {
        if version == self.live.version.number {
            self.machinery.proxy.serves();
            self.has_served = true;
        } else {
            self.commit_reload(version, now);
        }
    }

    fn on_refused(&mut self, version: u64, message: String, now: Instant) {
        if version != self.live.version.number {
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
        if self.stop.is_draining() {
            return;
        }
        match error {
            Some(error) => proxy.give_up_one(incarnation, &error.to_string()),
            None => proxy.lost(incarnation, now),
        }
    }

    fn reap(&mut self, now: Instant) {
        let guard = self.machinery.guard.as_ref().map(Guard::pid);
        let known: Vec<Pid> =
            self.workers.pids().chain(self.machinery.proxy.pids()).chain(guard).collect();
        let ended = exit::reap(&known);
        let is_over = ended.is_empty() && !self.machinery.orphans.is_looked_again();
        for (pid, exit) in ended {
            if Some(pid) == guard {
                tracing::error!(pid = pid.as_raw_pid(), %exit, "guard_exited");
                self.machinery.guard_due =
                    self.machinery.guard.take().map_or(now, |guard| guard.next_due());
            } else if self.machinery.proxy.role_of(pid).is_some() {
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

    fn keep_guard(&mut self, now: Instant) {
        if self.machinery.guard.is_some() || now < self.machinery.guard_due {
            return;
        }
        let groups = self.workers.pids().chain(self.machinery.proxy.pids());
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

    /// Starts the proxy process when one is due, and ends one that does not do its part in time.
    fn keep_proxy(&mut self, now: Instant) {
        let is_due = self.machinery.proxy.due().is_some_and(|due| due <= now);
        if !is_due || self.stop.is_draining() {
            return;
        }
        self.machinery.proxy.give_up_late(now);
        if self.machinery.proxy.is_there() {
            return;
        }
        if let Err(error) = self.start_proxy(now) {
            tracing::error!(%error, "proxy_not_started");
            self.machinery.proxy.give_up("it was not told everything");
            self.machinery.proxy.failed(now, false);
        }
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
        if let Some(announcement) = self.announcements.add(announcement, &mut self.machinery.proxy)
        {
            self.say(announcement);
        }
    }

    pub(crate) fn say(&self, announcement: Announcement) {
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
            systemd::ready(&format!("configuration {}, {pools} pools", self.live.version.number));
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
