//! The servers that are compared: started fresh for each round, from a folder of their own.
//!
//! What each is told is in `servers/`; here is what is the same for all: the folder, the port,
//! the application's processes and sockets, waiting until it answers, and its end.

use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::accounting::Groups;
use crate::build::Binaries;
use crate::clock;
use crate::process::{Process, Program, SERVER_CORE};
use crate::scenario::{Model, Scenario, WorkerPlan};
use crate::servers::apache::ModWsgi;
use crate::servers::{apache, bare, granian, gunicorn, haproxy, nginx, ostler};

/// How long a server may take until it answers.
const START: Duration = Duration::from_secs(20);

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ServerName {
    Ostler,
    /// Ostler that speaks HTTP to its workers.
    OstlerHttp,
    Nginx,
    Haproxy,
    /// The event MPM with `mod_proxy_http`.
    ApacheEvent,
    /// The worker MPM with `mod_proxy_http`.
    ApacheWorker,
    /// The event MPM with `mod_wsgi` in daemon mode, before the same application in Python.
    #[serde(rename = "apache-mod_wsgi")]
    ApacheModWsgi,
    /// The same with the newest `mod_wsgi`, compiled.
    #[serde(rename = "apache-mod_wsgi-pypi")]
    ApacheModWsgiPypi,
    /// nginx before gunicorn.
    NginxGunicorn,
    /// A server in Rust that runs Python, with nothing in front of it.
    Granian,
    /// A server that answers itself.
    Bare,
}

/// What a server's configuration is written from.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) address: SocketAddr,
    pub(crate) status_address: SocketAddr,
    pub(crate) scenario: &'a Scenario,
    pub(crate) binaries: &'a Binaries,
    /// Where the application's processes listen, where the server does not start them itself.
    pub(crate) sockets: Vec<PathBuf>,
    pub(crate) is_root: bool,
}

/// A server's files and the command that runs it in the foreground.
#[derive(Debug)]
pub(crate) struct Launch {
    /// Name in the folder, and text.
    pub(crate) files: Vec<(&'static str, String)>,
    pub(crate) program: Program,
}

/// A running server. Dropping it ends the server, then its workers.
#[derive(Debug)]
pub(crate) struct Running {
    server: Process,
    workers: Vec<Process>,
    pub(crate) address: SocketAddr,
    pub(crate) status_address: SocketAddr,
    folder: TempDir,
}

impl ServerName {
    pub(crate) const ALL: [Self; 11] = [
        Self::Ostler,
        Self::OstlerHttp,
        Self::Nginx,
        Self::Haproxy,
        Self::ApacheEvent,
        Self::ApacheWorker,
        Self::ApacheModWsgi,
        Self::ApacheModWsgiPypi,
        Self::NginxGunicorn,
        Self::Granian,
        Self::Bare,
    ];

    /// As it is written in scenarios and results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ostler => "ostler",
            Self::OstlerHttp => "ostler-http",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::ApacheEvent => "apache-event",
            Self::ApacheWorker => "apache-worker",
            Self::ApacheModWsgi => "apache-mod_wsgi",
            Self::ApacheModWsgiPypi => "apache-mod_wsgi-pypi",
            Self::NginxGunicorn => "nginx-gunicorn",
            Self::Granian => "granian",
            Self::Bare => "bare",
        }
    }

    /// Whether it starts the application's processes itself.
    fn starts_workers(self) -> bool {
        match self {
            Self::Ostler
            | Self::OstlerHttp
            | Self::ApacheModWsgi
            | Self::ApacheModWsgiPypi
            | Self::Granian
            | Self::Bare => true,
            Self::Nginx
            | Self::Haproxy
            | Self::ApacheEvent
            | Self::ApacheWorker
            | Self::NginxGunicorn => false,
        }
    }

    /// Whether it has something to run a worker of this kind with.
    pub(crate) fn runs(self, worker: &WorkerPlan) -> bool {
        match self {
            Self::Ostler | Self::ApacheModWsgi => true,
            Self::ApacheModWsgiPypi | Self::NginxGunicorn | Self::Granian => worker.wsgi.is_some(),
            Self::OstlerHttp
            | Self::Nginx
            | Self::Haproxy
            | Self::ApacheEvent
            | Self::ApacheWorker
            | Self::Bare => worker.wsgi.is_none(),
        }
    }

    fn launch(self, place: &Place<'_>) -> Result<Launch> {
        match self {
            Self::Ostler => Ok(ostler::launch(place, "")),
            Self::OstlerHttp => Ok(ostler::launch(place, "link = \"http\"\n")),
            Self::Nginx | Self::NginxGunicorn => Ok(nginx::launch(place)),
            Self::Haproxy => Ok(haproxy::launch(place)),
            Self::ApacheEvent => Ok(apache::launch(place, "event")),
            Self::ApacheWorker => Ok(apache::launch(place, "worker")),
            Self::ApacheModWsgi => apache::launch_mod_wsgi(place, ModWsgi::Debian),
            Self::ApacheModWsgiPypi => apache::launch_mod_wsgi(place, ModWsgi::Pypi),
            Self::Granian => granian::launch(place),
            Self::Bare => Ok(bare::launch(place)),
        }
    }
}

