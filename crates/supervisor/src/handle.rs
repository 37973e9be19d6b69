//! How the rest of the program asks the supervisor for something.

use std::path::{Path, PathBuf};

use ostler_conf::Loaded;
use ostler_policy::recycle::Reason;
use tokio::sync::{mpsc, oneshot, watch};

use crate::stacks::{PoolStacks, StacksReply};

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
    /// Paths whose change shall cause the workers of a pool to be replaced.
    pub applications: Vec<Watched>,
}

/// What a pool wants to be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Name of the pool.
    pub pool: String,
    /// Its `reload-on-change`.
    pub paths: Vec<PathBuf>,
}

impl Published {
    pub(crate) fn of(loaded: &Loaded) -> Self {
        let config = &loaded.config;
        let watched = if config.server.watch { loaded.files.clone() } else { Vec::new() };
        let applications = config.pools.iter().filter(|(_, it)| !it.reload_on_change.is_empty());
        let applications = applications
            .map(|(pool, it)| Watched { pool: pool.clone(), paths: it.reload_on_change.clone() });
        let status_path = config.status.path.clone();
        Self { status_path, watched, applications: applications.collect() }
    }
}

/// Something to do, and where to say how it went.
#[derive(Debug)]
pub(crate) enum Command {
    /// Put the configuration in force.
    Reload { force: bool, reply: ReloadReply },
    /// Replace the proxy process.
    ReplaceProxy { reply: ReloadReply },
    /// Replace the workers of a pool.
    Recycle { pool: String, reason: Reason, reply: Option<RecycleReply> },
    /// Show what the threads of a pool are doing.
    Stacks { pool: String, reply: StacksReply },
    /// End.
    Stop { now: bool, reply: oneshot::Sender<()> },
}

/// Where the outcome of a reload goes.
pub(crate) type ReloadReply = oneshot::Sender<Result<u64, ReloadError>>;

/// Where the outcome of recycling goes.
pub(crate) type RecycleReply = oneshot::Sender<Result<(), RecycleError>>;

/// Why the workers of a pool were not all replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecycleError {
    /// There is no such pool.
    #[error("there is no pool {pool:?}; there {}", listed(pools))]
    UnknownPool {
        /// The name that was given.
        pool: String,
        /// Those there are.
        pools: Vec<String>,
    },
    /// A new worker does not get ready. Those that were not replaced stay.
    #[error("new workers do not get ready, the old ones stay: {0}")]
    NotReady(String),
    /// Something else replaced or removed the workers meanwhile.
    #[error("interrupted: the pool or the proxy process was replaced meanwhile")]
    Interrupted,
    /// The supervisor is ending.
    #[error("the supervisor is stopping")]
    Stopping,
}

/// Why it was not asked what the threads of a pool are doing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StacksError {
    /// There is no such pool.
    #[error("there is no pool {pool:?}; there {}", listed(pools))]
    UnknownPool {
        /// The name that was given.
        pool: String,
        /// Those there are.
        pools: Vec<String>,
    },
    /// The supervisor is ending.
    #[error("the supervisor is stopping")]
    Stopping,
}

impl RecycleError {
    pub(crate) fn unknown_pool(pool: &str, pools: Vec<String>) -> Self {
        Self::UnknownPool { pool: pool.to_owned(), pools }
    }
}

fn listed(pools: &[String]) -> String {
    match pools {
        [] => "is none".to_owned(),
        [pool] => format!("is {pool:?}"),
        pools => format!("are {}", pools.join(", ")),
    }
}

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
    /// It is in force, but another one was asked for before every worker was replaced.
    #[error("it is in force, but another reload began before every worker was replaced")]
    Superseded,
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

    /// Replaces every worker of a pool, never below its floor. Returns when they are replaced.
    ///
    /// # Errors
    ///
    /// When they cannot be; see [`RecycleError`].
    pub async fn recycle(&self, pool: String) -> Result<(), RecycleError> {
        let (reply, outcome) = oneshot::channel();
        let command = Command::Recycle { pool, reason: Reason::Operator, reply: Some(reply) };
        if self.commands.send(command).await.is_err() {
            return Err(RecycleError::Stopping);
        }
        outcome.await.unwrap_or(Err(RecycleError::Stopping))
    }

    /// Has every worker of a pool replaced, because its application changed.
    pub async fn application_changed(&self, pool: String) {
        let command = Command::Recycle { pool, reason: Reason::ReloadOnChange, reply: None };
        // A supervisor that does not listen has ended.
        drop(self.commands.send(command).await);
    }

    /// Asks every worker of a pool what its threads are doing. Takes little longer than 2 s at
    /// most, however many do not answer.
    ///
    /// # Errors
    ///
    /// When there is no such pool, or the supervisor is ending.
    pub async fn stacks(&self, pool: String) -> Result<PoolStacks, StacksError> {
        let (reply, stacks) = oneshot::channel();
        if self.commands.send(Command::Stacks { pool, reply }).await.is_err() {
            return Err(StacksError::Stopping);
        }
        stacks.await.unwrap_or(Err(StacksError::Stopping))
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
