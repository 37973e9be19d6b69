//! The supervisor's side of a channel: sending never makes it wait.
//!
//! The supervisor owns every truth, so it must not wait for another process to take a message.
//! Messages go into a bounded queue that a task empties into the channel. A process that leaves
//! more than [`QUEUE`] messages untaken does not work any more, and is ended.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::mpsc;

use crate::channel::Channel;
use crate::tasks::Tasks;

/// Messages that may wait. A start with a thousand workers sends three for each.
const QUEUE: usize = 4096;

type Packet<M> = (M, Vec<OwnedFd>);

/// Where messages for another process are put. Dropping it closes the channel once all are sent.
#[derive(Debug)]
pub(crate) struct Outbox<M> {
    queue: mpsc::Sender<Packet<M>>,
}

impl<M: Serialize + Send + Sync + 'static> Outbox<M> {
    /// Sends over `channel`.
    pub(crate) fn new(channel: Arc<Channel>, tasks: &mut Tasks) -> Self {
        let (queue, packets) = mpsc::channel(QUEUE);
        tasks.spawn(send_all(channel, packets));
        Self { queue }
    }

    /// Puts a message into the queue. Returns whether the other process still takes messages; one
    /// that has ended counts as if it did, because its end, or that of the channel, is noticed
    /// elsewhere.
    #[must_use]
    pub(crate) fn post(&self, message: M, descriptors: Vec<OwnedFd>) -> bool {
        !matches!(
            self.queue.try_send((message, descriptors)),
            Err(mpsc::error::TrySendError::Full(_))
        )
    }
}

/// Sends until the outbox is dropped. After a message that cannot be sent the other process does
/// not know what it should, so the channel ends for it and for whoever listens to it here.
async fn send_all<M: Serialize>(channel: Arc<Channel>, mut packets: mpsc::Receiver<Packet<M>>) {
    while let Some((message, descriptors)) = packets.recv().await {
        let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        if let Err(error) = channel.send(&message, &borrowed).await {
            if error.kind() != std::io::ErrorKind::BrokenPipe {
                tracing::error!(%error, "message_not_sent");
            }
            return channel.shut_down();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ToProxy;

    #[tokio::test]
    async fn a_process_that_takes_nothing_is_noticed_and_holds_nobody_up() {
        let (ours, _theirs) = Channel::pair().unwrap();
        let mut tasks = Tasks::default();
        let outbox = Outbox::new(Arc::new(ours), &mut tasks);
        let message = || ToProxy::ConfigError { message: Some("x".repeat(1000)) };
        let taken = (0..2 * QUEUE).take_while(|_| outbox.post(message(), Vec::new())).count();
        assert_eq!(taken, QUEUE);
    }

    #[tokio::test]
    async fn a_message_that_cannot_be_sent_ends_the_channel_on_both_sides() {
        let (ours, theirs) = Channel::pair().unwrap();
        let (ours, theirs) = (Arc::new(ours), Channel::from_fd(theirs).unwrap());
        let mut tasks = Tasks::default();
        let outbox = Outbox::new(Arc::clone(&ours), &mut tasks);
        let name = "x".repeat(crate::channel::MAX_PACKET);
        assert!(outbox.post(ToProxy::Pool { name }, Vec::new()));
        assert!(theirs.recv::<ToProxy>().await.unwrap().is_none());
        assert!(ours.recv::<ToProxy>().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_was_posted_before_the_outbox_was_dropped_is_sent() {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel::from_fd(theirs).unwrap();
        let mut tasks = Tasks::default();
        let outbox = Outbox::new(Arc::new(ours), &mut tasks);
        assert!(outbox.post(ToProxy::LameDuck, Vec::new()));
        assert!(outbox.post(ToProxy::Drain, Vec::new()));
        drop(outbox);
        assert_eq!(theirs.recv::<ToProxy>().await.unwrap().unwrap().0, ToProxy::LameDuck);
        assert_eq!(theirs.recv::<ToProxy>().await.unwrap().unwrap().0, ToProxy::Drain);
        assert!(theirs.recv::<ToProxy>().await.unwrap().is_none());
    }
}
