//! The listening sockets, which outlive every proxy process.
//!
//! A TCP address has one socket for each of the server's threads (`SO_REUSEPORT`), so that the
//! kernel spreads connections over them. Such sockets could be shared with a stranger's by
//! accident: a first bind without the option finds out.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ostler_conf::{Config, ListenAddress};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, getsockname, listen,
    socket_with, sockopt,
};

use crate::identity;
use crate::message::ListenerRole;
use crate::runtime_dir;

/// Mode of a configured UNIX socket: whoever can reach its directory may connect, as anybody on
/// the machine may to a TCP port.
const PUBLIC: u32 = 0o666;

/// Mode of a socket for the supervisor's user alone.
const PRIVATE: u32 = 0o600;

/// Why a listener cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("listener {name}: cannot listen on {address}: {source}")]
pub struct BindError {
    /// The listener.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Why.
    pub source: io::Error,
}

/// What one address is listened on with. The file of a UNIX socket goes with it.
#[derive(Debug)]
pub(crate) struct Bound {
    configured: ListenAddress,
    actual: String,
    sockets: Vec<OwnedFd>,
    file: Option<PathBuf>,
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Some(path) = &self.file {
            runtime_dir::remove(path);
        }
    }
}

/// One listener: a name and a purpose for an address.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) role: ListenerRole,
    bound: Rc<Bound>,
}

impl Listener {
    /// The address, with the real port.
    pub(crate) fn address(&self) -> &str {
        &self.bound.actual
    }

    /// The address as configured.
    pub(crate) fn configured(&self) -> String {
        self.bound.configured.to_string()
    }

    /// Returns one socket for each of `threads`: those there are, over and over. Operators are
    /// answered by one.
    pub(crate) fn sockets(&self, threads: usize) -> impl Iterator<Item = BorrowedFd<'_>> {
        let wanted = match self.role {
            ListenerRole::Client => threads,
            ListenerRole::Status => 1,
        };
        self.bound.sockets.iter().map(AsFd::as_fd).cycle().take(wanted)
    }

    fn is_same(&self, other: &Self) -> bool {
        self.name == other.name && self.role == other.role && Rc::ptr_eq(&self.bound, &other.bound)
    }
}

/// All listeners of a configuration.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    all: Vec<Listener>,
}

impl Listeners {
    /// Listens on every address that `config` names, and on `internal_status`. Sockets of
    /// `previous` are used again where the address is the same.
    pub(crate) fn bind(
        config: &Config,
        internal_status: &Path,
        previous: &Self,
    ) -> Result<Self, BindError> {
        let backlog = config.server.listen_backlog;
        let threads = config.server.threads;
        let mut all = Vec::new();
        for listener in &config.listeners {
            let (name, address) = (listener.name.as_str(), &listener.address);
            let wanted = Wanted { name, address, sockets: threads, backlog, mode: PUBLIC };
            all.push(wanted.get(ListenerRole::Client, previous)?);
        }
        if let Some(address) = &config.status.address {
            let wanted = Wanted { name: "status", address, sockets: 1, backlog, mode: PUBLIC };
            all.push(wanted.get(ListenerRole::Status, previous)?);
        }
        let address = &ListenAddress::Unix(internal_status.to_owned());
        let name = "status-internal";
        let wanted = Wanted { name, address, sockets: 1, backlog, mode: PRIVATE };
        all.push(wanted.get(ListenerRole::Status, previous)?);
        Ok(Self { all })
    }

    /// Returns them all, in the order of the configuration.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Listener> {
        self.all.iter()
    }

    /// Returns those that are not in `other`.
    pub(crate) fn without(&self, other: &Self) -> impl Iterator<Item = &Listener> {
        self.all.iter().filter(|listener| !other.all.iter().any(|one| listener.is_same(one)))
    }

    /// Stops listening for clients. What answers operators stays.
    pub(crate) fn close_clients(&mut self) {
        self.all.retain(|listener| listener.role == ListenerRole::Status);
    }
}

/// A listener that a configuration asks for.
struct Wanted<'a> {
    name: &'a str,
    address: &'a ListenAddress,
    sockets: usize,
    backlog: u32,
    mode: u32,
}

