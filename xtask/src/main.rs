//! Developer commands: `cargo xtask test`, `bench`, `release`, `demo`, `docs`.
//!
//! Each is a list of commands a person could type; only `bench` and `release` know how the product
//! is used. `test` is all that CI runs, so what passes here passes there.

mod bench;
mod demo;
mod prerequisite;
mod release;
mod soak;
mod step;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context;

use crate::prerequisite::{Prerequisite, provide};
use crate::step::{Steps, is_installed, say};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test    everything CI runs, stopping at the first failure;
          `test --soak [NAME]`: the promises under load and faults at full length, and what was
          measured to docs/reliability.md
  bench   count the proxy's instructions and compare them with xtask/instructions.toml;
          `bench --record` writes that file anew
  release build ostler and its Python worker trained by the load-tests (profile-guided
          optimisation), in target/trained/; a quarter of an hour on two processors
  demo    build in release and serve the demo site until Ctrl-C
  docs    write docs/configuration.md anew from the configuration model, and docs/status-json.md
          and docs/status.schema.json from the types of the status document
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["test"] => test(),
        ["test", "--soak"] => soak::run(None),
        ["test", "--soak", name] => soak::run(Some(name)),
        ["bench"] => bench::run(false),
        ["bench", "--record"] => bench::run(true),
        ["release"] => release::run(),
        ["demo"] => demo::run(),
        ["docs"] => docs(),
        ["help" | "--help" | "-h"] => {
            say(USAGE);
            Ok(())
        }
        _ => {
            say(USAGE);
            return ExitCode::from(64);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("xtask: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs everything CI runs, cheapest first.
fn test() -> anyhow::Result<()> {
    provide(&[Prerequisite::CMake, Prerequisite::Compiler])?;
    provide(&Prerequisite::OF_TESTS)?;
    let mut steps = Steps::default();
    steps.run("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    steps.run(
        "clippy",
        &mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    )?;
    steps.run("build", &mut cargo(&["build", "--workspace", "--all-targets"]))?;
    if is_installed(&mut cargo(&["nextest", "--version"])) {
        steps.run("test", &mut cargo(&["nextest", "run", "--workspace", "--all-targets"]))?;
    } else {
        // Not installed here: it would be built for minutes and left in the user's own folder.
        say("cargo-nextest is missing; `cargo test` takes its place.");
        say("To get it: cargo install cargo-nextest --locked");
        steps
            .run("test", &mut cargo(&["test", "--workspace", "--all-targets", "--no-fail-fast"]))?;
    }
    steps.run("doctest", &mut cargo(&["test", "--workspace", "--doc"]))?;
    steps.run(
        "doc",
        cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    if is_installed(&mut cargo(&["deny", "--version"])) {
        // Advisories change from day to day and come over the network: not a matter of a change.
        steps.run("deny", &mut cargo(&["deny", "check", "bans", "licenses", "sources"]))?;
    } else {
        steps.skip("deny", "cargo-deny is missing: cargo install cargo-deny --locked");
    }
    if is_installed(Command::new("systemd-analyze").arg("--version")) {
        verify_units(&mut steps)?;
    } else {
        steps.skip("units", "systemd-analyze is missing: apt-get install systemd");
    }
    // Last, because it builds everything once more, optimised.
    if let Some(missing) = bench::missing() {
        steps.skip("bench", missing);
    } else {
        steps.run("bench", &mut cargo(&["xtask", "bench"]))?;
    }
    steps.summarise();
    Ok(())
}

/// Has systemd check the units that ship.
///
/// The check wants the program to exist, so it reads a copy that names the one just built.
fn verify_units(steps: &mut Steps) -> anyhow::Result<()> {
    let program = target_folder().join("debug/ostler");
    let copies = target_folder().join("xtask-units");
    std::fs::create_dir_all(&copies)?;
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]);
    for entry in std::fs::read_dir(project().join("systemd")).context("cannot read systemd/")? {
        let path = entry?.path();
        let is_unit = path.extension().is_some_and(|end| end == "service" || end == "socket");
        let Some(name) = path.file_name().filter(|_| is_unit) else { continue };
        let unit = std::fs::read_to_string(&path)?;
        let copy = copies.join(name);
        std::fs::write(&copy, unit.replace("/usr/bin/ostler", &program.to_string_lossy()))?;
        verify.arg(copy);
    }
    steps.run("units", &mut verify)
}

/// Writes the references anew; the tests that compare them do the writing.
fn docs() -> anyhow::Result<()> {
    let packages = ["-p", "ostler-conf", "-p", "ostler-status"];
    let tests = [&["test"], &packages[..]].concat();
    Steps::default().run("docs", cargo(&tests).env("OSTLER_UPDATE_DOCS", "1"))
}

/// The cargo that started this program, in the project's folder.
fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(project());
    // What the outer cargo says of this package; build scripts that look at it would be run anew.
    for (name, _) in std::env::vars_os() {
        let is_ours = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if is_ours {
            command.env_remove(name);
        }
    }
    command
}

/// The project's folder.
fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the project's folder")
}

/// Where cargo builds: `CARGO_TARGET_DIR`, or `target` in the project's folder.
fn target_folder() -> PathBuf {
    // A relative value counts from where cargo runs, which is the project's folder.
    project().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}
