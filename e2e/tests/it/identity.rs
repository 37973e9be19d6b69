//! What a worker process is: who it runs as, what it may take, and what it was handed.
//!
//! The worker of most of these tests is `sleep`, which changes nothing of what it was given.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use ostler_e2e::stack::{field, number};
use ostler_e2e::{DEADLINE, POLL, Plan, Stack, process};
use rustix::process::{Signal, geteuid};
use tokio::time::{Instant, interval};

/// Signals 32 and 33, which nobody can change back where whoever started the tests ignores them.
const OF_THE_C_LIBRARY: u64 = 0b11 << 31;

/// A pool of one process that does nothing, with these keys.
fn plan(keys: &str) -> Plan {
    Plan::bare().unready().with(&format!(
        "[pool.still]\ncommand = ['sleep', '1000']\nprocesses = 1\nthreads = 2\n{keys}"
    ))
}

#[tokio::test]
async fn a_worker_has_the_limits_of_its_pool() {
    let keys = "nice = 7\numask = '0027'\ndirectory = '/usr'\n\
                limits = { memory = '300MiB', files = 77, core = '0B' }";
    let stack = plan(keys).start().await;
    let worker = worker(&stack).await;
    let limits = worker.read("limits");
    for (limit, value) in [
        ("Max data size", "314572800 314572800 bytes"),
        ("Max open files", "77 77 files"),
        ("Max core file size", "0 0 bytes"),
    ] {
        let line = limits.lines().find_map(|line| line.strip_prefix(limit)).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words.join(" "), value, "{limit}");
    }
    let stat = worker.read("stat");
    assert_eq!(stat.split_whitespace().nth(18), Some("7"), "nice: {stat}");
    assert_eq!(worker.status("Umask"), "0027");
    assert_eq!(fs::read_link(worker.0.join("cwd")).unwrap(), PathBuf::from("/usr"));
}

#[tokio::test]
async fn a_worker_without_limits_has_those_of_the_supervisor() {
    let stack = plan("").start().await;
    let worker = worker(&stack).await;
    let supervisor = Proc::of(stack.pid());
    assert_eq!(worker.read("limits"), supervisor.read("limits"));
    assert_eq!(worker.status("Umask"), supervisor.status("Umask"));
}

#[tokio::test]
async fn a_limit_that_cannot_be_set_is_said_so() {
    let stack = plan("limits.files = 4294967295").start().await;
    let line = stack.logged(|line| line.contains("cannot set `limits.files`")).await;
    assert!(line.contains("4294967295 (at most "), "{line}");
}

#[tokio::test]
async fn started_as_root_proxy_and_workers_become_their_users_for_good() {
    if !geteuid().is_root() {
        return;
    }
    let keys = "user = 'nobody'\ngroup = 'daemon'";
    let stack = plan(keys).with("server.user = 'nobody'").start().await;
    let worker = worker(&stack).await;
    let [user, own] = ["-u", "-g"].map(|option| id(&[option, "nobody"]));
    let daemon = id(&["-g", "daemon"]);
    assert_eq!(worker.status("Uid"), [&*user; 4].join(" "));
    assert_eq!(worker.status("Gid"), [&*daemon; 4].join(" "));
    assert!(worker.status("Groups").split(' ').all(|group| group == daemon || group == own));
    let proxy = Proc::of(stack.proxy().await);
    assert_eq!(proxy.status("Uid"), [&*user; 4].join(" "));
    assert_eq!(proxy.status("Gid"), [&*own; 4].join(" "));
    for process in [worker, proxy] {
        assert_eq!(process.status("NoNewPrivs"), "1");
        assert_eq!(process.status("CapEff"), "0000000000000000");
        assert!(!process.status("Groups").split(' ').any(|group| group == "0"));
    }
}

#[tokio::test]
async fn a_group_that_is_not_there_is_refused() {
    let ended = plan("group = 'no-such-group'").command(&["run", "--allow-root"]).await;
    if geteuid().is_root() {
        assert_eq!(ended.code, Some(78), "{ended:?}");
        assert!(ended.stderr.contains("pool.still: there is no group"), "{ended:?}");
    }
}

/// The supervisor is started with a descriptor and ignored signals that are none of its business.
#[tokio::test]
async fn a_worker_gets_the_descriptors_of_the_contract_and_default_signals() {
    // Standard ones and the socket; with the ring link its segment, its bell, two lanes for each
    // of two proxies, and the control socket.
    for (link, last) in [("http", 3), ("auto", 10)] {
        let stack = plan(&format!("link = '{link}'"))
            .after("trap '' HUP INT QUIT USR1 USR2 CHLD; exec 9</dev/null")
            .start()
            .await;
        assert!(Proc::of(stack.pid()).0.join("fd/9").exists(), "the supervisor has it");
        let worker = worker(&stack).await;
        // The loader opens libraries, and closes them.
        let wanted: Vec<i32> = (0..=last).collect();
        until(|| worker.descriptors() == wanted).await;
        for mask in ["SigBlk", "SigIgn", "SigCgt"] {
            let signals = u64::from_str_radix(&worker.status(mask), 16).unwrap();
            assert_eq!(signals & !OF_THE_C_LIBRARY, 0, "{mask}: {signals:x}");
        }
    }
}

/// With a guard that is stopped, nothing but the parent-death signal ends the worker; a change of
/// identity after it was set would have taken it away.
#[tokio::test]
async fn a_worker_of_another_user_dies_with_the_supervisor() {
    let user = if geteuid().is_root() { "user = 'nobody'" } else { "" };
    let stack = plan(user).start().await;
    let worker = worker(&stack).await;
    let line = stack.logged(|line| line.contains(" guard_started ")).await;
    let guard = field(&line, "pid").and_then(|pid| pid.parse().ok()).unwrap();
    assert!(process::signal(guard, Signal::STOP));
    stack.signal(Signal::KILL);
    until(|| !worker.0.exists() || worker.status("State").starts_with('Z')).await;
    assert!(process::signal(guard, Signal::KILL));
}

/// A process, as `/proc` shows it.
struct Proc(PathBuf);

impl Proc {
    fn of(pid: u32) -> Self {
        Self(PathBuf::from(format!("/proc/{pid}")))
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap_or_default()
    }

    fn descriptors(&self) -> Vec<i32> {
        let names = fs::read_dir(self.0.join("fd")).into_iter().flatten().flatten();
        let numbers = names.filter_map(|name| name.file_name().to_str()?.parse().ok());
        let mut numbers: Vec<i32> = numbers.collect();
        numbers.sort_unstable();
        numbers
    }

    /// A line of `status`, its words with one blank between them.
    fn status(&self, name: &str) -> String {
        let status = self.read("status");
        let mut lines = status.lines().filter_map(|line| line.split_once(':'));
        let line = lines.find(|(key, _)| *key == name);
        let words = line.map(|(_, value)| value.split_whitespace().collect::<Vec<_>>());
        words.unwrap_or_default().join(" ")
    }
}

/// The one worker, once it is the program.
async fn worker(stack: &Stack) -> Proc {
    let pools = stack.until_pool("still", |pool| pool["workers"][0]["pid"].is_u64()).await;
    let worker = Proc::of(number(&pools["still"]["workers"][0]["pid"]));
    until(|| worker.read("comm") == "sleep\n").await;
    worker
}

async fn until(wanted: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    let mut ticks = interval(POLL);
    while !wanted() {
        ticks.tick().await;
        assert!(Instant::now() < deadline, "never came to be");
    }
}

/// What `id` says.
fn id(arguments: &[&str]) -> String {
    let output = Command::new("id").args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
