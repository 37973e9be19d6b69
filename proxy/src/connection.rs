//! One client connection: from its first byte to its close.
//!
//! Idle, it is *parked*: a small future and the socket, no buffer. Bytes wake it into a burst of
//! requests, one after the other in the order sent; when the client pauses, it is parked again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ostler_conf::KeepaliveConfig;
use ostler_policy::forwarded::Peer;
use ostler_policy::http::RequestInvalid;
use ostler_policy::http::head::{HeadEnd, HeadIndex, HeadLimits, HeadScan};
use ostler_segment::counter::Server as Counter;

use ostler_supervisor::message::ListenerRole;

use crate::clock;
use crate::deadline::Deadline;
use crate::entry::Entry;
use crate::idle::Parked;
use crate::listener::Listener;
use crate::pace::Pace;
use crate::places::Place;
use crate::request;
use crate::respond::RequestError;
use crate::shared::{Activity, Phase, Shared};
use crate::transport::Transport;

/// How long a connection waits for the next request with its buffers at hand. Most clients that
/// send another at once do so within it; 10,000 idle connections must not hold theirs.
const HOT_WAIT: Duration = Duration::from_millis(25);
const READ_BYTES: usize = 4 * 1024;
/// How long an idle connection stays open after another proxy process has taken over: a client
/// that sends within it is told to close, instead of meeting a closed connection half-way.
const FAREWELL: Duration = Duration::from_secs(2);
/// What is read and dropped before a connection with an unread body closes: long enough for the
/// client to read the answer instead of a reset (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;

/// A connection that was accepted.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) transport: Transport,
    pub(crate) peer: Peer,
    pub(crate) listener: Arc<Listener>,
    /// The policy that it was accepted under.
    pub(crate) keepalive: Arc<KeepaliveConfig>,
    /// Its place under `server.max-connections`; none on the status listener.
    pub(crate) place: Option<Place>,
    pub(crate) event_loop: usize,
}

/// The client's side of a connection during a burst of requests.
#[derive(Debug)]
pub(crate) struct Client<'c> {
    pub(crate) shared: &'c Arc<Shared>,
    pub(crate) listener: &'c Listener,
    pub(crate) keepalive: &'c KeepaliveConfig,
    pub(crate) peer: Peer,
    pub(crate) event_loop: usize,
    pub(crate) transport: &'c Transport,
    /// Bytes received and not yet used.
    pub(crate) input: Vec<u8>,
    /// Bytes to be sent.
    pub(crate) out: Vec<u8>,
    pub(crate) deadline: Deadline,
    timers: Timers,
    writes: Writes,
    /// Bytes received, and sent, since the request began.
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

/// Timers that only some requests need, kept once they were made.
#[derive(Debug, Default)]
struct Timers {
    body: Option<Deadline>,
    upstream: Option<Deadline>,
}

/// How the client takes what it is sent.
#[derive(Debug)]
struct Writes {
    /// `timeouts.write-idle`.
    idle: Duration,
    /// `timeouts.write-min-rate`.
    min_rate: u64,
    /// Since when it takes nothing.
    blocked_since: Option<Instant>,
    pace: Pace,
}

/// What the client sends.
#[derive(Debug)]
pub(crate) struct Incoming<'c> {
    pub(crate) transport: &'c Transport,
    pub(crate) input: &'c mut Vec<u8>,
    pub(crate) received: &'c mut u64,
    /// For the body, once one was waited for.
    pub(crate) timer: &'c mut Option<Deadline>,
}

/// What the client is sent.
#[derive(Debug)]
pub(crate) struct Outgoing<'c> {
    transport: &'c Transport,
    pub(crate) out: &'c mut Vec<u8>,
    deadline: &'c mut Deadline,
    writes: &'c mut Writes,
    sent: &'c mut u64,
    /// For the other side: a worker or an origin.
    pub(crate) timer: &'c mut Option<Deadline>,
}

