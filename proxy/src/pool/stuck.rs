//! Workers that the supervisor is to hear of, because requests do not come back from them.
//!
//! Event loops add to it; the task that speaks with the supervisor takes from it. `Worker` sees to
//! it that a worker is in here at most once for each thing there is to say of it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ostler_supervisor::message::{Unfit, WorkerId};
use tokio::sync::Notify;

/// Reports that wait to be sent.
#[derive(Debug, Default)]
pub(crate) struct UnfitWorkers {
    waiting: Mutex<VecDeque<(WorkerId, Unfit)>>,
    added: Notify,
}

impl UnfitWorkers {
    /// Adds a report.
    pub(super) fn add(&self, id: WorkerId, reason: Unfit) {
        self.waiting().push_back((id, reason));
        self.added.notify_one();
    }

    /// Waits for the next report, and takes it. Nothing is lost when this is dropped.
    pub(crate) async fn next(&self) -> (WorkerId, Unfit) {
        loop {
            let first = self.waiting().pop_front();
            match first {
                Some(report) => return report,
                None => self.added.notified().await,
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<(WorkerId, Unfit)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
