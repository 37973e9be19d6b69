//! `[pool.NAME]`: worker processes of one application.

mod limits;
mod wsgi;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use limits::PoolLimitsConfig;

use super::HealthConfig;
use crate::decode::Decoder;
use crate::table::config_table;
use crate::tree::TableNode;
use crate::value::{
    ByteSize, CostHook, DAY, HOUR, Link, MILLISECOND, MountPath, Ready, Umask, WsgiApplication,
    check_plain_path,
};

/// Most bytes of all warm-up paths of a pool. They travel in one message, whose limit is higher.
const MAX_WARM_UP: usize = 16 * 1024;

/// Most paths of `reload-on-change`: each takes a few watches of the kernel.
const MAX_WATCHED: usize = 64;

config_table! {
    /// A fixed set of worker processes that run one application, each with a fixed number of
    /// threads. At most `processes` × `concurrency` requests run at a time; the others wait in a
    /// queue that the proxy owns.
    /// It has either a `command` or `wsgi`.
    ///
    /// Replaces `WSGIDaemonProcess` of `mod_wsgi`.
    pub struct PoolConfig(decoder) checked by check, shown by wsgi::shown {
        /// The program and its arguments: a worker of our own, or any program that serves HTTP on
        /// an inherited socket. A program with a slash is a path; one without is looked for in
        /// `PATH`. `{pool}`, `{slot}`, `{threads}` and `{concurrency}` are replaced.
        pub command: Vec<String> = default([]),
        /// A Python application instead of a `command`: `"module:callable"` as WSGI servers have
        /// it, or the path of a script, which has a slash or ends in `.py`, such as
        /// `"./site.wsgi"`; it may be followed by `:callable` as well. The callable is
        /// `application` where none is named. Modules are looked for in `directory` as well.
        /// Replaces `WSGIScriptAlias`.
        pub wsgi: Option<WsgiApplication> = optional,
        /// With `wsgi`: the interpreter, `CPython` 3.9 or newer; that of a virtual environment,
        /// `bin/python` in it, brings its packages. A program with a slash is a path; one without
        /// is looked for in `PATH`. The default is the name it has on most systems.
        /// Replaces `python-home`, `WSGIPythonHome`.
        pub python: String = default("python3"),
        /// With `wsgi`: folders in which modules are looked for before all others; their `.pth`
        /// files count. Replaces `python-path`, `WSGIPythonPath`.
        pub python_path: Vec<PathBuf> = default([]),
        /// With `wsgi`: the path, written as in a URL, below which the application is; it gets it
        /// as `SCRIPT_NAME`. Which requests come to the pool is said by routes.
        /// Replaces the first word of `WSGIScriptAlias`.
        pub mount: MountPath = default("/"),
        /// With `wsgi`: how long a thread keeps the interpreter lock while others wait for it,
        /// from 1ms to 1s. Without it, 5 ms, that of `CPython`. Replaces `WSGISwitchInterval`.
        pub switch_interval: Option<Duration> = optional,
        /// With `wsgi`: so long after the `request-timeout` of its request a thread that is still
        /// busy gets an exception raised, which ends the request unless code in C never returns;
        /// only then, at `stuck-grace`, would its worker be replaced. Shorter than `stuck-grace`.
        /// "0s": never, because an exception can come between any two steps of a program.
        /// As `interrupt-timeout` of `mod_wsgi`.
        pub interrupt_timeout: Option<Duration> = default("0s") in None..=Some(DAY),
        /// With `wsgi`: scripts that are run in each worker before the application is imported.
        /// Replaces `WSGIImportScript`.
        pub preload: Vec<PathBuf> = default([]),
        /// With `wsgi`: what is counted for each request beside time: `"db"`, queries of a
        /// database and their time. Nothing by default, since it costs some time itself.
        pub cost: Vec<CostHook> = default([]),
        /// How a worker shows that it can take requests: `"notify"` by `READY=1`, `"http"` by any
        /// answer to the first `warm-up` path, for programs that report too early or not at all.
        pub ready: Ready = default("notify"),
        /// How requests get to a worker: `"auto"` through shared memory where its program knows
        /// that (workers written with `ostler-app`, and Python's) and else over HTTP; `"http"`
        /// always over HTTP, which a pool with `wsgi` refuses. Through shared memory a
        /// request costs half the processor time.
        pub link: Link = default("auto"),
        /// The workers' current directory.
        pub directory: Option<PathBuf> = optional,
        /// Variables added to the workers' environment.
        pub environment: BTreeMap<String, String> = default({}),
        /// The user that the workers become when started as root, with all groups of that user.
        /// Without effect when started as another user.
        pub user: Option<String> = optional,
        /// The group of the workers instead of the user's own. Without effect when not started as
        /// root.
        pub group: Option<String> = optional,
        /// What the files that workers make may not be: `"0027"` keeps them from all but the user
        /// and, for reading, the group. Without it, that of the supervisor.
        pub umask: Option<Umask> = optional,
        /// How much the workers leave the processor to others: from -20, least, to 19, most.
        /// Less than that of the supervisor is for root. Without it, that of the supervisor.
        pub nice: Option<i32> = optional,
        /// Worker processes. Two, so that one can be replaced while the other serves.
        pub processes: u32 = default(2) in 1..=1000,
        /// Threads of a process; each runs one request at a time. The default is that of `mod_wsgi`.
        pub threads: u32 = default(15) in 1..=10_000,
        /// Requests in flight in a process; never less than `threads`.
        /// Only an asynchronous worker can use more.
        pub concurrency: u32 = computed("threads", threads) in 1..=65_536,
        /// Requests that may wait; one more gets 503 at once.
        pub queue_length: u32 = default(100) in 0..=1_000_000,
        /// How long a request may wait; 503 after. A client that leaves also leaves the queue.
        /// Few people wait longer than that.
        pub queue_timeout: Duration = default("10s") in MILLISECOND..=DAY,
        /// From the hand-over of a request to the head of its response; 504 after.
        /// "0s": no limit. The default is the `Timeout` of httpd.
        pub request_timeout: Option<Duration> = default("60s") in None..=Some(DAY),
        /// Between two pieces of a response's body; the response is aborted after.
        pub response_idle: Duration = default("60s") in MILLISECOND..=DAY,
        /// How long a thread may stay busy after the `request-timeout` of its request: then its
        /// worker is reported as unfit, with what it was doing. One whose every thread is that late
        /// is reported at once. Of no effect where `concurrency` is more than `threads`: there a
        /// late request is cancelled.
        /// A handler that is slow, and not stuck, has come back by then.
        pub stuck_grace: Duration = default("10s") in Duration::ZERO..=DAY,
        /// From a worker's start until it is ready; it is ended after.
        pub start_timeout: Duration = default("30s") in MILLISECOND..=DAY,
        /// How long the running requests of a withdrawn worker may take to finish.
        pub drain_timeout: Duration = computed(
            "request-timeout, or 60s where that is no limit",
            request_timeout.unwrap_or(Duration::from_mins(1))
        ) in Duration::ZERO..=DAY,
        /// From TERM to KILL, after the drain.
        pub stop_timeout: Duration = default("5s") in Duration::ZERO..=HOUR,
        /// Paths that are requested from a new worker, with `Host: localhost`, before it gets
        /// traffic.
        pub warm_up: Vec<String> = computed(
            "none, or [\"/\"] where ready is \"http\"",
            if ready == Ready::Http { vec!["/".to_owned()] } else { Vec::new() }
        ),
        /// How long an idle connection to a worker is kept. "0s": one request each.
        /// Short, so that a worker which closes idle connections itself rarely does so first.
        pub worker_keepalive: Duration = default("1s") in Duration::ZERO..=HOUR,
        /// What each process of a worker may take of the system.
        pub limits: PoolLimitsConfig = table,
        /// Workers beyond `processes` while some are replaced; at most `processes`.
        /// 0: the old one goes before the new one starts.
        /// A worker that drains counts, so slow requests hold up the next replacement for at most
        /// `drain-timeout` and `stop-timeout`.
        pub surge: u32 = default(1) in 0..=1000,
        /// Workers that serve at least while others are replaced, and from which on the service
        /// manager is told that the server is ready; at most `processes`, less one without `surge`.
        pub min_ready: u32 = computed(
            "processes, or one less where surge is 0",
            if surge == 0 { processes.saturating_sub(1) } else { processes }
        ) in 0..=1000,
        /// A worker is replaced after so many requests, or up to a tenth fewer, so that workers
        /// do not go together. 0: never.
        pub max_requests: u32 = default(0) in 0..=u32::MAX,
        /// A worker is replaced at this age, or up to a tenth earlier. "0s": never.
        pub max_age: Option<Duration> = default("0s") in None..=Some(DAY * 365),
        /// A worker is replaced when the processes of its group have so much resident memory
        /// together. "0B": never. Looked at once a second.
        /// At twice as much it goes even below `min-ready`, after `start-timeout` at the latest.
        pub max_memory: ByteSize = default("0B") in ByteSize(0)..=ByteSize::gib(1024),
        /// A worker that has served and then had no request for so long is replaced, as by
        /// `inactivity-timeout` of `mod_wsgi`. "0s": never.
        pub max_idle: Option<Duration> = default("0s") in None..=Some(DAY * 365),
        /// Paths; when one of them is touched, replaced, or a symbolic link that leads elsewhere,
        /// every worker of the pool is replaced.
        /// One that does not exist is waited for.
        pub reload_on_change: Vec<PathBuf> = computed(
            "none, or the script where wsgi is one",
            wsgi.iter().filter_map(WsgiApplication::script).map(Path::to_path_buf).collect()
        ),
        /// How a worker shows that it is well; one that does not is replaced. See below.
        pub health: Option<HealthConfig> = optional,
    }
}

