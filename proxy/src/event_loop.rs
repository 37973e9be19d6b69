//! The event loops: threads that each own their sockets and connections.
//!
//! A connection never changes its thread. The loops share the pools, the configuration and the
//! counters, nothing else.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use ostler_supervisor::message::ListenerRole;
use tokio::sync::mpsc;

use crate::access_log;
use crate::link;
use crate::listener::{self, Listener, Socket};
use crate::shared::Shared;

/// Sockets that a loop may be handed before it takes them up.
const COMMANDS: usize = 64;

/// A socket for a loop to accept on.
#[derive(Debug)]
struct Listen {
    listener: Arc<Listener>,
    socket: OwnedFd,
}

/// One thread.
#[derive(Debug)]
pub(crate) struct EventLoop {
    commands: mpsc::Sender<Listen>,
    thread: JoinHandle<()>,
}

impl EventLoop {
    /// Starts loop number `number`.
    ///
    /// # Errors
    ///
    /// When the thread or its runtime cannot be made.
    pub(crate) fn start(shared: Arc<Shared>, number: usize, name: &str) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .on_thread_park(link::before_sleep)
            .on_thread_unpark(link::after_sleep)
            .enable_all()
            .build()?;
        let (commands, received) = mpsc::channel(COMMANDS);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || runtime.block_on(run(shared, number, received)))?;
        Ok(Self { commands, thread })
    }

    /// Lets the loop accept on a socket.
    pub(crate) async fn listen(&self, listener: Arc<Listener>, socket: OwnedFd) {
        listener.count_socket();
        if self.commands.send(Listen { listener, socket }).await.is_err() {
            tracing::error!("event_loop_gone");
        }
    }

    /// Ends the loop; what is still open on it is closed.
    pub(crate) fn end(self) {
        drop(self.commands);
        if self.thread.join().is_err() {
            tracing::error!("event_loop_panicked");
        }
    }
}

/// Runs one loop until its commands end.
async fn run(shared: Arc<Shared>, number: usize, mut commands: mpsc::Receiver<Listen>) {
    let mut flush = tokio::time::interval(access_log::FLUSH_EVERY);
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Listen { listener, socket }) => match Socket::new(socket) {
                    Ok(socket) => {
                        let role = listener.role;
                        let accept = listener::accept(Arc::clone(&shared), listener, socket, number);
                        match role {
                            // A drain waits until the backlog was taken over.
                            ListenerRole::Client => shared.tasks.spawn(accept),
                            ListenerRole::Status => shared.tasks.spawn_uncounted(accept),
                        }
                    }
                    Err(error) => {
                        let name = &listener.name;
                        tracing::error!(%name, %error, "listener_failed");
                    }
                },
                None => break,
            },
            _ = flush.tick() => shared.access_log.hand_over(),
        }
    }
    shared.access_log.hand_over();
}
