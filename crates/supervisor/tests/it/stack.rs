//! A supervisor under test: its files, its log, the processes it started.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use command_fds::CommandFdExt;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_fake-ostler");

/// Longest wait for anything, on a machine that does a lot besides.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running supervisor, killed when dropped.
pub(crate) struct Stack {
    child: Child,
    lines: Receiver<String>,
    dir: tempfile::TempDir,
}

impl Stack {
    /// Starts a supervisor. `PROGRAM` in the configuration is replaced.
    pub(crate) fn start(toml: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write(&dir, toml);
        let mut child = command(&dir).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = sync_channel(10_000);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, dir }
    }

    /// Starts another one with the same configuration, which has to fail.
    pub(crate) fn start_another(&self) -> (Option<i32>, String) {
        let mut child = command(&self.dir).stderr(Stdio::piped()).spawn().unwrap();
        let mut text = String::new();
        child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (child.wait().unwrap().code(), text)
    }

    /// Replaces the configuration.
    pub(crate) fn write(&self, toml: &str) {
        write(&self.dir, toml);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Waits for a line with `text`. Returns all lines up to it.
    pub(crate) fn wait_for(&self, text: &str) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("no line with {text:?} after:\n{}", seen.join("\n"));
            };
            let is_it = line.contains(text);
            seen.push(line);
            if is_it {
                return seen;
            }
        }
    }

    /// Waits for lines with each of these, in whatever order: two processes write them.
    pub(crate) fn wait_for_all(&self, texts: &[&str]) {
        let mut missing = texts.to_vec();
        while !missing.is_empty() {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no line with {missing:?}"));
            missing.retain(|text| !line.contains(text));
        }
    }

    /// Waits until something holds that no line tells of.
    pub(crate) fn wait_until(&self, holds: impl Fn(&Self) -> bool) {
        let until = now() + PATIENCE;
        while !holds(self) {
            assert!(now() < until, "it never came to hold");
            thread::yield_now();
        }
    }

    /// Waits for the start of a worker. Returns its process id.
    pub(crate) fn started_worker(&self) -> i32 {
        let line = self.wait_for("INFO worker_started").pop().unwrap();
        line.split("pid=").nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn kill(pid: i32) {
        let pid = Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }

    /// Waits for the end of the supervisor. Returns its exit status.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Returns the process of a subcommand.
    pub(crate) fn pid_of(&self, subcommand: &str) -> i32 {
        let is_it = |&pid: &i32| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.trim_end_matches('\0').ends_with(&format!("\0{subcommand}"))
        };
        self.descendants().pids.into_iter().find(is_it).unwrap()
    }

    /// Returns every process below the supervisor that has not ended.
    pub(crate) fn descendants(&self) -> Processes {
        let mut pids = BTreeSet::new();
        let mut parents = vec![self.pid()];
        let all = all_processes();
        while let Some(parent) = parents.pop() {
            for process in all.iter().filter(|one| one.parent == parent && one.state != 'Z') {
                pids.insert(process.pid);
                parents.push(process.pid);
            }
        }
        Processes { pids }
    }

    /// Returns the children of the supervisor that run a program called so.
    pub(crate) fn children(&self, program: &str) -> Vec<i32> {
        let supervisor = self.pid();
        let is_it = |one: &Process| {
            let line = fs::read_to_string(format!("/proc/{}/cmdline", one.pid)).unwrap_or_default();
            one.parent == supervisor && line.split('\0').next() == Some(program)
        };
        all_processes().into_iter().filter(is_it).map(|one| one.pid).collect()
    }

    /// Returns a variable of a process.
    pub(crate) fn variable(pid: i32, name: &str) -> Option<String> {
        let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
        let mut variables = environment.split('\0').filter_map(|one| one.split_once('='));
        variables.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
    }

    /// Returns the processes that have the file open that the supervisor was started with.
    pub(crate) fn holders_of_the_inherited_file(&self) -> Vec<i32> {
        let file = self.path("inherited");
        let is_open = |pid: &i32| {
            let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            entries.into_iter().any(|entry| fs::read_link(entry.path()).is_ok_and(|it| it == file))
        };
        self.descendants().pids.into_iter().chain([self.pid()]).filter(is_open).collect()
    }

    /// Returns its process id.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Returns how many children of the supervisor nobody reaped.
    pub(crate) fn zombies(&self) -> usize {
        let supervisor = self.pid();
        let is_zombie = |one: &&Process| one.parent == supervisor && one.state == 'Z';
        all_processes().iter().filter(is_zombie).count()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Some processes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Processes {
    pids: BTreeSet<i32>,
}

impl Processes {
    pub(crate) fn of(pid: i32) -> Self {
        Self { pids: BTreeSet::from([pid]) }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        for &pid in &self.pids {
            rustix::process::kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.pids.len()
    }

    pub(crate) fn in_group(&self, group: i32) -> Self {
        let members = all_processes().into_iter().filter(|one| one.group == group);
        Self { pids: members.map(|one| one.pid).filter(|pid| self.pids.contains(pid)).collect() }
    }

    /// Waits until all of them have ended. A zombie has: who reaps it is not ours to say.
    #[track_caller]
    pub(crate) fn wait_for_end(&self, limit: Duration) {
        let until = now() + limit;
        for &pid in &self.pids {
            let Ok(process) =
                rustix::process::pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty())
            else {
                continue;
            };
            let left = Timespec::try_from(until.saturating_duration_since(now())).unwrap();
            let mut poll = [PollFd::new(&process, PollFlags::IN)];
            let ended = rustix::event::poll(&mut poll, Some(&left)).unwrap();
            assert_eq!(ended, 1, "process {pid} is still there after {limit:?}");
        }
    }
}

struct Process {
    pid: i32,
    state: char,
    parent: i32,
    group: i32,
}

fn all_processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").unwrap().map_while(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(process).collect()
}

fn process(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    Some(Process { pid, state, parent, group })
}

fn command(dir: &tempfile::TempDir) -> Command {
    let mut command = Command::new(PROGRAM);
    let inherited = fs::File::create(dir.path().join("inherited")).unwrap();
    command
        .arg("run")
        .arg(dir.path().join("ostler.toml"))
        .env("DATABASE_PASSWORD", "hunter2")
        .stdin(Stdio::null())
        .preserved_fds(vec![inherited.into()]);
    command
}

fn write(dir: &tempfile::TempDir, toml: &str) {
    let level = if toml.contains("log.error.level") { "" } else { "log.error.level = 'debug'" };
    let text = format!(
        "server.threads = 2\nserver.runtime-dir = 'run'\nstatus.address = '127.0.0.1:0'\n\
         {level}\n{toml}\n\
         [[listener]]\nname = 'public'\naddress = '127.0.0.1:0'\n"
    );
    let whole = dir.path().join("ostler.toml.new");
    fs::write(&whole, text.replace("PROGRAM", PROGRAM)).unwrap();
    fs::rename(&whole, dir.path().join("ostler.toml")).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "deadlines of tests are real time")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
