//! Programs a build or a test needs beside the Rust toolchain.
//!
//! Installed with `apt-get` when this runs as root on a system that has it (a container); named
//! otherwise, since a developer command must not ask for a password.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::step::{is_installed, say};

/// One such program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prerequisite {
    /// zlib-ng, which pingora compresses with, is built by cmake and make.
    CMake,
    /// The tests of the status page look at it in a browser.
    Chromium,
    /// zlib-ng, ring and SQLite are compiled from C.
    Compiler,
    /// The tests of Python applications make a virtual environment.
    PythonVenv,
    /// The test of a repository behind a Python pool clones it and pushes to it.
    Git,
    /// The tests of a file server behind a Python pool are its own.
    Litmus,
    /// `?auto` is compared with `mod_status` itself.
    Apache,
    /// A monitor of httpd that has to read `?auto`.
    ApacheExporter,
    /// Its plugins for httpd have to read `?auto`.
    Munin,
    /// A monitor of httpd that has to read the access log; tmux is its terminal.
    Apachetop,
    /// Checks metrics and alert rules.
    Promtool,
}

impl Prerequisite {
    /// What the tests need beside the build.
    pub(crate) const OF_TESTS: [Self; 9] = [
        Self::Chromium,
        Self::PythonVenv,
        Self::Git,
        Self::Litmus,
        Self::Apache,
        Self::ApacheExporter,
        Self::Munin,
        Self::Apachetop,
        Self::Promtool,
    ];
}

impl Prerequisite {
    fn is_there(self) -> bool {
        let answers = |program: &str| is_installed(Command::new(program).arg("--version"));
        match self {
            Self::CMake => answers("cmake") && answers("make"),
            Self::Chromium => answers("chromium") && answers("chromedriver"),
            Self::Compiler => answers("cc"),
            // Debian's python3 has venv without ensurepip: both are needed.
            Self::PythonVenv => is_installed(
                Command::new("/usr/bin/python3").args(["-c", "import ensurepip, venv"]),
            ),
            Self::Git => answers("git"),
            Self::Litmus => answers("litmus"),
            // Debian has it where an ordinary user's PATH does not lead.
            Self::Apache => is_installed(Command::new("/usr/sbin/apache2").arg("-v")),
            Self::ApacheExporter => answers("prometheus-apache-exporter"),
            Self::Munin => {
                Path::new("/usr/share/munin/plugins/apache_accesses").is_file()
                    && is_installed(Command::new("perl").args(["-MLWP::UserAgent", "-e", "1"]))
            }
            Self::Apachetop => {
                Path::new("/usr/sbin/apachetop").is_file()
                    && is_installed(Command::new("tmux").arg("-V"))
            }
            Self::Promtool => answers("promtool"),
        }
    }

    /// Debian's packages.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::CMake => &["cmake", "make"],
            Self::Chromium => &["chromium", "chromium-driver"],
            Self::Compiler => &["gcc", "libc6-dev"],
            Self::PythonVenv => &["python3", "python3-venv"],
            Self::Git => &["git"],
            Self::Litmus => &["litmus"],
            Self::Apache => &["apache2-bin"],
            Self::ApacheExporter => &["prometheus-apache-exporter"],
            Self::Munin => &["munin-plugins-core", "libwww-perl"],
            Self::Apachetop => &["apachetop", "tmux"],
            Self::Promtool => &["prometheus"],
        }
    }
}

/// Makes sure that all of these are there.
///
/// # Errors
///
/// When one is missing and cannot be installed; the text says what to type.
pub(crate) fn provide(wanted: &[Prerequisite]) -> anyhow::Result<()> {
    let missing: Vec<Prerequisite> = wanted.iter().copied().filter(|one| !one.is_there()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().flat_map(|one| one.packages()).copied().collect();
    let line = format!("apt-get install {}", packages.join(" "));
    if !is_root() || !is_installed(Command::new("apt-get").arg("--version")) {
        bail!("missing: {missing:?}; on Debian or Ubuntu: sudo {line}");
    }
    say(&format!("missing: {missing:?}; running {line}"));
    apt_get(&["update", "--quiet"])?;
    apt_get(
        &[&["install", "--quiet", "--yes", "--no-install-recommends"], &packages[..]].concat(),
    )?;
    match missing.iter().find(|one| !one.is_there()) {
        Some(one) => bail!("{one:?} is still missing after {line}"),
        None => Ok(()),
    }
}

fn apt_get(arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("apt-get");
    let status = command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").status();
    match status.context("cannot start apt-get")? {
        status if status.success() => Ok(()),
        status => bail!("apt-get {} failed ({status})", arguments.join(" ")),
    }
}

/// Whether this process may install packages. Without `id`, it says no.
pub(crate) fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