impl Client<'_> {
    /// Both directions, to be used at the same time.
    pub(crate) fn split(&mut self) -> (Incoming<'_>, Outgoing<'_>) {
        let incoming = Incoming {
            transport: self.transport,
            input: &mut self.input,
            received: &mut self.received,
            timer: &mut self.timers.body,
        };
        let outgoing = Outgoing {
            transport: self.transport,
            out: &mut self.out,
            deadline: &mut self.deadline,
            writes: &mut self.writes,
            sent: &mut self.sent,
            timer: &mut self.timers.upstream,
        };
        (incoming, outgoing)
    }

    /// Sends what is in `out`.
    ///
    /// # Errors
    ///
    /// When the client left, or took nothing for `timeouts.write-idle`.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        self.split().1.flush().await
    }
}

impl Outgoing<'_> {
    /// Sends what is in `out`.
    ///
    /// # Errors
    ///
    /// When the client left, or took nothing for `timeouts.write-idle`, or less than
    /// `timeouts.write-min-rate`.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        let outcome = loop {
            match self.try_flush() {
                Ok(true) => break Ok(()),
                Ok(false) => {}
                Err(error) => break Err(error),
            }
            if let Err(error) = self.writable().await {
                break Err(error);
            }
        };
        self.out.clear();
        outcome
    }

    /// Sends what the client takes at once of what is in `out`; returns whether that was all.
    ///
    /// # Errors
    ///
    /// As [`Outgoing::flush`].
    pub(crate) fn try_flush(&mut self) -> io::Result<bool> {
        let mut written = 0;
        loop {
            let rest = self.out.get(written..).unwrap_or_default();
            if rest.is_empty() {
                self.out.clear();
                return Ok(true);
            }
            match self.writes.send(self.transport, rest, self.sent)? {
                0 => break,
                count => written += count,
            }
        }
        self.out.drain(..written);
        Ok(false)
    }

    /// Sends what the client takes at once of `bytes`; returns how much, 0 when it takes nothing.
    ///
    /// # Errors
    ///
    /// As [`Outgoing::flush`].
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes.send(self.transport, bytes, self.sent)
    }

    /// Waits until the client may take more.
    ///
    /// # Errors
    ///
    /// When it left, or took nothing for `timeouts.write-idle`.
    pub(crate) async fn writable(&mut self) -> io::Result<()> {
        let at = self.writes.blocked_since.unwrap_or_else(clock::now) + self.writes.idle;
        match self.deadline.run(at, self.transport.writable()).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Writes {
    /// Sends some of `bytes`, which are not empty; 0 when the client takes nothing.
    fn send(&mut self, transport: &Transport, bytes: &[u8], sent: &mut u64) -> io::Result<usize> {
        let count = match transport.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.blocked_since.get_or_insert_with(clock::now);
                return Ok(0);
            }
            Err(error) => return Err(error),
        };
        *sent += count as u64;
        let waited = self
            .blocked_since
            .take()
            .map_or(Duration::ZERO, |since| clock::now().saturating_duration_since(since));
        if self.pace.keeps(waited, count as u64, self.min_rate) {
            Ok(count)
        } else {
            Err(io::ErrorKind::TimedOut.into())
        }
    }
}

/// What a burst of requests ends in.
#[derive(Debug, PartialEq, Eq)]
enum Burst {
    /// The client pauses, since this moment.
    Pause(Instant),
    /// The connection is over.
    Over(Counter),
}

/// How the connection goes on after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With the next request.
    Keep,
    /// It closes, for the reason that is counted.
    Close(Counter),
    /// It closes after an answer whose request was not read to its end.
    Linger,
    /// The answer is truncated: the client must notice.
    Abort,
}

/// Serves a connection until it is over.
pub(crate) async fn serve(shared: Arc<Shared>, connection: Connection) {
    let _open = Activity::begin(connection.place.is_some().then_some(&shared.gauges.open));
    let mut served = 0;
    let mut idle_since = None;
    let cause = loop {
        match park(&shared, &connection, idle_since).await {
            Ok(()) => {}
            Err(cause) => break cause,
        }
        // On the heap, so that a parked connection does not carry the burst's state around.
        match Box::pin(burst(&shared, &connection, &mut served)).await {
            Burst::Pause(since) => idle_since = Some(since),
            Burst::Over(cause) => break cause,
        }
    };
    if connection.place.is_some() {
        shared.counters.add(cause, 1);
    }
}