impl PoolConfig {
    /// Returns whether each row of a worker is a thread, which nobody can make give up a request.
    pub fn is_blocking(&self) -> bool {
        self.concurrency == self.threads
    }
}

fn check(mut pool: PoolConfig, table: &TableNode, decoder: &mut Decoder<'_>) -> PoolConfig {
    check_program(&mut pool, table, decoder);
    wsgi::check(&pool, table, decoder);
    let comparable = !decoder.has_problem(table.place("threads"));
    if comparable && pool.concurrency < pool.threads {
        let message = format!(
            "`concurrency`: {} is less than `threads`, {}: threads would never have work",
            pool.concurrency, pool.threads
        );
        decoder.problem(table.place("concurrency"), message);
    }
    if let Some(nice) = pool.nice.filter(|nice| !(-20..=19).contains(nice)) {
        let message = format!("`nice`: {nice} is not within -20 to 19");
        decoder.problem(table.place("nice"), message);
    }
    check_capacity(&pool, table, decoder);
    check_watched(&pool, table, decoder);
    check_warm_up(&pool, table, decoder);
    check_environment(&pool, table, decoder);
    pool
}

/// Refuses a pool that has not one program, and makes that absolute.
fn check_program(pool: &mut PoolConfig, table: &TableNode, decoder: &mut Decoder<'_>) {
    resolve_program(&mut pool.python, decoder.sources.directory(table.place("python")));
    if let Some(program) = pool.command.first_mut() {
        resolve_program(program, decoder.sources.directory(table.place("command")));
    }
    match (table.get("command"), table.get("wsgi")) {
        (None, None) => {
            let message = format!("[{}] needs a `command` or `wsgi`", table.path);
            decoder.absent(table.at, message);
        }
        (Some(_), Some(wsgi)) => {
            decoder.problem(wsgi.at, "a pool has a `command` or `wsgi`, not both");
        }
        (Some(command), None) if table.elements("command").is_empty() => {
            if !decoder.has_problem(command.at) {
                decoder.problem(command.at, "`command`: must name a program");
            }
        }
        (Some(_), None) | (None, Some(_)) => {}
    }
}

