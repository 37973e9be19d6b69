//! Sums over the processes of process groups, as `/proc` shows them.

use std::collections::BTreeMap;

use procfs::ProcError;
use procfs::process::Stat;
use rustix::process::Pid;

/// What the processes of a group have and have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) rss_bytes: u64,
    pub(super) user_us: u64,
    pub(super) system_us: u64,
}

impl Sum {
    fn add(&mut self, stat: &Stat) {
        let rss_bytes = stat.rss.saturating_mul(procfs::page_size());
        self.rss_bytes = self.rss_bytes.saturating_add(rss_bytes);
        self.user_us = self.user_us.saturating_add(microseconds(stat.utime, stat.cutime));
        self.system_us = self.system_us.saturating_add(microseconds(stat.stime, stat.cstime));
    }
}

/// Of a process and its children that ended, in ticks.
fn microseconds(own: u64, of_children: i64) -> u64 {
    let ticks = own.saturating_add(u64::try_from(of_children).unwrap_or(0));
    ticks.saturating_mul(1_000_000) / procfs::ticks_per_second().max(1)
}

/// Returns the sums of groups that have a process, by their number. A process that cannot be read
/// has just ended.
pub(super) fn sums(groups: impl Iterator<Item = Pid>) -> Result<BTreeMap<i32, Sum>, ProcError> {
    let mut found: BTreeMap<i32, Option<Sum>> =
        groups.map(|group| (group.as_raw_pid(), None)).collect();
    for stat in procfs::process::all_processes()?.flatten().filter_map(|it| it.stat().ok()) {
        if let Some(sum) = found.get_mut(&stat.pgrp) {
            sum.get_or_insert_default().add(&stat);
        }
    }
    Ok(found.into_iter().filter_map(|(group, sum)| Some((group, sum?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_a_group_are_those_of_its_processes() {
        let own = rustix::process::getpgrp();
        let found = sums([own].into_iter()).unwrap();
        assert!(0 < found[&own.as_raw_pid()].rss_bytes, "{found:?}");
        assert!(sums([].into_iter()).unwrap().is_empty());
    }

    #[test]
    fn a_group_without_a_process_has_no_figures() {
        // Beyond the most that the kernel numbers processes to.
        let nobody = Pid::from_raw(i32::MAX).unwrap();
        assert!(sums([nobody].into_iter()).unwrap().is_empty());
    }
}
