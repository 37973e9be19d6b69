//! The proxy process: does what the supervisor says, and ends with it.
//!
//! One thread listens to the supervisor, one serves operators, `server.threads` serve clients.

mod apply;
mod death;
mod health;
mod post_mortems;
mod warm_up;
mod workers;

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use ostler_conf::Config;
use ostler_segment::{CounterPage, SegmentError};
use ostler_supervisor::channel::Channel;
use ostler_supervisor::message::{FromProxy, PROTOCOL, ToProxy};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use self::apply::{Applied, ListenerSockets};
use crate::access_log::AccessLog;
use crate::clock;
use crate::event_loop::EventLoop;
use crate::history::{History, Recorder};
use crate::ledger::{self, HeldRows, LedgerError};
use crate::live::{ConfigRead, Known, LiveConfig, Origin};
use crate::origin::RESOLVE_EVERY;
use crate::places::Places;
use crate::pool::{Outlook, Pool, UnfitWorkers};
use crate::proxies::Proxies;
use crate::shared::{Complaints, Gauges, Phase, RequestIds, Shared, Supervisor};
use crate::stacks::StackQuestions;
use crate::tasks::Tasks;

/// How long a configuration waits for names to be looked up; those that take longer come later.
const RESOLVE_WAIT: Duration = Duration::from_secs(2);

