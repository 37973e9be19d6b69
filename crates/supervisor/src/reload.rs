//! Reload in two phases: everything new is shown to work before anything old is let go.
//!
//! ```text
//! check, bind, start new workers ──► Starting: until all that were started are warm
//!        │                              │ then listeners and configuration go to the proxy process
//!        │                              ▼
//!        │                           Applying: until it has them in force, whatever the workers do
//!        │                              │ then new workers serve, workers of pools that are
//!        ▼                              ▼ gone are retired, listeners that are gone closed
//!      failed ◄────────────────────── failed  ──► Rolling: until every old worker is replaced
//! ```
//!
//! Of a new pool all workers are started; of a changed one the first, beyond `processes` and
//! `surge`. Failed means that new workers are killed and all the old stays. Rolling, the
//! configuration is in force: the other workers are replaced as by `ostler recycle`, never below
//! the floor. If a worker does not get ready then, the reload is answered with that, and the pool
//! goes on trying. Another reload may begin meanwhile, and takes over all workers there are.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ostler_conf::{Config, LogPath, PoolConfig};
use ostler_policy::worker::WorkerEvent;
use ostler_segment::counter::Pool;

use crate::announce::Announcement;
use crate::config_version::ConfigVersion;
use crate::event::SetId;
use crate::handle::{Published, ReloadError, ReloadReply};
use crate::listeners::Listeners;
use crate::start::{self, StartError};
use crate::supervisor::{Live, Supervisor};
use crate::worker_set::WorkerSet;
use crate::{log, rules, systemd};

/// From sending a configuration to hearing that it is in force. Nothing is waited for in between.
const APPLY_TIMEOUT: Duration = Duration::from_secs(20);

/// A reload in progress.
#[derive(Debug)]
pub(crate) struct Reload {
    next: Live,
    /// Sets of pools that are new, or whose workers are started in another way.
    started: BTreeMap<String, SetId>,
    stage: Stage,
    reply: Option<ReloadReply>,
}

/// A configuration in force whose workers are not all there yet.
#[derive(Debug)]
pub(crate) struct Rolling {
    version: u64,
    pools: Vec<String>,
    reply: Option<ReloadReply>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Starting,
    Applying { deadline: Instant },
}

impl Reload {
    /// Returns when it has taken too long.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.stage {
            Stage::Starting => None,
            Stage::Applying { deadline } => Some(deadline),
        }
    }
}

impl From<StartError> for ReloadError {
    fn from(error: StartError) -> Self {
        if error.is_config() {
            Self::Config(error.to_string())
        } else {
            Self::System(error.to_string())
        }
    }
}

impl Supervisor {
    /// Begins to put the configuration file in force; `reply` hears how that went.
    pub(crate) fn begin_reload(&mut self, force: bool, reply: Option<ReloadReply>, now: Instant) {
        if self.stop.is_stopping() {
            return answer(reply, Err(ReloadError::Stopping));
        }
        if self.reload.is_some() || self.machinery.proxy.has_next() {
            self.reload_again |= reply.is_none();
            return answer(reply, Err(ReloadError::Busy));
        }
        tracing::info!(file = %self.options.config.display(), force, "reload_started");
        systemd::reloading();
        match self.prepare_reload(force) {
            Ok(next) => {
                self.end_rolling(Err(ReloadError::Superseded));
                self.reload =
                    Some(Reload { next, started: BTreeMap::new(), stage: Stage::Starting, reply });
                if let Err(error) = self.start_new_workers(now) {
                    self.end_reload(Err(error.into()), now);
                }
            }
            Err(error) => self.reload_failed(error, reply),
        }
    }

    /// Goes on when every new worker is warm, and gives up when one does not get there.
    pub(crate) fn advance_reload(&mut self, now: Instant) {
        let Some(reload) = &self.reload else { return };
        if reload.due().is_some_and(|due| due <= now) {
            // Which configuration it has is not known, so it does not go on.
            self.machinery.proxy.give_up("it does not answer to a configuration");
            let error = ReloadError::System("the proxy process did not answer".to_owned());
            return self.end_reload(Err(error), now);
        }
        let sets: Vec<_> =
            reload.started.values().filter_map(|&set| self.workers.get(set)).collect();
        if reload.stage != Stage::Starting {
            // The proxy process may have the configuration in force already, so the switch comes.
            // A worker that ends now is started again, like any other.
            return;
        }
        if let Some(story) = sets.iter().find_map(|set| set.failure()) {
            let error = ReloadError::Config(format!("new workers do not get ready: {story}"));
            return self.end_reload(Err(error), now);
        }
        if sets.iter().all(|set| set.is_warm()) {
            let deadline = now + APPLY_TIMEOUT;
            let told = self.tell_reload(deadline);
            if let Err(error) = told {
                self.end_reload(Err(error.into()), now);
            }
        }
    }

