//! What the supervisor says of workers: they are there, to be warmed up, withdrawn, or gone.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ostler_segment::{Access, Owner, Segment};
use ostler_supervisor::message::{FromProxy, WorkerExit, WorkerId};

use super::{Process, ProcessError, death, warm_up};
use crate::clock;
use crate::link::Ring;
use crate::pool::{Pool, Standing, Worker};

/// How long a worker that has ended is remembered. The supervisor starts another one at once,
/// unless it holds back because they keep dying.
const REPLACEMENT_WAIT: Duration = Duration::from_millis(200);

impl Process {
    pub(super) fn add_worker(
        &self,
        (id, pid): (WorkerId, u32),
        socket: PathBuf,
        mut descriptors: Vec<OwnedFd>,
    ) -> Result<(), ProcessError> {
        let Some(pool) = self.known.pools.get(&id.pool) else {
            tracing::error!(pool = %id.pool, "worker_of_unknown_pool");
            return Ok(());
        };
        if descriptors.is_empty() {
            return Err(ProcessError::NoDescriptor);
        }
        let segment = descriptors.remove(0);
        let segment = Arc::new(Segment::map(segment.as_fd(), Access::Write)?);
        segment.free_lanes(|incarnation| self.proxies.is_dead(incarnation));
        let incarnation = self.supervisor.incarnation;
        let ring = Ring::new(&segment, Owner { incarnation, pid: std::process::id() }, descriptors);
        let number = pool.next_worker_number();
        let worker = Worker::new((id, number, pid), socket, (segment, ring), clock::now());
        let worker = Arc::new(worker);
        death::watch(&worker);
        pool.add_worker(&worker);
        Ok(())
    }

    /// Takes a worker that has ended out of service at once, and forgets it a little later: by
    /// then its replacement is known, and nobody is refused in between.
    #[expect(clippy::disallowed_methods, reason = "ends with the process, not with a drain")]
    pub(super) fn lose_worker(&self, id: &WorkerId, exit: WorkerExit) {
        if let Some((pool, worker)) = self.worker(id) {
            pool.note_exit(&worker, exit);
            tokio::spawn(async move {
                tokio::time::sleep(REPLACEMENT_WAIT).await;
                pool.remove_worker(&worker);
            });
        }
    }

    pub(super) fn worker(&self, id: &WorkerId) -> Option<(Arc<Pool>, Arc<Worker>)> {
        let pool = self.known.pools.get(&id.pool)?;
        let worker = pool.worker(id.slot, id.generation)?;
        Some((Arc::clone(pool), worker))
    }

    pub(super) fn warm(&self, id: WorkerId, paths: Vec<String>, (timeout_ms, checks): (u64, bool)) {
        let Some((_, worker)) = self.worker(&id) else { return };
        worker.set_standing(Standing::Warming);
        let within = Duration::from_millis(timeout_ms);
        self.report(async move {
            let error = warm_up::run(&worker, &paths, within, checks).await.err();
            FromProxy::WorkerWarmed { id, error }
        });
    }

    pub(super) fn withdraw(&self, id: WorkerId) {
        let found = self.worker(&id);
        self.report(async move {
            if let Some((pool, worker)) = found {
                pool.withdraw(&worker).await;
            }
            FromProxy::WorkerWithdrawn { id }
        });
    }

    /// Runs `work` beside the messages, and sends what it comes to.
    #[expect(clippy::disallowed_methods, reason = "ends with the process, not with a drain")]
    fn report(&self, work: impl Future<Output = FromProxy> + Send + 'static) {
        let channel = Arc::clone(&self.channel);
        tokio::spawn(async move {
            let message = work.await;
            if let Err(error) = channel.send(&message, &[]).await {
                tracing::warn!(%error, "report_not_sent");
            }
        });
    }
}
