//! Where and when something was measured, and of what.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;

use crate::build::workspace;
use crate::process::output;

/// What has to be known to compare a result with another.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) processors: usize,
    pub(crate) kernel: String,
    pub(crate) memory: String,
    /// In UTC.
    pub(crate) date: String,
    pub(crate) commit: String,
    /// Whether the working tree had changes that are in no commit.
    pub(crate) is_dirty: bool,
    /// Of the servers and of the load generator.
    pub(crate) versions: BTreeMap<String, String>,
}

impl Machine {
    pub(crate) fn find(versions: BTreeMap<String, String>) -> Self {
        let folder = workspace().display().to_string();
        let git = |words: &[&str]| {
            let said = output(&[&["git", "-C", &folder], words].concat());
            said.map_or_else(|_| "unknown".to_owned(), |said| said.trim().to_owned())
        };
        Self {
            processor: line("/proc/cpuinfo", "model name"),
            processors: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            memory: line("/proc/meminfo", "MemTotal"),
            date: output(&["date", "-u", "+%Y-%m-%dT%H:%M:%SZ"]).unwrap_or_default().trim().into(),
            commit: git(&["rev-parse", "HEAD"]),
            is_dirty: !git(&["status", "--porcelain"]).is_empty(),
            versions,
        }
    }

    /// In one line.
    pub(crate) fn summary(&self) -> String {
        let Self { processor, processors, kernel, memory, date, commit, is_dirty, .. } = self;
        let short = commit.get(..12).unwrap_or(commit);
        let dirty = if *is_dirty { " with changes" } else { "" };
        format!(
            "{processors} × {processor}, {memory}, Linux {kernel}; commit {short}{dirty}; {date}"
        )
    }
}

/// What follows the colon of the first line that starts so.
fn line(path: &str, start: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let found = text.lines().find_map(|line| line.strip_prefix(start)?.split_once(':'));
    found.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
}
