//! The proxy process is replaced, or lost: in both cases workers go on with the next one.
//!
//! ```text
//! asked ──► the next one starts beside the one that serves, and is told everything: the same
//!           listening sockets, the same pages of counters, every worker
//!    │        │ has the configuration in force, so it accepts
//!    │        ▼
//!    │      the one before drains: it closes its listeners, finishes its requests, and ends
//!    ▼        ▼
//!  failed: the next one ends or is killed, the one that serves stays      done
//! ```
//!
//! A worker that is withdrawn meanwhile is so once both have said it. Where a proxy dies, workers
//! on the ring link go on: their segments show which requests run in them, and the next proxy takes
//! the rest back. Workers on HTTP are replaced, because nobody else can know what runs in them.

use std::time::Instant;

use ostler_policy::worker::WorkerEvent;
use ostler_segment::counter::Pool;
use rustix::process::Pid;

use crate::announce::Announcement;
use crate::exit::Exit;
use crate::handle::{ReloadError, ReloadReply};
use crate::message::{PROTOCOL, ToProxy, WorkerId};
use crate::proxy::Role;
use crate::reload::answer;
use crate::start::StartError;
use crate::supervisor::Supervisor;

impl Supervisor {
    /// Begins to replace the proxy process; `reply` hears its incarnation once the one before it
    /// has ended.
    pub(crate) fn begin_replacement(&mut self, reply: ReloadReply, now: Instant) {
        let proxy = &self.machinery.proxy;
        let refused = if self.stop.is_stopping() {
            Some(ReloadError::Stopping)
        } else if self.reload.is_some() || proxy.is_replacing() {
            Some(ReloadError::Busy)
        } else if !proxy.is_serving() {
            Some(ReloadError::System("the proxy process is starting".to_owned()))
        } else {
            None
        };
        if let Some(error) = refused {
            return answer(Some(reply), Err(error));
        }
        tracing::info!("proxy_replacement_started");
        self.replacement = Some(reply);
        if let Err(error) = self.start_proxy(now) {
            self.machinery.proxy.give_up_next("it was not told everything");
            self.replacement_failed(error.into());
        }
    }

    /// Starts a proxy process, and tells it everything.
    pub(crate) fn start_proxy(&mut self, now: Instant) -> Result<(), StartError> {
        let machinery = &mut self.machinery;
        let identity = machinery.proxy_identity.as_ref();
        let pid = machinery.proxy.start(now, identity, &machinery.events, &mut machinery.tasks)?;
        machinery.guard_started(pid);
        let told = self.introduce_all(now);
        self.machinery.proxy.introduced();
        told?;
        self.add_missing_sets(now)
    }

    fn introduce_all(&mut self, now: Instant) -> Result<(), StartError> {
        let machinery = &mut self.machinery;
        let hello = ToProxy::Hello {
            protocol: PROTOCOL,
            supervisor_pid: std::process::id(),
            started_unix_ms: self.started_unix_ms,
            incarnation: machinery.proxy.incarnation(),
        };
        machinery.proxy.tell(hello, vec![machinery.pages.server()?]);
        machinery.proxy.tell_living();
        self.tell_access_log()?;
        self.tell_history()?;
        let listeners: Vec<_> = self.live.listeners.iter().cloned().collect();
        listeners.iter().try_for_each(|listener| self.tell_listener(listener))?;
        // The workers before the configuration: when it accepts, it has somebody to send to.
        let version = self.live.version.clone();
        version.loaded.config.pools.keys().try_for_each(|name| self.tell_pool(name))?;
        self.workers.introduce(now, &mut self.machinery);
        self.tell_config(&version)?;
        if self.config_error.is_some() {
            self.tell_config_error();
        }
        if self.stop.is_lame_duck() {
            self.machinery.proxy.tell(ToProxy::LameDuck, Vec::new());
        }
        Ok(())
    }