/// Makes a program that is a relative path absolute.
fn resolve_program(program: &mut String, directory: &Path) {
    if program.contains('/') {
        *program = directory.join(&program).to_string_lossy().into_owned();
    }
}

/// Refuses a surge that could not be used, and a floor under which no worker could be replaced.
fn check_capacity(pool: &PoolConfig, table: &TableNode, decoder: &mut Decoder<'_>) {
    if decoder.has_problem(table.place("processes")) {
        return;
    }
    let PoolConfig { processes, surge, min_ready, .. } = *pool;
    if processes < surge {
        let message = format!("`surge`: {surge} is more than `processes`, {processes}");
        decoder.problem(table.place("surge"), message);
    } else if processes < min_ready {
        let message = format!("`min-ready`: {min_ready} is more than `processes`, {processes}");
        decoder.problem(table.place("min-ready"), message);
    } else if surge == 0 && processes == min_ready {
        let message = "`min-ready`: must be less than `processes` where `surge` is 0: \
                       no worker could be replaced";
        decoder.problem(table.place("min-ready"), message);
    }
}

fn check_watched(pool: &PoolConfig, table: &TableNode, decoder: &mut Decoder<'_>) {
    if MAX_WATCHED < pool.reload_on_change.len() {
        let message = format!("`reload-on-change`: there are more than {MAX_WATCHED} paths");
        decoder.problem(table.place("reload-on-change"), message);
    }
}

