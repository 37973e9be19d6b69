//! The proxy process, as the supervisor sees it: started, told things, started again.

use std::cell::Cell;
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ostler_conf::Config;
use ostler_policy::worker::{SETTLED, delay_after};
use rustix::process::Pid;
use tokio::sync::mpsc;

use crate::channel::Channel;
use crate::event::Event;
use crate::exit::{self, Exit};
use crate::identity::Identity;
use crate::limits::Limits;
use crate::link::Outbox;
use crate::message::{FromProxy, ToProxy};
use crate::output::{self, Source};
use crate::spawn::{self, Equipment, Inherited, THIS_PROGRAM};
use crate::stub::Plan;
use crate::tasks::Tasks;

/// The longest pause before another proxy process: nobody is served meanwhile, and one attempt a
/// second costs nothing.
const MAX_DELAY: Duration = Duration::from_secs(1);

/// From start to the first `ConfigApplied`. Nothing it does then waits for anybody else.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// From the end of the channel to the end of the process. It has nothing to do in between but to
/// log why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What the proxy process needs of the supervisor's environment. Variables of the product itself
/// (`OSTLER_`) are kept, too.
const VARIABLES: [&str; 6] =
    ["PATH", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "RUST_BACKTRACE"];

/// The one proxy process, or the wait for the next one.
#[derive(Debug)]
pub(crate) struct Proxy {
    process: Option<Process>,
    incarnation: u32,
    failures: u32,
    retry_at: Instant,
}

#[derive(Debug)]
struct Process {
    pid: Pid,
    outbox: Outbox<ToProxy>,
    started: Instant,
    /// Has a configuration in force.
    is_serving: bool,
    /// Was killed for not doing its part.
    is_given_up: Cell<bool>,
    /// When it is given up, because it closed its channel.
    lost_until: Option<Instant>,
}

impl Proxy {
    /// No process yet, and one is due.
    pub(crate) fn new(now: Instant) -> Self {
        Self { process: None, incarnation: 0, failures: 0, retry_at: now }
    }

    /// Starts a process. It knows nothing yet: the caller tells it everything.
    pub(crate) fn start(
        &mut self,
        now: Instant,
        identity: Option<&Identity>,
        events: &mpsc::Sender<Event>,
        tasks: &mut Tasks,
    ) -> io::Result<Pid> {
        self.incarnation = self.incarnation.saturating_add(1);
        let incarnation = self.incarnation;
        let (ours, theirs) = Channel::pair()?;
        let plan = Plan {
            parent: rustix::process::getpid().as_raw_pid(),
            identity: identity.cloned(),
            limits: Limits::default(),
            umask: None,
            directory: None,
            listens: false,
            link_descriptors: 0,
            command: vec![THIS_PROGRAM.to_owned(), "proxy".to_owned()],
        };
        let equipment = Equipment {
            input: Some(theirs),
            inherited: Inherited::Only(&VARIABLES),
            ..Equipment::default()
        };
        let child = spawn::spawn(&plan, equipment)?;
        let channel = Arc::new(ours);
        let outbox = Outbox::new(Arc::clone(&channel), tasks);
        tasks.spawn(listen(channel, incarnation, events.clone()));
        tasks.spawn(output::forward(child.stdout, Source::Proxy));
        tasks.spawn(output::forward(child.stderr, Source::Proxy));
        let pid = child.pid;
        self.process = Some(Process {
            pid,
            outbox,
            started: now,
            is_serving: false,
            is_given_up: Cell::new(false),
            lost_until: None,
        });
        tracing::info!(pid = pid.as_raw_pid(), incarnation, "proxy_started");
        Ok(pid)
    }

    /// Returns the number of the process that runs or ran last.
    pub(crate) fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// Returns the id of the process, if there is one.
    pub(crate) fn pid(&self) -> Option<Pid> {
        self.process.as_ref().map(|process| process.pid)
    }

