//! The tasks of the supervisor, which end with it.

use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};

/// Tasks that run beside the dispatcher: readers and writers, none of which decides anything.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    set: JoinSet<()>,
}

impl Tasks {
    /// Starts a task.
    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.set.spawn(task)
    }

    /// Waits until every task has ended, but no longer than `limit`.
    pub(crate) async fn finish(&mut self, limit: Duration) {
        let all = async { while self.set.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::debug!(tasks = self.set.len(), "tasks_cut_short");
        }
    }

    /// Forgets the tasks that have ended. One that panicked is a bug, and said so on its own.
    pub(crate) fn tidy(&mut self) {
        while self.set.try_join_next().is_some() {}
    }
}