impl Running {
    /// Starts a server and its application, and waits until it answers.
    pub(crate) fn start(
        name: ServerName,
        scenario: &Scenario,
        binaries: &Binaries,
    ) -> Result<Self> {
        let folder = new_folder()?;
        write_static_files(folder.path(), scenario)?;
        let log = File::create(folder.path().join("output.log"))?;
        let core = scenario.is_pinned().then_some(SERVER_CORE);
        let (mut sockets, mut workers) = (Vec::new(), Vec::new());
        if let Some(plan) = &scenario.worker {
            if let Some(wsgi) = plan.wsgi {
                binaries.python.write(wsgi, folder.path())?;
            }
            for (socket, program) in workers_apart(name, plan, folder.path(), binaries) {
                workers.push(program.on(core).start(&log)?);
                wait_for_socket(&socket).with_context(|| read_log(folder.path()))?;
                sockets.push(socket);
            }
        }
        let (address, status_address) = (free_address()?, free_address()?);
        let is_root = rustix::process::geteuid().is_root();
        let place = Place {
            folder: folder.path(),
            address,
            status_address,
            scenario,
            binaries,
            sockets,
            is_root,
        };
        let launch = name.launch(&place)?;
        for (file, text) in &launch.files {
            fs::write(folder.path().join(file), text)?;
        }
        let server = launch.program.on(core).start(&log)?;
        let mut running = Self { server, workers, address, status_address, folder };
        running.wait_for_answer(scenario).with_context(|| name.name())?;
        Ok(running)
    }

    fn wait_for_answer(&mut self, scenario: &Scenario) -> Result<()> {
        let path = scenario.paths().into_iter().next().unwrap_or_default();
        let answered = clock::until(START, || {
            let status = get(self.address, &path).ok().and_then(|answer| status_of(&answer));
            (status == Some(200) || self.server.is_ended()).then_some(status)
        });
        match answered {
            Some(Some(200)) => Ok(()),
            Some(_) | None => bail!("does not answer {path}:\n{}", read_log(self.folder.path())),
        }
    }

    /// The server's main process.
    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its processes, as they are at present.
    pub(crate) fn groups(&self) -> Groups {
        let workers: Vec<u32> = self.workers.iter().map(Process::pid).collect();
        Groups::find(self.server.pid(), &workers)
    }
}

/// The programs of an application that the server does not start itself, each with its socket.
fn workers_apart(
    name: ServerName,
    plan: &WorkerPlan,
    folder: &Path,
    binaries: &Binaries,
) -> Vec<(PathBuf, Program)> {
    if name.starts_workers() {
        return Vec::new();
    }
    if let Some(wsgi) = plan.wsgi {
        let socket = folder.join("gunicorn.sock");
        let program = gunicorn::program(plan, wsgi, &socket, folder, binaries);
        return vec![(socket, program)];
    }
    let worker = |index| {
        let socket = folder.join(format!("worker-{index}.sock"));
        let program = worker_program(plan, &socket, binaries);
        (socket, program)
    };
    (0..plan.processes).map(worker).collect()
}

/// The application's program and arguments.
pub(crate) fn worker_command(plan: &WorkerPlan, listen: &str, binaries: &Binaries) -> Vec<String> {
    if let Some(command) = &plan.command {
        return command.iter().map(|word| word.replace("{listen}", listen)).collect();
    }
    let model = match plan.model {
        Some(Model::Threads) => "threads",
        Some(Model::Service) | None => "service",
    };
    vec![binaries.worker.display().to_string(), model.to_owned()]
}

fn worker_program(plan: &WorkerPlan, socket: &Path, binaries: &Binaries) -> Program {
    let listen = format!("unix:{}", socket.display());
    Program::new(worker_command(plan, &listen, binaries))
        .with("OSTLER_LISTEN", listen)
        .with("OSTLER_THREADS", plan.threads.to_string())
        .with("OSTLER_CONCURRENCY", plan.concurrency().to_string())
}

/// A folder that lies in memory where there is one, so that no disk is measured. Servers that
/// give up root have to be able to enter it.
fn new_folder() -> Result<TempDir> {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { TempDir::new_in(memory)? } else { TempDir::new()? };
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    Ok(folder)
}

fn write_static_files(folder: &Path, scenario: &Scenario) -> Result<()> {
    if let Some(files) = scenario.files {
        fs::create_dir(folder.join("static"))?;
        for index in 0..files.count {
            let path = folder.join("static").join(format!("{index}.bin"));
            fs::write(path, vec![b'0'; files.bytes])?;
        }
    }
    Ok(())
}

/// Waits until a worker listens, and lets servers connect that are another user.
fn wait_for_socket(socket: &Path) -> Result<()> {
    clock::until(START, || socket.exists().then_some(())).context("a worker does not listen")?;
    fs::set_permissions(socket, Permissions::from_mode(0o777))?;
    Ok(())
}

/// A port that nobody uses, as the kernel chooses it.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Sends one GET on a connection of its own; the whole answer.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<String> {
    let limit = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn status_of(answer: &str) -> Option<u16> {
    answer.split(' ').nth(1)?.parse().ok()
}

/// The last of what server and workers printed.
fn read_log(folder: &Path) -> String {
    let names = ["output.log", "error.log"];
    let text = names.iter().filter_map(|name| fs::read_to_string(folder.join(name)).ok());
    let text: String = text.collect();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
