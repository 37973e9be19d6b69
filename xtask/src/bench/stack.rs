//! One Ostler under callgrind: its proxy is counted, its worker runs natively.
//!
//! The supervisor starts the proxy as `/proc/self/exe`, which under valgrind is valgrind itself,
//! up to version 3.21. So valgrind is started by a script of ours, which it then also starts the
//! processes of the stack with, and which puts the program's own path there.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::prerequisite::is_root;
use crate::step::now;
use crate::target_folder;

/// How long the stack may take to start; it took 5 s where this was written.
const PATIENCE: Duration = Duration::from_mins(3);
/// How long a process under callgrind may take to obey, in seconds.
const CALLGRIND_SECONDS: u32 = 60;
/// Lines of the log that may wait to be looked at. More are dropped: nobody looks any more.
const LINES: usize = 1000;

/// A running stack. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Stack {
    folder: PathBuf,
    supervisor: Child,
    address: SocketAddr,
    /// Process id of the proxy.
    proxy: u32,
    /// Profiles that were written.
    profiles: u32,
}

impl Stack {
    /// Starts it, and waits until it is ready.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let folder = target_folder().join("xtask-bench");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(folder.join("static"))?;
        fs::write(folder.join("static/file.txt"), "x".repeat(1024))?;
        fs::write(folder.join("ostler.toml"), configuration(&folder)?)?;
        let launcher = write_launcher(&folder)?;
        let mut supervisor = Command::new(launcher)
            .args(["--tool=callgrind", "--quiet", "--trace-children=yes"])
            // Counted only after the start, which would last longer than the product gives it.
            .arg("--instr-atstart=no")
            .arg("--trace-children-skip=*/hello-service")
            .arg(option("--callgrind-out-file=", &folder.join("profile.%p")))
            .arg(option("--vgdb-prefix=", &folder.join("vgdb")))
            .arg(program())
            .args(["run", "--allow-root", "-c"])
            .arg(folder.join("ostler.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start valgrind")?;
        let errors = supervisor.stderr.take().context("piped")?;
        let (sender, lines) = sync_channel(LINES);
        let mut log = fs::File::create(folder.join("error.log"))?;
        std::thread::spawn(move || {
            // To the end, so that the pipe never fills.
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                drop(log.write_all(format!("{line}\n").as_bytes()));
                drop(sender.try_send(line));
            }
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        // From here on dropping it ends it.
        let mut stack = Self { folder, supervisor, address: nowhere, proxy: 0, profiles: 0 };
        (stack.address, stack.proxy) = wait_for_start(&lines)?;
        stack.tell_callgrind("instrumentation on")?;
        Ok(stack)
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where everything of this stack lies, the profiles too.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Instructions of the proxy since the last call.
    pub(crate) fn count(&mut self) -> anyhow::Result<u64> {
        self.tell_callgrind("dump")?;
        self.profiles += 1;
        let profile = self.folder.join(format!("profile.{}.{}", self.proxy, self.profiles));
        let text = fs::read_to_string(&profile)
            .with_context(|| format!("no profile {}", profile.display()))?;
        let total = text.lines().find_map(|line| line.strip_prefix("summary: "));
        total.context("a profile without a total")?.trim().parse().context("not a number")
    }

    fn tell_callgrind(&self, command: &str) -> anyhow::Result<()> {
        let output = Command::new("vgdb")
            .arg(format!("--pid={}", self.proxy))
            .arg(option("--vgdb-prefix=", &self.folder.join("vgdb")))
            .arg(format!("--cmd-time-out={CALLGRIND_SECONDS}"))
            .args(command.split(' '))
            .output()
            .context("cannot start vgdb")?;
        if !output.status.success() {
            bail!("vgdb {command} failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Ends it, and waits until it has ended.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        Command::new("kill").arg(self.supervisor.id().to_string()).status()?;
        self.supervisor.wait()?;
        Ok(())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // Its processes end with it. An error means that it has ended.
        if self.supervisor.kill().is_ok() {
            drop(self.supervisor.wait());
        }
    }
}

/// Waits for the line that says `ready`. The address, and the process id of the proxy.
fn wait_for_start(lines: &Receiver<String>) -> anyhow::Result<(SocketAddr, u32)> {
    let (mut address, mut proxy, mut log) = (None, None, String::new());
    // Of the whole start: a process that fails again and again says a line each time.
    let deadline = now() + PATIENCE;
    loop {
        let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(now())) else {
            bail!("the stack does not start:\n{log}");
        };
        let field = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name));
        match line.split(' ').nth(2) {
            Some("listener_bound") if field("name=") == Some("public") => {
                address = field("address=").and_then(|text| text.parse().ok());
            }
            Some("proxy_started") => proxy = field("pid=").and_then(|text| text.parse().ok()),
            Some("ready") => {
                let address = address.context("no line `listener_bound`")?;
                return Ok((address, proxy.context("no line `proxy_started`")?));
            }
            _ => writeln!(log, "{line}")?,
        }
    }
}

/// What valgrind is started by, and starts others by.
fn write_launcher(folder: &Path) -> anyhow::Result<PathBuf> {
    let launcher = folder.join("launcher");
    let script = format!(
        "#!/bin/sh\nfor word; do\n  shift\n  [ \"$word\" = /proc/self/exe ] && word='{}'\n  \
         set -- \"$@\" \"$word\"\ndone\nVALGRIND_LAUNCHER='{}' exec '{}' \"$@\"\n",
        program().display(),
        launcher.display(),
        tool()?.display(),
    );
    fs::write(&launcher, script)?;
    fs::set_permissions(&launcher, fs::Permissions::from_mode(0o755))?;
    Ok(launcher)
}

/// Where callgrind itself lies: `valgrind` only finds and starts it.
fn tool() -> anyhow::Result<PathBuf> {
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let folders = ["/usr/libexec/valgrind", "/usr/lib/valgrind", "/usr/local/libexec/valgrind"];
    let given = std::env::var_os("VALGRIND_LIB").map(PathBuf::from);
    let folders = given.into_iter().chain(folders.map(PathBuf::from));
    let mut tools = folders.map(|folder| folder.join(format!("callgrind-{machine}-linux")));
    tools.find(|tool| tool.exists()).context("callgrind is in none of its usual folders")
}

fn program() -> PathBuf {
    target_folder().join("release/ostler")
}

fn option(name: &str, path: &Path) -> std::ffi::OsString {
    let mut option = std::ffi::OsString::from(name);
    option.push(path);
    option
}

/// One event loop, one worker, everything that is on by default, and sites with ten and ten
/// thousand routes.
fn configuration(folder: &Path) -> anyhow::Result<String> {
    let user = if is_root() { "user = \"root\"" } else { "" };
    let worker = target_folder().join("release/examples/hello-service");
    let (folder, worker) = (folder.display(), worker.display());
    let mut text = format!(
        r#"
        [server]
        threads = 1
        runtime-dir = "{folder}/run"
        {user}
        [[listener]]
        name = "public"
        address = "127.0.0.1:0"
        [status]
        address = "127.0.0.1:0"
        [log.access]
        path = "{folder}/access.log"
        [log.error]
        path = "-"
        [pool.hello]
        command = ["{worker}"]
        processes = 1
        {user}
        [origin.static]
        directory = "{folder}/static"
        [[site]]
        hosts = ["bench.example"]
        route = [{{ path = "/", pool = "hello" }}, {{ path = "/static/", origin = "static" }}]
        "#
    );
    for (host, count) in [("few.example", 10), ("many.example", 10_000)] {
        writeln!(text, "[[site]]\nhosts = [\"{host}\"]\nroute = [")?;
        for number in 0..count {
            writeln!(text, "{{ path = \"/route/{number}\", pool = \"hello\" }},")?;
        }
        writeln!(text, "]")?;
    }
    Ok(text)
}
