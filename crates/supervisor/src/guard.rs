//! The guard: a process that outlives the supervisor by the time it takes to end all others.
//!
//! The kernel kills the proxy process and the workers with the supervisor, but not what they have
//! started in turn. The guard knows their process groups and kills these when its socket to the
//! supervisor closes, which no death of the supervisor can prevent. It holds nothing else: no
//! listener, no channel. If it dies, another one is started and told everything again.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use crate::channel::Channel;
use crate::link::Outbox;
use crate::spawn;
use crate::tasks::Tasks;

/// Least time between the starts of two guards, so that one that cannot live costs little.
const RESTART_INTERVAL: Duration = Duration::from_secs(1);

/// Process groups in one notice: its packet is then at most half as long as it may be.
const GROUPS_PER_NOTICE: usize = 2048;

/// What the supervisor tells the guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Notice {
    /// The process groups there are when the guard starts.
    Running(Vec<i32>),
    /// A process group that must not outlive the supervisor.
    Started(i32),
    /// A process group that was killed.
    Ended(i32),
}

/// Runs the guard: returns when the supervisor is gone and every group was killed.
///
/// # Errors
///
/// If standard input is not the socket it should be.
pub fn run() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let channel = Channel::inherited()?;
        let groups = learn(&channel).await;
        groups.into_iter().filter_map(Pid::from_raw).for_each(crate::exit::kill_group);
        Ok(())
    })
}

/// Listens until the supervisor is gone. Returns the groups that are left.
async fn learn(channel: &Channel) -> BTreeSet<i32> {
    let mut groups = BTreeSet::new();
    while let Ok(Some((notice, _))) = channel.recv::<Notice>().await {
        match notice {
            Notice::Running(running) => groups.extend(running),
            Notice::Started(group) => groups.extend([group]),
            Notice::Ended(group) => groups.retain(|&one| one != group),
        }
    }
    // 1 would be everything there is.
    groups.retain(|&group| 1 < group);
    groups
}

/// The guard, as the supervisor sees it.
#[derive(Debug)]
pub(crate) struct Guard {
    pid: Pid,
    started: Instant,
    outbox: Outbox<Notice>,
}

impl Guard {
    /// Starts a guard that knows `groups`.
    pub(crate) fn start(
        groups: impl IntoIterator<Item = Pid>,
        now: Instant,
        tasks: &mut Tasks,
    ) -> io::Result<Self> {
        let (ours, theirs) = Channel::pair()?;
        // Before it runs, so that there is no time in which it would leave them alive.
        let groups: Vec<i32> = groups.into_iter().map(Pid::as_raw_pid).collect();
        for part in groups.chunks(GROUPS_PER_NOTICE) {
            ours.send_now(&Notice::Running(part.to_vec()))?;
        }
        let pid = spawn::spawn_survivor("guard", theirs)?;
        Ok(Self { pid, started: now, outbox: Outbox::new(Arc::new(ours), tasks) })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Returns when another one may be started, now that this one has ended.
    pub(crate) fn next_due(&self) -> Instant {
        self.started + RESTART_INTERVAL
    }

    /// Tells it of a process group.
    pub(crate) fn started(&self, group: Pid) {
        self.tell(Notice::Started(group.as_raw_pid()));
    }

    /// Tells it of the end of a process group.
    pub(crate) fn ended(&self, group: Pid) {
        self.tell(Notice::Ended(group.as_raw_pid()));
    }

    fn tell(&self, notice: Notice) {
        if !self.outbox.post(notice, Vec::<OwnedFd>::new()) {
            tracing::error!(pid = self.pid.as_raw_pid(), "guard_stuck");
            crate::exit::kill_group(self.pid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_guard_ends_with_the_groups_that_were_not_ended() {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel::from_fd(theirs).unwrap();
        for notice in [
            Notice::Running(vec![10, 30]),
            Notice::Started(20),
            Notice::Started(1),
            Notice::Started(0),
            Notice::Started(-5),
            Notice::Ended(10),
            Notice::Ended(30),
        ] {
            ours.send(&notice, &[]).await.unwrap();
        }
        drop(ours);
        assert_eq!(learn(&theirs).await, BTreeSet::from([20]));
    }
}
