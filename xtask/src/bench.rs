//! `cargo xtask bench`: how many instructions the proxy executes for fixed requests.
//!
//! The release build (not trained) runs with one event loop and one worker; only the proxy process
//! is counted, by valgrind's callgrind. Unlike times, the counts hardly differ from run to run, so a change
//! of a few percent is the change of the code. What the kernel does is not in them.

mod baseline;
mod client;
mod requests;
mod stack;

use std::process::Command;

use anyhow::{Context, bail};

use self::baseline::{Baseline, Counts, Verdict};
use self::client::Client;
use self::requests::{Measured, REQUESTS};
use self::stack::Stack;
use crate::cargo;
use crate::step::{Steps, is_installed, say};

/// Requests before the first count: pools, buffers and caches are as they stay.
const WARM_UP: usize = 200;
/// Requests of one count: enough for the timers that fire meanwhile not to matter.
const REPEATS: u64 = 200;
/// Counts of each request. The least is reported: a machine that is busy only adds to it, by
/// answers of the worker that come late and are waited for.
const ROUNDS: usize = 9;

/// What is needed and not there, if anything.
pub(crate) fn missing() -> Option<&'static str> {
    let is_there = is_installed(Command::new("valgrind").arg("--version"));
    (!is_there).then_some("valgrind is missing: apt-get install valgrind")
}

/// Counts, and compares with the record or replaces it.
///
/// # Errors
///
/// When something cannot be built or run, or a request costs clearly more than recorded.
pub(crate) fn run(records: bool) -> anyhow::Result<()> {
    if let Some(missing) = missing() {
        bail!(missing);
    }
    let packages = ["build", "--release", "-p", "ostler", "-p", "ostler-app"];
    let targets = ["--bin", "ostler", "--example", "hello-service"];
    Steps::default().run("build", &mut cargo(&[&packages[..], &targets].concat()))?;
    let mut counted = count_all()?;
    let baseline = Baseline::read()?;
    say(&baseline.table(&counted));
    if records {
        return baseline.record(&counted);
    }
    if !baseline.is_of_this_processor() {
        say("recorded on another processor: not compared");
        return Ok(());
    }
    if !risen(&baseline, &counted).is_empty() {
        // A machine that is busy only adds: what comes down again was not the code.
        say("more than recorded: counted again");
        for (name, again) in count_all()? {
            counted.entry(name).and_modify(|count| *count = again.min(*count));
        }
        say(&baseline.table(&counted));
    }
    let more = risen(&baseline, &counted);
    if more.is_empty() {
        return Ok(());
    }
    bail!("more instructions than recorded: {}; see xtask/instructions.toml", more.join(", "))
}

fn risen(baseline: &Baseline, counted: &Counts) -> Vec<String> {
    let has_risen =
        |(name, count): &(&String, &u64)| baseline.verdict(name, **count) == Verdict::More;
    counted.iter().filter(has_risen).map(|(name, _)| name.clone()).collect()
}

fn count_all() -> anyhow::Result<Counts> {
    let mut stack = Stack::start()?;
    let mut counts = Counts::new();
    for request in REQUESTS {
        match count(&mut stack, request).with_context(|| {
            format!("{}; see {}/error.log", request.name, stack.folder().display())
        })? {
            Some(instructions) => {
                counts.insert(request.name.to_owned(), instructions);
            }
            None => say(&format!("{}: {}", request.name, request.unless)),
        }
    }
    stack.stop()?;
    say(&format!("\nprofiles for kcachegrind: {}", stack.folder().display()));
    Ok(counts)
}

/// Instructions for one of these requests; `None` where valgrind does not let it be answered.
fn count(stack: &mut Stack, request: &Measured) -> anyhow::Result<Option<u64>> {
    let bytes = request.bytes();
    let mut client = Client::connect(stack.address())?;
    let status = client.repeat(&bytes, WARM_UP)?;
    if status != request.status {
        if request.unless.is_empty() {
            bail!("answered with {status}, not {}", request.status);
        }
        return Ok(None);
    }
    stack.count()?;
    let mut least = u64::MAX;
    for _ in 0..ROUNDS {
        client.repeat(&bytes, usize::try_from(REPEATS)?)?;
        least = least.min(stack.count()? / REPEATS);
    }
    Ok(Some(least))
}
