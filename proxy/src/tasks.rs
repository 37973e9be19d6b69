//! Tasks that a drain waits for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::sync::watch;

/// Counts the tasks that must end before the process may.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    count: Arc<watch::Sender<usize>>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self { count: Arc::new(watch::Sender::new(0)) }
    }
}

impl Tasks {
    /// Runs `task` on the current event loop, counted from now until it ends.
    #[expect(clippy::disallowed_methods, reason = "this is the counted way to spawn")]
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(CountedTask { task, _counted: self.count() });
    }

    /// Runs `task` on the current event loop; a drain ends it by other means than waiting.
    #[expect(clippy::disallowed_methods, reason = "what a drain ends otherwise")]
    #[expect(clippy::unused_self, reason = "stands beside `spawn`, so that both are found")]
    pub(crate) fn spawn_uncounted(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }

    /// Waits until no counted task is left.
    pub(crate) async fn ended(&self) {
        // The sender lives as long as `self`, so this cannot fail.
        if self.count.subscribe().wait_for(|&count| count == 0).await.is_err() {
            tracing::debug!("task_counter_gone");
        }
    }

    fn count(&self) -> Counted {
        self.count.send_modify(|count| *count = count.saturating_add(1));
        Counted { count: Arc::clone(&self.count) }
    }
}

pin_project! {
    /// A task and its count. An `async` block around the task would hold it twice, and idle
    /// connections are tasks.
    struct CountedTask<T> {
        #[pin]
        task: T,
        _counted: Counted,
    }
}

impl<T: Future<Output = ()>> Future for CountedTask<T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.project().task.poll(context)
    }
}

/// One counted task; also when it panics.
#[derive(Debug)]
struct Counted {
    count: Arc<watch::Sender<usize>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.count.send_modify(|count| *count = count.saturating_sub(1));
    }
}
