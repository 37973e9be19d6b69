//! How the rest of the program asks the supervisor for something.

use std::path::{Path, PathBuf};

use ostler_conf::Loaded;
use tokio::sync::{mpsc, oneshot, watch};

/// Commands that may wait; who sends more waits.
pub(crate) const QUEUE: usize = 16;

/// A way to the supervisor, for the control socket.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) status_socket: PathBuf,
    pub(crate) published: watch::Receiver<Published>,
}

/// What the rest of the program has to know of the configuration in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Path of the status page.
    pub status_path: String,
    /// Files whose change shall cause a reload; none without `server.watch`.
    pub watched: Vec<PathBuf>,
}

impl Published {
    pub(crate) fn of(loaded: &Loaded) -> Self {
        let config = &loaded.config;
        let watched = if config.server.watch { loaded.files.clone() } else { Vec::new() };
        Self { status_path: config.status.path.clone(), watched }
    }
}

/// Something to do, and where to say how it went.
#[derive(Debug)]
pub(crate) enum Command {
    /// Put the configuration in force.
    Reload { force: bool, reply: ReloadReply },
    /// Replace the proxy process.
    ReplaceProxy { reply: ReloadReply },
    /// End.
    Stop { now: bool, reply: oneshot::Sender<()> },
}

/// Where the outcome of a reload goes.
pub(crate) type ReloadReply = oneshot::Sender<Result<u64, ReloadError>>;

/// Why the configuration was not put in force. The one before it stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// It is wrong, or its workers do not get ready, or it needs a restart.
    #[error("{0}")]
    Config(String),
    /// The system refused something.
    #[error("{0}")]
    System(String),
    /// Another reload is not finished.
    #[error("another reload, or a replacement of the proxy, is in progress")]
    Busy,
    /// The supervisor is ending.
    #[error("the supervisor is stopping")]
    Stopping,
}

impl Handle {
    /// Puts the configuration in force. Returns its version when it is.
    ///
    /// # Errors
    ///
    /// When it cannot be; see [`ReloadError`].
    pub async fn reload(&self, force: bool) -> Result<u64, ReloadError> {
        let (reply, outcome) = oneshot::channel();
        let sent = self.commands.send(Command::Reload { force, reply }).await;
        if sent.is_err() {
            return Err(ReloadError::Stopping);
        }
        outcome.await.unwrap_or(Err(ReloadError::Stopping))
    }

    /// Replaces the proxy process, without losing a request or a worker. Returns the number of the
    /// new one once the old one has ended.
    ///
    /// # Errors
    ///
    /// When the new one does not get ready; the old one stays.
    pub async fn replace_proxy(&self) -> Result<u64, ReloadError> {
        let (reply, outcome) = oneshot::channel();
        if self.commands.send(Command::ReplaceProxy { reply }).await.is_err() {
            return Err(ReloadError::Stopping);
        }
        outcome.await.unwrap_or(Err(ReloadError::Stopping))
    }

    /// Ends everything; with `now` without waiting for requests. Returns when it has ended.
    pub async fn stop(&self, now: bool) {
        let (reply, ended) = oneshot::channel();
        // A supervisor that does not listen has ended, and so has one that drops the reply.
        if self.commands.send(Command::Stop { now, reply }).await.is_ok() {
            let (Ok(()) | Err(_)) = ended.await;
        }
    }

    /// Returns what the configuration in force says to the rest of the program.
    pub fn published(&self) -> watch::Receiver<Published> {
        self.published.clone()
    }

    /// Where the proxy process answers status requests of this machine's operator.
    pub fn status_socket(&self) -> &Path {
        &self.status_socket
    }
}