    /// Has workers started for the pools that have none.
    fn add_missing_sets(&mut self, now: Instant) -> Result<(), StartError> {
        for (name, pool) in &self.live.config().pools {
            if !self.current.contains_key(name) {
                let set = self.workers.add(name, pool, false, now);
                let set = set.map_err(|error| StartError::Refused(error.to_string()))?;
                self.current.insert(name.clone(), set);
            }
        }
        Ok(())
    }

    /// The next proxy process has the configuration in force: it takes over.
    pub(crate) fn commit_replacement(&mut self, now: Instant) {
        let drain_timeout = self.live.config().server.drain_timeout;
        self.machinery.proxy.switch(now + drain_timeout);
        // The one before need not answer any more: it may be replaced because it hangs.
        self.announcements.ask_again(&mut self.machinery.proxy);
        tracing::info!(incarnation = self.machinery.proxy.incarnation(), "proxy_replaced");
    }

    /// The next proxy process cannot be used; the one that serves stays.
    pub(crate) fn replacement_failed(&mut self, error: ReloadError) {
        if let Some(reply) = self.replacement.take() {
            tracing::error!(%error, "proxy_replacement_failed");
            answer(Some(reply), Err(error));
        }
    }

    /// A proxy process has ended, whichever it was.
    pub(crate) fn on_proxy_exit(&mut self, pid: Pid, exit: Exit, now: Instant) {
        let is_planned = self.stop.is_draining();
        self.machinery.guard_ended(pid);
        let ended = self.machinery.proxy.ended(pid, exit, now, is_planned);
        let Some((role, incarnation, withdrawn)) = ended else { return };
        self.feed_withdrawn(withdrawn, now);
        match role {
            Role::Old => {
                self.workers.recycle_lost(incarnation);
                self.replacement_done();
            }
            Role::Next => {
                self.workers.recycle_lost(incarnation);
                let why = format!("the next proxy process ended before it served: {exit}");
                self.replacement_failed(ReloadError::System(why));
            }
            Role::Serving => self.proxy_crashed(now),
        }
        if std::mem::take(&mut self.reload_again) && self.reload.is_none() {
            self.begin_reload(false, None, now);
        }
    }

    fn replacement_done(&mut self) {
        if let Some(reply) = self.replacement.take() {
            let incarnation = u64::from(self.machinery.proxy.incarnation());
            self.announce(Announcement::Reloaded(Some(reply), Ok(incarnation)));
        }
    }

    fn feed_withdrawn(&mut self, withdrawn: Vec<WorkerId>, now: Instant) {
        for id in withdrawn {
            self.workers.feed_worker(&id, WorkerEvent::Withdrawn, now, &mut self.machinery);
        }
    }

    /// The one that served has ended. What it knew of workers on HTTP is lost with it, so they are
    /// replaced; the others go on with the next one.
    fn proxy_crashed(&mut self, now: Instant) {
        let why = "the proxy process ended during the reload".to_owned();
        // One that is in force goes on being rolled out.
        self.end_reload(Err(ReloadError::System(why)), now);
        for announcement in self.announcements.give_up() {
            self.say(announcement);
        }
        self.is_ready = false;
        if self.machinery.proxy.is_there() {
            let why = "the proxy process ended while the next one started".to_owned();
            self.replacement_failed(ReloadError::System(why));
        }
        if self.stop.is_draining() {
            return self.workers.feed(WorkerEvent::Terminate, now, &mut self.machinery);
        }
        for set in self.workers.lost_with_proxy() {
            self.current.retain(|_, current| *current != set);
            let why = Some(Pool::RecycleProxyExit);
            self.workers.end(set, WorkerEvent::Terminate, why, now, &mut self.machinery);
        }
        if self.machinery.proxy.is_there() {
            // The next one takes over at once.
            if let Err(error) = self.add_missing_sets(now) {
                tracing::error!(%error, "workers_not_replaced");
            }
        }
    }
}
