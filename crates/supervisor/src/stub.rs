//! The stub: what a child process does between its start and the program it becomes.
//!
//! The supervisor starts itself again as `ostler exec-worker PLAN`, in a process group of its own.
//! That process takes what the plan says, in this order: limits, which may need root; the identity;
//! the file mode mask and the directory, as that identity; no way back to more rights. Then it sees
//! to it that it dies with the supervisor, which a change of identity would undo, and becomes the
//! program. It has one thread and no secrets, so all of it is plain safe code, where the time
//! between `fork` and `exec` of the supervisor would not be.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::fs::Mode;
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use crate::dispositions;
use crate::identity::Identity;
use crate::limits::{LimitError, Limits};
use crate::spawn::{self, THIS_PROGRAM};

/// Exit status of a stub that could not become its program (`EX_OSERR`).
pub const EXIT_STATUS: u8 = 71;

/// Where a worker finds its listening socket (`sd_listen_fds(3)`). The descriptors of the ring
/// link follow it, and the control socket behind them.
pub(crate) const LISTEN_FD: i32 = 3;

/// What a child process shall become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Process id of the supervisor.
    pub(crate) parent: i32,
    /// Whom to run as; `None`: as the supervisor.
    pub(crate) identity: Option<Identity>,
    /// What it may take of the system.
    pub(crate) limits: Limits,
    /// Its file mode mask; `None`: the supervisor's.
    pub(crate) umask: Option<u32>,
    /// Where to run; `None`: where the supervisor does.
    pub(crate) directory: Option<PathBuf>,
    /// Whether [`LISTEN_FD`] is a listening socket, to be told by `LISTEN_PID`.
    pub(crate) listens: bool,
    /// How many descriptors follow it: those of the ring link, and the control socket.
    pub(crate) further_descriptors: u32,
    /// Program and arguments.
    pub(crate) command: Vec<String>,
}

impl Plan {
    /// How many descriptors from [`LISTEN_FD`] on the program gets.
    fn descriptors(&self) -> usize {
        if self.listens { 1 + self.further_descriptors as usize } else { 0 }
    }
}

/// Why a stub did not become its program.
#[derive(Debug, thiserror::Error)]
enum StubError {
    #[error("the plan is not for this version: {0}")]
    Plan(#[from] serde_json::Error),
    #[error(transparent)]
    Limits(#[from] LimitError),
    #[error("cannot run as user {name:?}: {source}")]
    Identity { name: String, source: io::Error },
    #[error("cannot enter directory {path:?}: {source}")]
    Directory { path: PathBuf, source: io::Error },
    #[error("cannot tie the process to the supervisor: {0}")]
    Tie(#[from] rustix::io::Errno),
    #[error("cannot reset signals: {0}")]
    Signals(#[source] io::Error),
    #[error("the supervisor is gone")]
    Orphaned,
    #[error("the command is empty")]
    Empty,
    #[error("cannot execute {program:?}: {source}")]
    Exec { program: String, source: io::Error },
}

/// Becomes what `plan` says. Returns, with the exit status, only if that failed.
#[must_use]
pub fn run(plan: &str) -> u8 {
    let Err(error) = become_program(plan);
    // There is no log here: standard error is a pipe to the supervisor, which logs it.
    let lost = writeln!(io::stderr(), "ostler: {error}");
    drop(lost);
    EXIT_STATUS
}

fn become_program(plan: &str) -> Result<std::convert::Infallible, StubError> {
    let plan: Plan = serde_json::from_str(plan)?;
    plan.limits.apply()?;
    if let Some(identity) = &plan.identity {
        identity
            .assume()
            .map_err(|source| StubError::Identity { name: identity.name.clone(), source })?;
    }
    if let Some(umask) = plan.umask {
        rustix::process::umask(Mode::from_raw_mode(umask));
    }
    if let Some(path) = &plan.directory {
        std::env::set_current_dir(path)
            .map_err(|source| StubError::Directory { path: path.clone(), source })?;
    }
    rustix::thread::set_no_new_privs(true)?;
    tie_to_parent(plan.parent)?;
    let kept: Vec<i32> = (LISTEN_FD..).take(plan.descriptors()).collect();
    dispositions::restore().map_err(StubError::Signals)?;
    spawn::keep_to_ourselves(&kept);
    exec(&plan)
}

/// Has the kernel kill this process when the supervisor's main thread ends.
///
/// After the change of identity, which would undo it. If the supervisor ended before, this
/// process has another parent by now.
fn tie_to_parent(parent: i32) -> Result<(), StubError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid().map(Pid::as_raw_pid) == Some(parent) {
        Ok(())
    } else {
        Err(StubError::Orphaned)
    }
}

/// Executes the program, with the signal mask and dispositions that a program expects.
///
/// `CommandExt::exec` empties the mask and restores `SIGPIPE`, which the runtime ignores here;
/// the kernel restores whatever is handled; [`dispositions`] sees to the rest.
fn exec(plan: &Plan) -> Result<std::convert::Infallible, StubError> {
    let (program, arguments) = plan.command.split_first().ok_or(StubError::Empty)?;
    let mut command = Command::new(program);
    command.args(arguments);
    if program == THIS_PROGRAM {
        command.arg0("ostler");
    }
    if plan.listens {
        command.env("LISTEN_FDS", "1").env("LISTEN_PID", std::process::id().to_string());
    }
    Err(StubError::Exec { program: program.clone(), source: command.exec() })
}
