//! What the system gives this process, as far as it can be asked without rights.

use std::fs::read_to_string;
use std::path::Path;

use ostler_conf::Config;
use ostler_policy::machine::Machine;
use procfs::process::{MMapPath, Process};
use rustix::process::{Resource, getrlimit};

use crate::spool::Spool;

/// Where the kernel shows control groups.
const CGROUPS: &str = "/sys/fs/cgroup";

/// What was found.
pub(crate) fn machine(config: &Config, spool: &Spool) -> Machine {
    let limits = Limits::of_group();
    let free = kibibytes("/proc/meminfo", "MemAvailable:");
    let processes = getrlimit(Resource::Nproc).current;
    let threads_max = number("/proc/sys/kernel/threads-max");
    Machine {
        descriptors: getrlimit(Resource::Nofile).current,
        listen_backlog: number("/proc/sys/net/core/somaxconn"),
        memory_bytes: least([free, limits.memory_bytes]),
        tasks: least([processes, limits.tasks, threads_max]),
        spool_bytes: room(&config.spool.directory).map(|free| free + spool.used_bytes()),
        history_bytes: history_room(&config.status.history_file),
        ports: ports(&read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default()),
    }
}

/// What the control group of this process allows (version 2).
struct Limits {
    memory_bytes: Option<u64>,
    tasks: Option<u64>,
}

impl Limits {
    fn of_group() -> Self {
        let own = read_to_string("/proc/self/cgroup").unwrap_or_default();
        let path = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let folder = Path::new(CGROUPS).join(path);
        let file = |name: &str| number(&folder.join(name).to_string_lossy());
        let used = file("memory.current").unwrap_or_default();
        Self {
            memory_bytes: file("memory.max").map(|most| most.saturating_sub(used)),
            tasks: file("pids.max"),
        }
    }
}

/// Bytes on disk, where the file can be looked at.
pub(crate) fn on_disk(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    // Of 512 bytes, whatever the filesystem's blocks are (`stat(2)`).
    std::fs::metadata(path).ok().map(|file| file.blocks().saturating_mul(512))
}

/// The memory files of ours that this process has mapped, in bytes: what their name begins with.
pub(crate) fn mapped(name: &str) -> Option<u64> {
    let maps = Process::myself().ok()?.maps().ok()?;
    let wanted = format!("/memfd:{name}");
    let is_ours = |path: &MMapPath| {
        let MMapPath::Path(path) = path else { return false };
        path.to_string_lossy().starts_with(&wanted)
    };
    let sizes = maps.iter().filter(|map| is_ours(&map.pathname));
    Some(sizes.map(|map| map.address.1.saturating_sub(map.address.0)).sum())
}

/// The kernel, its clock, and since when it runs, in seconds.
pub(crate) fn kernel() -> (String, String, Option<u64>) {
    let name = rustix::system::uname();
    let text = format!(
        "{} {} {}",
        name.sysname().to_string_lossy(),
        name.release().to_string_lossy(),
        name.machine().to_string_lossy()
    );
    let clock = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let clock = read_to_string(clock).map_or_else(|_| "?".to_owned(), |it| it.trim().to_owned());
    let uptime = read_to_string("/proc/uptime").unwrap_or_default();
    (text, clock, uptime.split(['.', ' ']).next().and_then(|seconds| seconds.parse().ok()))
}

fn history_room(file: &Path) -> Option<u64> {
    let free = room(file.parent()?)?;
    Some(free.saturating_add(on_disk(file).unwrap_or_default()))
}

/// Bytes that a filesystem has for users like this one.
fn room(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn number(path: &str) -> Option<u64> {
    read_to_string(path).ok()?.trim().parse().ok()
}

/// The number of a line such as `MemAvailable:  123 kB`, in bytes.
fn kibibytes(path: &str, name: &str) -> Option<u64> {
    let text = read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(number.saturating_mul(1024))
}

/// How many ports `32768 60999` are.
fn ports(range: &str) -> Option<u64> {
    let mut bounds = range.split_whitespace().map(str::parse::<u64>);
    let (first, last) = (bounds.next()?.ok()?, bounds.next()?.ok()?);
    Some(last.checked_sub(first)?.saturating_add(1))
}

fn least<const N: usize>(known: [Option<u64>; N]) -> Option<u64> {
    known.into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_says_what_it_gives() {
        let kib = kibibytes("/proc/meminfo", "MemTotal:").unwrap();
        assert!(1 << 20 < kib);
        assert!(room(Path::new("/")).is_some());
        assert_eq!(room(Path::new("/nonexistent")), None);
        let (kernel, _, uptime) = kernel();
        assert!(kernel.starts_with("Linux ") && uptime.is_some(), "{kernel}");
    }

    #[test]
    fn what_is_not_known_does_not_count() {
        assert_eq!(least([None, Some(7), Some(3)]), Some(3));
        assert_eq!(least([None, None]), None);
        assert_eq!(ports("32768\t60999\n"), Some(28_232));
        assert_eq!(ports("nonsense"), None);
    }

    #[test]
    fn mapped_memory_files_are_found_by_their_name() {
        let before = mapped("ostler-counters").unwrap();
        let page = ostler_segment::CounterPage::create(1000).unwrap();
        let page = ostler_segment::CounterPage::map(std::os::fd::AsFd::as_fd(&page)).unwrap();
        assert!(before + 8000 <= mapped("ostler-counters").unwrap());
        assert_eq!(page.len(), 1000);
    }
}
