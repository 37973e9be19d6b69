//! How much memory the process groups of workers have.
//!
//! Resident memory is summed over the processes of a group. Pages that they share are counted for
//! each, because asking the kernel for shares (`smaps_rollup`) walks every page of every process,
//! once a second, and stops them meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::event::Event;
use crate::supervisor::Supervisor;

/// How often memory is looked at. A leak takes longer than that to become a problem.
const EVERY: Duration = Duration::from_secs(1);

/// When memory is looked at next.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    due: Option<Instant>,
    is_looking: bool,
}

impl Watch {
    /// Returns when to look; `None` while there is nothing to look for, or a look is under way.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.is_looking)
    }
}

impl Supervisor {
    /// Has the memory of workers looked at when it is time to and some pool limits it.
    pub(crate) fn look_at_memory(&mut self, now: Instant) {
        let Watch { due, is_looking } = &mut self.memory;
        let groups: Vec<Pid> = self.workers.limited_groups().collect();
        if groups.is_empty() {
            *due = None;
            return;
        }
        if *is_looking || now < *due.get_or_insert(now + EVERY) {
            return;
        }
        (*due, *is_looking) = (Some(now + EVERY), true);
        let events = self.machinery.events.clone();
        self.machinery.tasks.spawn(async move {
            let looked = tokio::task::spawn_blocking(move || of_groups(&groups)).await;
            // Nobody listens only while the supervisor ends.
            drop(events.send(Event::Memory(looked.unwrap_or_default())).await);
        });
    }

    /// Notes what was found.
    pub(crate) fn note_memory(&mut self, found: &BTreeMap<i32, u64>) {
        self.memory.is_looking = false;
        self.workers.note_memory(found);
    }
}

/// Returns the resident memory of process groups, in bytes, by their number. A process that cannot
/// be read has just ended.
fn of_groups(groups: &[Pid]) -> BTreeMap<i32, u64> {
    let mut found: BTreeMap<i32, u64> =
        groups.iter().map(|group| (group.as_raw_pid(), 0)).collect();
    let processes = match procfs::process::all_processes() {
        Ok(processes) => processes,
        Err(error) => {
            tracing::warn!(%error, "memory_not_read");
            return BTreeMap::new();
        }
    };
    for stat in processes.flatten().filter_map(|process| process.stat().ok()) {
        if let Some(sum) = found.get_mut(&stat.pgrp) {
            *sum = sum.saturating_add(stat.rss.saturating_mul(procfs::page_size()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_group_is_that_of_its_processes() {
        let own = rustix::process::getpgrp();
        let found = of_groups(&[own]);
        assert!(0 < found[&own.as_raw_pid()], "{found:?}");
        assert!(of_groups(&[]).is_empty());
    }
}
