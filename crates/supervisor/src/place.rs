//! One place for a worker: the life that `ostler_policy::worker` decides, and the process that it
//! is about.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ostler_conf::{PoolConfig, Ready};
use ostler_policy::recycle::{self, Standing};
use ostler_policy::wear::Wear;
use ostler_policy::worker::{WorkerCommand, WorkerLife, WorkerState};
use ostler_segment::RowState;

use crate::exit;
use crate::identity::Identity;
use crate::machinery::Machinery;
use crate::message::{ToProxy, WorkerId};
use crate::post_mortem::Moment;
use crate::stacks::Witness;
use crate::worker_process::WorkerProcess;

/// What workers are started from.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) config: PoolConfig,
    pub(crate) identity: Option<Identity>,
}

/// A place for a worker, with its slot for life.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) key: u64,
    pub(crate) slot: u32,
    pub(crate) life: WorkerLife,
    pub(crate) process: Option<WorkerProcess>,
    pub(crate) recipe: Arc<Recipe>,
    /// What was last seen of its process.
    pub(crate) seen: Seen,
}

/// What was seen of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// When it was started.
    started: Instant,
    requests: u64,
    /// Since when it has had no request.
    quiet_since: Option<Instant>,
    /// Resident memory of its group, in bytes.
    pub(crate) memory: Option<u64>,
}

impl Seen {
    /// Nothing yet, of a process that is started.
    pub(crate) fn nothing(now: Instant) -> Self {
        Self { started: now, requests: 0, quiet_since: Some(now), memory: None }
    }
}

impl Place {
    /// A place in which a worker is due to start.
    pub(crate) fn new(key: u64, slot: u32, recipe: Arc<Recipe>, now: Instant) -> Self {
        let (life, seen) = (WorkerLife::new(now), Seen::nothing(now));
        Self { key, slot, life, process: None, recipe, seen }
    }

    /// As the scheduler sees it.
    pub(crate) fn view(&self) -> recycle::Place {
        let standing = Standing::of(self.life.state());
        recycle::Place { key: self.key, slot: self.slot, standing }
    }

    /// Whether it serves.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.life.state(), WorkerState::Ready { .. })
    }

    /// Whether it neither leaves nor is gone.
    pub(crate) fn is_staying(&self) -> bool {
        Standing::of(self.life.state()) != Standing::Leaving
    }

    /// Looks at the segment of its process, and tells how much that has worn.
    pub(crate) fn wear(&mut self, now: Instant) -> Option<Wear> {
        let rows = &self.process.as_ref()?.segment;
        // The worker can write what it likes there.
        let requests = rows.iter().map(|row| row.requests_total()).fold(0, u64::saturating_add);
        let is_busy = rows.iter().any(|row| row.state() != Some(RowState::Free));
        if is_busy {
            self.seen.quiet_since = None;
        } else if self.seen.quiet_since.is_none() || requests != self.seen.requests {
            self.seen.quiet_since = Some(now);
        }
        self.seen.requests = requests;
        Some(Wear {
            requests,
            age: now.saturating_duration_since(self.seen.started),
            memory: self.seen.memory,
            idle: self.seen.quiet_since.map(|since| now.saturating_duration_since(since)),
        })
    }

    /// A number that only this worker has, of those of its pool.
    pub(crate) fn seed(&self) -> u64 {
        let generation = self.process.as_ref().map_or(0, |process| process.id.generation);
        (u64::from(self.slot) << 32) | u64::from(generation)
    }

    /// A deadline passed, and the process is to be killed.
    pub(crate) fn timed_out(&mut self, start_timeout: Duration, machinery: &mut Machinery) {
        let is_start = self.life.state() == (WorkerState::Killed { retired: false });
        if let Some(process) = &mut self.process {
            if is_start {
                process.fault = Some(format!("not ready within start-timeout ({start_timeout:?})"));
            }
            if process.is_busy() {
                machinery.add_post_mortem(process.post_mortem(Moment::Killed));
            }
            exit::kill_group(process.pid);
        }
    }

    /// Does what was decided about a process.
    pub(crate) fn carry_out(
        &self,
        command: WorkerCommand,
        now: Instant,
        machinery: &mut Machinery,
    ) {
        if command == WorkerCommand::Serve
            && let Some(process) = &self.process
        {
            let WorkerId { pool, slot, generation } = &process.id;
            tracing::info!(pool, slot, generation, "worker_ready");
        }
        self.tell(command, now, machinery);
    }

    /// Carries a command out that concerns a process which runs.
    pub(crate) fn tell(&self, command: WorkerCommand, now: Instant, machinery: &mut Machinery) {
        let Some(process) = &self.process else { return };
        let id = process.id.clone();
        match command {
            WorkerCommand::Spawn => {}
            WorkerCommand::WarmUp => {
                let left = self.life.due().map(|due| due.saturating_duration_since(now));
                let message = self.warm_up(id, left.unwrap_or_default());
                machinery.proxy.tell(message, Vec::new());
            }
            WorkerCommand::Serve => {
                machinery.proxy.tell(ToProxy::WorkerServe { id }, Vec::new());
            }
            WorkerCommand::Withdraw => {
                machinery.proxy.tell(ToProxy::WorkerWithdraw { id }, Vec::new());
            }
            WorkerCommand::Terminate => process.terminate(),
            WorkerCommand::Kill => exit::kill_group(process.pid),
        }
    }

    /// Returns its process, to be asked what it is doing.
    pub(crate) fn witness(&self) -> Option<Witness> {
        let process = self.process.as_ref()?;
        Some(Witness {
            id: process.id.clone(),
            pid: process.pid,
            state: self.life.state(),
            segment: Arc::clone(&process.segment),
            asker: process.asker(),
        })
    }

    /// Tells the proxy processes of the process here, if there is one.
    pub(crate) fn introduce(&self, machinery: &mut Machinery) {
        let Some(process) = &self.process else { return };
        let started = ToProxy::WorkerStarted {
            id: process.id.clone(),
            pid: process.pid.as_raw_pid().unsigned_abs(),
            rows: self.recipe.config.concurrency,
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

    fn warm_up(&self, id: WorkerId, left: Duration) -> ToProxy {
        let timeout_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let config = &self.recipe.config;
        let (paths, check_status) = match config.ready {
            Ready::Notify => (config.warm_up.clone(), true),
            Ready::Http => {
                let first = config.warm_up.first().map_or("/", String::as_str);
                (vec![first.to_owned()], false)
            }
        };
        ToProxy::WorkerWarm { id, paths, timeout_ms, check_status }
    }
}
