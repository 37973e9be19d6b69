//! The end: lame duck, drain, then TERM and KILL.
//!
//! ```text
//! Running ─stop─► LameDuck ─shutdown-delay─► Draining ─drained, or drain-timeout─► Ending
//!    └────────────────┴──────── stop now ────────┴──────────────────────────────────►┘
//! ```

use std::time::{Duration, Instant};

use ostler_policy::worker::WorkerEvent;
use rustix::process::Pid;
use tokio::sync::oneshot;

use crate::exit;
use crate::handle::ReloadError;
use crate::listeners::Listeners;
use crate::message::ToProxy;
use crate::orphans::Doomed;
use crate::runtime_dir;
use crate::signals::{Signal, Signals};
use crate::supervisor::Supervisor;
use crate::systemd;

/// From TERM to KILL when stopping now. With the time a killed process takes to go, stopping now
/// takes less than 2 s.
const NOW_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a drained proxy process, the guard, and processes that were killed may take to go.
const LAST_WAIT: Duration = Duration::from_millis(800);

/// How long workers that were killed after their `stop-timeout` may take to go, before they are left.
/// Long, because a worker may have to write out a lot of memory.
const KILLED_WAIT: Duration = Duration::from_secs(5);

/// How far the end has come, and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    phase: Phase,
    replies: Vec<oneshot::Sender<()>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Running,
    /// Health says no, and everything goes on.
    LameDuck { until: Instant },
    /// Nothing is accepted; what was, is finished.
    Draining { deadline: Instant, is_drained: bool },
    /// Everything was told to end.
    Ending {
        /// When the proxy process is killed.
        proxy_at: Option<Instant>,
        /// When the workers are killed, where their own timeouts do not say.
        workers_at: Option<Instant>,
        /// When nobody waits for what was killed any more.
        abandon_at: Option<Instant>,
    },
    /// What is left is left to the guard.
    Abandoned,
}

impl Stop {
    /// Whether a stop was asked for.
    pub(crate) fn is_stopping(&self) -> bool {
        self.phase != Phase::Running
    }

    /// Whether health says no while everything goes on.
    pub(crate) fn is_lame_duck(&self) -> bool {
        matches!(self.phase, Phase::LameDuck { .. })
    }

    /// Whether nothing is accepted any more, and no process is replaced by the proxy's end.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_stopping() && !self.is_lame_duck()
    }

    /// The proxy process has finished every request.
    pub(crate) fn drained(&mut self) {
        if let Phase::Draining { is_drained, .. } = &mut self.phase {
            *is_drained = true;
        }
    }

    /// Returns when time changes something.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Running | Phase::Abandoned => None,
            Phase::LameDuck { until } => Some(until),
            Phase::Draining { deadline, .. } => Some(deadline),
            Phase::Ending { proxy_at, workers_at, abandon_at } => {
                [proxy_at, workers_at, abandon_at].into_iter().flatten().min()
            }
        }
    }
}

impl Supervisor {
    /// Begins to end, or hurries; `reply` hears when it is over.
    pub(crate) fn begin_stop(
        &mut self,
        at_once: bool,
        reply: Option<oneshot::Sender<()>>,
        now: Instant,
    ) {
        self.stop.replies.extend(reply);
        let is_new = !self.stop.is_stopping();
        if is_new {
            tracing::info!(now = at_once, "stopping");
            self.reload_again = false;
            self.fail_reload(ReloadError::Stopping, now);
            self.machinery.proxy.give_up_next("the supervisor is stopping");
            self.replacement_failed(ReloadError::Stopping);
        }
        if at_once {
            self.end(false, Some(now + NOW_TIMEOUT), now);
        } else if is_new {
            self.machinery.proxy.tell(ToProxy::LameDuck, Vec::new());
            let until = now + self.live.config().server.shutdown_delay;
            self.stop.phase = Phase::LameDuck { until };
        }
    }

