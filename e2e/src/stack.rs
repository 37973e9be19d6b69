//! One running Ostler, with everything it needs in a folder of its own.
//!
//! `run` starts the real binary on a [`Plan`] and returns when it says that it is ready. What a
//! test waits for, it waits for here, with a deadline and with the error log in the failure.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitStatus;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Child;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};

use crate::binary::{self, new_mark};
use crate::log::{self, Log};
use crate::process::{self, Process};
use crate::wait::until;
use crate::{Client, DEADLINE, POLL, Plan, Response};

pub use crate::binary::{Ended, example, ostler_alone, target_folder};
pub use crate::log::{event, field};

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

impl Stack {
    /// Starts the probe behind every path, with this configuration laid over it.
    pub async fn start(text: &str) -> Self {
        Plan::probe().with(text).start().await
    }

    /// Starts the binary, and waits until it is ready.
    pub(crate) async fn run(plan: Plan) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        plan.write_files(folder.path());
        let mark = new_mark();
        let mut child = binary::ostler_after(plan.before.as_deref(), &mark, folder.path())
            .arg("run")
            .arg("-c")
            .arg(folder.path().join("ostler.toml"))
            .arg("--allow-root")
            .envs(plan.environment.iter().map(|(name, value)| (name, value)))
            .spawn()
            .expect("the binary starts");
        let log = Log::default();
        let mut readers = JoinSet::new();
        let errors = child.stderr.take().expect("piped");
        readers.spawn(log::collect(errors, log.clone()));
        let pid = child.id().expect("just started");
        let stack = Self { plan, folder, mark, child, pid, log, readers };
        stack.wait_for_start().await;
        stack
    }

    /// Waits until it is ready or, where that is not awaited, until its last listener is bound.
    async fn wait_for_start(&self) {
        let (awaited, name) = if self.plan.is_ready_awaited {
            ("ready", None)
        } else {
            ("listener_bound", Some("status-internal"))
        };
        self.logged(|line| event(line) == Some(awaited) && field(line, "name") == name).await;
    }

    /// The process id of the supervisor.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What marks the processes of this stack.
    pub(crate) fn mark(&self) -> &str {
        &self.mark
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
        until(caller, || self.status(), wanted)
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

    /// Waits until the access log has a line with these words; returns it.
    pub async fn until_logged_access(&self, words: &str) -> String {
        let mut ticks = interval(POLL);
        let deadline = Instant::now() + DEADLINE;
        loop {
            ticks.tick().await;
            let log = self.access_log();
            if let Some(line) = log.lines().find(|line| line.contains(words)) {
                return line.to_owned();
            }
            assert!(Instant::now() < deadline, "no {words:?} in:\n{log}");
        }
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
        binary::run(&self.mark, self.folder(), arguments).await
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
