//! What processes cost, as the kernel counts it: processor time and memory of whole trees.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Ticks a second of the times in `/proc/PID/stat`; fixed on Linux for every program.
const TICKS: u64 = 100;

/// The processes of one server and its application.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups {
    /// All of the server's own.
    pub(crate) server: Vec<u32>,
    /// Those of them that serve clients: Ostler's proxy, all of another server.
    pub(crate) proxy: Vec<u32>,
    pub(crate) worker: Vec<u32>,
}

/// Processor time of both groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) server: Duration,
    pub(crate) worker: Duration,
}

/// One line of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// Of all its threads, ended ones too, and of children that were waited for.
    ticks: u64,
}

impl Groups {
    /// Finds the processes beneath `root`, and those of workers that were started apart.
    pub(crate) fn find(root: u32, workers: &[u32]) -> Self {
        let worker = workers.iter().flat_map(|pid| tree(*pid)).collect();
        let mut groups = Self { worker, ..Self::default() };
        for pid in tree(root) {
            if is_worker(pid) {
                groups.worker.push(pid);
            } else {
                groups.server.push(pid);
            }
        }
        let is_proxy = |pid: &u32| argument(*pid, 1).is_some_and(|word| word == "proxy");
        groups.proxy = groups.server.iter().copied().filter(is_proxy).collect();
        if groups.proxy.is_empty() {
            groups.proxy.clone_from(&groups.server);
        }
        groups
    }

    /// Memory of all in KiB, segments of shared memory included: what is shared counts once.
    pub(crate) fn memory_kib(&self) -> u64 {
        let all = self.server.iter().chain(&self.worker);
        all.map(|pid| rollup_kib(*pid)).sum()
    }

    /// Processor time so far.
    pub(crate) fn usage(&self) -> Usage {
        let time = |pids: &[u32]| pids.iter().map(|pid| processor_time(*pid)).sum();
        Usage { server: time(&self.server), worker: time(&self.worker) }
    }
}

/// Processor time of the children of this process that have ended and were waited for.
pub(crate) fn children_time() -> Duration {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let own = fields(&text).map(|fields| sum(&fields, &[13, 14]));
    from_ticks(own.unwrap_or_default())
}

/// Memory of these processes in KiB: each page divided by how many share it (PSS), segments of
/// shared memory left out.
pub(crate) fn memory_kib(pids: &[u32]) -> u64 {
    let of = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    pids.iter().map(of).map(|text| parse_smaps(&text)).sum()
}

fn rollup_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let size = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    size.and_then(|size| size.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

fn parse_smaps(text: &str) -> u64 {
    let (mut sum, mut is_segment) = (0, false);
    for line in text.lines() {
        // A mapping starts with its addresses, and its details follow.
        if line.split(' ').next().is_some_and(|word| word.contains('-') && !word.contains(':')) {
            is_segment = line.contains("/memfd:");
        } else if let Some(size) = line.strip_prefix("Pss:").filter(|_| !is_segment) {
            sum += size.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default();
        }
    }
    sum
}

/// A process and all that descend from it.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for pid in pids {
        if let Some(stat) = stat(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.get(pid).into_iter().flatten());
        next += 1;
    }
    found
}

/// Whether it is an application's process: one of Ostler's pools, or a daemon of `mod_wsgi`.
fn is_worker(pid: u32) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let mut variables = environment.split(|byte| *byte == 0);
    variables.any(|variable| variable.starts_with(b"OSTLER_POOL="))
        || argument(pid, 0).is_some_and(|word| word.starts_with("(wsgi:"))
}

fn argument(pid: u32, index: usize) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let word = line.split(|byte| *byte == 0).nth(index)?;
    Some(String::from_utf8_lossy(word).into_owned())
}

fn processor_time(pid: u32) -> Duration {
    from_ticks(stat(pid).map(|stat| stat.ticks).unwrap_or_default())
}

fn from_ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / TICKS)
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<Stat> {
    let fields = fields(text)?;
    let parent = fields.get(1)?.parse().ok()?;
    Some(Stat { parent, ticks: sum(&fields, &[11, 12, 13, 14]) })
}

/// What follows the name, which may have spaces and parentheses in it: state, parent, ….
fn fields(text: &str) -> Option<Vec<&str>> {
    Some(text.rsplit_once(')')?.1.split_ascii_whitespace().collect())
}

fn sum(fields: &[&str], indices: &[usize]) -> u64 {
    let number = |index: &usize| fields.get(*index)?.parse::<u64>().ok();
    indices.iter().filter_map(number).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 5";
        assert_eq!(parse_stat(text), Some(Stat { parent: 3, ticks: 100 }));
        assert_eq!(parse_stat("garbled"), None);
    }

    #[test]
    fn segments_do_not_count_as_memory() {
        let text = "7f00-7f10 rw-p 00000000 00:00 0 [heap]\nRss: 90 kB\nPss:      40 kB\n\
            Pss_Dirty: 9 kB\n7f20-7f30 rw-s 00000000 00:01 5 /memfd:segment (deleted)\n\
            Pss:  500 kB\n7f30-7f40 r-xp 00000000 00:01 5 /bin/ostler\nPss:   2 kB\n";
        assert_eq!(parse_smaps(text), 42);
    }

    #[test]
    fn this_process_is_in_its_own_tree_and_uses_memory() {
        let own = std::process::id();
        assert!(tree(own).contains(&own));
        assert!(memory_kib(&[own]) > 0);
        assert!(Groups::find(own, &[]).memory_kib() > 0);
    }
}
