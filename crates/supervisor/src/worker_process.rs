//! One worker process: what it gets, and what is known of its end.

use std::collections::BTreeMap;
use std::io;
use std::iter;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ostler_conf::PoolConfig;
use ostler_segment::{RowState, Segment, SegmentError};
use rustix::process::Pid;
use tokio::net::UnixDatagram;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::event::{Event, SetId};
use crate::exit::{self, Exit};
use crate::figures;
use crate::identity::Identity;
use crate::last_words;
use crate::limits::Limits;
use crate::listeners;
use crate::machinery::Machinery;
use crate::message::WorkerId;
use crate::notify;
use crate::output::{Source, Tail, forward};
use crate::post_mortem::{Held, Moment, PostMortem};
use crate::python::{self, LibraryError};
use crate::ring::{Ring, WorkerSide};
use crate::runtime_dir;
use crate::spawn::{self, Child, Equipment, Inherited};
use crate::stub::{LISTEN_FD, Plan};
use crate::worker_control::{Asker, WorkerControl};

/// How long the last words of a worker are waited for. They are in the pipe already when it ends;
/// only a process that left its group can hold the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// Least length of the queue of connections that a worker has not accepted yet. The proxy makes
/// at most `concurrency` of them.
const MIN_BACKLOG: u32 = 128;

