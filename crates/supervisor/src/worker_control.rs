//! The control socket of a worker: what the supervisor says to a worker beside signals.
//!
//! A stream socket whose other end the worker inherits (`OSTLER_CONTROL`), in pools with the ring
//! link. The supervisor writes lines: `drain`, just before `TERM`. A worker need not know the
//! socket, and then never reads it: nothing here waits until it takes what is written.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use ostler_conf::{Link, PoolConfig};
use rustix::net::SendFlags;

/// The supervisor's end of the socket.
#[derive(Debug)]
pub(crate) struct WorkerControl {
    stream: UnixStream,
}

impl WorkerControl {
    /// Makes the socket of a worker, and the end that the worker gets. `None` where its pool has
    /// no ring link.
    pub(crate) fn create(config: &PoolConfig) -> io::Result<Option<(Self, OwnedFd)>> {
        if config.link == Link::Http {
            return Ok(None);
        }
        let (stream, theirs) = UnixStream::pair()?;
        stream.set_nonblocking(true)?;
        Ok(Some((Self { stream }, theirs.into())))
    }

    /// Tells the worker to take no more requests, and to end when it has done those it took.
    ///
    /// What does not fit is lost: a worker that reads nothing hears `TERM` alone.
    pub(crate) fn drain(&self) {
        if let Err(error) = send(&self.stream, b"drain\n") {
            tracing::debug!(%error, "drain_not_told");
        }
    }
}

/// Sends a line whole or not at all, and does not wait.
fn send(stream: &UnixStream, line: &[u8]) -> io::Result<()> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    match rustix::net::send(stream, line, flags)? {
        sent if sent == line.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::path::Path;

    use ostler_conf::Config;

    use super::*;

    #[test]
    fn a_worker_hears_that_it_has_to_drain() {
        let (control, theirs) = WorkerControl::create(&pool("auto")).unwrap().unwrap();
        control.drain();
        drop(control);
        let mut heard = String::new();
        UnixStream::from(theirs).read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "drain\n");
    }

    #[test]
    fn a_worker_that_reads_nothing_or_has_ended_holds_nobody_up() {
        let (control, theirs) = WorkerControl::create(&pool("auto")).unwrap().unwrap();
        (0..100_000).for_each(|_| control.drain());
        drop(theirs);
        control.drain();
    }

    #[test]
    fn without_the_ring_link_there_is_none() {
        assert!(WorkerControl::create(&pool("http")).unwrap().is_none());
    }

    fn pool(link: &str) -> PoolConfig {
        let text = format!("[pool.web]\ncommand = ['a']\nlink = '{link}'\n");
        let mut config = Config::parse(&text, Path::new("/etc/ostler.toml")).unwrap();
        config.pools.remove("web").unwrap()
    }
}
