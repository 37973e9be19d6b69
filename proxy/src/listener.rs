//! Accepts connections, as many as there are places for.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use ostler_conf::KeepaliveConfig;
use ostler_policy::forwarded::Peer;
use ostler_segment::counter::Server as Counter;
use ostler_supervisor::message::ListenerRole;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use crate::connection::{self, Connection};
use crate::live::LiveConfig;
use crate::shared::Shared;
use crate::transport::Transport;

/// How long accepting pauses when the process or the machine is out of descriptors: others
/// close meanwhile, and the log is not flooded.
const PAUSE: Duration = Duration::from_millis(100);

/// A listener's settings, shared by its sockets.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) role: ListenerRole,
    keepalive: ArcSwap<KeepaliveConfig>,
    is_open: watch::Sender<bool>,
    /// Sockets that are accepted on, on all event loops.
    sockets: watch::Sender<usize>,
    /// The configuration that its connections go on with, once it is closed by another one.
    last: OnceLock<Arc<LiveConfig>>,
}

impl Listener {
    /// A listener that accepts until it is closed.
    pub(crate) fn new(name: String, role: ListenerRole, keepalive: KeepaliveConfig) -> Self {
        Self {
            name,
            role,
            keepalive: ArcSwap::from_pointee(keepalive),
            is_open: watch::Sender::new(true),
            sockets: watch::Sender::new(0),
            last: OnceLock::new(),
        }
    }

    /// Changes the keep-alive policy of connections that are accepted from now on.
    pub(crate) fn set_keepalive(&self, keepalive: KeepaliveConfig) {
        self.keepalive.store(Arc::new(keepalive));
    }

    /// Stops accepting: its sockets are closed; accepted connections are answered once more.
    pub(crate) fn close(&self) {
        self.is_open.send_replace(false);
    }

    /// Closes a listener that the next configuration does not have.
    pub(crate) fn close_after(&self, last: Arc<LiveConfig>) {
        self.last.get_or_init(|| last);
        self.close();
    }

    /// The configuration that requests on it are answered by, if it is not the one in force.
    pub(crate) fn last(&self) -> Option<Arc<LiveConfig>> {
        self.last.get().cloned()
    }

    /// Whether it was closed.
    pub(crate) fn is_closed(&self) -> bool {
        !*self.is_open.borrow()
    }

    /// Counts a socket that is about to be accepted on.
    pub(crate) fn count_socket(&self) {
        self.sockets.send_modify(|sockets| *sockets += 1);
    }

    /// Waits until none of its sockets is accepted on any more.
    pub(crate) async fn sockets_closed(&self) {
        // An error cannot be: the sender is ours.
        let outcome = self.sockets.subscribe().wait_for(|&sockets| sockets == 0).await.is_ok();
        debug_assert!(outcome, "the sender lives as long as the listener");
    }

    /// Waits until it is closed.
    pub(crate) async fn closed(&self) {
        // An error cannot be: the sender is ours.
        let outcome = self.is_open.subscribe().wait_for(|&is_open| !is_open).await.is_ok();
        debug_assert!(outcome, "the sender lives as long as the listener");
    }
}

/// A socket that listens.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Socket {
    /// Takes over a listening socket. Called on the event loop that will accept.
    ///
    /// # Errors
    ///
    /// When it cannot be watched.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        let family = rustix::net::getsockname(&socket)?.address_family();
        if family == rustix::net::AddressFamily::UNIX {
            let socket = std::os::unix::net::UnixListener::from(socket);
            socket.set_nonblocking(true)?;
            UnixListener::from_std(socket).map(Self::Unix)
        } else {
            let socket = std::net::TcpListener::from(socket);
            socket.set_nonblocking(true)?;
            TcpListener::from_std(socket).map(Self::Tcp)
        }
    }

    /// Whether a connection waits to be accepted. Asks the kernel: what the event loop knows may be
    /// a turn old.
    fn has_waiting(&self) -> bool {
        let descriptor = match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        };
        let mut polled = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
        poll(&mut polled, Some(&Timespec::default())).is_ok_and(|ready| 0 < ready)
    }

    async fn accept(&self) -> io::Result<(Transport, Peer)> {
        match self {
            Self::Tcp(socket) => {
                let (stream, address) = socket.accept().await?;
                // An answer goes out in as few writes as can be; waiting to fill packets only
                // delays the last.
                stream.set_nodelay(true)?;
                Ok((Transport::Tcp(stream), Peer::Ip(address.ip())))
            }
            Self::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                Ok((Transport::Unix(stream), Peer::Unix))
            }
        }
    }
}

/// Accepts on one socket of a listener until it is closed, and closes it.
pub(crate) async fn accept(
    shared: Arc<Shared>,
    listener: Arc<Listener>,
    socket: Socket,
    event_loop: usize,
) {
    accept_until_closed(&shared, &listener, &socket, event_loop).await;
    drop(socket);
    listener.sockets.send_modify(|sockets| *sockets -= 1);
}

async fn accept_until_closed(
    shared: &Arc<Shared>,
    listener: &Arc<Listener>,
    socket: &Socket,
    event_loop: usize,
) {
    let mut open = listener.is_open.subscribe();
    // Once the listener is closed: how many connections are still taken over from the backlog.
    let mut left = None::<u32>;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = open.wait_for(|&is_open| !is_open), if left.is_none() => {
                left = Some(shared.live.load().config.server.listen_backlog);
                continue;
            }
            accepted = socket.accept(), if left != Some(0) => Some(accepted),
            () = std::future::ready(()), if left.is_some() => None,
        };
        let Some(accepted) = accepted else {
            if left == Some(0) || !socket.has_waiting() {
                return;
            }
            // The event loop has not been told yet of what came last.
            tokio::task::yield_now().await;
            continue;
        };
        left = left.map(|left| left.saturating_sub(1));
        let (transport, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause(shared, listener, &error).await;
                continue;
            }
        };
        let place = match listener.role {
            ListenerRole::Status => None,
            ListenerRole::Client => Some(shared.places.take().await),
        };
        if place.is_some() {
            shared.counters.add(Counter::AcceptedTotal, 1);
        }
        let (role, listener) = (listener.role, Arc::clone(listener));
        let keepalive = listener.keepalive.load_full();
        let connection = Connection { transport, peer, listener, keepalive, place, event_loop };
        let serve = connection::serve(Arc::clone(shared), connection);
        match role {
            ListenerRole::Client => shared.tasks.spawn(serve),
            // Operators may look on while the proxy drains; it does not wait for them.
            ListenerRole::Status => shared.tasks.spawn_uncounted(serve),
        }
    }
}

async fn pause(shared: &Shared, listener: &Listener, error: &io::Error) {
    let is_momentary = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    );
    if !is_momentary {
        if shared.complaints.is_due() {
            let name = &listener.name;
            tracing::error!(%name, %error, "accept_failed");
        }
        tokio::time::sleep(PAUSE).await;
    }
}
