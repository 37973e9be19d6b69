//! Origins: servers that are not ours to run, asked through `pingora-proxy`.
//!
//! The engine stands in for a worker: one request at a time is written to it over a pipe in this
//! process, in HTTP/1.1, and its answer is read, checked and relayed like a worker's. So there is
//! one relay, one keep-alive policy and one error table, and pingora has what it is good at:
//! connections to servers, TLS, retries and balancing (`docs/decisions/0003`).

mod app;
mod resolve;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ostler_conf::{OriginHost, OriginKind, ServerUrl};
use ostler_segment::CounterPage;
use pingora_core::apps::HttpServerApp as _;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::configuration::ServerConf;
use pingora_load_balancing::selection::RoundRobin;
use pingora_load_balancing::{Backends, LoadBalancer};
use pingora_proxy::{HttpProxy, http_proxy};
use tokio::sync::watch;

use self::app::OriginApp;
use self::resolve::Resolver;
use crate::clock;
use crate::exchange::Exchange;
use crate::tasks::Tasks;

/// What the pipe to the engine holds at most in each direction.
const PIPE_BYTES: usize = 64 * 1024;

/// How often the names of servers are resolved anew.
pub(crate) const RESOLVE_EVERY: Duration = Duration::from_secs(30);

/// An origin with servers.
pub(crate) struct ServersOrigin {
    pub(crate) name: String,
    pub(crate) servers: Vec<Server>,
    host: OriginHost,
    connect_timeout: Duration,
    /// To the first byte of a response, and between two reads of its body.
    pub(crate) idle: Duration,
    retries: u32,
    keeps_connections: bool,
    balancer: LoadBalancer<RoundRobin>,
    is_resolving: tokio::sync::Mutex<()>,
    /// Carries the requests, and keeps idle connections to the servers.
    engine: Arc<HttpProxy<OriginApp>>,
    shutdown: watch::Receiver<bool>,
    /// Held so that the engine does not believe that it is to shut down.
    _running: watch::Sender<bool>,
}

impl fmt::Debug for ServersOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServersOrigin").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The counters of origins' servers, by origin and URL.
pub(crate) type ServerPages = BTreeMap<(String, String), Arc<CounterPage>>;

/// One server of an origin.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: ServerUrl,
    pub(crate) in_flight: AtomicI64,
    /// Outlive this process.
    pub(crate) counters: Arc<CounterPage>,
    /// Whether the last attempt to reach it failed.
    is_failing: AtomicBool,
    /// Changed when that changes.
    health: Mutex<Health>,
}

/// Whether a server answers, by the last attempt to reach it.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    /// Since when it does, or does not, since the epoch.
    pub(crate) since: Duration,
    /// What failed; `None`: nothing.
    pub(crate) failure: Option<String>,
}

/// Why a request got no answer from an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum OriginFailure {
    /// The answer broke off, or is malformed.
    Broken,
    /// No server could be reached.
    Connect,
    /// No answer in time.
    Timeout,
}

/// Where the engine says why it failed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome(Arc<AtomicU8>);

impl Outcome {
    /// The reason for an exchange that ended without an answer.
    pub(crate) fn failure(&self) -> OriginFailure {
        match self.0.load(Ordering::Acquire) {
            1 => OriginFailure::Connect,
            2 => OriginFailure::Timeout,
            _ => OriginFailure::Broken,
        }
    }

    fn set(&self, failure: OriginFailure) {
        self.0.store(failure as u8, Ordering::Release);
    }
}

/// One request on its way through the engine.
struct Call {
    origin: Arc<ServersOrigin>,
    /// The `Host` to send; `None`: the server's own.
    host: Option<String>,
    outcome: Outcome,
}

