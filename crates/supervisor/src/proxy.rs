//! The proxy process, as the supervisor sees it: started, told things, started again.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ostler_policy::worker::{SETTLED, delay_after};
use rustix::process::Pid;
use tokio::sync::mpsc;

use crate::channel::Channel;
use crate::event::Event;
use crate::exit::{self, Exit};
use crate::identity::Identity;
use crate::limits::Limits;
use crate::link::Outbox;
use crate::message::{FromProxy, ToProxy, WorkerId};
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

/// The proxy process, or the wait for the next one; and those that come before and after it while
/// one replaces the other.
///
/// ```text
///            start_next          serves                 ended
/// process A ───────────► A, next B ───► old A, process B ───► process B
///                            │ B ends: A stays   │ A ends, or is killed at its deadline
///                            │ A ends: B is the process, and is waited for
/// ```
#[derive(Debug)]
pub(crate) struct Proxy {
    /// The one that serves, or starts while none does.
    process: Option<Process>,
    /// The one that starts beside it.
    next: Option<Process>,
    /// The one that was replaced, and finishes its requests.
    old: Option<Process>,
    /// The last one that was started.
    incarnation: u32,
    failures: u32,
    retry_at: Instant,
    /// Who has not said yet that nothing of it is inside a worker.
    withdrawing: BTreeMap<WorkerId, Vec<u32>>,
    /// Only the newest process is told, which knows nothing yet.
    is_introducing: bool,
}

#[derive(Debug)]
struct Process {
    pid: Pid,
    incarnation: u32,
    outbox: Outbox<ToProxy>,
    started: Instant,
    /// Has a configuration in force.
    is_serving: bool,
    /// Was killed for not doing its part.
    is_given_up: Cell<bool>,
    /// When it is given up, because it closed its channel, or drains.
    lost_until: Option<Instant>,
}

/// Which of the processes one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It serves, or starts while none does.
    Serving,
    /// It starts beside the one that serves.
    Next,
    /// It was replaced.
    Old,
}

impl Process {
    /// Kills the process, which does not do its part.
    fn give_up(&self, reason: &str) {
        if !self.is_given_up.replace(true) {
            tracing::error!(pid = self.pid.as_raw_pid(), reason, "proxy_given_up");
            exit::kill_group(self.pid);
        }
    }

    fn due(&self) -> Option<Instant> {
        let start = (!self.is_serving).then_some(self.started + START_TIMEOUT);
        self.lost_until.or(start).filter(|_| !self.is_given_up.get())
    }
}

