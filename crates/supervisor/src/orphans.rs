//! Processes that a worker left behind outside its process group (`setsid`).
//!
//! The supervisor is the reaper of its descendants, so one whose parents ended becomes its child.
//! The worker it came from is the one that its environment names. While that worker lives, so may
//! the orphan; after that it is killed. An orphan that hides where it came from is killed when the
//! supervisor ends.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use rustix::process::{Pid, Signal, getpid, kill_process};

use crate::message::WorkerId;

/// What is to be told from orphans.
#[derive(Debug)]
pub(crate) struct Orphans {
    /// Children from before this program: those of whatever became it.
    strangers: BTreeSet<i32>,
    /// The last look found one, whose end may leave others.
    is_looked_again: bool,
}

/// Which orphans are killed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Doomed<'a> {
    /// Those of workers that are not among these.
    NotOf(&'a [WorkerId]),
    /// All.
    All,
}

impl Orphans {
    /// Makes descendants whose parent ended children of this process.
    pub(crate) fn adopt() -> io::Result<Self> {
        let strangers = children().map(|child| child.pid.as_raw_pid()).collect();
        rustix::process::set_child_subreaper(Some(getpid()))?;
        Ok(Self { strangers, is_looked_again: false })
    }

    /// Returns whether the end of any process calls for another look.
    pub(crate) fn is_looked_again(&self) -> bool {
        self.is_looked_again
    }

    /// Kills orphans. `groups` are the process groups of ours that have not ended. Returns whether
    /// there was one.
    pub(crate) fn kill(&mut self, groups: &[Pid], doomed: Doomed<'_>) -> bool {
        let ours = |child: &Child| groups.iter().any(|group| group.as_raw_pid() == child.group);
        let mut found = false;
        for child in children().filter(|child| !child.is_zombie && !ours(child)) {
            let pid = child.pid.as_raw_pid();
            let is_doomed = match doomed {
                Doomed::NotOf(living) => {
                    origin(pid).is_some_and(|worker| !living.contains(&worker))
                }
                Doomed::All => true,
            };
            if is_doomed && !self.strangers.contains(&pid) {
                // A child keeps its process id until it is reaped, so this is the one that was seen.
                let killed = kill_process(child.pid, Signal::KILL).is_ok();
                tracing::warn!(pid, killed, "orphan_killed");
                found |= killed;
            }
        }
        self.is_looked_again = found;
        found
    }
}

/// A child of this process, whoever started it.
pub(crate) struct Child {
    pub(crate) pid: Pid,
    group: i32,
    is_zombie: bool,
}

/// Returns the children of this process. The kernel lists them by parent only where it was built
/// to, so all processes are looked at; workers end rarely.
pub(crate) fn children() -> impl Iterator<Item = Child> {
    let ours = getpid().as_raw_pid();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read(entry.path().join("stat")).ok()?;
        child(Pid::from_raw(pid)?, &String::from_utf8_lossy(&stat), ours)
    })
}

/// Reads `/proc/PID/stat`. The name of the program, in parentheses, may be anything.
fn child(pid: Pid, stat: &str, parent: i32) -> Option<Child> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let is_zombie = matches!(fields.next()?, "Z" | "X");
    let is_child = fields.next()?.parse() == Ok(parent);
    let group = fields.next()?.parse().ok()?;
    is_child.then_some(Child { pid, group, is_zombie })
}

/// Returns the worker that a process descends from.
fn origin(pid: i32) -> Option<WorkerId> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value = |name: &str| {
        let variables = environment.split(|&byte| byte == 0);
        let mut values = variables.filter_map(|variable| variable.strip_prefix(name.as_bytes()));
        String::from_utf8(values.next_back()?.to_owned()).ok()
    };
    Some(WorkerId {
        pool: value("OSTLER_POOL=")?,
        slot: value("OSTLER_SLOT=")?.parse().ok()?,
        generation: value("OSTLER_GENERATION=")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_told_by_its_parent_whatever_its_program_is_called() {
        check("7 (sleep) S 42 7 7 0", Some((7, false)));
        check("7 (a) Z 1 (b) ) Z 42 9 7 0", Some((9, true)));
        check("7 (sleep) S 43 7 7 0", None);
        check("7 (sleep", None);
        check("", None);
    }

    #[track_caller]
    fn check(stat: &str, expected: Option<(i32, bool)>) {
        let found = child(Pid::from_raw(7).unwrap(), stat, 42);
        assert_eq!(found.map(|child| (child.group, child.is_zombie)), expected, "{stat:?}");
    }
}