    /// Goes on when what was waited for has come.
    pub(crate) fn advance_stop(&mut self, now: Instant) {
        match self.stop.phase {
            Phase::LameDuck { until } if until <= now => self.drain(now),
            Phase::Draining { deadline, is_drained } => {
                let proxy = &self.machinery.proxy;
                let is_over = (is_drained || !proxy.is_there()) && !proxy.is_replacing();
                if is_over || deadline <= now {
                    self.end(is_drained, None, now);
                }
            }
            Phase::Ending { .. } => self.kill_late(now),
            Phase::Running | Phase::LameDuck { .. } | Phase::Abandoned => {}
        }
    }

    /// Whether everything that was started has ended.
    pub(crate) fn has_ended(&self) -> bool {
        match self.stop.phase {
            Phase::Running | Phase::LameDuck { .. } | Phase::Draining { .. } => false,
            Phase::Ending { .. } => {
                self.machinery.proxy.pids().next().is_none() && self.workers.pids().next().is_none()
            }
            Phase::Abandoned => true,
        }
    }

    /// Ends the guard, removes what is left, and tells who waits.
    pub(crate) async fn clean_up(&mut self, signals: &mut Signals) {
        if let Some(guard) = self.machinery.guard.take() {
            let pid = guard.pid();
            drop(guard);
            let gone = async {
                while exit::reap(&[pid]).is_empty() {
                    while signals.next().await != Signal::Child {}
                }
            };
            if tokio::time::timeout(LAST_WAIT, gone).await.is_err() {
                tracing::warn!(pid = pid.as_raw_pid(), "guard_left");
            }
        }
        self.end_orphans(signals).await;
        self.machinery.tasks.finish(LAST_WAIT).await;
        self.live.listeners = Listeners::default();
        runtime_dir::remove(&self.live.config().server.control_socket);
        tracing::info!("stopped");
        for reply in self.stop.replies.drain(..) {
            // One who asked and left does not care.
            let (Ok(()) | Err(())) = reply.send(());
        }
    }

    /// Ends what workers left outside their groups.
    async fn end_orphans(&mut self, signals: &mut Signals) {
        let left: Vec<Pid> = self.workers.pids().chain(self.machinery.proxy.pids()).collect();
        let orphans = &mut self.machinery.orphans;
        let gone = async {
            while orphans.kill(&left, Doomed::All) {
                while signals.next().await != Signal::Child {}
                exit::reap(&[]);
            }
        };
        if tokio::time::timeout(LAST_WAIT, gone).await.is_err() {
            tracing::error!("orphans_left");
        }
    }

    fn drain(&mut self, now: Instant) {
        tracing::info!("draining");
        systemd::stopping();
        self.live.listeners.close_clients();
        self.machinery.proxy.tell(ToProxy::Drain, Vec::new());
        let deadline = now + self.live.config().server.drain_timeout;
        self.stop.phase = Phase::Draining { deadline, is_drained: false };
    }

    /// Tells everything to end. A drained proxy process is doing so already.
    fn end(&mut self, is_drained: bool, workers_at: Option<Instant>, now: Instant) {
        systemd::stopping();
        self.live.listeners.close_clients();
        let proxy_at = Some(if is_drained { now + LAST_WAIT } else { now });
        // Stopping now, the wait begins with the KILL.
        let patience = self.workers.stop_timeout() + KILLED_WAIT;
        let abandon_at = workers_at.is_none().then(|| now + patience);
        self.stop.phase = Phase::Ending { proxy_at, workers_at, abandon_at };
        self.workers.feed(WorkerEvent::Terminate, now, &mut self.machinery);
    }

    fn kill_late(&mut self, now: Instant) {
        let Phase::Ending { proxy_at, workers_at, abandon_at } = &mut self.stop.phase else {
            return;
        };
        let is_due = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        let (proxy_late, workers_late) = (is_due(proxy_at), is_due(workers_at));
        if workers_late {
            *abandon_at = Some(now + LAST_WAIT);
        } else if is_due(abandon_at) {
            tracing::error!("processes_left");
            self.stop.phase = Phase::Abandoned;
        }
        for pid in self.machinery.proxy.pids().filter(|_| proxy_late) {
            exit::kill_group(pid);
        }
        if workers_late {
            self.workers.feed(WorkerEvent::Kill, now, &mut self.machinery);
        }
    }
}
