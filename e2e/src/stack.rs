//! One running Ostler, with everything it needs in a folder of its own.
//!
//! A [`Plan`] is configuration text merged over a base that a test never has to repeat: ports
//! chosen by the kernel, a private runtime folder, and a log that the harness reads. `start` runs
//! the real binary and returns when it says that it is ready.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};
use toml::Table;

use crate::process::{self, MARK, Process};
use crate::{Client, DEADLINE, POLL, Response};

/// What every stack has: private places, and ports that the kernel chooses.
const BASE: &str = r#"
    server = { threads = 2, runtime-dir = "${STACK_DIR}/run", drain-timeout = "10s" }
    listener = [{ name = "public", address = "127.0.0.1:0" }]
    status.address = "127.0.0.1:0"
    log.access.path = "${STACK_DIR}/access.log"
    log.error = { path = "-", level = "debug" }
"#;

/// One process of the probe example behind every path.
const PROBE: &str = r#"
    [pool.probe]
    command = ["probe"]
    environment = { PROBE_MODE = "threads" }
    processes = 1
    threads = 2
    stop-timeout = "1s"
    [[site]]
    route = [{ path = "/", pool = "probe" }]
"#;

/// The programs that a pool's `command` may name without a path.
const PROGRAMS: [&str; 4] = ["probe", "hello-service", "hello-threads", "arena"];

/// What to start: configuration, and the files it speaks of.
#[derive(Clone, Debug)]
pub struct Plan {
    table: Table,
    files: Vec<(String, Vec<u8>)>,
    environment: Vec<(String, String)>,
    is_ready_awaited: bool,
}

/// A running Ostler. Dropping it ends every process of it.
#[derive(Debug)]
pub struct Stack {
    plan: Plan,
    folder: TempDir,
    mark: String,
    child: Child,
    pid: u32,
    log: Log,
    readers: JoinSet<()>,
}

/// A finished command, or what a stack left when it stopped.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The exit code; none when a signal ended the process.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error; for a stack the error log.
    pub stderr: String,
    /// The access log of a stack.
    pub access: String,
}

/// Lines of the error log, as far as they have come.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<LogState>>);

#[derive(Debug, Default)]
struct LogState {
    lines: Vec<String>,
    is_ended: bool,
}

impl Plan {
    /// Starts from listeners, status and logs alone: no pool, no site.
    pub fn bare() -> Self {
        Self {
            table: parse(BASE),
            files: Vec::new(),
            environment: Vec::new(),
            is_ready_awaited: true,
        }
    }

    /// Starts from one process of the probe with two threads that answers every path.
    pub fn probe() -> Self {
        Self::bare().with(PROBE)
    }

    /// Lays configuration over this one: tables are merged, everything else replaced.
    ///
    /// `${STACK_DIR}` stands for the folder of the stack.
    #[must_use]
    pub fn with(mut self, text: &str) -> Self {
        merge(&mut self.table, parse(text));
        self
    }

    /// Removes what stands at a path of keys, such as `["pool", "probe"]`.
    #[must_use]
    pub fn without(mut self, keys: &[&str]) -> Self {
        if let Some((last, tables)) = keys.split_last() {
            let table = tables.iter().fold(&mut self.table, |table, key| {
                table.get_mut(*key).and_then(toml::Value::as_table_mut).expect("a table")
            });
            table.remove(*last).expect("a key that is there");
        }
        self
    }