    /// The proxy process has the new configuration in force.
    pub(crate) fn commit_reload(&mut self, version: u64, now: Instant) {
        if self.reload.as_ref().is_some_and(|reload| reload.next.version.number == version) {
            self.end_reload(Ok(()), now);
        }
    }

    /// The proxy process cannot use the new configuration.
    pub(crate) fn refuse_reload(&mut self, version: u64, message: String, now: Instant) {
        if self.reload.as_ref().is_some_and(|reload| reload.next.version.number == version) {
            self.end_reload(Err(ReloadError::Config(message)), now);
        }
    }

    /// Gives up a reload, if there is one.
    pub(crate) fn fail_reload(&mut self, error: ReloadError, now: Instant) {
        self.end_reload(Err(error.clone()), now);
        self.end_rolling(Err(error));
    }

    /// Answers a reload in force when its workers are all there, or when one does not get ready.
    pub(crate) fn advance_rolling(&mut self) {
        let Some(Rolling { version, pools, .. }) = &self.rolling else { return };
        let version = *version;
        let sets = || {
            let current = pools.iter().filter_map(|pool| self.current_set(pool));
            current.filter_map(|set| self.workers.get(set))
        };
        if let Some(story) = sets().find_map(WorkerSet::failure) {
            let error = format!(
                "configuration {version} is in force, but new workers do not get ready, so old \
                 ones stay: {story}"
            );
            self.end_rolling(Err(ReloadError::Config(error)));
        } else if sets().all(WorkerSet::is_settled) {
            self.end_rolling(Ok(version));
        }
    }

    fn end_rolling(&mut self, outcome: Result<u64, ReloadError>) {
        let Some(Rolling { version, reply, .. }) = self.rolling.take() else { return };
        match &outcome {
            Ok(_) => tracing::info!(version, "reloaded"),
            Err(ReloadError::Superseded | ReloadError::Stopping) => {
                tracing::info!(version, "reload_superseded");
            }
            Err(error) => {
                tracing::error!(version, %error, "reload_not_finished");
                self.config_error = Some(error.to_string());
                self.tell_config_error();
            }
        }
        self.announce(Announcement::Reloaded(reply, outcome));
    }

    /// Reads and checks the configuration and takes what it names, beside what there is.
    fn prepare_reload(&self, force: bool) -> Result<Live, ReloadError> {
        let loaded = Config::load(&self.options.config).map_err(StartError::from)?;
        let (old, new) = (self.live.config(), &loaded.config);
        rules::check_restart(old, new).map_err(ReloadError::Config)?;
        rules::check_force(old, new, force).map_err(ReloadError::Config)?;
        start::check(&loaded, self.options.allow_root)?;
        if !self.machinery.proxy.is_serving() {
            return Err(ReloadError::System("the proxy process is starting".to_owned()));
        }
        if let LogPath::File(path) = &new.log.error.path {
            let opened = log::open(path);
            opened.map_err(|source| StartError::Log { path: path.clone(), source })?;
        }
        let access_log = start::open_access_log(new)?;
        let status = self.machinery.runtime_dir.status_socket();
        let listeners =
            Listeners::bind(new, &status, &self.live.listeners).map_err(StartError::from)?;
        let version = ConfigVersion::new(self.versions + 1, loaded).into();
        Ok(Live { version, listeners, access_log })
    }

    /// Starts every worker of new pools, and the first of those that are started in another way.
    fn start_new_workers(&mut self, now: Instant) -> Result<(), StartError> {
        let Some(reload) = &self.reload else { return Ok(()) };
        self.versions = reload.next.version.number;
        let old = &self.live.config().pools;
        let mut changed = reload.next.config().pools.clone();
        changed.retain(|name, pool| old.get(name).is_none_or(|old| !old.keeps_workers_under(pool)));
        for (name, pool) in &changed {
            self.tell_pool(name)?;
            let set = if self.current.contains_key(name) {
                self.workers.add_first_one(name, pool, now)
            } else {
                self.workers.add(name, pool, true, now)
            };
            let set = set.map_err(|error| StartError::Refused(error.to_string()))?;
            if let Some(reload) = &mut self.reload {
                reload.started.insert(name.clone(), set);
            }
        }
        Ok(())
    }

