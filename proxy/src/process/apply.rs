//! Carries a configuration out: which listeners accept, and which names are looked up.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use ostler_supervisor::message::ListenerRole;
use tokio::sync::mpsc;

use crate::event_loop::EventLoop;
use crate::listener::Listener;
use crate::live::{BuildError, LiveConfig, Origin};
use crate::tasks::Tasks;

/// How long a configuration waits for the listeners that it does not name to be closed.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// Listening sockets that no configuration has used yet, by the name of their listener.
#[derive(Debug, Default)]
pub(super) struct ListenerSockets {
    waiting: BTreeMap<String, Sockets>,
}

#[derive(Debug)]
struct Sockets {
    /// As bound, with the real port.
    address: String,
    configured: String,
    role: ListenerRole,
    descriptors: Vec<OwnedFd>,
}

impl ListenerSockets {
    /// Takes in the sockets of one listener.
    pub(super) fn add(
        &mut self,
        name: String,
        (address, configured): (String, String),
        role: ListenerRole,
        descriptors: Vec<OwnedFd>,
    ) {
        self.waiting.insert(name, Sockets { address, configured, role, descriptors });
    }
}

/// The listeners that accept, by name, with their addresses as configured.
#[derive(Debug, Default)]
pub(super) struct Applied {
    listeners: BTreeMap<String, (String, Arc<Listener>)>,
}

impl Applied {
    /// Lets the listeners of a configuration accept, and closes the others.
    pub(super) async fn listen(
        &mut self,
        sockets: &mut ListenerSockets,
        (before, live): (&Arc<LiveConfig>, &LiveConfig),
        (loops, status_loop): (&[EventLoop], &EventLoop),
    ) {
        let mut closed = self.close_unnamed(before, live);
        for (name, waiting) in std::mem::take(&mut sockets.waiting) {
            let keepalive = live
                .config
                .listeners
                .iter()
                .find(|listener| listener.name == name)
                .map_or_else(|| live.config.keepalive.clone(), |found| found.keepalive.clone());
            let Sockets { address, configured, role, descriptors } = waiting;
            tracing::debug!(%name, %address, "listener_accepts");
            let listener = Arc::new(Listener::new(name.clone(), role, keepalive));
            let loops: Vec<&EventLoop> = match role {
                ListenerRole::Status => vec![status_loop],
                ListenerRole::Client => loops.iter().collect(),
            };
            for (socket, event_loop) in descriptors.into_iter().zip(loops) {
                event_loop.listen(Arc::clone(&listener), socket).await;
            }
            if let Some((_, replaced)) = self.listeners.insert(name, (configured, listener)) {
                replaced.close_after(Arc::clone(before));
                closed.push(replaced);
            }
        }
        let all_closed = async {
            for listener in closed {
                listener.sockets_closed().await;
            }
        };
        if tokio::time::timeout(CLOSE_WAIT, all_closed).await.is_err() {
            tracing::warn!("listeners_close_slowly");
        }
    }

    /// Closes listeners that the configuration no longer names, and changes the policy of those
    /// it does.
    fn close_unnamed(&mut self, before: &Arc<LiveConfig>, live: &LiveConfig) -> Vec<Arc<Listener>> {
        let config = &live.config;
        let mut closed = Vec::new();
        self.listeners.retain(|name, (configured, listener)| {
            if listener.role == ListenerRole::Status {
                let status = config.status.address.as_ref().map(ToString::to_string);
                let is_named = name != "status" || status.as_ref() == Some(configured);
                if !is_named {
                    listener.close();
                    closed.push(Arc::clone(listener));
                }
                return is_named;
            }
            let named = config
                .listeners
                .iter()
                .find(|found| found.address.to_string() == *configured && found.name == *name);
            if let Some(found) = named {
                listener.set_keepalive(found.keepalive.clone());
            } else {
                listener.close_after(Arc::clone(before));
                closed.push(Arc::clone(listener));
            }
            named.is_some()
        });
        closed
    }

    /// Stops accepting clients; operators are still answered.
    pub(super) fn close_clients(&self) {
        for (_, listener) in self.listeners.values() {
            if listener.role == ListenerRole::Client {
                listener.close();
            }
        }
    }
}

/// Looks up the names of every origin's servers, all at once, and waits for it so long at the
/// longest; what takes longer goes on without being waited for.
pub(super) async fn resolve_all(tasks: &Tasks, live: &LiveConfig, wait: Duration) {
    let (pending, mut all_done) = mpsc::channel::<()>(1);
    for (name, origin) in &live.origins {
        if let Origin::Servers(servers) = origin {
            let (name, servers, pending) = (name.clone(), Arc::clone(servers), pending.clone());
            tasks.spawn_uncounted(async move {
                if let Err(error) = servers.resolve().await {
                    tracing::warn!(origin = %name, %error, "origin_not_resolved");
                }
                drop(pending);
            });
        }
    }
    drop(pending);
    if tokio::time::timeout(wait, all_done.recv()).await.is_err() {
        tracing::warn!(?wait, "origins_resolve_slowly");
    }
}

/// Why a configuration cannot be built, with every cause.
pub(super) fn told(error: &BuildError) -> String {
    let mut told = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    told
}
