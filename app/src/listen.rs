//! The socket that requests come from: inherited, or bound when a worker is started by hand.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream as BlockingUnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use listenfd::ListenFd;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// An address to listen on, written `ADDRESS:PORT` or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a UNIX socket.
    Unix(PathBuf),
}

/// A text that is no address to listen on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address is written ADDRESS:PORT or unix:PATH")]
pub struct AddressError;

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix("unix:") {
            Some("") => Err(AddressError),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_not_an_address| AddressError),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// A listening socket that no event loop watches yet.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl Listener {
    /// Takes descriptor 3 over, which must be a listening UNIX stream socket.
    ///
    /// The caller has checked that it is meant for this process.
    pub(crate) fn inherit() -> io::Result<Self> {
        let listener = ListenFd::from_env().take_unix_listener(0)?;
        listener.map(Self::Unix).ok_or_else(|| io::Error::other("descriptor 3 was taken before"))
    }

    /// Binds `address`. A UNIX socket that a dead process left behind is replaced.
    pub(crate) fn bind(address: &ListenAddress) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => std::net::TcpListener::bind(address).map(Self::Tcp),
            ListenAddress::Unix(path) => bind_unix(path).map(Self::Unix),
        }
    }

    /// The address that was really bound: its port is known.
    pub(crate) fn address(&self) -> io::Result<ListenAddress> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(ListenAddress::Tcp),
            Self::Unix(listener) => {
                let address = listener.local_addr()?;
                Ok(ListenAddress::Unix(
                    address.as_pathname().unwrap_or_else(|| Path::new("")).into(),
                ))
            }
        }
    }

    /// Hands the socket to the event loop this is called in.
    pub(crate) fn into_acceptor(self) -> io::Result<Acceptor> {
        match self {
            Self::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener).map(Acceptor::Tcp)
            }
            Self::Unix(listener) => {
                listener.set_nonblocking(true)?;
                UnixListener::from_std(listener).map(Acceptor::Unix)
            }
        }
    }
}

fn bind_unix(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    match std::os::unix::net::UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(path) => {
            std::fs::remove_file(path)?;
            std::os::unix::net::UnixListener::bind(path)
        }
        bound => bound,
    }
}

/// Whether `path` is a socket that nobody listens on.
fn is_abandoned(path: &Path) -> bool {
    BlockingUnixStream::connect(path)
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// A listening socket in an event loop.
#[derive(Debug)]
pub(crate) enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// An accepted connection.
#[derive(Debug)]
pub(crate) enum Accepted {
    Tcp(TcpStream, IpAddr),
    Unix(UnixStream),
}

impl Acceptor {
    /// Waits for a connection. Nothing is lost when the future is dropped.
    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Accepted::Tcp(stream, peer.ip()))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(Accepted::Unix(stream))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for text in ["127.0.0.1:8000", "[::1]:80", "unix:/run/a b.sock", "unix:relative"] {
            assert_eq!(text.parse::<ListenAddress>().map(|it| it.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "8000", ":8000", "localhost:8000", "unix:", "/run/a.sock"] {
            assert_eq!(text.parse::<ListenAddress>(), Err(AddressError), "{text}");
        }
    }

    #[test]
    fn an_abandoned_unix_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let address = ListenAddress::Unix(folder.path().join("worker.sock"));

        let live = Listener::bind(&address).unwrap();
        let refused = Listener::bind(&address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);

        drop(live);
        assert_eq!(Listener::bind(&address).unwrap().address().unwrap(), address);
    }
}
