//! Programs that are not ours, run beside a stack: found, waited for, and ended with all that
//! they started.

use std::io::{Seek as _, Write as _};
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

use crate::binary::{Ended, finish, new_mark};
use crate::log::{self, Log};
use crate::process::{self, MARK};
use crate::{DEADLINE, POLL};

/// Where Debian puts programs and plugins.
const PLACES: [&str; 5] = [
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
    "/usr/share/munin/plugins",
    "/usr/lib/munin/plugins",
];

/// A program that runs until it is dropped.
#[derive(Debug)]
pub struct Program {
    // Held so that it is reaped.
    _child: Child,
    mark: String,
    log: Log,
    _readers: JoinSet<()>,
}

/// A program of a Debian package. Fails the test with what to type where it is missing.
pub fn installed(name: &str, package: &str) -> PathBuf {
    let paths = PLACES.iter().map(|place| PathBuf::from(place).join(name));
    let found = paths.into_iter().find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("{name} is missing: `cargo xtask test` installs it, or apt-get install {package}")
    })
}

/// Runs a program to its end, at most for [`DEADLINE`].
pub async fn run(mut command: Command) -> Ended {
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    finish(command).await
}

/// Runs a program to its end with these bytes as its standard input.
pub async fn run_on(mut command: Command, input: &[u8]) -> Ended {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(input).expect("written");
    file.rewind().expect("a file can be read again");
    command.stdin(file).stderr(Stdio::piped());
    finish(command).await
}

impl Program {
    /// Starts a program; what it says to standard error is kept.
    pub fn start(mut command: Command) -> Self {
        let mark = new_mark();
        let mut child = command
            .env(MARK, &mark)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (log, mut readers) = (Log::default(), JoinSet::new());
        readers.spawn(log::collect(child.stderr.take().expect("piped"), log.clone()));
        Self { _child: child, mark, log, _readers: readers }
    }

    /// Waits until it has written a line as wanted; returns it.
    pub async fn logged(&self, wanted: impl Fn(&str) -> bool) -> String {
        let mut ticks = interval(POLL);
        let deadline = Instant::now() + DEADLINE;
        loop {
            ticks.tick().await;
            if let Some(line) = self.log.lines().into_iter().find(|line| wanted(line)) {
                return line;
            }
            assert!(Instant::now() < deadline, "not logged:\n{}", self.log);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let left = process::kill_marked(&self.mark);
        if !std::thread::panicking() {
            assert!(left.is_empty(), "cannot be killed: {left:#?}");
        }
    }
}
