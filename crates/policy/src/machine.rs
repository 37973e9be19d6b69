//! Whether the machine gives what a configuration needs: descriptors, memory, room on disks.
//!
//! Each [`Limit`] compares the most that can be needed, from the configuration alone, with what
//! was found. The sums are those of ARCHITECTURE.md. What is not known is not judged.

use ostler_conf::{Config, OriginKind, PoolConfig};

/// Descriptors that the proxy has open for itself: logs, channel, event loops, pages of counters.
const OWN_DESCRIPTORS: u64 = 64;

/// What one read from a client takes, in bytes (`body`).
const READ: u64 = 16 * 1024;

/// What one relay buffer or one piece of the spool takes, in bytes (`relay`, `spool`).
const PIECE: u64 = 64 * 1024;

/// What was found; `None` where it cannot be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Descriptors that the proxy process may have.
    pub descriptors: Option<u64>,
    /// `net.core.somaxconn`.
    pub listen_backlog: Option<u64>,
    /// Bytes of memory that can still be had: of the machine, or of the control group.
    pub memory_bytes: Option<u64>,
    /// Processes and threads that may exist.
    pub tasks: Option<u64>,
    /// Bytes that the spool's filesystem has for it, those it uses included.
    pub spool_bytes: Option<u64>,
    /// The same of the history's.
    pub history_bytes: Option<u64>,
    /// Ports for connections to one server.
    pub ports: Option<u64>,
}

/// What something is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Pieces.
    Count,
    /// Bytes.
    Bytes,
}

/// A limit of the system that matters to a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its name, the same in the log and on the page.
    pub name: &'static str,
    /// The most that the configuration can need.
    pub needed: u64,
    /// What there is.
    pub found: Option<u64>,
    /// What both are counted in.
    pub unit: Unit,
    /// How `needed` comes about.
    pub sum: String,
    /// What to do when there is too little.
    pub remedy: &'static str,
}

impl Limit {
    /// Tells whether there is less than can be needed.
    #[must_use]
    pub fn is_low(&self) -> bool {
        self.found.is_some_and(|found| found < self.needed)
    }
}

/// Returns every limit that matters to `config`, in the order of the page.
#[must_use]
pub fn limits(config: &Config, machine: &Machine) -> Vec<Limit> {
    let mut limits = vec![
        descriptors(config, machine),
        listen_backlog(config, machine),
        memory(config, machine),
        tasks(config, machine),
        spool(config, machine),
    ];
    limits.extend(history(config, machine));
    limits.extend(ports(config, machine));
    limits
}

/// The most that one client connection can have in memory, in bytes.
#[must_use]
pub fn connection_bytes(config: &Config) -> u64 {
    let limits = &config.limits;
    let receiving = limits.body_in_memory.0.saturating_add(2 * READ + 2 * PIECE);
    // A growing buffer may have room for twice what is in it.
    let delivering = limits.response_in_memory.0.saturating_mul(2).saturating_add(3 * PIECE);
    limits.head_size.0.saturating_add(receiving.max(delivering))
}

fn descriptors(config: &Config, machine: &Machine) -> Limit {
    let connections = connections(config);
    let lanes = 2 * config.server.threads as u64;
    let rows: u64 = sum(config, rows);
    let workers: u64 = sum(config, |pool| workers(pool).saturating_mul(lanes + 2));
    let needed = connections
        .saturating_mul(2)
        .saturating_add(rows)
        .saturating_add(workers)
        .saturating_add(OWN_DESCRIPTORS);
    Limit {
        name: "descriptors",
        needed,
        found: machine.descriptors,
        unit: Unit::Count,
        sum: format!(
            "max-connections {connections}, each with a file of the spool or a connection to an \
             origin; {rows} rows; {workers} for bells and lanes of workers; {OWN_DESCRIPTORS} own"
        ),
        remedy: "raise LimitNOFILE of the service (RLIMIT_NOFILE), or lower max-connections",
    }
}

fn listen_backlog(config: &Config, machine: &Machine) -> Limit {
    Limit {
        name: "listen-backlog",
        needed: u64::from(config.server.listen_backlog),
        found: machine.listen_backlog,
        unit: Unit::Count,
        sum: "server.listen-backlog".to_owned(),
        remedy: "raise net.core.somaxconn: the kernel lowers the backlog to it",
    }
}

fn memory(config: &Config, machine: &Machine) -> Limit {
    let (connections, each) = (connections(config), connection_bytes(config));
    Limit {
        name: "memory",
        needed: connections.saturating_mul(each),
        found: machine.memory_bytes,
        unit: Unit::Bytes,
        sum: format!(
            "max-connections {connections} of {each} bytes each, if all were slow and large at \
             once; the workers' own memory is not in it"
        ),
        remedy: "lower max-connections, limits.response-in-memory or limits.body-in-memory",
    }
}

fn tasks(config: &Config, machine: &Machine) -> Limit {
    let threads = config.server.threads as u64;
    // Supervisor and guard, and two proxies at a time with their event loops.
    let own = 2 * (threads + 3) + 4;
    let others = sum(config, |pool| workers(pool).saturating_mul(1 + u64::from(pool.threads)));
    Limit {
        name: "tasks",
        needed: own.saturating_add(others),
        found: machine.tasks,
        unit: Unit::Count,
        sum: format!("{others} for workers and their threads, {own} own"),
        remedy: "raise TasksMax and LimitNPROC of the service (pids.max, RLIMIT_NPROC)",
    }
}

