//! From a file name to a supervisor that is ready to run.
//!
//! In this order: what can be wrong is found before anything is taken that somebody else may use.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ostler_conf::{Config, ConfigErrors, Loaded, LogPath};
use ostler_segment::SegmentError;
use tokio::sync::{mpsc, watch};

use crate::config_version::ConfigVersion;
use crate::event;
use crate::handle::{self, Handle, Published};
use crate::identity::{self, Identity};
use crate::listeners::{BindError, Listeners, listen_unix};
use crate::machinery::{Generations, Machinery};
use crate::orphans::Orphans;
use crate::pages::Pages;
use crate::post_mortem::PostMortems;
use crate::proxy::Proxy;
use crate::runtime_dir::{RuntimeDir, RuntimeDirError};
use crate::signals::Signals;
use crate::supervisor::{Inputs, Live, Supervisor, now};
use crate::tasks::Tasks;
use crate::{history, log, python, rules, spawn};

/// Mode of the control socket: who may use it may end everything.
const CONTROL_MODE: u32 = 0o600;

/// Connections to the control socket that wait to be accepted.
const CONTROL_BACKLOG: u32 = 16;

/// What `ostler run` was asked.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// Run as root what the configuration names no user for.
    pub allow_root: bool,
}

/// Why there is no supervisor.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The configuration asks for what may not be, or cannot be here.
    #[error("{0}")]
    Refused(String),
    /// The runtime directory cannot be used.
    #[error(transparent)]
    RuntimeDir(#[from] RuntimeDirError),
    /// A listener cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A log file cannot be opened.
    #[error("cannot open log file {path}: {source}")]
    Log {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The control socket cannot be had.
    #[error("cannot listen on control socket {path}: {source}")]
    Control {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Shared memory cannot be had.
    #[error("cannot create shared memory: {0}")]
    Memory(#[from] SegmentError),
    /// A system call failed.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

impl StartError {
    /// Whether the operator has to change the configuration.
    pub fn is_config(&self) -> bool {
        matches!(self, Self::Config(_) | Self::Refused(_))
    }
}

impl Supervisor {
    /// Reads the configuration and takes everything it names. Nothing is started yet.
    ///
    /// Returns the supervisor and its control socket, which the caller serves.
    ///
    /// # Errors
    ///
    /// When the configuration or the system does not allow it.
    pub fn start(options: Options) -> Result<(Self, UnixListener), StartError> {
        log::start();
        spawn::keep_to_ourselves(&[]);
        let loaded = Config::load(&options.config)?;
        let config = &loaded.config;
        let proxy_identity = check(&loaded, options.allow_root)?;
        let orphans = Orphans::adopt()?;
        let runtime_dir = RuntimeDir::prepare(&config.server.runtime_dir)?;
        runtime_dir.prepare_spool(proxy_identity.as_ref())?;
        follow_logs(config)?;
        let access_log = open_access_log(config)?;
        let history = history::open(&config.status).map_err(StartError::Refused)?;
        let status_socket = runtime_dir.status_socket();
        let listeners = Listeners::bind(config, &status_socket, &Listeners::default())?;
        let control = listen_control(&config.server.control_socket)?;
        let (events, event_queue) = mpsc::channel(event::QUEUE);
        let (commands, command_queue) = mpsc::channel(handle::QUEUE);
        let machinery = Machinery {
            runtime_dir,
            proxy_identity,
            pages: Pages::new()?,
            events,
            tasks: Tasks::default(),
            guard: None,
            guard_due: now(),
            proxy: Proxy::new(now()),
            generations: Generations::default(),
            orphans,
            post_mortems: PostMortems::default(),
            history,
            event_loops: config.server.threads,
        };
        let inputs =
            Inputs { signals: Signals::listen()?, events: event_queue, commands: command_queue };
        let (publish, published) = watch::channel(Published::of(&loaded));
        let handle = Handle { commands, status_socket, published };
        let live = Live { version: ConfigVersion::new(1, loaded).into(), listeners, access_log };
        log_listeners(&live.listeners, &Listeners::default());
        Ok((Self::new(options, live, machinery, inputs, (handle, publish)), control))
    }
}

/// Checks what the file alone cannot say. Returns whom the proxy process runs as.
pub(crate) fn check(loaded: &Loaded, allow_root: bool) -> Result<Option<Identity>, StartError> {
    let config = &loaded.config;
    let is_root = identity::is_root();
    rules::check_root(config, is_root, allow_root).map_err(StartError::Refused)?;
    if !is_root {
        for key in rules::users_without_effect(config) {
            tracing::info!(key, "user_without_effect");
        }
    }
    python::check_library(loaded)?;
    for (name, pool) in &config.pools {
        Identity::of_pool(pool)
            .map_err(|error| StartError::Refused(format!("pool.{name}: {error}")))?;
    }
    Identity::of(config.server.user.as_deref())
        .map_err(|error| StartError::Refused(format!("server.user: {error}")))
}

/// Logs as the configuration says, from here on.
pub(crate) fn follow_logs(config: &Config) -> Result<(), StartError> {
    let path = match &config.log.error.path {
        LogPath::Standard => PathBuf::from("-"),
        LogPath::File(path) => path.clone(),
    };
    log::follow(&config.log.error).map_err(|source| StartError::Log { path, source })
}

/// Opens where access log lines go.
pub(crate) fn open_access_log(config: &Config) -> Result<OwnedFd, StartError> {
    match &config.log.access.path {
        LogPath::Standard => Ok(io::stdout().as_fd().try_clone_to_owned()?),
        LogPath::File(path) => log::open(path)
            .map(File::into)
            .map_err(|source| StartError::Log { path: path.clone(), source }),
    }
}

/// Logs the listeners that are not in `previous`. Tests and people find ports here.
pub(crate) fn log_listeners(listeners: &Listeners, previous: &Listeners) {
    for listener in listeners.without(previous) {
        let (name, address) = (&listener.name, listener.address());
        tracing::info!(name, address, "listener_bound");
    }
}

/// The time of day, for people.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn listen_control(path: &Path) -> Result<UnixListener, StartError> {
    listen_unix(path, CONTROL_MODE, CONTROL_BACKLOG)
        .map(UnixListener::from)
        .map_err(|source| StartError::Control { path: path.to_owned(), source })
}