impl Wanted<'_> {
    fn get(&self, role: ListenerRole, previous: &Listeners) -> Result<Listener, BindError> {
        let old = previous.all.iter().find(|old| {
            old.bound.configured == *self.address && old.bound.sockets.len() == self.count()
        });
        let bound = match old {
            Some(old) => self.relisten(&old.bound).map(|()| Rc::clone(&old.bound)),
            None => self.bind(previous).map(Rc::new),
        };
        let name = self.name.to_owned();
        match bound {
            Ok(bound) => Ok(Listener { name, role, bound }),
            Err(source) => Err(BindError { name, address: self.address.to_string(), source }),
        }
    }

    /// A UNIX socket cannot be bound twice: its threads share one.
    fn count(&self) -> usize {
        match self.address {
            ListenAddress::Tcp(_) => self.sockets,
            ListenAddress::Unix(_) => 1,
        }
    }

    /// Follows a change of the backlog.
    fn relisten(&self, bound: &Bound) -> io::Result<()> {
        bound.sockets.iter().try_for_each(|socket| listen_with(socket, self.backlog))
    }

    fn bind(&self, previous: &Listeners) -> io::Result<Bound> {
        match self.address {
            ListenAddress::Tcp(address) => self.bind_tcp(*address, previous),
            ListenAddress::Unix(path) => self.bind_unix(path),
        }
    }

    fn bind_tcp(&self, address: SocketAddr, previous: &Listeners) -> io::Result<Bound> {
        // A socket of ours on another address of the same port would fail the probe.
        let is_port_ours = previous.all.iter().any(|old| {
            matches!(&old.bound.configured, ListenAddress::Tcp(old) if old.port() == address.port())
        });
        if address.port() != 0 && !is_port_ours {
            drop(tcp_socket(address, false)?);
        }
        let first = tcp_socket(address, true)?;
        let actual = SocketAddr::try_from(getsockname(&first)?)?;
        let mut sockets = vec![first];
        while sockets.len() < self.sockets {
            sockets.push(tcp_socket(actual, true)?);
        }
        sockets.iter().try_for_each(|socket| listen_with(socket, self.backlog))?;
        let configured = self.address.clone();
        Ok(Bound { configured, actual: actual.to_string(), sockets, file: None })
    }

    fn bind_unix(&self, path: &Path) -> io::Result<Bound> {
        let socket = listen_unix(path, self.mode, self.backlog)?;
        Ok(Bound {
            configured: self.address.clone(),
            actual: self.address.to_string(),
            sockets: vec![socket],
            file: Some(path.to_owned()),
        })
    }
}

/// Listens on a UNIX socket. A file that is there is replaced if it is a socket that nobody
/// answers on.
pub(crate) fn listen_unix(path: &Path, mode: u32, backlog: u32) -> io::Result<OwnedFd> {
    use std::os::unix::fs::FileTypeExt as _;

    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file is no socket"));
        }
        Ok(_) if is_abandoned(path)? => std::fs::remove_file(path)?,
        Ok(_) => {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process answers on it"));
        }
    }
    let socket = unix_socket()?;
    // Never by its path, which may lead elsewhere by then.
    identity::with_mode(mode, || bind(&socket, &SocketAddrUnix::new(path)?))?;
    listen_with(&socket, backlog)?;
    Ok(socket)
}

/// Returns whether nobody listens on a socket. Does not wait for one who is slow to accept.
fn is_abandoned(path: &Path) -> io::Result<bool> {
    match connect(&unix_socket()?, &SocketAddrUnix::new(path)?) {
        // Full, or a socket of another type.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => Ok(false),
        Err(Errno::CONNREFUSED) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn unix_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// Listens on the socket of a worker, for the proxy's user alone.
pub(crate) fn listen_worker(
    path: &Path,
    backlog: u32,
    proxy: Option<&identity::Identity>,
) -> io::Result<OwnedFd> {
    let socket = listen_unix(path, PRIVATE, backlog)?;
    identity::give(path, proxy)?;
    // Workers expect what systemd passes on: a blocking socket.
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(socket)
}

fn listen_with(socket: &OwnedFd, backlog: u32) -> io::Result<()> {
    Ok(listen(socket, i32::try_from(backlog).unwrap_or(i32::MAX))?)
}

/// Returns a bound socket that does not listen yet.
fn tcp_socket(address: SocketAddr, is_shared: bool) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, is_shared)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests;