    /// Adds a file to the folder of the stack.
    #[must_use]
    pub fn file(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), bytes.into()));
        self
    }

    /// Starts the supervisor with this variable in its environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Returns from `start` as soon as the listeners are bound, ready or not.
    #[must_use]
    pub fn unready(mut self) -> Self {
        self.is_ready_awaited = false;
        self
    }

    /// Runs it, and waits until it is ready.
    pub async fn start(self) -> Stack {
        let folder = TempDir::new().expect("a temporary folder");
        self.write_files(folder.path());
        let mark = new_mark();
        let mut child = ostler(&mark, folder.path())
            .arg("run")
            .arg("-c")
            .arg(folder.path().join("ostler.toml"))
            .arg("--allow-root")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .spawn()
            .expect("the binary starts");
        let log = Log::default();
        let mut readers = JoinSet::new();
        let errors = child.stderr.take().expect("piped");
        readers.spawn(collect(errors, log.clone()));
        let pid = child.id().expect("just started");
        let plan = self;
        let stack = Stack { plan, folder, mark, child, pid, log, readers };
        stack.wait_for_start().await;
        stack
    }

    /// Runs `ostler COMMAND… -c FILE` on this configuration without starting anything.
    pub async fn command(self, arguments: &[&str]) -> Ended {
        let folder = TempDir::new().expect("a temporary folder");
        self.write_files(folder.path());
        run(&new_mark(), folder.path(), arguments).await
    }

    fn write_files(&self, folder: &Path) {
        for (path, bytes) in &self.files {
            let path = folder.join(path);
            let parent = path.parent().expect("it is in the folder");
            fs::create_dir_all(parent).expect("a folder");
            fs::write(&path, bytes).expect("a file");
        }
        let config = folder.join("ostler.toml");
        let is_given = self.files.iter().any(|(path, _)| path == "ostler.toml");
        if !is_given {
            fs::write(config, self.text()).expect("a configuration file");
        }
    }

    /// The configuration with real programs, and with identities when this is root.
    fn text(&self) -> String {
        let mut table = self.table.clone();
        let user = || toml::Value::String("root".to_owned());
        let is_root = rustix::process::geteuid().is_root();
        if is_root && let Some(server) = table.get_mut("server").and_then(|t| t.as_table_mut()) {
            server.entry("user").or_insert_with(user);
        }
        let pools = table.get_mut("pool").and_then(|pools| pools.as_table_mut());
        for (_, pool) in pools.into_iter().flatten() {
            let pool = pool.as_table_mut().expect("a pool is a table");
            if is_root {
                pool.entry("user").or_insert_with(user);
            }
            let command = pool.get_mut("command").and_then(|command| command.get_mut(0));
            if let Some(toml::Value::String(program)) = command
                && PROGRAMS.contains(&program.as_str())
            {
                *program = example(program).display().to_string();
            }
        }
        toml::to_string(&table).expect("a table can be written")
    }
}

impl Stack {
    /// Starts the probe behind every path, with this configuration laid over it.
    pub async fn start(text: &str) -> Self {
        Plan::probe().with(text).start().await
    }

    async fn wait_for_start(&self) {
        let awaited = if self.plan.is_ready_awaited { "ready" } else { "listener_bound" };
        self.logged(|line| event(line) == Some(awaited)).await;
    }

