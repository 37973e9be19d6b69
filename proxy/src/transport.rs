//! A client's connection, over TCP or a UNIX socket.
//!
//! Used by shared reference: one side of a request may read while the other writes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use tokio::io::{Interest, Ready};
use tokio::net::{TcpStream, UnixStream};

/// A connection that was accepted.
#[derive(Debug)]
pub(crate) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Transport {
    /// Waits until there is something to read, or the other side has closed.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Unix(stream) => stream.readable().await,
        }
    }

    /// Reads what is there into the room at the end of `into`.
    ///
    /// A read that leaves some of the room has taken everything. Then the event loop waits for
    /// more at once, without a second read that would only say so. (It waits for a change since
    /// the read began, so nothing that comes meanwhile is missed.)
    pub(crate) fn try_read(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        let room = into.capacity() - into.len();
        let mut all = None;
        let read = || {
            let count = rustix::io::read(self, spare_capacity(into))?;
            if 0 < count && count < room {
                all = Some(count);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(count)
        };
        let outcome = match self {
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, read),
            Self::Unix(stream) => stream.try_io(Interest::READABLE, read),
        };
        all.map_or(outcome, Ok)
    }

    /// Reads into the room at the end of `into`; 0 when the other side has closed.
    pub(crate) async fn read(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            match self.try_read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable().await?,
                outcome => return outcome,
            }
        }
    }

    /// Waits until the other side has closed its half. Reads what it sends before that into
    /// `input`, up to `limit` bytes; then it can no longer tell, and waits for ever.
    pub(crate) async fn closed_by_peer(&self, input: &mut Vec<u8>, limit: usize) {
        loop {
            let Ok(ready) = self.ready(Interest::READABLE).await else { return };
            if ready.is_read_closed() || ready.is_error() {
                return;
            }
            if limit <= input.len() {
                return std::future::pending().await;
            }
            match self.try_read(input) {
                Ok(0) => return,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => {}
            }
        }
    }

    async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match self {
            Self::Tcp(stream) => stream.ready(interest).await,
            Self::Unix(stream) => stream.ready(interest).await,
        }
    }

    /// Writes some of `bytes`, if any is taken at once; returns how many were.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
        }
    }

    /// Waits until something may be taken.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.writable().await,
            Self::Unix(stream) => stream.writable().await,
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn end_writing(&self) {
        if let Err(error) = rustix::net::shutdown(self, rustix::net::Shutdown::Write) {
            tracing::debug!(%error, "shutdown_failed");
        }
    }

    /// Makes closing look like what it is, a broken answer: the client gets a reset.
    pub(crate) fn reset_on_close(&self) {
        if let Self::Tcp(stream) = self {
            let linger = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
            if let Err(error) = linger {
                tracing::debug!(%error, "linger_failed");
            }
        }
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}