fn check_warm_up(pool: &PoolConfig, table: &TableNode, decoder: &mut Decoder<'_>) {
    if MAX_WARM_UP < pool.warm_up.iter().map(String::len).sum() {
        let message = format!("`warm-up`: the paths have more than {MAX_WARM_UP} bytes together");
        decoder.problem(table.place("warm-up"), message);
    }
    if pool.ready == Ready::Http && pool.warm_up.is_empty() {
        let message = "`warm-up`: ready = \"http\" needs a path to ask for";
        decoder.problem(table.place("warm-up"), message);
    }
    for (path, node) in pool.warm_up.iter().zip(table.elements("warm-up")) {
        let plain = path.split_once('?').map_or(path.as_str(), |(path, _)| path);
        if let Err(message) = check_plain_path(plain) {
            decoder.problem(node.at, format!("`warm-up`: {message}"));
        }
    }
}

/// Refuses variables that are not ones, and those of the contract with workers.
fn check_environment(pool: &PoolConfig, table: &TableNode, decoder: &mut Decoder<'_>) {
    const OURS: [&str; 4] = ["LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "NOTIFY_SOCKET"];
    let Some(environment) = table.table("environment") else { return };
    for name in pool.environment.keys() {
        let Some(entry) = environment.entries.get(name) else { continue };
        if name.is_empty() || name.contains(['=', '\0']) {
            let message = format!("`environment`: {name:?} is not the name of a variable");
            decoder.problem(entry.key_at, message);
        } else if OURS.contains(&name.as_str()) || name.starts_with("OSTLER_") {
            let message = format!("`environment`: {name} is set by the supervisor itself");
            decoder.problem(entry.key_at, message);
        }
    }
}

impl PoolConfig {
    /// Tells whether workers that run under this configuration may go on under `other`: they
    /// differ in how workers are counted and replaced, and in how requests wait, alone.
    pub fn keeps_workers_under(&self, other: &Self) -> bool {
        let same = Self {
            processes: other.processes,
            queue_length: other.queue_length,
            queue_timeout: other.queue_timeout,
            request_timeout: other.request_timeout,
            response_idle: other.response_idle,
            stuck_grace: other.stuck_grace,
            start_timeout: other.start_timeout,
            drain_timeout: other.drain_timeout,
            stop_timeout: other.stop_timeout,
            worker_keepalive: other.worker_keepalive,
            surge: other.surge,
            min_ready: other.min_ready,
            max_requests: other.max_requests,
            max_age: other.max_age,
            max_memory: other.max_memory,
            max_idle: other.max_idle,
            reload_on_change: other.reload_on_change.clone(),
            health: other.health.clone(),
            ..self.clone()
        };
        same == *other
    }
}

#[cfg(test)]
mod tests {
    use crate::{Config, PoolConfig};

    #[test]
    fn what_a_process_is_started_from_decides_whether_it_may_stay() {
        check("processes = 4\nmin-ready = 1\nmax-age = '1h'\nqueue-length = 5", true);
        check("request-timeout = '1s'\nstop-timeout = '0s'\nreload-on-change = ['/a']", true);
        check("environment = { A = 'b' }", false);
        check("threads = 16", false);
        check("warm-up = ['/']", false);
        check("user = 'nobody'", false);
    }

    #[test]
    fn another_application_or_interpreter_needs_new_workers() {
        let check = |keys: &str, expected: bool| {
            let base = pool("wsgi = 'site.wsgi'");
            let found = base.keeps_workers_under(&pool(&format!("wsgi = 'site.wsgi'\n{keys}")));
            assert_eq!(found, expected, "{keys}");
        };
        check("stuck-grace = '1m'", true);
        check("python = 'python3.12'", false);
        check("python-path = ['/srv']", false);
        check("mount = '/a'", false);
        check("switch-interval = '1ms'", false);
        check("interrupt-timeout = '1s'", false);
        check("preload = ['/a']", false);
        check("cost = ['db']", false);
        let [module, script] = ["wsgi = 'site.wsgi:app'", "wsgi = '/srv/site.wsgi'"].map(pool);
        assert!(!module.keeps_workers_under(&script));
    }

    #[track_caller]
    fn check(keys: &str, expected: bool) {
        let pool = |keys: &str| pool(&format!("command = ['a']\n{keys}"));
        assert_eq!(pool("").keeps_workers_under(&pool(keys)), expected, "{keys}");
    }

    fn pool(keys: &str) -> PoolConfig {
        let text = format!("[pool.web]\n{keys}");
        let path = std::path::Path::new("/etc/ostler.toml");
        Config::parse(&text, path).unwrap().pools.remove("web").unwrap()
    }
}