    /// The process id of the supervisor.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The folder of this stack.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.listener("public")
    }

    /// Where the status page is.
    pub fn status_address(&self) -> SocketAddr {
        self.listener("status")
    }

    /// The address of a listener, as the kernel gave it.
    pub fn listener(&self, name: &str) -> SocketAddr {
        let lines = self.log.lines();
        let mut bound = lines.iter().rev().filter(|line| event(line) == Some("listener_bound"));
        let line = bound.find(|line| field(line, "name") == Some(name));
        let address = line.and_then(|line| field(line, "address"));
        let address = address.unwrap_or_else(|| panic!("no listener {name}:\n{}", self.log));
        address.parse().expect("an address with a port")
    }

    /// Opens a connection to the first listener.
    pub async fn connect(&self) -> Client {
        Client::connect(self.address()).await
    }

    /// Sends one GET on a connection of its own.
    pub async fn get(&self, path: &str) -> Response {
        self.connect().await.get(path).await
    }

    /// Sends one GET to the status listener.
    pub async fn get_status(&self, path: &str) -> Response {
        Client::connect(self.status_address()).await.get(path).await
    }

    /// Everything the status page knows.
    pub async fn status(&self) -> Value {
        let response = self.get_status("/server-status?json").await;
        assert_eq!(response.status, 200, "{response:?}");
        response.json()
    }

    /// Waits until the status page shows what is wanted; returns what it showed.
    #[track_caller]
    pub fn until(&self, wanted: impl Fn(&Value) -> bool) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        async move {
            let mut ticks = interval(POLL);
            let deadline = Instant::now() + DEADLINE;
            loop {
                ticks.tick().await;
                let status = self.status().await;
                if wanted(&status) {
                    return status;
                }
                assert!(Instant::now() < deadline, "{caller}: never came to be: {status}");
            }
        }
    }

    /// Waits until a pool shows what is wanted; returns what it showed.
    #[track_caller]
    pub fn until_pool(
        &self,
        pool: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> impl Future<Output = Value> {
        let pool = pool.to_owned();
        let shown = self.until(move |status| wanted(&status["pools"][&pool]));
        async move { shown.await["pools"].take() }
    }

    /// Waits until the error log has a line as wanted; returns it.
    #[track_caller]
    pub fn logged(&self, wanted: impl Fn(&str) -> bool) -> impl Future<Output = String> {
        let caller = std::panic::Location::caller();
        async move {
            let mut ticks = interval(POLL);
            let deadline = Instant::now() + DEADLINE;
            loop {
                ticks.tick().await;
                let is_ended = self.log.is_ended();
                if let Some(line) = self.log.lines().into_iter().find(|line| wanted(line)) {
                    return line;
                }
                let is_late = deadline < Instant::now();
                assert!(
                    !is_late && !is_ended,
                    "{caller}: not logged, ended: {is_ended}\n{}",
                    self.log
                );
            }
        }
    }

    /// Lines of the error log about one event.
    pub fn events(&self, name: &str) -> Vec<String> {
        let lines = self.log.lines();
        lines.into_iter().filter(|line| event(line) == Some(name)).collect()
    }

    /// The whole error log so far.
    pub fn log(&self) -> String {
        self.log.to_string()
    }

    /// The access log so far.
    pub fn access_log(&self) -> String {
        fs::read_to_string(self.folder().join("access.log")).unwrap_or_default()
    }

    /// Process ids of the workers of a pool, in the order of their slots.
    pub async fn workers(&self, pool: &str) -> Vec<u32> {
        pids(&self.status().await["pools"][pool])
    }

    /// The process id of the proxy.
    pub async fn proxy(&self) -> u32 {
        number(&self.status().await["server"]["proxy"]["pid"])
    }

    /// Living processes of this stack, grandchildren included.
    pub fn processes(&self) -> Vec<Process> {
        process::marked(&self.mark)
    }

    /// Waits until no process of this stack is left, at most for so long.
    pub async fn until_gone(&self, longest: std::time::Duration) {
        let deadline = Instant::now() + longest;
        let mut ticks = interval(POLL);
        loop {
            ticks.tick().await;
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left after {longest:?}: {left:#?}\n{}", self.log);
        }
    }

    /// Sends a signal to the supervisor.
    pub fn signal(&self, signal: Signal) {
        assert!(process::signal(self.pid, signal), "the supervisor is gone:\n{}", self.log);
    }

    /// Runs `ostler COMMAND… -c FILE` for this stack, and waits for its end.
    pub async fn command(&self, arguments: &[&str]) -> Ended {
        run(&self.mark, self.folder(), arguments).await
    }

    /// Lays more configuration over the present one and writes the file, without a reload.
    pub fn write_config(&mut self, text: &str) {
        self.plan = self.plan.clone().with(text);
        self.plan.write_files(self.folder.path());
    }

    /// Writes the file of the configuration word for word, without a reload.
    pub fn write_raw_config(&self, text: &str) {
        fs::write(self.folder().join("ostler.toml"), text).expect("a configuration file");
    }

    /// Changes the configuration and reloads it; fails the test unless that works.
    pub async fn reload(&mut self, text: &str) {
        self.write_config(text);
        let ended = self.command(&["reload"]).await;
        assert_eq!(ended.code, Some(0), "{ended:?}\n{}", self.log);
    }

    /// Waits for the end of the supervisor.
    pub async fn ended(&mut self) -> ExitStatus {
        let end = timeout(DEADLINE, self.child.wait()).await;
        end.unwrap_or_else(|_| panic!("it does not end:\n{}", self.log)).expect("waited")
    }

    /// Stops with TERM, and fails the test if a process is left.
    pub async fn stop(mut self) -> Ended {
        self.signal(Signal::TERM);
        let status = self.ended().await;
        let left = self.processes();
        assert!(left.is_empty(), "left after a stop: {left:#?}\n{}", self.log);
        // The pipe ends with the last process that holds it.
        while let Some(read) = self.readers.join_next().await {
            read.expect("the log was read");
        }
        Ended {
            code: status.code(),
            stdout: String::new(),
            stderr: self.log(),
            access: self.access_log(),
        }
    }
}

impl Ended {
    /// Fails the test unless it ended well, with no line of level `ERROR` in its log.
    #[track_caller]
    pub fn expect_no_errors_logged(&self) {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        let level = |line: &&str| line.split_ascii_whitespace().nth(1) == Some("ERROR");
        let errors: Vec<&str> = self.stderr.lines().filter(level).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "a failed test shows the log of its stack")]
            {
                eprintln!("--- error log of the stack\n{}", self.log);
            }
        }
        // When it has ended there is nobody to kill; what it left behind is found below.
        drop(self.child.start_kill());
        let left = process::kill_marked(&self.mark);
        if !std::thread::panicking() {
            assert!(left.is_empty(), "cannot be killed: {left:#?}");
        }
    }
}

impl Log {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).lines.clone()
    }

    fn is_ended(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_ended
    }
}

impl std::fmt::Display for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.lines().iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Process ids of the workers of a pool, as the status page shows it.
pub fn pids(pool: &Value) -> Vec<u32> {
    let workers = pool["workers"].as_array().expect("a pool has workers");
    workers.iter().map(|worker| number(&worker["pid"])).collect()
}

