//! The binary under test: where it is, and running a command of it to its end.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::DEADLINE;
use crate::process::MARK;

/// A finished command, or what a stack left when it stopped.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The exit code; none when a signal ended the process.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error; for a stack the error log.
    pub stderr: String,
    /// The access log of a stack.
    pub access: String,
}

impl Ended {
    /// Fails the test unless it ended well, with no line of level `ERROR` in its log.
    #[track_caller]
    pub fn expect_no_errors_logged(&self) {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        let level = |line: &&str| line.split_ascii_whitespace().nth(1) == Some("ERROR");
        let errors: Vec<&str> = self.stderr.lines().filter(level).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
}

pub(crate) async fn run(mark: &str, folder: &Path, arguments: &[&str]) -> Ended {
    let mut command = ostler(mark, folder);
    command.args(arguments).arg("-c").arg(folder.join("ostler.toml"));
    finish(command).await
}

/// Runs the binary with nothing but these arguments.
pub async fn ostler_alone(arguments: &[&str]) -> Ended {
    let folder = TempDir::new().expect("a temporary folder");
    let mut command = ostler(&new_mark(), folder.path());
    command.args(arguments);
    finish(command).await
}

pub(crate) async fn finish(mut command: Command) -> Ended {
    let output =
        timeout(DEADLINE, command.stdout(Stdio::piped()).kill_on_drop(true).output()).await;
    let output = output.unwrap_or_else(|_| panic!("does not end: {command:?}"));
    let output = output.expect("the binary starts");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        access: String::new(),
    }
}

fn ostler(mark: &str, folder: &Path) -> Command {
    ostler_after(None, mark, folder)
}

/// The binary, as what a shell becomes after a script, where there is one.
pub(crate) fn ostler_after(script: Option<&str>, mark: &str, folder: &Path) -> Command {
    let mut command = match script {
        None => Command::new(built("ostler")),
        Some(script) => {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(format!("{script}\nexec \"$0\" \"$@\"")).arg(built("ostler"));
            shell
        }
    };
    command
        .current_dir(folder)
        .env(MARK, mark)
        .env("STACK_DIR", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// The path of an example of the worker library.
pub fn example(name: &str) -> PathBuf {
    built(&format!("examples/{name}"))
}

/// The folder that cargo builds into.
pub fn target_folder() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("in the workspace");
    // A relative CARGO_TARGET_DIR is relative to where cargo ran: the workspace.
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace.join("target"), |target| workspace.join(target))
}

pub(crate) fn built(name: &str) -> PathBuf {
    // Tests that were built to ship test what was built to ship.
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let path = target_folder().join(profile).join(name);
    let advice = "run `cargo build --workspace --examples` and `cargo build -p ostler` first";
    assert!(path.is_file(), "{} is missing: {advice}", path.display());
    path
}

/// A value that the processes of one stack carry, and those of no other.
pub(crate) fn new_mark() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;

    #[test]
    fn processes_are_found_by_their_mark_and_killed() {
        let mark = new_mark();
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sleep 1000 & wait"])
            .env(MARK, &mark)
            .spawn()
            .unwrap();
        let mut found = process::marked(&mark);
        while found.len() < 2 {
            found = process::marked(&mark);
        }
        assert!(found.iter().any(|process| process.pid == child.id()), "{found:?}");
        assert_eq!(process::kill_marked(&mark), []);
        child.wait().unwrap();
    }
}
