//! Programs a build or a test needs beside the Rust toolchain.
//!
//! Installed with `apt-get` when this runs as root on a system that has it (a container); named
//! otherwise, since a developer command must not ask for a password.

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
    /// The gunicorn test makes a virtual environment.
    PythonVenv,
}

impl Prerequisite {
    fn is_there(self) -> bool {
        let answers = |program: &str| is_installed(Command::new(program).arg("--version"));
        match self {
            Self::CMake => answers("cmake") && answers("make"),
            Self::Chromium => answers("chromium") && answers("chromedriver"),
            Self::Compiler => answers("cc"),
            // Debian's python3 has venv without ensurepip: both are needed.
            Self::PythonVenv => {
                is_installed(Command::new("python3").args(["-c", "import ensurepip, venv"]))
            }
        }
    }

    /// Debian's packages.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::CMake => &["cmake", "make"],
            Self::Chromium => &["chromium", "chromium-driver"],
            Self::Compiler => &["gcc", "libc6-dev"],
            Self::PythonVenv => &["python3", "python3-venv"],
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