/// Waits for the first byte of a request, without buffers: of the next one until the idle
/// time-out, of the first one as long as a head may take.
async fn park(
    shared: &Shared,
    connection: &Connection,
    idle_since: Option<Instant>,
) -> Result<(), Counter> {
    let _idle = Activity::idle(shared, connection);
    let until = match idle_since {
        Some(since) => since + connection.keepalive.idle_timeout,
        None => clock::now() + shared.live.load().config.timeouts.head,
    };
    let evictable = Parked::enter(&shared.places.parked, connection.place.is_some());
    shared.places.make_room();
    let closing = async {
        if connection.listener.role == ListenerRole::Status {
            return std::future::pending().await;
        }
        // An error means that the process ends.
        drop(shared.phase.subscribe().wait_for(|&phase| phase == Phase::Draining).await);
        if shared.is_replaced.load(Ordering::Relaxed) {
            tokio::time::sleep(FAREWELL).await;
        }
    };
    let closed = async {
        connection.listener.closed().await;
        if shared.is_replaced.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let cause = tokio::select! {
        biased;
        outcome = connection.transport.readable() => {
            return outcome.map_err(|_broken| Counter::ClosedError);
        }
        () = evictable.evicted() => Counter::ClosedPressure,
        () = closing => Counter::ClosedDrain,
        () = closed => Counter::ClosedDrain,
        () = tokio::time::sleep_until(until.into()) => Counter::ClosedIdleTimeout,
    };
    // What is in the receive buffer by now is still served.
    if has_bytes(&connection.transport) { Ok(()) } else { Err(cause) }
}

/// Whether the kernel holds bytes that were not read yet.
fn has_bytes(transport: &Transport) -> bool {
    matches!(rustix::io::ioctl_fionread(transport), Ok(1..))
}

/// Serves requests until the client pauses or the connection is over.
async fn burst(shared: &Arc<Shared>, connection: &Connection, served: &mut u32) -> Burst {
    let writes = {
        let timeouts = &shared.live.load().config.timeouts;
        let (idle, min_rate) = (timeouts.write_idle, timeouts.write_min_rate.0);
        Writes { idle, min_rate, blocked_since: None, pace: Pace::default() }
    };
    let mut index = HeadIndex::default();
    let mut head = Vec::new();
    let mut entry = Entry::new();
    let mut client = Client {
        shared,
        listener: &connection.listener,
        keepalive: &connection.keepalive,
        peer: connection.peer,
        event_loop: connection.event_loop,
        transport: &connection.transport,
        input: Vec::with_capacity(READ_BYTES),
        out: Vec::new(),
        deadline: Deadline::new(clock::now() + HOT_WAIT),
        timers: Timers::default(),
        writes,
        received: 0,
        sent: 0,
    };
    loop {
        // A client that has many requests waiting must not keep the loop from the others.
        tokio::task::coop::consume_budget().await;
        (client.received, client.sent) = (0, 0);
        client.writes.pace = Pace::default();
        let (limits, head_timeout) = {
            let live = shared.live.load();
            (live.head_limits, live.config.timeouts.head)
        };
        let paused = clock::now();
        let end = match read_head(&mut client, &limits, paused, head_timeout).await {
            Ok(Some(end)) => end,
            Ok(None) => return Burst::Pause(paused),
            Err(NoHead::Closed) => return Burst::Over(Counter::ClosedClient),
            Err(NoHead::Broken) => return Burst::Over(Counter::ClosedError),
            Err(NoHead::Refused(error)) => return refuse(&mut client, &error).await,
        };
        *served = served.saturating_add(1);
        take_head(&mut client.input, &mut head, end);
        client.received = head.len() as u64;
        let ending = match index.parse(&head, &limits) {
            Ok(()) => request::handle(&mut client, &mut entry, index.head(&head), *served).await,
            Err(invalid) => return refuse(&mut client, &invalid.into()).await,
        };
        match ending {
            Ending::Keep => {}
            Ending::Close(cause) => return close(&mut client, cause).await,
            Ending::Linger => return linger(&mut client).await,
            Ending::Abort => {
                client.transport.reset_on_close();
                return Burst::Over(Counter::ClosedError);
            }
        }
    }
}

/// Moves a complete head out of the input; what follows it stays.
fn take_head(input: &mut Vec<u8>, head: &mut Vec<u8>, end: HeadEnd) {
    head.clear();
    head.extend_from_slice(input.get(end.start..end.end).unwrap_or_default());
    input.drain(..end.end);
}

/// Why there is no head.
enum NoHead {
    /// The client closed between two requests.
    Closed,
    /// The connection broke.
    Broken,
    /// What came is refused.
    Refused(RequestError),
}

/// Reads until a head is complete; `None` when the client has paused since `paused`, before its
/// first byte.
async fn read_head(
    client: &mut Client<'_>,
    limits: &HeadLimits,
    paused: Instant,
    head_timeout: Duration,
) -> Result<Option<HeadEnd>, NoHead> {
    let mut scan = HeadScan::default();
    // An empty line before a request is not its beginning (RFC 9112 §2.2).
    let has_begun = |input: &[u8]| !matches!(input, b"" | b"\r" | b"\r\n");
    let mut begun = None;
    loop {
        if !client.input.is_empty() {
            let found = scan.advance(&client.input, limits);
            let found = found.map_err(|invalid| NoHead::Refused(invalid.into()))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        if begun.is_none() && has_begun(&client.input) {
            begun = Some(clock::now());
        }
        let until = match begun {
            Some(begun) => begun + head_timeout,
            None => paused + HOT_WAIT.min(client.keepalive.idle_timeout),
        };
        client.input.reserve(READ_BYTES);
        let read = client.transport.read(&mut client.input);
        match (client.deadline.run(until, read).await, begun) {
            (Ok(Ok(0)), None) => return Err(NoHead::Closed),
            (Ok(Ok(0)), Some(_)) => return Err(NoHead::Refused(RequestError::Cut)),
            (Ok(Ok(_)), _) => {}
            (Ok(Err(_)), _) => return Err(NoHead::Broken),
            (Err(_elapsed), None) => return Ok(None),
            (Err(_elapsed), Some(_)) => return Err(NoHead::Refused(RequestError::HeadTimeout)),
        }
    }
}

/// Answers what never became a request, and closes.
async fn refuse(client: &mut Client<'_>, error: &RequestError) -> Burst {
    let line = client.input.split(|&byte| byte == b'\r' || byte == b'\n').next();
    let line = line.unwrap_or_default().to_vec();
    request::refuse_head(client, &line, error).await;
    linger(client).await
}

async fn close(client: &mut Client<'_>, cause: Counter) -> Burst {
    // Bytes that were received and not read would turn the close into a reset.
    if has_bytes(client.transport) || !client.input.is_empty() {
        linger(client).await;
    }
    Burst::Over(cause)
}

/// Says that nothing more comes, and drops what the client still sends for a while.
async fn linger(client: &mut Client<'_>) -> Burst {
    client.transport.end_writing();
    let until = clock::now() + LINGER;
    let mut dropped = 0;
    while dropped < LINGER_BYTES && clock::now() < until {
        client.input.clear();
        let read = client.transport.read(&mut client.input);
        match client.deadline.run(until, read).await {
            Ok(Ok(count @ 1..)) => dropped += count,
            Ok(Ok(0) | Err(_)) | Err(_) => break,
        }
    }
    Burst::Over(Counter::ClosedError)
}

impl From<RequestInvalid> for RequestError {
    fn from(invalid: RequestInvalid) -> Self {
        Self::Invalid(invalid)
    }
}