    /// Returns whether a configuration is in force.
    pub(crate) fn is_serving(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.is_serving)
    }

    /// Notes that a configuration is in force.
    pub(crate) fn serves(&mut self) {
        if let Some(process) = &mut self.process {
            process.is_serving = true;
        }
    }

    /// Tells the process something. Without a process there is nobody to tell: the next one is
    /// told everything at its start.
    pub(crate) fn tell(&self, message: ToProxy, descriptors: Vec<OwnedFd>) {
        let Some(process) = &self.process else { return };
        if !process.outbox.post(message, descriptors) {
            self.give_up("it takes no messages");
        }
    }

    /// Notes that the process closed its channel. It is about to end, and shall say how.
    pub(crate) fn lost(&mut self, now: Instant) {
        if let Some(process) = &mut self.process {
            process.lost_until = Some(now + LAST_WORDS);
        }
    }

    /// Gives up the process, which has not done in time what was waited for.
    pub(crate) fn overdue(&self) {
        let is_lost = self.process.as_ref().is_some_and(|process| process.lost_until.is_some());
        self.give_up(if is_lost {
            "it closed its channel and does not end"
        } else {
            "it has no configuration in force in time"
        });
    }

    /// Kills the process, which does not do its part.
    pub(crate) fn give_up(&self, reason: &str) {
        if let Some(process) = self.process.as_ref().filter(|one| !one.is_given_up.get()) {
            process.is_given_up.set(true);
            tracing::error!(pid = process.pid.as_raw_pid(), reason, "proxy_given_up");
            exit::kill_group(process.pid);
        }
    }

    /// Notes that the process ended, and when the next one is due.
    pub(crate) fn ended(&mut self, exit: Exit, now: Instant, is_planned: bool) {
        let Some(process) = self.process.take() else { return };
        let (pid, exit) = (process.pid.as_raw_pid(), exit.to_string());
        if is_planned {
            tracing::info!(pid, incarnation = self.incarnation, exit, "proxy_exited");
            return;
        }
        tracing::error!(pid, incarnation = self.incarnation, exit, "proxy_exited");
        let is_settled = process.is_serving && SETTLED <= now.duration_since(process.started);
        self.failed(now, is_settled);
    }

    /// Notes that a process could not be started, or ended; a first time costs no delay.
    pub(crate) fn failed(&mut self, now: Instant, is_settled: bool) {
        self.failures = if is_settled { 0 } else { self.failures.saturating_add(1) };
        self.retry_at = now + delay_after(self.failures.saturating_sub(1)).min(MAX_DELAY);
    }

    /// Returns when something is to be done about the process: start it, or give it up.
    pub(crate) fn due(&self) -> Option<Instant> {
        match &self.process {
            None => Some(self.retry_at),
            Some(process) if process.is_given_up.get() => None,
            Some(process) => process
                .lost_until
                .or_else(|| (!process.is_serving).then_some(process.started + START_TIMEOUT)),
        }
    }
}

/// Returns a configuration without what only workers need, which may be secret.
pub(crate) fn without_secrets(config: &Config) -> Config {
    let mut config = config.clone();
    for pool in config.pools.values_mut() {
        pool.environment.clear();
        pool.command.truncate(1);
    }
    config
}

/// A memory file with a text, to be read from its start.
pub(crate) fn memory_file(text: &str) -> io::Result<OwnedFd> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let mut file = std::fs::File::from(rustix::fs::memfd_create("ostler-config", flags)?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file.into())
}

async fn listen(channel: Arc<Channel>, incarnation: u32, events: mpsc::Sender<Event>) {
    loop {
        let event = match channel.recv::<FromProxy>().await {
            Ok(Some((message, _))) => Event::FromProxy { incarnation, message },
            Ok(None) => Event::ProxyLost { incarnation, error: None },
            Err(error) => Event::ProxyLost { incarnation, error: Some(error) },
        };
        let is_last = matches!(event, Event::ProxyLost { .. });
        if events.send(event).await.is_err() || is_last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_process_is_not_told_the_secrets_of_workers() {
        let text = "[pool.web]\ncommand = ['/bin/a', '--key=hunter2']\n\
                    environment = { PASSWORD = 'hunter2' }\nthreads = 3\n";
        let config = Config::parse(text, std::path::Path::new("/etc/ostler.toml")).unwrap();
        let sent = without_secrets(&config).to_toml();
        assert!(!sent.contains("hunter2") && !sent.contains("PASSWORD"), "{sent}");
        let received = Config::parse(&sent, std::path::Path::new("/elsewhere")).unwrap();
        assert_eq!(received.pools["web"].command, ["/bin/a"]);
        assert_eq!(received.pools["web"].threads, 3);
    }
}
