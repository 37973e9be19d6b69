//! The control socket of a worker: what the supervisor says to a worker beside signals.
//!
//! A stream socket whose other end the worker inherits (`OSTLER_CONTROL`), in pools with the ring
//! link. The supervisor writes lines: `drain`, just before `TERM`, and `stacks ID`, which the
//! worker answers (`answer`). A worker need not know the socket, and then never reads it: nothing
//! is written that does not fit, no answer is waited for longer than [`ANSWER_TIMEOUT`], and there
//! is no second question before the answer to the first. Who asks meanwhile shares the answer.
//!
//! What the worker says is read only while somebody waits for it, so one that says too much is
//! held up by itself.

mod answer;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use ostler_conf::{Link, PoolConfig};
use rustix::net::SendFlags;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use self::answer::Inbox;
use crate::stacks::ThreadStack;
use crate::tasks::Tasks;

/// How long an answer is waited for. A worker that works needs a few milliseconds.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Who may wait for an answer at one time: every command of operators that there can be, and more.
const QUESTIONS: usize = 64;

/// Why a worker shows no stacks. `Display` is what the operator reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoStacks {
    #[error("it has no control socket: its pool has link = \"http\"")]
    NoSocket,
    #[error("it did not answer within {ANSWER_TIMEOUT:?}: it is no Python worker, or it hangs")]
    Silent,
    #[error("it has closed its control socket")]
    Closed,
    #[error("it answered what cannot be read: {0}")]
    Garbled(String),
    #[error("too many are asking it")]
    Busy,
}

/// The stacks of a worker's threads.
pub(crate) type Answer = Result<Arc<[ThreadStack]>, NoStacks>;

/// The supervisor's end of the socket.
#[derive(Debug)]
pub(crate) struct WorkerControl {
    stream: Arc<UnixStream>,
    asker: Asker,
}

/// A way to ask a worker, also while the process that it is about ends.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    questions: mpsc::Sender<oneshot::Sender<Answer>>,
}

impl WorkerControl {
    /// Makes the socket of a worker, and the end that the worker gets. `None` where its pool has
    /// no ring link.
    pub(crate) fn create(
        config: &PoolConfig,
        tasks: &mut Tasks,
    ) -> io::Result<Option<(Self, OwnedFd)>> {
        let has_one = config.link == Link::Auto;
        has_one.then(|| Self::with_patience(ANSWER_TIMEOUT, tasks)).transpose()
    }

    fn with_patience(patience: Duration, tasks: &mut Tasks) -> io::Result<(Self, OwnedFd)> {
        // Whether reading waits is a property of each end, and the worker's is left as it comes.
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let stream = Arc::new(UnixStream::from_std(ours)?);
        let (questions, asked) = mpsc::channel(QUESTIONS);
        tasks.spawn(Conversation::new(Arc::clone(&stream), patience).hold(asked));
        Ok((Self { stream, asker: Asker { questions } }, theirs.into()))
    }

    /// Tells the worker to take no more requests, and to end when it has done those it took.
    ///
    /// What does not fit is lost: a worker that reads nothing hears `TERM` alone.
    pub(crate) fn drain(&self) {
        if let Err(error) = send(&self.stream, b"drain\n") {
            tracing::debug!(%error, "drain_not_told");
        }
    }

    /// Returns a way to ask.
    pub(crate) fn asker(&self) -> Asker {
        self.asker.clone()
    }
}

impl Asker {
    /// Asks what every thread is doing; takes [`ANSWER_TIMEOUT`] at most.
    pub(crate) async fn ask(&self) -> Answer {
        let (reply, answer) = oneshot::channel();
        match self.questions.try_send(reply) {
            Ok(()) => answer.await.unwrap_or(Err(NoStacks::Closed)),
            Err(mpsc::error::TrySendError::Full(_)) => Err(NoStacks::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(NoStacks::Closed),
        }
    }
}

/// Sends a line whole or not at all, and does not wait.
fn send(stream: &UnixStream, line: &[u8]) -> io::Result<()> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    match rustix::net::send(stream.as_fd(), line, flags)? {
        sent if sent == line.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// Asks one question after the other.
struct Conversation {
    stream: Arc<UnixStream>,
    /// How long an answer is waited for.
    patience: Duration,
    inbox: Inbox,
    /// The number of the last question.
    last_id: u64,
    /// The question whose answer has not come yet.
    open: Option<u64>,
    /// Nothing that comes can be understood any more.
    broken: Option<NoStacks>,
}

impl Conversation {
    fn new(stream: Arc<UnixStream>, patience: Duration) -> Self {
        Self { stream, patience, inbox: Inbox::default(), last_id: 0, open: None, broken: None }
    }

    /// Answers everybody who asks, until nobody can ask any more.
    async fn hold(mut self, mut asked: mpsc::Receiver<oneshot::Sender<Answer>>) {
        while let Some(first) = asked.recv().await {
            let answer = self.ask().await;
            let mut next = Some(first);
            while let Some(reply) = next {
                // One who asked and left does not care.
                drop(reply.send(answer.clone()));
                next = asked.try_recv().ok();
            }
        }
    }

    async fn ask(&mut self) -> Answer {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let asked = tokio::time::timeout(self.patience, self.exchange()).await;
        let document = match asked {
            Err(_elapsed) => return Err(NoStacks::Silent),
            Ok(Ok(document)) => document,
            Ok(Err(error)) => {
                self.broken = Some(error.clone());
                return Err(error);
            }
        };
        answer::decode(&document).map(Arc::from)
    }

    /// Asks, and waits for the answer. What is missing when this is dropped is waited for by the
    /// next one.
    async fn exchange(&mut self) -> Result<Vec<u8>, NoStacks> {
        // Stacks of then are not those of now.
        if let Some(late) = self.open {
            self.inbox.receive(&self.stream, late).await?;
            self.open = None;
        }
        self.last_id += 1;
        let id = self.last_id;
        let line = format!("stacks {id}\n");
        send(&self.stream, line.as_bytes()).map_err(|_left| NoStacks::Closed)?;
        self.open = Some(id);
        let document = self.inbox.receive(&self.stream, id).await?;
        self.open = None;
        Ok(document)
    }
}

#[cfg(test)]
mod tests;