/// Why a worker process was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartWorkerError {
    #[error("cannot create its segment: {0}")]
    Segment(#[from] SegmentError),
    #[error(transparent)]
    Library(#[from] LibraryError),
    #[error("cannot create its ring link: {0}")]
    Ring(#[from] io::Error),
    #[error("cannot create its control socket: {0}")]
    Control(#[source] io::Error),
    #[error("cannot listen on {path}: {source}")]
    Socket { path: PathBuf, source: io::Error },
    #[error("cannot start a process: {0}")]
    Spawn(#[source] io::Error),
}

/// A running worker process.
#[derive(Debug)]
pub(crate) struct WorkerProcess {
    pub(crate) id: WorkerId,
    pub(crate) pid: Pid,
    pub(crate) socket: PathBuf,
    /// Its rows say what is inside it.
    pub(crate) segment: Arc<Segment>,
    /// Why it is being killed, where it is.
    pub(crate) fault: Option<String>,
    /// The last lines of all it printed.
    output: Tail,
    /// What every proxy gets of it.
    pub(crate) ring: Ring,
    /// Where it is told to drain and asked what it is doing, in pools with the ring link.
    control: Option<WorkerControl>,
    notify: PathBuf,
    readiness: AbortHandle,
    end: oneshot::Sender<End>,
}

/// How a worker ended.
#[derive(Debug)]
struct End {
    exit: Exit,
    fault: Option<String>,
    is_planned: bool,
    held: Held,
}

/// What a worker is started from.
#[derive(Debug)]
pub(crate) struct Model<'a> {
    pub(crate) set: SetId,
    pub(crate) config: &'a PoolConfig,
    pub(crate) identity: Option<&'a Identity>,
}

impl WorkerProcess {
    /// Starts a worker.
    pub(crate) fn start(
        id: WorkerId,
        model: &Model<'_>,
        machinery: &mut Machinery,
    ) -> Result<Self, StartWorkerError> {
        let config = model.config;
        let (ring, ours) = Ring::create(&id, config, machinery.event_loops)?;
        let segment = Arc::new(ring.segment()?);
        let socket = machinery.runtime_dir.worker_socket(&id);
        let notify = machinery.runtime_dir.notify_socket(&id);
        let backlog = config.concurrency.max(MIN_BACKLOG);
        let listening =
            listeners::listen_worker(&socket, backlog, machinery.proxy_identity.as_ref())
                .map_err(|source| StartWorkerError::Socket { path: socket.clone(), source })?;
        let ready = notify::bind(&notify, model.identity)
            .map_err(|source| StartWorkerError::Socket { path: notify.clone(), source })?;
        let control = WorkerControl::create(config, &mut machinery.tasks)
            .map_err(StartWorkerError::Control)?;
        let (control, their_control) = control.unzip();
        let links = Links { ring: &ours, has_control: control.is_some() };
        let plan = plan(&id, model, &links)?;
        let equipment = Equipment {
            input: None,
            inherited: Inherited::All,
            environment: environment(&id, model, &notify, &links),
            descriptors: iter::once(listening)
                .chain(ours.descriptors)
                .chain(their_control)
                .collect(),
        };
        let child = spawn::spawn(&plan, equipment).map_err(StartWorkerError::Spawn)?;
        let pid = child.pid;
        let events = machinery.events.clone();
        let readiness = machinery.tasks.spawn(tell_ready(ready, id.clone(), events.clone()));
        let (end, ended) = oneshot::channel();
        let output = Tail::of_output();
        let witness =
            Witness { id: id.clone(), pid, set: model.set, events, output: output.clone() };
        machinery.tasks.spawn(witness.watch(child, ended));
        let fault = None;
        Ok(Self { id, pid, socket, segment, fault, output, ring, control, notify, readiness, end })
    }

    /// Asks it to end once it has done what it took.
    pub(crate) fn terminate(&self) {
        if let Some(control) = &self.control {
            control.drain();
        }
        exit::terminate(self.pid);
    }

    /// Returns a way to ask what its threads are doing.
    pub(crate) fn asker(&self) -> Option<Asker> {
        self.control.as_ref().map(WorkerControl::asker)
    }

    /// Writes down what it is doing.
    pub(crate) fn post_mortem(&self, moment: Moment) -> PostMortem {
        figures::note_clocks(self.pid, &self.segment, Duration::ZERO, 0);
        PostMortem::of_living(moment, (&self.id, self.pid), self.held())
    }

    /// Returns whether requests are inside it.
    pub(crate) fn is_busy(&self) -> bool {
        self.segment.iter().any(|row| row.state().is_some_and(|state| state != RowState::Free))
    }

    fn held(&self) -> Held {
        Held::read(&self.segment, &self.output)
    }

    /// Cleans up after the process, which was reaped.
    pub(crate) fn ended(self, exit: Exit, is_planned: bool) {
        self.readiness.abort();
        runtime_dir::remove(&self.socket);
        runtime_dir::remove(&self.notify);
        let held = self.held();
        let end = End { exit, fault: self.fault, is_planned, held };
        if self.end.send(end).is_err() {
            tracing::error!(pid = self.pid.as_raw_pid(), "worker_output_task_ended");
        }
    }
}

async fn tell_ready(socket: UnixDatagram, id: WorkerId, events: mpsc::Sender<Event>) {
    match notify::ready(&socket).await {
        // Nobody listens only while the supervisor ends.
        Ok(()) => drop(events.send(Event::WorkerReady(id)).await),
        Err(error) => {
            tracing::warn!(pool = id.pool, slot = id.slot, %error, "notify_socket_failed");
        }
    }
}

/// Reads what a worker prints, and tells of its end when it has said its last words.
struct Witness {
    id: WorkerId,
    pid: Pid,
    set: SetId,
    events: mpsc::Sender<Event>,
    output: Tail,
}

impl Witness {
    async fn watch(self, child: Child, ended: oneshot::Receiver<End>) {
        let tail = Tail::default();
        let source = |stream, tails| Source::Worker {
            pool: self.id.pool.clone(),
            slot: self.id.slot,
            stream,
            tails,
        };
        let stdout = forward(child.stdout, source("stdout", vec![self.output.clone()]));
        let tails = vec![self.output.clone(), tail.clone()];
        let stderr = forward(child.stderr, source("stderr", tails));
        let reading = async { tokio::join!(stdout, stderr) };
        tokio::pin!(reading);
        let mut is_silent = false;
        tokio::pin!(ended);
        let end = loop {
            tokio::select! {
                _ = &mut reading, if !is_silent => is_silent = true,
                end = &mut ended => break end,
            }
        };
        if !is_silent {
            is_silent = tokio::time::timeout(LAST_WORDS, &mut reading).await.is_ok();
        }
        if let Ok(end) = end {
            self.tell(&end, &tail).await;
            self.tell_crash(end).await;
        }
        if !is_silent {
            reading.await;
        }
    }

    async fn tell(&self, end: &End, tail: &Tail) {
        let WorkerId { pool, slot, generation } = &self.id;
        let pid = self.pid.as_raw_pid();
        let (exit, reason) = (end.exit.to_string(), end.fault.as_deref());
        let lines = tail.lines();
        let in_short = last_words::line(&lines);
        let stderr = Some(in_short.as_str()).filter(|words| !words.is_empty());
        if end.is_planned {
            tracing::info!(pool, slot, generation, pid, exit, "worker_exited");
        } else {
            tracing::warn!(pool, slot, generation, pid, exit, reason, stderr, "worker_exited");
        }
        let parts: Vec<&str> = [reason, Some(&exit), stderr].into_iter().flatten().collect();
        let story = format!("pool {pool:?}, worker {slot}: {}", parts.join(": "));
        let last_words = if end.is_planned { Vec::new() } else { last_words::of(&lines) };
        let event = Event::WorkerTold { id: self.id.clone(), set: self.set, story, last_words };
        // Nobody listens only while the supervisor ends.
        drop(self.events.send(event).await);
    }
}

impl Witness {
    /// Tells what was inside it, if that is why anybody would ask.
    async fn tell_crash(&self, end: End) {
        if end.is_planned || end.held.is_empty() {
            return;
        }
        let held = end.held.with_output(&self.output);
        let record = PostMortem::of_crashed((&self.id, self.pid), held, end.exit.to_string());
        // Nobody listens only while the supervisor ends.
        drop(self.events.send(Event::PostMortem(Box::new(record))).await);
    }
}

/// What ties a worker to the proxy and the supervisor.
struct Links<'a> {
    ring: &'a WorkerSide,
    has_control: bool,
}

impl Links<'_> {
    /// How many descriptors that is.
    fn count(&self) -> usize {
        self.ring.descriptors.len() + usize::from(self.has_control)
    }

    /// The number of the control socket: the last descriptor.
    fn control(&self) -> Option<i32> {
        let before = i32::try_from(self.ring.descriptors.len()).ok()?;
        self.has_control.then_some(LISTEN_FD + 1 + before)
    }
}

fn plan(id: &WorkerId, model: &Model<'_>, links: &Links<'_>) -> Result<Plan, LibraryError> {
    Ok(Plan {
        parent: rustix::process::getpid().as_raw_pid(),
        identity: model.identity.cloned(),
        limits: Limits::of(model.config),
        umask: model.config.umask.map(|umask| umask.0),
        directory: model.config.directory.clone(),
        listens: true,
        further_descriptors: u32::try_from(links.count()).unwrap_or(0),
        command: command(id, model.config)?,
    })
}

/// The command, with what it may name in braces filled in, or that of a Python worker.
fn command(id: &WorkerId, config: &PoolConfig) -> Result<Vec<String>, LibraryError> {
    if let Some(command) = python::command(config)? {
        return Ok(command);
    }
    let fill = |part: &String| {
        part.replace("{pool}", &id.pool)
            .replace("{slot}", &id.slot.to_string())
            .replace("{threads}", &config.threads.to_string())
            .replace("{concurrency}", &config.concurrency.to_string())
    };
    Ok(config.command.iter().map(fill).collect())
}

fn environment(
    id: &WorkerId,
    model: &Model<'_>,
    notify: &std::path::Path,
    links: &Links<'_>,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    if let Some(identity) = model.identity {
        variables.extend(identity.environment().map(|(name, value)| (name.to_owned(), value)));
    }
    variables.extend(model.config.environment.clone());
    let own = [
        ("NOTIFY_SOCKET", notify.to_string_lossy().into_owned()),
        ("OSTLER_POOL", id.pool.clone()),
        ("OSTLER_SLOT", id.slot.to_string()),
        ("OSTLER_GENERATION", id.generation.to_string()),
        ("OSTLER_THREADS", model.config.threads.to_string()),
        ("OSTLER_CONCURRENCY", model.config.concurrency.to_string()),
    ];
    variables.extend(own.map(|(name, value)| (name.to_owned(), value)));
    let link = links.ring.variable(LISTEN_FD + 1);
    variables.extend(link.map(|link| ("OSTLER_LINK".to_owned(), link)));
    let control = links.control();
    variables.extend(control.map(|number| ("OSTLER_CONTROL".to_owned(), number.to_string())));
    variables
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ostler_conf::Config;

    use super::*;

    #[test]
    fn braces_in_the_command_are_filled_in() {
        let config = pool(
            "command = ['gunicorn', '-w', '1', '--threads={threads}', '{pool}-{slot}', \
             '{concurrency}', '{other}']\nthreads = 3\nconcurrency = 7",
        );
        let expected = ["gunicorn", "-w", "1", "--threads=3", "web-2", "7", "{other}"];
        assert_eq!(command(&id(), &config).unwrap(), expected);
    }

    #[test]
    fn the_environment_says_who_the_worker_is() {
        let config = pool("command = ['a']\nthreads = 3\nenvironment = { A = 'b' }");
        let model = Model { set: SetId(1), config: &config, identity: None };
        let (_, ring) = Ring::create(&id(), &config, 1).unwrap();
        let links = Links { ring: &ring, has_control: true };
        let variables = environment(&id(), &model, Path::new("/run/notify"), &links);
        let expected = [
            ("A", "b"),
            ("NOTIFY_SOCKET", "/run/notify"),
            ("OSTLER_CONCURRENCY", "3"),
            ("OSTLER_CONTROL", "8"),
            ("OSTLER_GENERATION", "5"),
            ("OSTLER_LINK", "4,5,6,7"),
            ("OSTLER_POOL", "web"),
            ("OSTLER_SLOT", "2"),
            ("OSTLER_THREADS", "3"),
        ];
        let found: Vec<_> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(found, expected);
    }

    fn id() -> WorkerId {
        WorkerId { pool: "web".to_owned(), slot: 2, generation: 5 }
    }

    fn pool(toml: &str) -> PoolConfig {
        let text = format!("[pool.web]\n{toml}\n");
        let mut config = Config::parse(&text, Path::new("/etc/ostler.toml")).unwrap();
        config.pools.remove("web").unwrap()
    }
}