impl ServersOrigin {
    /// Builds an origin from its configuration; `None` for a directory, and when a server's
    /// counters are not known.
    pub(crate) fn build(name: &str, kind: &OriginKind, pages: &ServerPages) -> Option<Self> {
        let OriginKind::Servers {
            servers,
            host,
            connect_timeout,
            response_timeout,
            retries,
            max_idle_connections,
        } = kind
        else {
            return None;
        };
        let config = ServerConf {
            // The connections kept are counted for an engine: one an origin, for all its servers.
            threads: 1,
            upstream_keepalive_pool_size: max_idle_connections.saturating_mul(servers.len()).max(1),
            max_retries: 1 + *retries as usize,
            ..ServerConf::default()
        };
        let with_counters = servers.iter().map(|url| {
            let counters = pages.get(&(name.to_owned(), url.to_string()))?;
            Some(Server::new(url.clone(), Arc::clone(counters)))
        });
        let with_counters: Option<Vec<Server>> = with_counters.collect();
        let (running, shutdown) = watch::channel(false);
        Some(Self {
            name: name.to_owned(),
            servers: with_counters?,
            host: host.clone(),
            connect_timeout: *connect_timeout,
            idle: *response_timeout,
            retries: *retries,
            keeps_connections: 0 < *max_idle_connections,
            balancer: LoadBalancer::from_backends(Backends::new(Box::new(Resolver::new(servers)))),
            is_resolving: tokio::sync::Mutex::new(()),
            engine: Arc::new(http_proxy(&Arc::new(config), OriginApp)),
            shutdown,
            _running: running,
        })
    }

    /// Begins an exchange with one of the servers. Where it ends without an answer, the outcome
    /// says why.
    pub(crate) fn call(self: &Arc<Self>, client_host: &str, tasks: &Tasks) -> (Exchange, Outcome) {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let outcome = Outcome::default();
        let host = match &self.host {
            OriginHost::Server => None,
            OriginHost::Client => Some(client_host.to_owned()),
            OriginHost::Fixed(host) => Some(host.clone()),
        };
        let call = Call { origin: Arc::clone(self), host, outcome: outcome.clone() };
        let mut session = ServerSession::new_http1(Box::new(theirs));
        session.set_connection_user_context(Some(Box::new(call)));
        let (engine, shutdown) = (Arc::clone(&self.engine), self.shutdown.clone());
        tasks.spawn(async move {
            // The pipe serves one request; whatever is given back is closed with it.
            drop(engine.process_new_http(session, &shutdown).await);
        });
        (Exchange::with_origin(ours), outcome)
    }

    /// Looks the servers' names up.
    ///
    /// # Errors
    ///
    /// When none of them resolves; the addresses known before stay in use.
    pub(crate) async fn resolve(&self) -> io::Result<()> {
        // Two at a time would confuse the balancer.
        let Ok(_alone) = self.is_resolving.try_lock() else { return Ok(()) };
        self.balancer.update().await.map_err(|error| io::Error::other(error.to_string()))
    }
}

impl Server {
    fn new(url: ServerUrl, counters: Arc<CounterPage>) -> Self {
        let health = Health { since: clock::unix_now(), failure: None };
        let (in_flight, is_failing) = (AtomicI64::new(0), AtomicBool::new(false));
        Self { url, in_flight, counters, is_failing, health: Mutex::new(health) }
    }

    /// Notes that it answers.
    fn note_answer(&self) {
        // It was so before: nothing to be written down, and nobody to wait for.
        if self.is_failing.load(Ordering::Relaxed) {
            self.note(None);
        }
    }

    /// Notes that it does not, and what failed last.
    fn note_failure(&self, failure: String) {
        self.note(Some(failure));
    }

    fn note(&self, failure: Option<String>) {
        let mut health = self.locked();
        if health.failure.is_some() != failure.is_some() {
            health.since = clock::unix_now();
        }
        self.is_failing.store(failure.is_some(), Ordering::Relaxed);
        health.failure = failure;
    }

    /// Whether it answers, and since when.
    pub(crate) fn health(&self) -> Health {
        self.locked().clone()
    }

    fn locked(&self) -> MutexGuard<'_, Health> {
        // Nothing under this lock panics half-way.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