/// A number of the status page.
#[track_caller]
pub fn number(value: &Value) -> u32 {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number.unwrap_or_else(|| panic!("not a number: {value}"))
}

/// The name of the event that a line of the error log is about.
pub fn event(line: &str) -> Option<&str> {
    line.split_ascii_whitespace().nth(2)
}

/// The value of `key=` in a line of the error log, up to the next space.
pub fn field<'line>(line: &'line str, key: &str) -> Option<&'line str> {
    let mut words = line.split_ascii_whitespace();
    words.find_map(|word| word.strip_prefix(key)?.strip_prefix('=')).map(|v| v.trim_matches('"'))
}

async fn collect(errors: impl AsyncRead + Unpin, log: Log) {
    let mut lines = BufReader::new(errors).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        log.0.lock().unwrap_or_else(PoisonError::into_inner).lines.push(line);
    }
    log.0.lock().unwrap_or_else(PoisonError::into_inner).is_ended = true;
}

async fn run(mark: &str, folder: &Path, arguments: &[&str]) -> Ended {
    let mut command = ostler(mark, folder);
    command.args(arguments).arg("-c").arg(folder.join("ostler.toml"));
    finish(command).await
}

/// Runs the binary with nothing but these arguments.
pub async fn ostler_alone(arguments: &[&str]) -> Ended {
    let folder = TempDir::new().expect("a temporary folder");
    let mut command = ostler(&new_mark(), folder.path());
    command.args(arguments);
    finish(command).await
}

async fn finish(mut command: Command) -> Ended {
    let output =
        timeout(DEADLINE, command.stdout(Stdio::piped()).kill_on_drop(true).output()).await;
    let output = output.unwrap_or_else(|_| panic!("does not end: {command:?}"));
    let output = output.expect("the binary starts");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        access: String::new(),
    }
}

fn ostler(mark: &str, folder: &Path) -> Command {
    let mut command = Command::new(built("ostler"));
    command
        .current_dir(folder)
        .env(MARK, mark)
        .env("STACK_DIR", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// The path of an example of the worker library.
pub fn example(name: &str) -> PathBuf {
    built(&format!("examples/{name}"))
}

/// The folder that cargo builds into.
pub fn target_folder() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("in the workspace");
    // A relative CARGO_TARGET_DIR is relative to where cargo ran: the workspace.
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace.join("target"), |target| workspace.join(target))
}

fn built(name: &str) -> PathBuf {
    let path = target_folder().join("debug").join(name);
    let advice = "run `cargo build --workspace --examples` and `cargo build -p ostler` first";
    assert!(path.is_file(), "{} is missing: {advice}", path.display());
    path
}

/// A value that the processes of one stack carry, and those of no other.
fn new_mark() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn parse(text: &str) -> Table {
    text.parse().unwrap_or_else(|error| panic!("{error}\nin\n{text}"))
}

fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(base)), toml::Value::Table(over)) => merge(base, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_merged_and_everything_else_is_replaced() {
        let mut table = parse("a = { b = 1, c = [1, 2] }\nd = 1");
        merge(&mut table, parse("a.c = [3]\na.e = 2\nd = { f = 1 }"));
        assert_eq!(table, parse("a = { b = 1, c = [3], e = 2 }\nd = { f = 1 }"));
    }

    #[test]
    fn a_key_can_be_taken_out_of_a_plan() {
        let plan = Plan::bare().without(&["log", "error", "level"]);
        assert_eq!(plan.table["log"]["error"], toml::Value::Table(parse("path = \"-\"")));
    }

    #[test]
    fn a_line_of_the_log_has_an_event_and_fields() {
        let line = "2026-01-01T00:00:00.000Z INFO listener_bound name=public address=\"[::1]:8\"";
        assert_eq!(event(line), Some("listener_bound"));
        assert_eq!(field(line, "name"), Some("public"));
        assert_eq!(field(line, "address"), Some("[::1]:8"));
        assert_eq!(field(line, "port"), None);
    }

    #[test]
    fn processes_are_found_by_their_mark_and_killed() {
        let mark = new_mark();
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sleep 1000 & wait"])
            .env(MARK, &mark)
            .spawn()
            .unwrap();
        let mut found = process::marked(&mark);
        while found.len() < 2 {
            found = process::marked(&mark);
        }
        assert!(found.iter().any(|process| process.pid == child.id()), "{found:?}");
        assert_eq!(process::kill_marked(&mark), []);
        child.wait().unwrap();
    }
}
