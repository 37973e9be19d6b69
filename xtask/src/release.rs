//! `cargo xtask release`: the trained build, laid out by what it does under load.
//!
//! Profile-guided optimisation: a build that counts what it runs is put under the load-tests, and
//! another one is made with these counts. The compiler puts together what runs often, and what
//! hardly ever runs out of the way.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::prerequisite::{Prerequisite, provide};
use crate::step::{Steps, is_installed, say};
use crate::{cargo, target_folder};

/// What the counting build is put under: both ways to workers, threads and event loops, files,
/// connections that are not kept, applications in Python. Large bodies are left out: where bytes
/// are copied one by one in a build that counts, they outnumber everything else.
const LOADS: [&str; 7] = [
    "hello-service",
    "hello-threads",
    "ring-and-http",
    "connection-per-request",
    "file-10k",
    "python-hello",
    "python-django-page",
];

/// Ostler with the link of its own library, and with HTTP to its workers.
const SERVERS: &str = "ostler,ostler-http";

/// Seconds of each. Counts matter by their proportions, so more would not be better.
const SECONDS: &str = "3";

/// The two files.
const FILES: [&str; 2] = ["ostler", "libostler_python.so"];

/// A process writes its counts when it ends by `exit(3)`, and a worker ends by `_exit(2)`.
const PRELOAD: &str = "import atexit, ctypes\natexit.register(ctypes.CDLL(None).exit, 0)\n";

/// Builds, trains, builds.
///
/// # Errors
///
/// When something is missing, or one of the steps fails.
pub(crate) fn run() -> anyhow::Result<()> {
    provide(&[Prerequisite::CMake, Prerequisite::Compiler])?;
    let compiler = said(Command::new("rustc").arg("-vV"))?;
    let host = field(&compiler, "host: ").context("rustc does not say its host")?;
    let profdata = find_profdata(&compiler)?;
    let folder = target_folder().join("trained");
    let (profiles, merged) = (folder.join("profiles"), folder.join("merged.profdata"));
    if profiles.exists() {
        std::fs::remove_dir_all(&profiles)?;
    }
    std::fs::create_dir_all(&profiles)?;
    let mut steps = Steps::default();
    let counting = format!("-Cprofile-generate={}", profiles.display());
    steps.run("counting build", &mut build(&folder, host, &counting))?;
    let preload = folder.join("preload.py");
    std::fs::write(&preload, PRELOAD)?;
    let binaries = folder.join(host).join("release");
    let mut train = cargo(&["run", "--release", "-p", "load-tests", "--", "--only", SERVERS]);
    train.arg("--ostler-bin").arg(&binaries);
    train.arg("--preload").arg(&preload);
    train.arg("--results").arg(folder.join("results"));
    train.args(["run", "--rounds", "1", "--seconds", SECONDS]).args(LOADS);
    steps.run("training", &mut train)?;
    // Every process of one of the files adds its counts to the same profile.
    let count = std::fs::read_dir(&profiles)?.count();
    if count < FILES.len() {
        bail!("{count} of {FILES:?} left counts: did its server fail in the training above?");
    }
    let mut merge = Command::new(profdata);
    merge.arg("merge").arg("--output").arg(&merged).arg(&profiles);
    steps.run("merge", &mut merge)?;
    std::fs::remove_dir_all(&profiles)?;
    let used = format!("-Cprofile-use={}", merged.display());
    steps.run("build", &mut build(&folder, host, &used))?;
    for name in FILES {
        // Under another name first: a program that runs keeps the old file.
        let fresh = folder.join(name).with_extension("new");
        std::fs::copy(binaries.join(name), &fresh).with_context(|| format!("no {name}"))?;
        std::fs::rename(fresh, folder.join(name))?;
    }
    steps.summarise();
    say(&format!("\n{}: in {}", FILES.join(" and "), folder.display()));
    Ok(())
}

/// Both files, built with these flags in a folder of its own: they concern every dependency. With
/// the target named, they do not concern what only runs during the build.
fn build(folder: &Path, host: &str, flags: &str) -> Command {
    let mut command =
        cargo(&["build", "--release", "--locked", "-p", "ostler", "-p", "ostler-python"]);
    command.args(["--target", host, "--target-dir"]).arg(folder);
    // Unlike RUSTFLAGS, it takes a folder with a blank in its name.
    command.env("CARGO_ENCODED_RUSTFLAGS", flags);
    command
}

/// The tool that understands what this compiler's programs count: of the same LLVM.
fn find_profdata(compiler: &str) -> anyhow::Result<PathBuf> {
    let version = field(compiler, "LLVM version: ").context("rustc does not say its LLVM")?;
    let major = version.split('.').next().unwrap_or(version);
    let libraries = said(Command::new("rustc").args(["--print", "target-libdir"]))?;
    let mut tools = candidates(Path::new(libraries.trim()), major).into_iter();
    match tools.find(|tool| is_installed(Command::new(tool).arg("--version"))) {
        Some(tool) => Ok(tool),
        None => bail!(
            "llvm-profdata of LLVM {major} is missing: rustup component add llvm-tools, or \
             apt-get install llvm-{major}"
        ),
    }
}

/// Where `rustup component add llvm-tools` puts it, and what Debian calls it.
fn candidates(libraries: &Path, major: &str) -> [PathBuf; 2] {
    let of_rustup = libraries.with_file_name("bin").join("llvm-profdata");
    [of_rustup, PathBuf::from(format!("llvm-profdata-{major}"))]
}

fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name))
}

fn said(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_load_is_a_scenario_of_the_load_tests() {
        for name in LOADS {
            let path = crate::project().join("load-tests/scenarios").join(name);
            assert!(path.with_extension("toml").is_file(), "{name}");
        }
    }

    #[test]
    fn the_tool_is_that_of_the_compilers_llvm() {
        let compiler = "rustc 1.95.0\nhost: x86_64-unknown-linux-gnu\nLLVM version: 22.1.2\n";
        assert_eq!(field(compiler, "host: "), Some("x86_64-unknown-linux-gnu"));
        assert_eq!(field(compiler, "LLVM version: "), Some("22.1.2"));
        assert_eq!(field(compiler, "release: "), None);
        let tools = candidates(Path::new("/t/lib/rustlib/x86_64/lib"), "22");
        let named = ["/t/lib/rustlib/x86_64/bin/llvm-profdata", "llvm-profdata-22"];
        assert_eq!(tools, named.map(PathBuf::from));
    }
}
