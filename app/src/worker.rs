//! A worker that is about to run: its socket, how much it runs at once, and how it is told to end.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::control::{Control, Stacks};
use crate::environment::{Environment, Socket};
use crate::listen::{Acceptor, Listener};
use crate::ring::{Ring, RingError};
use crate::threads::{EventLoop, Locks, ThreadQueue};
use crate::{AnyError, Body, EnvironmentError, ListenAddress, Request, Response};
use crate::{report, service, threads};

/// Why a worker did not run.
///
/// `Debug` is the chain of reasons too: that is what Rust prints when `main` returns it.
#[derive(thiserror::Error)]
pub enum RunError {
    /// The environment does not describe a worker.
    #[error("the environment is not a worker's")]
    Environment(#[from] EnvironmentError),
    /// The shared-memory link cannot be used.
    #[error("the ring link cannot be used")]
    Ring(#[from] RingError),
    /// The control socket cannot be used.
    #[error("the control socket cannot be used")]
    Control(#[source] io::Error),
    /// The inherited socket cannot be used.
    #[error("the inherited socket cannot be used")]
    Inherit(#[source] io::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// As it was given.
        address: String,
        /// Why.
        source: AnyError,
    },
    /// The system gave no thread or no event loop.
    #[error("cannot start threads")]
    Start(#[source] io::Error),
    /// Nobody at `NOTIFY_SOCKET` could be told that the worker is ready.
    #[error("cannot report readiness")]
    Notify(#[source] io::Error),
}

impl fmt::Debug for RunError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")?;
        let mut reason = self.source();
        while let Some(error) = reason {
            write!(formatter, ": {error}")?;
            reason = error.source();
        }
        Ok(())
    }
}

/// A worker that listens and runs nothing yet.
///
/// [`threads`](crate::threads) and [`service`](crate::service) make one from the environment and
/// run it. A test makes its own with [`Worker::listen`], and ends it through [`Worker::stopper`].
#[derive(Debug)]
pub struct Worker {
    listener: Listener,
    address: ListenAddress,
    threads: usize,
    concurrency: usize,
    /// Whether it is what this process is for, so that signals and readiness are about it.
    is_process: bool,
    stopper: Stopper,
    ring: Option<Arc<Ring>>,
    control: Option<Control>,
    stacks: Stacks,
}

/// Tells a worker to drain: to take no more, and to return when what it took is done.
#[derive(Clone, Debug)]
pub struct Stopper(watch::Sender<bool>);

impl Stopper {
    /// Tells it, and does not wait.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Tells whether it was told.
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }
}

impl Worker {
    /// Makes the worker that the environment describes.
    ///
    /// It drains on SIGTERM (and SIGINT), or when its control socket says so, and reports
    /// readiness to `NOTIFY_SOCKET`, if set.
    ///
    /// # Errors
    ///
    /// When a variable is missing or garbled, or its socket cannot be had.
    pub fn from_env() -> Result<Self, RunError> {
        let environment = Environment::read(std::process::id(), |name| {
            std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
        })?;
        let worker = match environment.socket {
            Socket::Inherited => {
                let listener = Listener::inherit().map_err(RunError::Inherit)?;
                let address = listener.address().map_err(RunError::Inherit)?;
                Self::new(listener, address)
            }
            Socket::Bind(address) => {
                let worker = Self::bind(&address)?;
                report(format_args!(
                    "listening on {} with {} threads, {} requests at once",
                    worker.address, environment.threads, environment.concurrency
                ));
                worker
            }
        };
        let ring =
            environment.link.map(|numbers| Ring::inherit(&numbers)).transpose()?.map(Arc::new);
        let control = environment.control.map(Control::inherit).transpose();
        let control = control.map_err(RunError::Control)?;
        let worker = Self { is_process: true, ring, control, ..worker };
        Ok(worker.with_threads(environment.threads).with_concurrency(environment.concurrency))
    }

    /// Makes a worker that listens on `address`, `ADDRESS:PORT` or `unix:PATH`, with one thread.
    ///
    /// It heeds no signal and reports no readiness: several can run in one process.
    ///
    /// # Errors
    ///
    /// When it cannot listen there.
    pub fn listen(address: &str) -> Result<Self, RunError> {
        let parsed = address.parse().map_err(|error| RunError::Listen {
            address: address.to_owned(),
            source: AnyError::from(error) as AnyError,
        })?;
        Self::bind(&parsed)
    }

    fn bind(address: &ListenAddress) -> Result<Self, RunError> {
        let failed = |error: io::Error| RunError::Listen {
            address: address.to_string(),
            source: error.into(),
        };
        let listener = Listener::bind(address).map_err(failed)?;
        let address = listener.address().map_err(failed)?;
        Ok(Self::new(listener, address))
    }

    fn new(listener: Listener, address: ListenAddress) -> Self {
        let stopper = Stopper(watch::Sender::new(false));
        Self {
            listener,
            address,
            threads: 1,
            concurrency: 1,
            is_process: false,
            stopper,
            ring: None,
            control: None,
            stacks: Stacks::default(),
        }
    }

    /// Sets the number of threads, at least 1. Raises the concurrency to it, if lower.
    #[must_use]
    pub fn with_threads(self, threads: usize) -> Self {
        let threads = threads.max(1);
        Self { threads, concurrency: self.concurrency.max(threads), ..self }
    }

    /// Sets how many requests are in flight at most, at least as many as there are threads.
    ///
    /// For a blocking handler: how many may wait for a thread.
    #[must_use]
    pub fn with_concurrency(self, concurrency: usize) -> Self {
        Self { concurrency: concurrency.max(self.threads), ..self }
    }

    /// Sets who tells the stacks of this process's threads when the supervisor asks: as JSON,
    /// `{"threads": [{"tid": 1, "name": "", "frames": [""]}]}`. It is called on a thread of its own,
    /// also while the worker drains.
    #[must_use]
    pub fn with_stacks(self, tell: impl Fn() -> String + Send + 'static) -> Self {
        Self { stacks: Stacks::new(tell), ..self }
    }

    /// Where it listens. The port is the real one.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// What ends it.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Runs a blocking handler until drained: see [`threads`](crate::threads()).
    ///
    /// # Errors
    ///
    /// When threads or readiness fail. Nothing was served then.
    pub fn threads<H>(self, handler: H) -> Result<(), RunError>
    where
        H: Fn(Request) -> Response + Sync,
    {
        let threads = self.threads;
        threads::run(self, threads, &handler)
    }

    /// Takes the worker apart for threads that are not made here, such as those of an interpreter:
    /// [`threads`](Self::thread_count) of them are to call [`ThreadQueue::work`], and one more
    /// [`EventLoop::run`].
    ///
    /// The threads share a lock, as those of an interpreter do: as a rule one of them is awake, and
    /// takes one request after the other. Others are woken while it waits for something.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::net::TcpStream;
    /// use std::thread;
    /// use ostler_app::{Body, ListenAddress, Reply, RequestHead, ResponseHead, Worker};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let worker = Worker::listen("127.0.0.1:0")?.with_threads(2);
    /// let ListenAddress::Tcp(address) = worker.address().clone() else { unreachable!() };
    /// let (stopper, count) = (worker.stopper(), worker.thread_count());
    /// let (queue, event_loop) = worker.lend_threads();
    ///
    /// // Threads of one's own: they come back from `work` when the worker is drained.
    /// let answer = |head: RequestHead, _body: Body, reply: Reply| {
    ///     let body = format!("you asked for {}", String::from_utf8_lossy(head.target()));
    ///     let length = Some(body.len() as u64);
    ///     let mut writer = reply.begin(ResponseHead::new(http::StatusCode::OK), length);
    ///     // Whoever asked may have left.
    ///     drop(writer.end(body.as_bytes()));
    /// };
    /// let lent = (0..count).map(|_| queue.clone());
    /// let lent: Vec<_> = lent.map(|queue| thread::spawn(move || queue.work(&answer))).collect();
    /// let running = thread::spawn(|| event_loop.run());
    ///
    /// let mut client = TcpStream::connect(address)?;
    /// client.write_all(b"GET /hay HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    /// let mut answer = String::new();
    /// client.read_to_string(&mut answer)?;
    /// assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
    /// assert!(answer.ends_with("\r\n\r\nyou asked for /hay"));
    ///
    /// stopper.stop();
    /// running.join().expect("the event loop does not panic")?;
    /// for thread in lent {
    ///     thread.join().expect("a handler that panics does not cost the thread");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn lend_threads(self) -> (ThreadQueue, EventLoop) {
        threads::lend(self, Locks::One)
    }

    /// How many threads there are to be.
    pub fn thread_count(&self) -> usize {
        self.threads
    }

    /// Runs a service until drained: see [`service`](crate::service()).
    ///
    /// # Errors
    ///
    /// When threads or readiness fail. Nothing was served then.
    pub fn service<S, B>(self, service: S) -> Result<(), RunError>
    where
        S: tower::Service<http::Request<Body>, Response = http::Response<B>>,
        S: Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<AnyError>,
        B: hyper::body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<AnyError>,
    {
        let (threads, concurrency) = (self.threads, self.concurrency);
        service::run(self, threads, concurrency, service)
    }

    /// How many requests may wait for a thread.
    pub(crate) fn waiting(&self) -> usize {
        self.concurrency
    }

    /// The ring link, for who runs the worker.
    pub(crate) fn ring(&self) -> Option<Arc<Ring>> {
        self.ring.clone()
    }

    /// Enters the event loop this is called in, and reports readiness.
    pub(crate) fn begin(self) -> Result<(Acceptor, Stop), RunError> {
        let signals = if self.is_process {
            let [terminate, interrupt] = [SignalKind::terminate(), SignalKind::interrupt()];
            let terminate = signal(terminate).map_err(RunError::Start)?;
            Some((terminate, signal(interrupt).map_err(RunError::Start)?))
        } else {
            None
        };
        let told = self.stopper.0.subscribe();
        if let Some(control) = self.control {
            control.listen(self.stopper.clone(), self.stacks).map_err(RunError::Control)?;
        }
        let stop = Stop { signals, told, _keep: self.stopper, ring: self.ring };
        let acceptor = self.listener.into_acceptor().map_err(RunError::Start)?;
        if self.is_process {
            sd_notify::notify(&[sd_notify::NotifyState::Ready]).map_err(RunError::Notify)?;
        }
        Ok((acceptor, stop))
    }
}

/// When a worker has to end.
#[derive(Debug)]
pub(crate) struct Stop {
    signals: Option<(Signal, Signal)>,
    told: watch::Receiver<bool>,
    /// Without a sender `told` would end by itself.
    _keep: Stopper,
    /// Is told when the worker has to end.
    ring: Option<Arc<Ring>>,
}

impl Stop {
    /// Waits until the worker has to end.
    pub(crate) async fn requested(mut self) {
        self.wait().await;
        if let Some(ring) = &self.ring {
            ring.retire();
        }
    }

    async fn wait(&mut self) {
        let told = self.told.wait_for(|told| *told);
        let Some((terminate, interrupt)) = &mut self.signals else {
            drop(told.await);
            return;
        };
        tokio::select! {
            _ = told => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
