//! The control socket: what the supervisor says beside signals.
//!
//! Lines come over it. `drain` means the same as `TERM`, and is heard also where the application
//! has replaced what handles that. `stacks ID` asks for the stacks of the threads. A thread of its
//! own listens, which nothing that the application does can hold up.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;

use ostler_segment::take_inherited;

use crate::worker::Stopper;

/// Bytes of a line at most. Those there are have 27 and fewer.
const MAX_LINE: u64 = 64;

/// Bytes of an answer at most: the supervisor takes no more.
const MAX_ANSWER: usize = 1024 * 1024;

/// What is answered to who asks for stacks where nobody can tell them: a Rust program cannot.
const NO_STACKS: &str = r#"{"threads":[]}"#;

/// Tells the stacks of this process's threads, as JSON.
pub(crate) struct Stacks(Box<dyn Fn() -> String + Send>);

/// The socket, as inherited.
#[derive(Debug)]
pub(crate) struct Control(UnixStream);

impl Stacks {
    pub(crate) fn new(tell: impl Fn() -> String + Send + 'static) -> Self {
        Self(Box::new(tell))
    }
}

impl Default for Stacks {
    fn default() -> Self {
        Self::new(|| NO_STACKS.to_owned())
    }
}

impl fmt::Debug for Stacks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Stacks")
    }
}

impl Control {
    /// Takes over the descriptor that `OSTLER_CONTROL` names.
    pub(crate) fn inherit(number: i32) -> io::Result<Self> {
        let taken: Vec<OwnedFd> = take_inherited(&[number]).map_err(io::Error::other)?;
        let socket = taken.into_iter().next().ok_or(io::ErrorKind::NotFound)?;
        Ok(Self(socket.into()))
    }

    /// Listens until the supervisor closes the socket, or says what cannot be understood: there
    /// are signals then.
    pub(crate) fn listen(self, stopper: Stopper, stacks: Stacks) -> io::Result<()> {
        let thread = thread::Builder::new().name("ostler-control".to_owned());
        thread.spawn(move || obey(&self.0, &stopper, &stacks)).map(drop)
    }
}

fn obey(socket: &UnixStream, stopper: &Stopper, stacks: &Stacks) {
    let mut lines = BufReader::new(socket);
    let mut line = String::new();
    loop {
        line.clear();
        let read = lines.by_ref().take(MAX_LINE).read_line(&mut line);
        let Some(order) = line.strip_suffix('\n').filter(|_| read.is_ok()) else { return };
        let id: Option<u64> = order.strip_prefix("stacks ").and_then(|id| id.parse().ok());
        match id {
            _ if order == "drain" => stopper.stop(),
            Some(id) => answer(socket, id, stacks),
            // Said by a supervisor to come.
            None => {}
        }
    }
}

fn answer(mut socket: &UnixStream, id: u64, stacks: &Stacks) {
    let mut told = (stacks.0)();
    if MAX_ANSWER < told.len() {
        NO_STACKS.clone_into(&mut told);
    }
    // Nobody waits for ever for an answer that is lost.
    drop(socket.write_all(format!("stacks {id} {}\n{told}", told.len()).as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Worker;

    #[test]
    fn drain_is_heard_behind_a_question_that_is_answered() {
        let said = b"stacks 18446744073709551615\nsomething new\ndrain\n";
        let stacks = Stacks::new(|| "hay".to_owned());
        assert_eq!(listen(said, &stacks), ("stacks 18446744073709551615 3\nhay".to_owned(), true));
        let told = listen(b"stacks 7\n", &Stacks::default());
        assert_eq!(told, ("stacks 7 14\n{\"threads\":[]}".to_owned(), false));
    }

    #[test]
    fn without_a_supervisor_or_with_a_line_without_end_there_are_signals() {
        for said in [&b"drain"[..], &[b'x'; 4 * 64], b"\xff\n"] {
            assert_eq!(listen(said, &Stacks::default()), (String::new(), false));
        }
    }

    #[test]
    fn no_answer_is_longer_than_the_supervisor_takes() {
        let long = Stacks::new(|| "x".repeat(MAX_ANSWER + 1));
        assert_eq!(listen(b"stacks 1\n", &long).0, "stacks 1 14\n{\"threads\":[]}");
    }

    /// What a worker answers to all of this, and whether it drains.
    fn listen(said: &[u8], stacks: &Stacks) -> (String, bool) {
        let (mut supervisor, ours) = UnixStream::pair().unwrap();
        supervisor.write_all(said).unwrap();
        supervisor.shutdown(std::net::Shutdown::Write).unwrap();
        let stopper = Worker::listen("127.0.0.1:0").unwrap().stopper();
        obey(&ours, &stopper, stacks);
        drop(ours);
        let mut answer = String::new();
        supervisor.read_to_string(&mut answer).unwrap();
        (answer, stopper.is_stopped())
    }
}
