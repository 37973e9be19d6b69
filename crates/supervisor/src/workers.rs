//! All workers: the sets in force, those that start beside them, and those that end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ostler_conf::PoolConfig;
use ostler_policy::recycle::Reason;
use ostler_policy::worker::WorkerEvent;
use ostler_segment::Segment;
use ostler_segment::counter::Pool;
use rustix::process::Pid;

use crate::event::SetId;
use crate::exit::Exit;
use crate::identity::{Identity, IdentityError};
use crate::machinery::Machinery;
use crate::message::WorkerId;
use crate::stacks::Witness;
use crate::worker_set::WorkerSet;

/// Every set that has, or will have, a process.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    sets: Vec<WorkerSet>,
    made: u64,
}

impl Workers {
    /// Adds a set whose workers are due to start. With `is_held` they serve once released.
    pub(crate) fn add(
        &mut self,
        pool: &str,
        config: &PoolConfig,
        is_held: bool,
        now: Instant,
    ) -> Result<SetId, IdentityError> {
        let identity = Identity::of_pool(config)?;
        self.made += 1;
        let id = SetId(self.made);
        let set = WorkerSet::new(id, pool, config, identity, now);
        self.sets.push(if is_held { set.hold() } else { set });
        Ok(id)
    }

    /// Adds a set that begins with one worker, which serves once released.
    pub(crate) fn add_first_one(
        &mut self,
        pool: &str,
        config: &PoolConfig,
        now: Instant,
    ) -> Result<SetId, IdentityError> {
        let id = self.add(pool, config, true, now)?;
        if let Some(set) = self.sets.pop() {
            self.sets.push(set.first_one());
        }
        Ok(id)
    }

    /// Gives the places of one set to another, and forgets the first.
    pub(crate) fn hand_over(&mut self, from: SetId, to: SetId) {
        let Some(at) = self.sets.iter().position(|set| set.id == from) else { return };
        let old = self.sets.remove(at);
        match self.get_mut(to) {
            Some(new) => new.adopt(old),
            None => self.sets.push(old),
        }
    }

    /// Has a worker replaced. One that is gone is replaced already.
    pub(crate) fn recycle_worker(&mut self, id: &WorkerId, reason: Reason, now: Instant) {
        let found = self.sets.iter_mut().any(|set| set.recycle_worker(id, reason, now));
        if !found {
            tracing::debug!(pool = id.pool, slot = id.slot, ?reason, "worker_unknown");
        }
    }

    /// Has the workers replaced in which a proxy process that died has left requests over HTTP.
    pub(crate) fn recycle_lost(&mut self, incarnation: u32) {
        self.sets.iter_mut().for_each(|set| set.recycle_lost(incarnation));
    }

    /// Returns all processes, each the leader of its group, with their segments.
    pub(crate) fn segments(&self) -> impl Iterator<Item = (Pid, Arc<Segment>)> {
        self.sets.iter().flat_map(WorkerSet::segments)
    }

    /// Notes the resident memory of process groups, in bytes, by their number.
    pub(crate) fn note_memory(&mut self, found: &BTreeMap<i32, u64>) {
        for (&group, &bytes) in found {
            let Some(pid) = Pid::from_raw(group) else { continue };
            self.sets.iter_mut().for_each(|set| set.note_memory(pid, bytes));
        }
    }

    /// Returns a set, while it is not gone.
    pub(crate) fn get(&self, id: SetId) -> Option<&WorkerSet> {
        self.sets.iter().find(|set| set.id == id)
    }

    /// Returns a set, while it is not gone.
    pub(crate) fn get_mut(&mut self, id: SetId) -> Option<&mut WorkerSet> {
        self.sets.iter_mut().find(|set| set.id == id)
    }

    /// Gives every worker an event.
    pub(crate) fn feed(&mut self, event: WorkerEvent, now: Instant, machinery: &mut Machinery) {
        self.sets.iter_mut().for_each(|set| set.feed(event, now, machinery));
        self.sets.retain(|set| !set.is_gone());
    }

    /// Gives the workers of a set an event that ends them, and counts why.
    pub(crate) fn end(
        &mut self,
        id: SetId,
        event: WorkerEvent,
        reason: Option<Pool>,
        now: Instant,
        machinery: &mut Machinery,
    ) {
        if let Some(set) = self.get_mut(id) {
            if let Some(reason) = reason {
                set.count(reason, machinery);
            }
            set.feed(event, now, machinery);
        }
        self.sets.retain(|set| !set.is_gone());
    }

    /// Tells a proxy that knows nothing yet of every worker.
    pub(crate) fn introduce(&mut self, now: Instant, machinery: &mut Machinery) {
        self.sets.iter_mut().for_each(|set| set.introduce(now, machinery));
    }

    /// The sets whose workers cannot go on without the proxy that has died.
    pub(crate) fn lost_with_proxy(&self) -> Vec<SetId> {
        self.sets.iter().filter(|set| !set.survives_proxy()).map(|set| set.id).collect()
    }

    /// Gives one worker an event. A late message about one that is gone changes nothing.
    pub(crate) fn feed_worker(
        &mut self,
        id: &WorkerId,
        event: WorkerEvent,
        now: Instant,
        machinery: &mut Machinery,
    ) {
        let found = self.sets.iter_mut().any(|set| set.feed_worker(id, event, now, machinery));
        if !found {
            tracing::debug!(pool = id.pool, slot = id.slot, ?event, "worker_unknown");
        }
    }

    /// Notes that a worker did not answer its warm-up requests, which ends it.
    pub(crate) fn warm_failed(
        &mut self,
        id: &WorkerId,
        fault: &str,
        now: Instant,
        machinery: &mut Machinery,
    ) {
        self.sets.iter_mut().for_each(|set| set.blame(id, fault));
        self.feed_worker(id, WorkerEvent::WarmFailed, now, machinery);
    }

    /// Writes down what a worker is doing that has stuck threads.
    pub(crate) fn record_stuck(&self, id: &WorkerId, machinery: &mut Machinery) {
        self.sets.iter().for_each(|set| set.record_stuck(id, machinery));
    }

    /// Returns the workers of a pool that have a process, also those that leave.
    pub(crate) fn witnesses(&self, pool: &str) -> Vec<Witness> {
        self.sets.iter().flat_map(|set| set.witnesses(pool)).collect()
    }

    /// Notes the end of a process, if it is a worker.
    pub(crate) fn exited(&mut self, pid: Pid, exit: Exit, now: Instant, machinery: &mut Machinery) {
        let _is_worker = self.sets.iter_mut().any(|set| set.exited(pid, exit, now, machinery));
        self.sets.retain(|set| !set.is_gone());
    }

    /// Returns all processes.
    pub(crate) fn pids(&self) -> impl Iterator<Item = Pid> {
        self.sets.iter().flat_map(WorkerSet::pids)
    }

    /// Returns all workers that have a process.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &WorkerId> {
        self.sets.iter().flat_map(WorkerSet::ids)
    }

    /// Returns how long the slowest worker that was told to end may take.
    pub(crate) fn stop_timeout(&self) -> Duration {
        self.sets.iter().map(WorkerSet::stop_timeout).max().unwrap_or_default()
    }

    /// Returns when time changes something.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        self.sets.iter().filter_map(|set| set.due(now)).min()
    }
}
