//! `cargo xtask demo`: the shipped demo, built and served.
//!
//! The server takes this process's place, so Ctrl-C and every other signal reach it directly and
//! its exit code is the command's.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;

use crate::prerequisite::{Prerequisite, provide};
use crate::step::{Steps, say};
use crate::{cargo, project, target_folder};

const ADDRESSES: &str = "
Once the log below says `ready`:

  the site          http://127.0.0.1:8080/
  the status page   http://127.0.0.1:9180/server-status
  the metrics       http://127.0.0.1:9180/metrics

Ctrl-C ends it.
";

/// Where cargo puts the demo's worker, within its folder.
const ARENA: &str = "release/examples/arena";

/// Builds and serves. Returns only when something fails.
pub(crate) fn run() -> anyhow::Result<()> {
    provide(&[Prerequisite::CMake, Prerequisite::Compiler])?;
    let packages = ["build", "--release", "-p", "ostler", "-p", "ostler-app"];
    let targets = ["--bin", "ostler", "--example", "arena"];
    Steps::default().run("build", &mut cargo(&[&packages[..], &targets].concat()))?;
    place_arena()?;
    say(ADDRESSES);
    let ostler = target_folder().join("release/ostler");
    let mut command = Command::new(&ostler);
    command.args(["run", "-c", "conf/demo.toml"]).current_dir(project());
    Err(command.exec()).with_context(|| format!("cannot start {}", ostler.display()))
}

/// Puts the worker where conf/demo.toml names it, if cargo builds elsewhere.
fn place_arena() -> anyhow::Result<()> {
    let (built, named) = (target_folder().join(ARENA), project().join("target").join(ARENA));
    if built == named {
        return Ok(());
    }
    let folder = named.parent().context("the worker lies in a folder")?;
    std::fs::create_dir_all(folder)?;
    // Under another name first: a demo that still runs keeps the old one.
    let fresh = named.with_extension("new");
    std::fs::copy(&built, &fresh).with_context(|| format!("cannot copy {}", built.display()))?;
    Ok(std::fs::rename(fresh, named)?)
}
