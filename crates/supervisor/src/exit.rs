//! How processes end: noticing it, ending what they leave behind, and reaping them.
//!
//! The supervisor is the reaper of all its descendants. A process of ours that ended stays a
//! zombie, which keeps its process id and thus its group's, until the rest of its group was
//! killed; then it is reaped. Whatever else ended is an orphan of such a process, and only reaped.
//! Orphans that live on in a group of their own are the business of `orphans`.

use nix::sys::wait::{Id, WaitPidFlag};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

pub(crate) use crate::message::WorkerExit as Exit;
use crate::orphans;

fn exit_of(status: Option<i32>, signal: Option<i32>) -> Exit {
    status.map_or_else(|| Exit::Signal(signal.unwrap_or_default()), Exit::Status)
}

/// Kills the group of each of `known` that ended and reaps it, and reaps all orphans. Returns how
/// each of `known` ended.
pub(crate) fn reap(known: &[Pid]) -> Vec<(Pid, Exit)> {
    let mut ended = Vec::new();
    while let Some(pid) = zombie() {
        let is_known = known.contains(&pid);
        if is_known {
            // While it is there: afterwards the id may be that of another group.
            kill_group(pid);
        }
        let status = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        let Ok(Some(status)) = status else { break };
        if is_known {
            ended.push((pid, exit_of(status.exit_status(), status.terminating_signal())));
        }
    }
    ended
}

/// Returns a child that ended and was not reaped, and leaves it.
fn zombie() -> Option<Pid> {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match nix::sys::wait::waitid(Id::All, look) {
        Ok(status) => Pid::from_raw(status.pid()?.as_raw()),
        // One that was ended by a signal without a name, a real-time one.
        Err(nix::errno::Errno::EINVAL) => orphans::children().map(|child| child.pid).find(|&pid| {
            let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            matches!(waitid(WaitId::Pid(pid), look), Ok(Some(_)))
        }),
        Err(_) => None,
    }
}

/// Kills every process of a group. A group without processes is nothing to kill.
pub(crate) fn kill_group(group: Pid) {
    signal_result("kill_failed", group, kill_process_group(group, Signal::KILL));
}

/// Asks one process to end.
pub(crate) fn terminate(pid: Pid) {
    signal_result("term_failed", pid, rustix::process::kill_process(pid, Signal::TERM));
}

fn signal_result(event: &'static str, pid: Pid, result: rustix::io::Result<()>) {
    match result {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => tracing::warn!(pid = pid.as_raw_pid(), %error, "{event}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use rustix::process::WaitOptions;

    use super::*;

    #[test]
    fn an_exit_is_told_as_status_or_signal() {
        assert_eq!(exit_of(Some(3), None).to_string(), "status 3");
        assert_eq!(exit_of(None, Some(9)).to_string(), "signal 9");
    }

    /// Signal 40 has no name, and nobody can catch it unasked.
    #[test]
    fn a_process_that_an_unnamed_signal_ended_is_reaped() {
        #[expect(clippy::zombie_processes, reason = "reaped by its id, as all our processes are")]
        let child =
            Command::new("sh").args(["-c", "kill -40 $$"]).process_group(0).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let exit = std::iter::repeat_with(|| reap(&[pid])).find(|ended| !ended.is_empty());
        assert_eq!(exit.unwrap(), [(pid, Exit::Signal(40))]);
    }

    /// The child leaves a grandchild in its group. Both hold a pipe, whose end-of-file tells that
    /// both are gone.
    #[test]
    fn what_a_process_leaves_in_its_group_is_killed_and_reaped() {
        let _orphans = orphans::Orphans::adopt().unwrap();
        #[expect(clippy::zombie_processes, reason = "reaped by its id, as all our processes are")]
        let mut child = Command::new("sh")
            .args(["-c", "sleep 1000 & exit 3"])
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);

        let exit = std::iter::repeat_with(|| reap(&[pid])).find(|ended| !ended.is_empty());
        assert_eq!(exit.unwrap(), [(pid, Exit::Status(3))]);

        let mut rest = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut rest).unwrap();
        let nobody = std::iter::repeat_with(|| rustix::process::wait(WaitOptions::NOHANG))
            .find(|waited| !matches!(waited, Ok(None)));
        let is_reaped = match nobody.unwrap() {
            Ok(orphan) => orphan.is_some(),
            Err(error) => error == rustix::io::Errno::CHILD,
        };
        assert!(is_reaped);
        assert_eq!(
            rustix::process::test_kill_process_group(pid),
            Err(rustix::io::Errno::SRCH),
            "a zombie is left in the group"
        );
    }
}