impl Proxy {
    /// No process yet, and one is due.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            process: None,
            next: None,
            old: None,
            incarnation: 0,
            failures: 0,
            retry_at: now,
            withdrawing: BTreeMap::new(),
            is_introducing: false,
        }
    }

    /// Starts a process: beside the one that serves, if there is one. It knows nothing yet: until
    /// `introduced` it alone is told everything.
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
            further_descriptors: 0,
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
        let place = if self.process.is_some() { &mut self.next } else { &mut self.process };
        *place = Some(Process {
            pid,
            incarnation,
            outbox,
            started: now,
            is_serving: false,
            is_given_up: Cell::new(false),
            lost_until: None,
        });
        self.is_introducing = true;
        tracing::info!(pid = pid.as_raw_pid(), incarnation, "proxy_started");
        Ok(pid)
    }

    /// The newest process was told everything. Tells all of them who lives.
    pub(crate) fn introduced(&mut self) {
        self.is_introducing = false;
        self.tell_living();
    }

    /// Returns the number of the process that was started last.
    pub(crate) fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// Returns which of the processes has this number, if it lives.
    pub(crate) fn role(&self, incarnation: u32) -> Option<Role> {
        self.by_role().find(|(_, one)| one.incarnation == incarnation).map(|(role, _)| role)
    }

    /// Returns which of the processes has this id.
    pub(crate) fn role_of(&self, pid: Pid) -> Option<Role> {
        self.by_role().find(|(_, one)| one.pid == pid).map(|(role, _)| role)
    }

    /// Returns the ids of the processes.
    pub(crate) fn pids(&self) -> impl Iterator<Item = Pid> {
        self.by_role().map(|(_, process)| process.pid)
    }

    /// Returns whether there is a process that serves, or starts while none does.
    pub(crate) fn is_there(&self) -> bool {
        self.process.is_some()
    }

    /// Returns whether a configuration is in force.
    pub(crate) fn is_serving(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.is_serving)
    }

    /// Returns whether another process starts beside the one that serves.
    pub(crate) fn has_next(&self) -> bool {
        self.next.is_some()
    }

    /// Returns whether one process is replacing another, or finishes what it had.
    pub(crate) fn is_replacing(&self) -> bool {
        self.next.is_some() || self.old.is_some()
    }

    /// Notes that a configuration is in force.
    pub(crate) fn serves(&mut self) {
        if let Some(process) = &mut self.process {
            process.is_serving = true;
        }
    }

    /// The next process serves: the one before it drains, until `deadline` at the latest.
    pub(crate) fn switch(&mut self, deadline: Instant) {
        let Some(next) = self.next.take() else { return };
        let next = Process { is_serving: true, ..next };
        self.old = self.process.replace(next);
        if let Some(old) = &mut self.old {
            old.lost_until = Some(deadline);
            post(old, ToProxy::Drain, Vec::new());
        }
    }

    /// Tells the processes something, each what concerns it. One that starts is told everything
    /// anyway.
    pub(crate) fn tell(&mut self, message: ToProxy, descriptors: Vec<OwnedFd>) {
        if let ToProxy::WorkerExited { id, .. } = &message {
            self.withdrawing.remove(id);
        } else if let ToProxy::WorkerWithdraw { id } = &message {
            let told: Vec<u32> = self.told(&message).map(|one| one.incarnation).collect();
            self.withdrawing.entry(id.clone()).or_default().extend(told);
        }
        let mut told: Vec<&Process> = self.told(&message).collect();
        let Some(last) = told.pop() else { return };
        for process in told {
            let copied: io::Result<Vec<_>> = descriptors.iter().map(OwnedFd::try_clone).collect();
            match copied {
                Ok(copied) => post(process, message.clone(), copied),
                Err(error) => process.give_up(&format!("it cannot be told something: {error}")),
            }
        }
        post(last, message, descriptors);
    }

    /// Those that a message concerns.
    fn told(&self, message: &ToProxy) -> impl Iterator<Item = &Process> {
        let newest = self.is_introducing.then_some(self.incarnation);
        // One that was replaced applies no configuration any more.
        let is_for_old = !matches!(
            message,
            ToProxy::Listener { .. }
                | ToProxy::Config { .. }
                | ToProxy::ConfigError { .. }
                | ToProxy::OriginServer { .. }
                | ToProxy::Routes
                | ToProxy::Sync
                | ToProxy::LameDuck
                | ToProxy::Drain
        );
        let is_for_next = !matches!(message, ToProxy::Sync);
        self.by_role().filter_map(move |(role, process)| {
            let is_meant = match (newest, role) {
                (Some(newest), _) => process.incarnation == newest,
                (None, Role::Serving) => true,
                (None, Role::Next) => is_for_next,
                (None, Role::Old) => is_for_old,
            };
            is_meant.then_some(process)
        })
    }

    /// Tells them which of them live.
    pub(crate) fn tell_living(&mut self) {
        let living = self.by_role().map(|(_, process)| process.incarnation).collect();
        let message = ToProxy::Proxies { living, newest: self.incarnation };
        self.tell(message, Vec::new());
    }

    fn by_role(&self) -> impl Iterator<Item = (Role, &Process)> {
        let all =
            [(Role::Old, &self.old), (Role::Serving, &self.process), (Role::Next, &self.next)];
        all.into_iter().filter_map(|(role, process)| Some((role, process.as_ref()?)))
    }

    /// Notes that nothing of a process is inside a worker. Returns whether that is so of all that
    /// were asked.
    pub(crate) fn withdrawn(&mut self, incarnation: u32, id: &WorkerId) -> bool {
        let Some(waited_for) = self.withdrawing.get_mut(id) else { return false };
        waited_for.retain(|&one| one != incarnation);
        let is_over = waited_for.is_empty();
        if is_over {
            self.withdrawing.remove(id);
        }
        is_over
    }

    /// Notes that a process closed its channel. It is about to end, and shall say how.
    pub(crate) fn lost(&mut self, incarnation: u32, now: Instant) {
        let all = [&mut self.process, &mut self.next, &mut self.old].into_iter().flatten();
        for process in all.filter(|process| process.incarnation == incarnation) {
            process.lost_until = Some(now + LAST_WORDS);
        }
    }

    /// Gives up the processes that have not done in time what was waited for.
    pub(crate) fn give_up_late(&self, now: Instant) {
        for (role, process) in self.by_role() {
            if process.due().is_some_and(|due| due <= now) {
                process.give_up(match (role, process.lost_until) {
                    (Role::Old, _) => "it has not finished its requests within drain-timeout",
                    (_, Some(_)) => "it closed its channel and does not end",
                    (_, None) => "it has no configuration in force in time",
                });
            }
        }
    }

    /// Kills the process that serves or starts, which does not do its part.
    pub(crate) fn give_up(&self, reason: &str) {
        self.process.iter().for_each(|process| process.give_up(reason));
    }

    /// Kills one process, which does not do its part.
    pub(crate) fn give_up_one(&self, incarnation: u32, reason: &str) {
        for (_, process) in self.by_role().filter(|(_, one)| one.incarnation == incarnation) {
            process.give_up(reason);
        }
    }

    /// Kills the process that starts beside the one that serves.
    pub(crate) fn give_up_next(&self, reason: &str) {
        self.next.iter().for_each(|process| process.give_up(reason));
    }

    /// Notes that a process ended: which one it was, and the workers that only it had not withdrawn
    /// from. When the one that serves ends while another starts, that one takes its place.
    pub(crate) fn ended(
        &mut self,
        pid: Pid,
        exit: Exit,
        now: Instant,
        is_planned: bool,
    ) -> Option<(Role, u32, Vec<WorkerId>)> {
        let role = self.role_of(pid)?;
        let process = match role {
            Role::Serving => std::mem::replace(&mut self.process, self.next.take()),
            Role::Next => self.next.take(),
            Role::Old => self.old.take(),
        }?;
        let (pid, incarnation, exit) = (pid.as_raw_pid(), process.incarnation, exit.to_string());
        if is_planned || role == Role::Old && !process.is_given_up.get() {
            tracing::info!(pid, incarnation, exit, "proxy_exited");
        } else {
            tracing::error!(pid, incarnation, exit, "proxy_exited");
        }
        if role == Role::Serving && !is_planned {
            let is_settled = process.is_serving && SETTLED <= now.duration_since(process.started);
            self.failed(now, is_settled);
        }
        self.tell_living();
        let asked: Vec<WorkerId> = self.withdrawing.keys().cloned().collect();
        let over = asked.into_iter().filter(|id| self.withdrawn(incarnation, id)).collect();
        Some((role, incarnation, over))
    }

    /// Notes that a process could not be started, or ended; a first time costs no delay.
    pub(crate) fn failed(&mut self, now: Instant, is_settled: bool) {
        self.failures = if is_settled { 0 } else { self.failures.saturating_add(1) };
        self.retry_at = now + delay_after(self.failures.saturating_sub(1)).min(MAX_DELAY);
    }

    /// Returns when something is to be done about a process: start it, or give it up.
    pub(crate) fn due(&self) -> Option<Instant> {
        let start = self.process.is_none().then_some(self.retry_at);
        self.by_role().filter_map(|(_, process)| process.due()).chain(start).min()
    }
}

fn post(process: &Process, message: ToProxy, descriptors: Vec<OwnedFd>) {
    if !process.outbox.post(message, descriptors) {
        process.give_up("it takes no messages");
    }
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