/// How often idle connections to workers are looked through.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// Why the proxy process ends other than it was told to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    #[error("the channel to the supervisor failed")]
    Channel(#[source] io::Error),
    #[error("a thread or its event loop could not be started")]
    Start(#[source] io::Error),
    #[error("the supervisor ended")]
    SupervisorGone,
    #[error("the supervisor speaks protocol {0}, this proxy {PROTOCOL}")]
    Protocol(u32),
    #[error("the supervisor's first message is not its greeting")]
    NoHello,
    #[error("a message came without its descriptor")]
    NoDescriptor,
    #[error("a segment or counter page cannot be used")]
    Segment(#[from] SegmentError),
    #[error("the routes cannot be counted")]
    Ledger(#[from] LedgerError),
}

/// Runs the proxy process until it is drained or the supervisor ends.
pub(crate) fn run() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome =
        runtime.map_err(ProcessError::Start).and_then(|runtime| runtime.block_on(serve()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(ProcessError::SupervisorGone) => {
            tracing::error!("supervisor_gone");
            ExitCode::from(71)
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, cause = cause.unwrap_or_default(), "proxy_failed");
            ExitCode::from(71)
        }
    }
}

async fn serve() -> Result<(), ProcessError> {
    raise_descriptor_limit();
    let channel = Arc::new(Channel::inherited().map_err(ProcessError::Channel)?);
    let mut process = Process::greet(channel).await?;
    let mut resolve = tokio::time::interval(RESOLVE_EVERY);
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    let mut tick = tokio::time::interval(ledger::TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (unfit, stacks) = (Arc::clone(&process.unfit), Arc::clone(&process.stacks));
    loop {
        tokio::select! {
            message = process.channel.recv::<ToProxy>() => {
                let message = message.map_err(ProcessError::Channel)?;
                let (message, descriptors) = message.ok_or(ProcessError::SupervisorGone)?;
                process.obey(message, descriptors).await?;
            }
            () = process.drained() => return process.end().await,
            _ = resolve.tick() => process.resolve_origins(),
            _ = sweep.tick() => process.sweep(),
            _ = tick.tick() => process.tick_ledger(),
            pool = stacks.next() => process.tell(FromProxy::Stacks { pool }).await?,
            (id, reason) = unfit.next() => {
                process.tell(FromProxy::WorkerUnfit { id, reason }).await?;
            }
        }
    }
}

/// Everything this process consists of.
#[derive(Debug)]
struct Process {
    channel: Arc<Channel>,
    /// `None` until the first configuration.
    running: Option<Running>,
    supervisor: Supervisor,
    counters: Option<CounterPage>,
    access_log: Option<OwnedFd>,
    history: Option<OwnedFd>,
    known: Known,
    proxies: Arc<Proxies>,
    sockets: ListenerSockets,
    unfit: Arc<UnfitWorkers>,
    stacks: Arc<StackQuestions>,
    is_draining: bool,
}

/// What exists from the first configuration on.
#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
    loops: Vec<EventLoop>,
    /// Serves the status listeners, so that operators are served when clients are not.
    status_loop: EventLoop,
    /// `None` once another proxy process records.
    recorder: Option<Recorder>,
    applied: Applied,
}

impl Process {
    /// Says hello, and hears who the supervisor is.
    async fn greet(channel: Arc<Channel>) -> Result<Self, ProcessError> {
        let hello = FromProxy::Hello { protocol: PROTOCOL, pid: std::process::id() };
        channel.send(&hello, &[]).await.map_err(ProcessError::Channel)?;
        let first = channel.recv::<ToProxy>().await.map_err(ProcessError::Channel)?;
        let (first, descriptors) = first.ok_or(ProcessError::SupervisorGone)?;
        let ToProxy::Hello { protocol, supervisor_pid, started_unix_ms, incarnation } = first
        else {
            return Err(ProcessError::NoHello);
        };
        if protocol != PROTOCOL {
            return Err(ProcessError::Protocol(protocol));
        }
        let counters = CounterPage::map(only(descriptors)?.as_fd())?;
        let started = Duration::from_millis(started_unix_ms);
        Ok(Self {
            channel,
            running: None,
            supervisor: Supervisor { pid: supervisor_pid, started, incarnation },
            counters: Some(counters),
            access_log: None,
            history: None,
            known: Known::default(),
            proxies: Arc::new(Proxies::new(incarnation)),
            sockets: ListenerSockets::default(),
            unfit: Arc::default(),
            stacks: Arc::default(),
            is_draining: false,
        })
    }

    async fn obey(
        &mut self,
        message: ToProxy,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), ProcessError> {
        match message {
            ToProxy::Hello { .. } => return Err(ProcessError::NoHello),
            ToProxy::AccessLog => self.set_access_log(only(descriptors)?),
            ToProxy::History => self.history = Some(only(descriptors)?),
            ToProxy::Pool { name } => self.add_pool(name, &only(descriptors)?)?,
            ToProxy::PostMortems { pool } => self.note_post_mortems(&pool, only(descriptors)?),
            ToProxy::Stacks { pool } => self.stacks.answered(&pool, only(descriptors)?),
            ToProxy::Routes => self.known.ledger.learn(descriptors)?,
            ToProxy::OriginServer { origin, url } => {
                self.add_origin_server((origin, url), &only(descriptors)?)?;
            }
            ToProxy::Listener { name, address, configured, role } => {
                self.sockets.add(name, (address, configured), role, descriptors);
            }
            ToProxy::Config { version, loaded_unix_ms } => {
                self.configure((version, loaded_unix_ms), descriptors).await?;
            }
            ToProxy::ConfigError { message } => self.note_config_error(message),
            ToProxy::WorkerStarted { id, pid, rows: _, socket } => {
                self.add_worker((id, pid), socket, descriptors)?;
            }
            ToProxy::WorkerWarm { id, paths, timeout_ms, check_status } => {
                self.warm(id, paths, (timeout_ms, check_status));
            }
            ToProxy::WorkerServe { id } => {
                if let Some((pool, worker)) = self.worker(&id) {
                    pool.serve(&worker);
                    self.watch_health();
                }
            }
            ToProxy::WorkerWithdraw { id } => self.withdraw(id),
            ToProxy::WorkerRecycled { id, reason } => {
                if let Some(pool) = self.known.pools.get(&id.pool) {
                    pool.note_recycle(&id, reason);
                }
            }
            ToProxy::WorkerExited { id, exit } => self.lose_worker(&id, exit),
            ToProxy::Proxies { living, newest } => self.note_proxies(living, newest),
            ToProxy::WorkerLastWords { id, lines } => {
                if let Some(pool) = self.known.pools.get(&id.pool) {
                    pool.note_last_words(&id, lines);
                }
            }
            ToProxy::PoolOutlook { pool, pending, retry_in_ms } => {
                if let Some(pool) = self.known.pools.get(&pool) {
                    pool.set_outlook(Outlook::new(pending, retry_in_ms));
                }
            }
            ToProxy::Sync => self.tell(FromProxy::Synced).await?,
            ToProxy::LameDuck => self.set_phase(Phase::LameDuck),
            ToProxy::Drain => self.drain(),
        }
        Ok(())
    }

    fn add_pool(&mut self, name: String, counters: &OwnedFd) -> Result<(), ProcessError> {
        let counters = CounterPage::map(counters.as_fd())?;
        let (unfit, proxies) = (Arc::clone(&self.unfit), Arc::clone(&self.proxies));
        let pool = Pool::new((name.clone(), counters), proxies, unfit);
        self.known.pools.entry(name).or_insert_with(|| Arc::new(pool));
        Ok(())
    }

    fn note_post_mortems(&self, pool: &str, records: OwnedFd) {
        if let Some(pool) = self.known.pools.get(pool) {
            pool.post_mortems.store(Arc::new(post_mortems::read(records)));
        }
    }

    /// Adds the counters of a server, which is known by its origin and its URL.
    fn add_origin_server(
        &mut self,
        server: (String, String),
        counters: &OwnedFd,
    ) -> Result<(), ProcessError> {
        let counters = CounterPage::map(counters.as_fd())?;
        self.known.servers.insert(server, Arc::new(counters));
        Ok(())
    }

    fn note_config_error(&self, message: Option<String>) {
        if let Some(running) = &self.running {
            running.shared.config_error.store(Arc::new(message));
        }
    }

    /// Notes which proxy processes live. Lanes of the others are taken back at once, and their
    /// rows by who looks at what is held.
    fn note_proxies(&self, living: Vec<u32>, newest: u32) {
        self.proxies.note(living, newest);
        for worker in self.known.pools.values().flat_map(|pool| pool.view().workers) {
            worker.segment.free_lanes(|incarnation| self.proxies.is_dead(incarnation));
        }
    }

    fn set_access_log(&mut self, file: OwnedFd) {
        match &self.running {
            Some(running) => running.shared.access_log.set_file(file),
            None => self.access_log = Some(file),
        }
    }

    /// Puts a configuration in force, or says why it cannot be.
    async fn configure(
        &mut self,
        (version, loaded_unix_ms): (u64, u64),
        files: Vec<OwnedFd>,
    ) -> Result<(), ProcessError> {
        let answer = match self.apply((version, loaded_unix_ms), files).await? {
            Ok(()) => FromProxy::ConfigApplied { version },
            Err(message) => {
                // What it would have listened on is closed again.
                self.sockets = ListenerSockets::default();
                FromProxy::ConfigRefused { version, message }
            }
        };
        self.tell(answer).await
    }

    async fn apply(
        &mut self,
        (version, loaded_unix_ms): (u64, u64),
        files: Vec<OwnedFd>,
    ) -> Result<Result<(), String>, ProcessError> {
        let mut files = files.into_iter();
        let (Some(file), Some(shown)) = (files.next(), files.next()) else {
            return Err(ProcessError::NoDescriptor);
        };
        let (config, shown) = match (read_config(file), read_text(shown)) {
            (Ok(config), Ok(shown)) => (config, shown),
            (Err(message), _) | (_, Err(message)) => return Ok(Err(message)),
        };
        let loaded = Duration::from_millis(loaded_unix_ms);
        let read = ConfigRead { version, loaded, shown };
        let live = match &self.running {
            Some(running) => {
                let (shared, before) = (&running.shared, running.shared.live.load_full());
                match LiveConfig::build(config, read, &self.known, Some(&before)) {
                    Ok(live) => {
                        shared.places.resize(live.config.server.max_connections);
                        Arc::new(live)
                    }
                    Err(error) => return Ok(Err(apply::told(&error))),
                }
            }
            None => match LiveConfig::build(config, read, &self.known, None) {
                Ok(live) => self.start(Arc::new(live))?,
                Err(error) => return Ok(Err(apply::told(&error))),
            },
        };
        let Some(running) = &mut self.running else { return Ok(Err("not running".to_owned())) };
        let before = running.shared.live.load_full();
        apply::resolve_all(&running.shared.tasks, &live, RESOLVE_WAIT).await;
        for (name, pool) in &live.config.pools {
            if let Some(target) = live.pools.get(name) {
                target.pool.set_limits(pool, &target.shares);
            }
        }
        ostler_supervisor::log::set_level(live.config.log.error.level);
        crate::info::log_low_limits(&live);
        running.shared.live.store(Arc::clone(&live));
        // What was wrong with the one before does not matter any more.
        running.shared.config_error.store(Arc::new(None));
        let loops = (&running.loops[..], &running.status_loop);
        running.applied.listen(&mut self.sockets, (&before, &live), loops).await;
        self.watch_health();
        Ok(Ok(()))
    }

    /// Starts the event loops with the first configuration.
    fn start(&mut self, live: Arc<LiveConfig>) -> Result<Arc<LiveConfig>, ProcessError> {
        let counters = self.counters.take().ok_or(ProcessError::NoHello)?;
        let access_log = AccessLog::start().map_err(ProcessError::Start)?;
        if let Some(file) = self.access_log.take() {
            access_log.set_file(file);
        }
        let server = &live.config.server;
        let shared = Arc::new(Shared {
            live: ArcSwap::new(Arc::clone(&live)),
            counters,
            ledger: Arc::clone(&self.known.ledger),
            gauges: Gauges::default(),
            tasks: Tasks::default(),
            phase: watch::Sender::new(Phase::Serving),
            places: Arc::new(Places::new(server.max_connections)),
            access_log,
            ids: RequestIds::new(),
            complaints: Complaints::new(),
            supervisor: self.supervisor,
            config_error: ArcSwap::default(),
            history: History::new(self.history.take()),
            stacks: Arc::clone(&self.stacks),
            is_replaced: AtomicBool::new(false),
        });
        let start = |number: usize, name: String| {
            EventLoop::start(Arc::clone(&shared), number, &name).map_err(ProcessError::Start)
        };
        let loops = (0..server.threads).map(|number| start(number, format!("loop-{number}")));
        let loops = loops.collect::<Result<Vec<_>, _>>()?;
        let status_loop = start(server.threads, "status".to_owned())?;
        let recorder = Recorder::start(Arc::clone(&shared)).map_err(ProcessError::Start)?;
        let (recorder, applied) = (Some(recorder), Applied::default());
        self.running = Some(Running { shared, loops, status_loop, recorder, applied });
        Ok(live)
    }

    fn resolve_origins(&self) {
        if let Some(running) = &self.running {
            let live = running.shared.live.load_full();
            let tasks = running.shared.tasks.clone();
            running.shared.tasks.spawn_uncounted(async move {
                apply::resolve_all(&tasks, &live, RESOLVE_EVERY).await;
            });
        }
    }

    /// Closes connections to workers that have been idle too long, and files kept open.
    fn sweep(&self) {
        let Some(running) = &self.running else { return };
        let (now, live) = (clock::now(), running.shared.live.load());
        for (name, config) in &live.config.pools {
            let Some(target) = live.pools.get(name) else { continue };
            for worker in target.pool.view().workers {
                worker.close_idle_since(config.worker_keepalive, now);
            }
        }
        for origin in live.origins.values() {
            if let Origin::Directory(directory) = origin {
                directory.close_old_files(now);
            }
        }
    }

    /// Moves the last minute of every route on.
    fn tick_ledger(&self) {
        let look = || HeldRows::look(self.known.pools.values(), clock::now());
        self.known.ledger.tick(look, clock::now());
    }

    fn set_phase(&self, phase: Phase) {
        if let Some(running) = &self.running {
            running.shared.phase.send_replace(phase);
        }
    }

    /// Closes the listeners; connections close after their next answer.
    fn drain(&mut self) {
        self.is_draining = true;
        if let Some(running) = &mut self.running {
            let is_replaced = self.proxies.has_successor();
            running.shared.is_replaced.store(is_replaced, Ordering::Relaxed);
            drop(running.recorder.take_if(|_| is_replaced));
            running.applied.close_clients();
            running.shared.phase.send_replace(Phase::Draining);
        }
    }

    /// Waits until everything that was accepted is finished; for ever while nothing drains.
    async fn drained(&self) {
        match &self.running {
            _ if !self.is_draining => std::future::pending().await,
            Some(running) => running.shared.tasks.ended().await,
            None => {}
        }
    }

    /// Ends the event loops, and reports.
    async fn end(&mut self) -> Result<(), ProcessError> {
        if let Some(running) = self.running.take() {
            for event_loop in running.loops {
                event_loop.end();
            }
            running.status_loop.end();
            running.shared.access_log.flush();
        }
        self.tell(FromProxy::Drained).await
    }

    async fn tell(&self, message: FromProxy) -> Result<(), ProcessError> {
        self.channel.send(&message, &[]).await.map_err(ProcessError::Channel)
    }
}

fn read_config(file: OwnedFd) -> Result<Config, String> {
    let text = read_text(file)?;
    let path = Path::new("(from the supervisor)");
    Config::parse(&text, path).map_err(|errors| errors.to_string())
}

fn read_text(file: OwnedFd) -> Result<String, String> {
    use std::io::Seek as _;
    let mut file = std::fs::File::from(file);
    let text = file.rewind().and_then(|()| io::read_to_string(file));
    text.map_err(|error| format!("the configuration cannot be read: {error}"))
}

fn only(descriptors: Vec<OwnedFd>) -> Result<OwnedFd, ProcessError> {
    descriptors.into_iter().next().ok_or(ProcessError::NoDescriptor)
}

/// Every connection is a descriptor: as many as the system allows.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "descriptor_limit_not_raised");
    }
}
