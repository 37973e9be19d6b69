//! Health checks: a serving worker is asked every so often whether it is well.
//!
//! One task a worker of a pool with `health`. It asks over the worker's socket, beside the permits,
//! as warming up does. What it concludes is the supervisor's to act on.

use std::sync::Arc;
use std::time::Duration;

use ostler_conf::HealthConfig;
use ostler_segment::RowState;
use ostler_supervisor::channel::Channel;
use ostler_supervisor::message::{FromProxy, Unfit};

use super::{Process, warm_up};
use crate::pool::{Standing, Worker};
use crate::shared::Shared;

/// The name that a worker is asked under.
const AGENT: &str = "ostler-health";

impl Process {
    /// Has every serving worker asked whether it is well, where its pool has `health`.
    #[expect(clippy::disallowed_methods, reason = "ends with the process, not with a drain")]
    pub(super) fn watch_health(&self) {
        let Some(running) = &self.running else { return };
        let live = running.shared.live.load();
        let checked = live.config.pools.iter().filter(|(_, config)| config.health.is_some());
        for target in checked.filter_map(|(name, _)| live.pools.get(name)) {
            for worker in target.pool.view().workers {
                if worker.standing() == Standing::Ready && worker.begin_health_watch() {
                    let (shared, channel) = (&running.shared, &self.channel);
                    let asking = watch(Arc::clone(shared), Arc::clone(channel), worker);
                    tokio::spawn(asking);
                }
            }
        }
    }
}

/// Asks until the worker serves no more, or its pool has no `health` any more.
async fn watch(shared: Arc<Shared>, channel: Arc<Channel>, worker: Arc<Worker>) {
    let mut failures = 0;
    while let Some(health) = config(&shared, &worker) {
        tokio::time::sleep(health.interval).await;
        if worker.standing() != Standing::Ready {
            break;
        }
        match check(&worker, &health).await {
            Ok(()) => failures = 0,
            Err(fault) => {
                failures += 1;
                let (pool, slot, generation) =
                    (&worker.id.pool, worker.id.slot, worker.id.generation);
                tracing::warn!(pool, slot, generation, failures, fault, "health_check_failed");
            }
        }
        if health.failures <= failures && worker.standing() == Standing::Ready {
            failures = 0;
            let message = FromProxy::WorkerUnfit { id: worker.id.clone(), reason: Unfit::Health };
            if let Err(error) = channel.send(&message, &[]).await {
                tracing::warn!(%error, "report_not_sent");
            }
        }
    }
    worker.end_health_watch();
}

fn config(shared: &Shared, worker: &Worker) -> Option<HealthConfig> {
    let live = shared.live.load();
    live.config.pools.get(&worker.id.pool)?.health.clone()
}

/// Asks once. An answer that does not come in time is no fault of a worker that answers others,
/// or all of whose threads are taken: whether these are stuck is judged by other clocks.
async fn check(worker: &Worker, health: &HealthConfig) -> Result<(), String> {
    let (before, was_full) = (answered(worker), is_full(worker));
    let asked = warm_up::attempt(worker, &health.path, AGENT);
    match tokio::time::timeout(health.timeout, asked).await {
        Ok(Ok(status)) if status < 500 => Ok(()),
        Ok(Ok(status)) => Err(format!("{} was answered with status {status}", health.path)),
        Ok(Err(error)) => Err(format!("{}: {error}", health.path)),
        Err(_elapsed) if was_full || is_full(worker) || before != answered(worker) => Ok(()),
        Err(_elapsed) => Err(not_answered(&health.path, health.timeout)),
    }
}

fn not_answered(path: &str, within: Duration) -> String {
    format!("{path} was not answered within {within:?}, and nothing else was")
}

fn is_full(worker: &Worker) -> bool {
    worker.segment.iter().all(|row| row.state() != Some(RowState::Free))
}

fn answered(worker: &Worker) -> u64 {
    worker.segment.iter().map(|row| row.requests_total()).fold(0, u64::saturating_add)
}
