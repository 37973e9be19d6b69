//! What has to be there before anything is measured: our own binaries, oha, and the peers.
//!
//! Ours are always built, which costs nothing when nothing changed: a stale binary would be
//! measured in vain. Peers are Debian's packages.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::Changes;
use crate::process::output;
use crate::python::Python;
use crate::server::ServerName;

/// The version whose output `oha` reads.
pub(crate) const OHA_VERSION: &str = "1.16.0";

/// Where the programs are.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    pub(crate) ostler: PathBuf,
    pub(crate) worker: PathBuf,
    pub(crate) oha: PathBuf,
    /// The virtual environment; only there where something in Python is measured.
    pub(crate) python: Python,
    /// What Ostler's workers in Python run first.
    pub(crate) preload: Option<PathBuf>,
    /// This program, which is also the generator of open loops.
    pub(crate) own: PathBuf,
}

/// Builds or finds everything that these servers need. Where the changes name a folder with an
/// `ostler`, that one is measured as it is.
pub(crate) fn prepare(
    servers: &BTreeSet<ServerName>,
    is_python: bool,
    changes: &Changes,
) -> Result<Binaries> {
    let own = std::env::current_exe()?;
    let ostler_folder = changes.ostler_bin.as_deref();
    // What pingora compresses with is built by it.
    install("/usr/bin/cmake", &["cmake", "make"])?;
    let release = target_folder().join("release");
    build(&["-p", "load-tests", "--bin", "load-worker"])?;
    let is_ostler =
        servers.contains(&ServerName::Ostler) || servers.contains(&ServerName::OstlerHttp);
    if is_ostler && ostler_folder.is_none() {
        build(&["-p", "ostler", "--bin", "ostler"])?;
        if is_python {
            build(&["-p", "ostler-python"])?;
        }
    }
    for server in servers {
        install_peer(*server)?;
    }
    let python = Python::beneath(&target_folder().join("tools"));
    if is_python {
        install("/usr/bin/apxs", &["apache2-dev", "python3-dev", "python3-venv"])?;
        python.install()?;
    }
    Ok(Binaries {
        python,
        preload: changes.preload.as_deref().map(std::path::absolute).transpose()?,
        // Servers run in other folders.
        ostler: std::path::absolute(ostler_folder.unwrap_or(&release).join("ostler"))?,
        worker: release.join("load-worker"),
        oha: install_oha()?,
        own,
    })
}

fn build(what: &[&str]) -> Result<()> {
    let words: Vec<&str> = [&["cargo", "build", "--release", "--locked"], what].concat();
    let built = in_workspace(&words);
    built.with_context(|| format!("cannot build {}", what.join(" "))).map(drop)
}

fn in_workspace(words: &[&str]) -> Result<String> {
    // Debug and release are told apart by a folder; where cargo runs does not matter otherwise.
    let manifest = workspace().join("Cargo.toml").display().to_string();
    output(&[words, &["--manifest-path", &manifest]].concat())
}

/// Sees to it that the generator is there, and of the version whose output is understood.
pub(crate) fn install_oha() -> Result<PathBuf> {
    let root = target_folder().join("tools");
    let oha = root.join("bin/oha");
    if !oha.exists() {
        let root = root.display().to_string();
        let words = ["cargo", "install", "oha", "--version", OHA_VERSION, "--locked", "--root"];
        output(&[&words[..], &[&root]].concat()).context("cannot install oha")?;
    }
    let version = output(&[oha.as_os_str(), "--version".as_ref()])?;
    ensure!(version.contains(OHA_VERSION), "{} is {version}", oha.display());
    Ok(oha)
}

/// The program of a peer, and the package it comes in.
fn peer(server: ServerName) -> Option<(&'static str, &'static [&'static str])> {
    match server {
        ServerName::Nginx | ServerName::NginxGunicorn => Some(("/usr/sbin/nginx", &["nginx"])),
        ServerName::Haproxy => Some(("/usr/sbin/haproxy", &["haproxy"])),
        ServerName::ApacheEvent | ServerName::ApacheWorker | ServerName::ApacheModWsgiPypi => {
            Some(("/usr/sbin/apache2", &["apache2-bin"]))
        }
        ServerName::ApacheModWsgi => Some((
            "/usr/lib/apache2/modules/mod_wsgi.so",
            &["apache2-bin", "libapache2-mod-wsgi-py3"],
        )),
        ServerName::Ostler | ServerName::OstlerHttp | ServerName::Granian | ServerName::Bare => {
            None
        }
    }
}

fn install_peer(server: ServerName) -> Result<()> {
    peer(server).map_or(Ok(()), |(program, packages)| install(program, packages))
}

/// Sees to it that a program is there that comes in one of these packages.
fn install(program: &str, packages: &[&str]) -> Result<()> {
    if Path::new(program).exists() {
        return Ok(());
    }
    let is_root = rustix::process::geteuid().is_root();
    let packages = packages.join(" ");
    ensure!(
        is_root,
        "{program} is missing: apt-get install {packages}, or leave out what needs it"
    );
    // The packages' own services are none of ours: they are neither started nor left enabled.
    let script = format!(
        "export DEBIAN_FRONTEND=noninteractive\n\
         apt-get update -qq && apt-get install -y -qq --no-install-recommends {packages} || exit 1\n\
         for service in nginx haproxy apache2; do\n\
         ! command -v systemctl > /dev/null || systemctl disable --now $service || true\n\
         done 2> /dev/null"
    );
    let installed = output(&["env", "RUNLEVEL=1", "sh", "-c", &script]);
    installed.with_context(|| format!("cannot install {packages}")).map(drop)
}

/// What a server says about its version.
pub(crate) fn version(server: ServerName, binaries: &Binaries) -> String {
    let ostler = binaries.ostler.display().to_string();
    let said = match server {
        ServerName::Ostler | ServerName::OstlerHttp => {
            // Which build it is: of `cargo build`, or one that was trained.
            let folder = binaries.ostler.strip_prefix(workspace()).unwrap_or(&binaries.ostler);
            let said = output(&[ostler.as_str(), "--version"]);
            said.map(|said| format!("{} ({})", said.trim(), folder.display()))
        }
        ServerName::Nginx => output(&["/usr/sbin/nginx", "-v"]),
        ServerName::Haproxy => output(&["/usr/sbin/haproxy", "-v"]),
        ServerName::ApacheEvent | ServerName::ApacheWorker => output(&["/usr/sbin/apache2", "-v"]),
        ServerName::ApacheModWsgi => {
            output(&["dpkg-query", "-W", "apache2-bin", "libapache2-mod-wsgi-py3"])
        }
        ServerName::ApacheModWsgiPypi => binaries.python.version("mod_wsgi"),
        ServerName::NginxGunicorn => binaries.python.version("gunicorn"),
        ServerName::Granian => binaries.python.version("granian"),
        ServerName::Bare => Ok(format!("load-worker {}", env!("CARGO_PKG_VERSION"))),
    };
    let said = said.unwrap_or_else(|error| format!("unknown: {error:#}"));
    let lines = said.trim().lines();
    let wanted = if server == ServerName::ApacheModWsgi { 2 } else { 1 };
    lines.take(wanted).collect::<Vec<_>>().join(", ").replace('\t', " ")
}

/// The root of this workspace.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a member lies in its workspace")
}

fn target_folder() -> PathBuf {
    // A relative CARGO_TARGET_DIR is relative to where cargo runs: the workspace.
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), |target| workspace().join(target))
}
