//! Finding and ending what a stack started, whatever became of its supervisor.
//!
//! Every process of a stack inherits one environment variable that no other stack has. So the
//! kernel tells which processes are left, also grandchildren whose parents are gone.

use std::fs;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// The variable that marks the processes of one stack.
pub const MARK: &str = "OSTLER_E2E_STACK";

/// A living process of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its command line.
    pub command: String,
}

/// Lists the living processes that carry this mark.
pub fn marked(mark: &str) -> Vec<Process> {
    let wanted = format!("{MARK}={mark}");
    let folders = fs::read_dir("/proc").expect("this is Linux").flatten();
    let pids = folders.filter_map(|folder| folder.file_name().to_str()?.parse::<u32>().ok());
    let mut found: Vec<Process> = pids.filter_map(|pid| process(pid, wanted.as_bytes())).collect();
    found.sort_by_key(|process| process.pid);
    found
}

/// Sends a signal to one process; true when there was such a process.
pub fn signal(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}

/// Kills everything with this mark and waits for its end; returns what would not die.
pub fn kill_marked(mark: &str) -> Vec<Process> {
    // A process may start another one while the list is made, so the list is made again.
    for _ in 0..20 {
        let left = marked(mark);
        if left.is_empty() {
            break;
        }
        let handles: Vec<OwnedFd> = left.iter().filter_map(|process| kill(process.pid)).collect();
        for handle in handles {
            wait_for_end(&handle, Duration::from_secs(1));
        }
    }
    marked(mark)
}

fn kill(pid: u32) -> Option<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    kill_process(pid, Signal::KILL).ok()?;
    Some(handle)
}

/// Blocks until the process has ended, or for so long.
fn wait_for_end(handle: &OwnedFd, longest: Duration) {
    let longest = Timespec::try_from(longest).ok();
    let mut fds = [PollFd::new(handle, PollFlags::IN)];
    // Whatever poll says, the caller looks again.
    let _seen = poll(&mut fds, longest.as_ref());
}

fn process(pid: u32, wanted: &[u8]) -> Option<Process> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    if !environment.split(|&byte| byte == 0).any(|variable| variable == wanted) {
        return None;
    }
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    Some(Process { pid, command })
}
