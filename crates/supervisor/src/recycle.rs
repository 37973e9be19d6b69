//! Recycling that somebody asked for: an operator, a file that changed, the proxy process.
//!
//! What is replaced when is decided by the set of the pool; here is who waits for it.

use std::time::Instant;

use ostler_policy::recycle::Reason;

use crate::announce::Announcement;
use crate::event::SetId;
use crate::handle::{RecycleError, RecycleReply};
use crate::message::{Unfit, WorkerId};
use crate::supervisor::Supervisor;

/// Somebody who waits until every worker of a pool is replaced.
#[derive(Debug)]
pub(crate) struct Recycling {
    pool: String,
    reply: RecycleReply,
}

impl Supervisor {
    /// Begins to replace every worker of a pool; `reply` hears when that is done.
    pub(crate) fn begin_recycle(
        &mut self,
        pool: String,
        reason: Reason,
        reply: Option<RecycleReply>,
    ) {
        let outcome = self.request_recycle(&pool, reason);
        match (outcome, reply) {
            (Ok(()), Some(reply)) => self.recycling.push(Recycling { pool, reply }),
            (Err(error), Some(reply)) => self.announce(Announcement::Recycled(reply, Err(error))),
            (Err(error), None) => tracing::warn!(pool, %error, "pool_not_recycled"),
            (Ok(()), None) => {}
        }
    }

    fn request_recycle(&mut self, pool: &str, reason: Reason) -> Result<(), RecycleError> {
        if self.stop.is_stopping() {
            return Err(RecycleError::Stopping);
        }
        let Some(set) = self.current_set(pool).and_then(|set| self.workers.get_mut(set)) else {
            let pools = self.live.config().pools.keys().cloned().collect();
            return Err(RecycleError::unknown_pool(pool, pools));
        };
        tracing::info!(pool, reason = reason.word(), "pool_recycling");
        set.recycle(reason);
        Ok(())
    }

    /// Answers who waited for recycling that is done, or that cannot be done.
    pub(crate) fn advance_recycling(&mut self) {
        for Recycling { pool, reply } in std::mem::take(&mut self.recycling) {
            match self.recycled(&pool) {
                None => self.recycling.push(Recycling { pool, reply }),
                Some(outcome) => {
                    tracing::info!(pool, done = outcome.is_ok(), "pool_recycled");
                    self.announce(Announcement::Recycled(reply, outcome));
                }
            }
        }
    }

    /// How the recycling of a pool went; `None` while it goes on.
    fn recycled(&mut self, pool: &str) -> Option<Result<(), RecycleError>> {
        if self.stop.is_draining() {
            return Some(Err(RecycleError::Stopping));
        }
        let set = self.current_set(pool).and_then(|set| self.workers.get_mut(set));
        let Some(set) = set else { return Some(Err(RecycleError::Interrupted)) };
        if let Some(story) = set.failure() {
            let story = story.to_owned();
            // The old ones stay, and the one that replaces nobody any more goes.
            set.cancel(Reason::Operator);
            return Some(Err(RecycleError::NotReady(story)));
        }
        set.is_settled().then_some(Ok(()))
    }

    /// Has a worker replaced that the proxy process holds to be unfit.
    pub(crate) fn replace_unfit(&mut self, id: &WorkerId, reason: Unfit, now: Instant) {
        tracing::warn!(
            pool = id.pool,
            slot = id.slot,
            generation = id.generation,
            reason = reason.name(),
            "worker_unfit"
        );
        let reason = match reason {
            Unfit::Stuck { every_thread: true } => Reason::EveryThreadStuck,
            Unfit::Stuck { every_thread: false } => Reason::RequestTimeout,
            Unfit::Health => Reason::Health,
        };
        self.workers.recycle_worker(id, reason, now);
    }

    /// The set of a pool of the configuration in force.
    pub(crate) fn current_set(&self, pool: &str) -> Option<SetId> {
        self.current.get(pool).copied()
    }
}
