//! A program that was started here, and its end.
//!
//! Whatever is started is ended when its `Process` is dropped, and also when this tool is killed:
//! the kernel then sends it TERM (`setpriv --pdeathsig`).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use crate::clock;

/// How long a server may take to end after TERM.
const END: Duration = Duration::from_secs(5);

/// Open files that a scenario of idle connections needs, with some to spare.
const OPEN_FILES: u64 = 65_536;

/// The processor that servers and workers have to themselves where a scenario is pinned.
pub(crate) const SERVER_CORE: u32 = 0;

/// The processor of the load generator.
pub(crate) const GENERATOR_CORE: u32 = 1;

/// A program and how it is started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    /// Its path or name, and its arguments.
    pub(crate) words: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
    /// The processor it is bound to.
    pub(crate) core: Option<u32>,
}

/// A running program.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Program {
    pub(crate) fn new<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Self {
        Self { words: words.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Binds it to a processor.
    pub(crate) fn on(self, core: Option<u32>) -> Self {
        Self { core, ..self }
    }

    /// Sets a variable of its environment.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// The command that starts it, bound to this process and to its processor.
    pub(crate) fn command(&self) -> Command {
        let mut words = vec!["setpriv".to_owned(), "--pdeathsig".to_owned(), "TERM".to_owned()];
        if let Some(core) = self.core {
            words.extend(["taskset".to_owned(), "-c".to_owned(), core.to_string()]);
        }
        words.extend(self.words.iter().cloned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).envs(&self.environment).stdin(Stdio::null());
        command
    }

    /// Starts it, with all that it prints in this file.
    pub(crate) fn start(&self, output: &File) -> Result<Process> {
        let mut command = self.command();
        command.stdout(output.try_clone()?).stderr(output.try_clone()?);
        let child = command.spawn().with_context(|| format!("cannot start {:?}", self.words))?;
        Ok(Process { child })
    }
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    pub(crate) fn is_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        signal(self.child.id(), Signal::TERM);
        let ended = clock::until(END, || self.is_ended().then_some(()));
        if ended.is_none() {
            // What cannot be killed has ended.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Sends a signal; one who is not there any more gets none.
pub(crate) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ended_already = kill_process(pid, signal);
    }
}

/// Runs a command to its end; what it printed, or an error with what it complained of.
pub(crate) fn output<S: AsRef<OsStr>>(words: &[S]) -> Result<String> {
    let [program, arguments @ ..] = words else { anyhow::bail!("no command") };
    let name = program.as_ref().display();
    let ended = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let ended = ended.with_context(|| format!("cannot start {name}"))?;
    let errors = String::from_utf8_lossy(&ended.stderr);
    anyhow::ensure!(ended.status.success(), "{name}: {}: {errors}", ended.status);
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned() + &errors)
}

/// Lets this process and all it starts have many open files.
pub(crate) fn raise_open_files() {
    let present = getrlimit(Resource::Nofile);
    let many = Rlimit { current: Some(OPEN_FILES), maximum: Some(OPEN_FILES) };
    let is_enough = present.maximum.is_none_or(|maximum| OPEN_FILES <= maximum);
    let wanted = Rlimit { current: present.maximum, maximum: present.maximum };
    let wanted = if is_enough { Rlimit { current: Some(OPEN_FILES), ..present } } else { wanted };
    // Root may raise the hard limit; others get as far as theirs.
    if setrlimit(Resource::Nofile, many).is_err() {
        let _kept_as_it_is = setrlimit(Resource::Nofile, wanted);
    }
}