fn spool(config: &Config, machine: &Machine) -> Limit {
    Limit {
        name: "spool",
        needed: config.spool.max_size.0,
        found: machine.spool_bytes,
        unit: Unit::Bytes,
        sum: "spool.max-size".to_owned(),
        remedy: "lower spool.max-size, or name a spool.directory with more room",
    }
}

fn history(config: &Config, machine: &Machine) -> Option<Limit> {
    let needed = config.status.history_size.0;
    (needed != 0).then(|| Limit {
        name: "history",
        needed,
        found: machine.history_bytes,
        unit: Unit::Bytes,
        sum: "status.history-size".to_owned(),
        remedy: "lower status.history-size, or name a status.history-file with more room",
    })
}

/// Every request to an origin's server may need a connection of its own, with a port of its own.
fn ports(config: &Config, machine: &Machine) -> Option<Limit> {
    let is_servers = |kind: &OriginKind| matches!(kind, OriginKind::Servers { .. });
    config.origins.values().any(|origin| is_servers(&origin.kind)).then(|| Limit {
        name: "ports",
        needed: connections(config),
        found: machine.ports,
        unit: Unit::Count,
        sum: "max-connections, if all asked one server of an origin at once".to_owned(),
        remedy: "widen net.ipv4.ip_local_port_range, or lower max-connections",
    })
}

fn connections(config: &Config) -> u64 {
    config.server.max_connections as u64
}

fn rows(pool: &PoolConfig) -> u64 {
    workers(pool).saturating_mul(u64::from(pool.concurrency))
}

/// Workers at one time, those that replace others included.
fn workers(pool: &PoolConfig) -> u64 {
    u64::from(pool.processes) + u64::from(pool.surge)
}

fn sum(config: &Config, part: impl Fn(&PoolConfig) -> u64) -> u64 {
    config.pools.values().map(part).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: &str = "[server]\nthreads = 2\nmax-connections = 100\nlisten-backlog = 511\n\
        [pool.a]\ncommand = ['a']\nprocesses = 2\nthreads = 3\nsurge = 1\n";

    #[test]
    fn each_limit_is_low_below_what_can_be_needed_and_not_at_it() {
        // 2 x 100 connections, 9 rows, 3 workers of 2 x 2 lanes and 2 more, 64 of its own.
        check("descriptors", 200 + 9 + 18 + 64, |machine, found| machine.descriptors = found);
        check("listen-backlog", 511, |machine, found| machine.listen_backlog = found);
        // 32 KiB of head; twice 256 KiB and three pieces of 64 KiB of response.
        let bytes = 100 * (32 + 512 + 192) * 1024;
        check("memory", bytes, |machine, found| machine.memory_bytes = found);
        check("tasks", 3 * 4 + 14, |machine, found| machine.tasks = found);
        check("spool", 4 << 30, |machine, found| machine.spool_bytes = found);
        check("history", 64 << 20, |machine, found| machine.history_bytes = found);
        check("ports", 100, |machine, found| machine.ports = found);
    }

    #[test]
    fn a_limit_that_does_not_matter_is_not_there() {
        let names = |text: &str| {
            let limits = limits(&config(text), &Machine::default());
            limits.iter().map(|limit| limit.name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(""), "descriptors listen-backlog memory tasks spool history");
        let without = "status.history-size = '0B'";
        assert_eq!(names(without), "descriptors listen-backlog memory tasks spool");
    }

    #[test]
    fn the_greatest_numbers_do_not_overflow() {
        let text = "[server]\nmax-connections = 10_000_000\n[limits]\n\
            response-in-memory = '1GiB'\nbody-in-memory = '1GiB'\n[pool.a]\ncommand = ['a']\n\
            processes = 1000\nthreads = 10_000\nconcurrency = 65_536\nsurge = 1000\n";
        for limit in limits(&config(text), &Machine::default()) {
            assert!(!limit.is_low() && 0 < limit.needed, "{limit:?}");
        }
    }

    #[track_caller]
    fn check(name: &str, needed: u64, set: fn(&mut Machine, Option<u64>)) {
        let config = config(&format!("{POOL}[origin.a]\nservers = ['http://a.example']\n"));
        for (found, is_low) in [(None, false), (Some(needed), false), (Some(needed - 1), true)] {
            let mut machine = Machine::default();
            set(&mut machine, found);
            let limits = limits(&config, &machine);
            let limit = limits.iter().find(|limit| limit.name == name).unwrap();
            assert_eq!((limit.needed, limit.is_low()), (needed, is_low), "{limit:?}");
            let low: Vec<_> = limits.iter().filter(|limit| limit.is_low()).collect();
            assert_eq!(low.len(), usize::from(is_low), "only this one: {low:?}");
        }
    }

    fn config(text: &str) -> Config {
        Config::parse(text, std::path::Path::new("test.toml")).unwrap()
    }
}
