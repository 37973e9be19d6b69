//! Runs one command after another and says how long each took.
//!
//! The commands write to the terminal themselves; nothing is captured, so their closing lines
//! are in the log of whoever runs this.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// The steps of one command, and what came of them.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<(&'static str, String)>,
}

impl Steps {
    /// Runs a command to its end.
    ///
    /// # Errors
    ///
    /// When it cannot be started or does not succeed; the text says how to repeat it alone.
    pub(crate) fn run(&mut self, name: &'static str, command: &mut Command) -> anyhow::Result<()> {
        let line = line_of(command);
        say(&format!("\n==> {name}: {line}"));
        let started = now();
        let status = command.status().with_context(|| format!("cannot start {line}"))?;
        let took = seconds(now().duration_since(started));
        if !status.success() {
            bail!("step '{name}' failed after {took} ({status}); to repeat it: {line}");
        }
        say(&format!("==> {name}: ok, {took}"));
        self.done.push((name, took));
        Ok(())
    }

    /// Notes that a step was not taken, and what it would need.
    pub(crate) fn skip(&mut self, name: &'static str, reason: &str) {
        say(&format!("\n==> {name}: skipped, {reason}"));
        self.done.push((name, String::from("skipped")));
    }

    /// Prints one line a step. Reached only when none failed.
    pub(crate) fn summarise(&self) {
        say("\nEvery step passed:");
        for (name, took) in &self.done {
            say(&format!("  {name:<10} {took:>9}"));
        }
    }
}

/// Whether a command is there: it starts and succeeds. Its output is dropped.
pub(crate) fn is_installed(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Writes one line to the terminal.
#[expect(clippy::print_stdout, reason = "a developer command speaks to its terminal")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// A command as it would be typed.
fn line_of(command: &Command) -> String {
    let name = std::path::Path::new(command.get_program()).file_name();
    let words = name.into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

#[expect(clippy::disallowed_methods, reason = "the edge: how long commands take")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
