//! The control socket: what the supervisor says beside signals.
//!
//! Lines come over it. `drain` means the same as `TERM`, and is heard also where the application
//! has replaced what handles that. `stacks ID` asks for the stacks of the threads; a Rust program
//! cannot show them, and says so at once, so that nobody waits for them.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as InheritedStream;

use ostler_segment::take_inherited;
use tokio::net::UnixStream;

/// Bytes of a line at most. Those there are have 27 and fewer.
const MAX_LINE: usize = 64;

/// What is answered to who asks for stacks.
const NO_STACKS: &str = r#"{"threads":[]}"#;

/// The socket, as inherited.
#[derive(Debug)]
pub(crate) struct Control(InheritedStream);

impl Control {
    /// Takes over the descriptor that `OSTLER_CONTROL` names.
    pub(crate) fn inherit(number: i32) -> io::Result<Self> {
        let taken: Vec<OwnedFd> = take_inherited(&[number]).map_err(io::Error::other)?;
        let socket = taken.into_iter().next().ok_or(io::ErrorKind::NotFound)?;
        Ok(Self(socket.into()))
    }

    /// Hands the socket to the event loop this is called in.
    pub(crate) fn listen(self) -> io::Result<Orders> {
        self.0.set_nonblocking(true)?;
        Ok(Orders { stream: UnixStream::from_std(self.0)?, read: Vec::with_capacity(MAX_LINE) })
    }
}

/// The socket in an event loop.
#[derive(Debug)]
pub(crate) struct Orders {
    stream: UnixStream,
    /// The beginning of a line.
    read: Vec<u8>,
}

impl Orders {
    /// Waits until the worker has to drain. Never ends when the supervisor closes the socket, or
    /// says what cannot be understood: there are signals then.
    pub(crate) async fn drain(&mut self) {
        loop {
            match self.line().await {
                Some(line) if line == b"drain" => return,
                Some(line) => self.answer(&line),
                None => std::future::pending().await,
            }
        }
    }

    /// Answers a question; what is none is passed over, for supervisors to come.
    fn answer(&self, line: &[u8]) {
        let id = std::str::from_utf8(line).ok().and_then(|line| line.strip_prefix("stacks "));
        let id: Option<u64> = id.and_then(|id| id.parse().ok());
        if let Some(id) = id {
            let answer = format!("stacks {id} {}\n{NO_STACKS}", NO_STACKS.len());
            // Nobody waits for ever for one that is lost.
            drop(self.stream.try_write(answer.as_bytes()));
        }
    }

    /// The next line; `None` when there will be none. Nothing is lost when the future is dropped.
    async fn line(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.read.iter().position(|&byte| byte == b'\n') {
                let mut line: Vec<u8> = self.read.drain(..=end).collect();
                line.pop();
                return Some(line);
            }
            if MAX_LINE <= self.read.len() {
                return None;
            }
            self.stream.readable().await.ok()?;
            match self.stream.try_read_buf(&mut self.read) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_broken) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[tokio::test]
    async fn drain_is_heard_behind_a_question_that_is_answered() {
        let (mut supervisor, ours) = InheritedStream::pair().unwrap();
        supervisor.write_all(b"stacks 18446744073709551615\nsomething new\ndrain\n").unwrap();
        let mut orders = Control(ours).listen().unwrap();
        orders.drain().await;
        drop(orders);
        let mut answer = String::new();
        supervisor.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "stacks 18446744073709551615 14\n{\"threads\":[]}");
    }

    #[tokio::test]
    async fn without_a_supervisor_or_with_a_line_without_end_there_are_signals() {
        for said in [&b"drai"[..], &[b'x'; 4 * MAX_LINE]] {
            let (mut supervisor, ours) = InheritedStream::pair().unwrap();
            supervisor.write_all(said).unwrap();
            drop(supervisor);
            let mut orders = Control(ours).listen().unwrap();
            assert_eq!(orders.line().await, None);
        }
    }
}