    /// Hands listeners and configuration to the proxy process.
    fn tell_reload(&mut self, deadline: Instant) -> Result<(), StartError> {
        let Some(reload) = &self.reload else { return Ok(()) };
        let version = reload.next.version.clone();
        let new = reload.next.listeners.without(&self.live.listeners);
        let new: Vec<_> = new.cloned().collect();
        new.iter().try_for_each(|listener| self.tell_listener(listener))?;
        self.tell_config(&version)?;
        if let Some(reload) = &mut self.reload {
            reload.stage = Stage::Applying { deadline };
        }
        Ok(())
    }

    pub(crate) fn end_reload(&mut self, outcome: Result<(), ReloadError>, now: Instant) {
        let Some(reload) = self.reload.take() else { return };
        let Reload { next, started, reply, .. } = reload;
        match outcome {
            Ok(()) => {
                let version = next.version.number;
                let pools = self.switch(next, &started, now);
                self.rolling = Some(Rolling { version, pools, reply });
            }
            Err(error) => {
                for set in started.into_values() {
                    self.workers.end(set, WorkerEvent::Kill, None, now, &mut self.machinery);
                }
                self.reload_failed(error, reply);
            }
        }
        if std::mem::take(&mut self.reload_again) {
            self.begin_reload(false, None, now);
        }
    }

    /// Lets the new workers serve, and has the old ones replaced or retired; the old listeners are
    /// closed. Returns the pools in which something changes.
    fn switch(
        &mut self,
        next: Live,
        started: &BTreeMap<String, SetId>,
        now: Instant,
    ) -> Vec<String> {
        let before = self.live.config().pools.clone();
        log_closed(&self.live.listeners, &next.listeners);
        start::log_listeners(&next.listeners, &self.live.listeners);
        self.live = next;
        self.published.send_replace(Published::of(&self.live.version.loaded));
        if let Err(error) = start::follow_logs(self.live.config()) {
            tracing::error!(%error, "error_log_not_opened");
        }
        if let Err(error) = self.tell_access_log() {
            tracing::error!(%error, "access_log_not_passed_on");
        }
        let changed = self.switch_pools(&before, started, now);
        self.config_error = None;
        self.tell_config_error();
        changed
    }

    /// Hands the old workers of changed pools over to the new ones, and retires those of pools
    /// that are gone.
    fn switch_pools(
        &mut self,
        before: &BTreeMap<String, PoolConfig>,
        started: &BTreeMap<String, SetId>,
        now: Instant,
    ) -> Vec<String> {
        let mut old = std::mem::take(&mut self.current);
        let mut changed = Vec::new();
        for (name, pool) in &self.live.config().pools {
            let set = match (started.get(name), old.remove(name)) {
                (Some(&new), Some(old)) => {
                    self.workers.hand_over(old, new);
                    new
                }
                (Some(&new), None) => new,
                (None, Some(old)) => old,
                (None, None) => continue,
            };
            self.current.insert(name.clone(), set);
            if before.get(name) == Some(pool) {
                continue;
            }
            changed.push(name.clone());
            if let Some(workers) = self.workers.get_mut(set) {
                if started.contains_key(name) {
                    workers.release(now, &mut self.machinery);
                } else {
                    workers.reconfigure(pool, now);
                }
            }
        }
        for set in old.into_values() {
            let why = Some(Pool::RecycleConfig);
            self.workers.end(set, WorkerEvent::Retire, why, now, &mut self.machinery);
        }
        changed
    }

    fn reload_failed(&mut self, error: ReloadError, reply: Option<ReloadReply>) {
        let text = error.to_string();
        tracing::error!(error = text, "reload_failed");
        self.config_error = Some(text);
        self.tell_config_error();
        self.announce(Announcement::Reloaded(reply, Err(error)));
    }
}

fn log_closed(old: &Listeners, new: &Listeners) {
    for listener in old.without(new) {
        let (name, address) = (&listener.name, listener.address());
        tracing::info!(name, address, "listener_closed");
    }
}

/// Answers who asked; one who left does not care.
pub(crate) fn answer(reply: Option<ReloadReply>, outcome: Result<u64, ReloadError>) {
    if let Some(reply) = reply {
        let (Ok(()) | Err(_)) = reply.send(outcome);
    }
}
