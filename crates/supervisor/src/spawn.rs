//! Starts a child process through the stub.
//!
//! Always on the supervisor's main thread: the parent-death signal that the stub asks for is
//! raised by the end of the thread that started it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::Pid;

use crate::stub::{LISTEN_FD, Plan};

/// This program, also when its file was replaced since.
pub(crate) const THIS_PROGRAM: &str = "/proc/self/exe";

/// Variables of the service manager that are about the supervisor and nobody else.
const PRIVATE: [&str; 6] = [
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
];

/// What a child process gets beside its plan.
#[derive(Debug, Default)]
pub(crate) struct Equipment {
    /// Standard input; `/dev/null` without.
    pub(crate) input: Option<OwnedFd>,
    /// The listening socket of a worker, what it has of the ring link, and its control socket.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// Variables of the supervisor.
    pub(crate) inherited: Inherited,
    /// Variables beside them.
    pub(crate) environment: BTreeMap<String, String>,
}

/// Which of the supervisor's variables a child process gets. Never those of the service manager.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Inherited {
    /// All others.
    #[default]
    All,
    /// These, and those that begin with `OSTLER_`.
    Only(&'static [&'static str]),
}

/// A child process that was started. It is reaped by `exit::reap`.
#[derive(Debug)]
pub(crate) struct Child {
    /// Its process id, and its group's.
    pub(crate) pid: Pid,
    /// What it prints.
    pub(crate) stdout: OwnedFd,
    /// What it complains about.
    pub(crate) stderr: OwnedFd,
}

/// Has every descriptor closed by the programs that this process starts or becomes, but for
/// standard input, output and error, and `kept`. Whoever started this process may have left some
/// open that are nobody else's business.
pub(crate) fn keep_to_ourselves(kept: &[i32]) {
    close_fds::set_fds_cloexec_threadsafe(3, kept);
}

/// Starts a process that becomes what `plan` says.
pub(crate) fn spawn(plan: &Plan, equipment: Equipment) -> io::Result<Child> {
    let mut command = this_program("exec-worker");
    command.arg(serde_json::to_string(plan)?).stdin(stdin(equipment.input));
    if let Inherited::Only(names) = equipment.inherited {
        let is_kept = |name: &OsStr| {
            names.iter().any(|kept| name == *kept) || name.as_bytes().starts_with(b"OSTLER_")
        };
        command.env_clear().envs(std::env::vars_os().filter(|(name, _)| is_kept(name)));
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).envs(equipment.environment);
    let mappings = equipment.descriptors.into_iter().zip(LISTEN_FD..);
    let mappings = mappings.map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd });
    command.fd_mappings(mappings.collect()).map_err(io::Error::other)?;
    let mut child = command.spawn()?;
    let pid = Pid::from_child(&child);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    match (stdout, stderr) {
        (Some(stdout), Some(stderr)) => {
            Ok(Child { pid, stdout: stdout.into(), stderr: stderr.into() })
        }
        _ => Err(io::Error::other("a child process without output")),
    }
}

/// Starts a process of this program that must outlive the supervisor, so without the stub.
pub(crate) fn spawn_survivor(subcommand: &str, input: OwnedFd) -> io::Result<Pid> {
    let child = this_program(subcommand)
        .stdin(Stdio::from(input))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok(Pid::from_child(&child))
}

fn this_program(subcommand: &str) -> Command {
    let mut command = Command::new(THIS_PROGRAM);
    command.arg0("ostler").arg(subcommand).process_group(0);
    for name in PRIVATE {
        command.env_remove(name);
    }
    command
}

fn stdin(input: Option<OwnedFd>) -> Stdio {
    input.map_or_else(Stdio::null, Stdio::from)
}
