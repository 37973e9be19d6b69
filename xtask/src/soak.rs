//! `cargo xtask test --soak`: what Ostler promises under load and under faults, at full length.
//!
//! The same tests as in the normal run, over the release build, one after the other. What
//! they measured is written to `docs/reliability.md` in the end, and only if all of them passed.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::prerequisite::{Prerequisite, provide};
use crate::step::{Steps, is_installed};
use crate::{cargo, project, target_folder};

/// The tests that note figures.
const TESTS: &str = "test(/^reliability::/) + test(/^buffering::slow_clients::/) \
    + test(=readers::cost::a_look_costs_little_at_rest_and_at_full_load) \
    + test(/^stuck::normal_requests_keep_their_rate_beside_endless_ones/) \
    + test(/^overload::overload_costs_no_capacity_and_refusals_are_quick/)";

/// What is between these lines of the page is written by this command.
const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// One figure, as `e2e/src/promise.rs` notes it.
#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Figure {
    promise: String,
    limit: String,
    measured: String,
}

/// Runs the tests of promises at full length, and writes what they measured. With `only`, those
/// whose name contains it; what was measured of the others before stays.
///
/// # Errors
///
/// When something is missing, cannot be built, or a promise is not kept.
pub(crate) fn run(only: Option<&str>) -> anyhow::Result<()> {
    if !is_installed(&mut cargo(&["nextest", "--version"])) {
        bail!("cargo-nextest is missing: cargo install cargo-nextest --locked");
    }
    // One interpreter is all that the tests of Python pools need.
    provide(&[Prerequisite::PythonVenv])?;
    let figures = target_folder().join("figures.jsonl");
    // What an earlier run noted is on the page, with its commit.
    if figures.exists() {
        std::fs::remove_file(&figures)?;
    }
    let mut steps = Steps::default();
    steps.run("oha", &mut cargo(&["run", "--release", "-p", "load-tests", "--", "install-oha"]))?;
    steps.run("build", &mut cargo(&["build", "--release", "-p", "ostler", "--bins"]))?;
    steps.run("python", &mut cargo(&["build", "--release", "-p", "ostler-python"]))?;
    steps.run("examples", &mut cargo(&["build", "--release", "-p", "ostler-app", "--examples"]))?;
    let tests = ["nextest", "run", "--release", "-p", "ostler-e2e", "--profile", "soak"];
    let tests_meant =
        only.map_or_else(|| TESTS.to_owned(), |name| format!("({TESTS}) & test({name})"));
    steps.run(
        "soak",
        cargo(&[&tests[..], &["-E", &tests_meant]].concat())
            .env("OSTLER_SOAK", "1")
            .env("OSTLER_FIGURES", &figures),
    )?;
    let page = project().join("docs/reliability.md");
    write(&page, &figures, only.is_some())?;
    steps.summarise();
    Ok(())
}

/// Puts the figures between the marks of the page. Where only some were measured, the rows of the
/// others stay as they are, each with the commit that it was measured at.
fn write(page: &Path, figures: &Path, keeps_others: bool) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(figures).context("no test noted a figure")?;
    let before = std::fs::read_to_string(page)?;
    let mut rows = if keeps_others { rows_of(&before) } else { BTreeMap::new() };
    let commit = said("git", &["describe", "--always", "--dirty"]);
    for line in text.lines() {
        let figure: Figure =
            serde_json::from_str(line).with_context(|| format!("not a figure: {line}"))?;
        rows.insert(figure.promise.clone(), row(&figure, &commit));
    }
    let machine = format!(
        "The latest rows: {} processors, Linux {}.",
        said("nproc", &[]),
        said("uname", &["-r"])
    );
    let table = table(&machine, &rows);
    std::fs::write(page, replaced(&before, &table).context("docs/reliability.md has no marks")?)?;
    Ok(())
}

/// The rows between the marks, by their promise.
fn rows_of(page: &str) -> BTreeMap<String, String> {
    let between = page.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END));
    let lines = between.map_or("", |(table, _)| table).lines();
    let rows = lines.filter_map(|line| Some((line.strip_prefix("| ")?.split_once(" | ")?.0, line)));
    let rows = rows.filter(|(promise, _)| *promise != "promise");
    rows.map(|(promise, line)| (promise.to_owned(), format!("{line}\n"))).collect()
}

/// The page with its table replaced; `None` where the marks are missing.
fn replaced(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))
}

fn row(Figure { promise, limit, measured }: &Figure, commit: &str) -> String {
    format!("| {promise} | {limit} | {measured} | {commit} |\n")
}

fn table(machine: &str, rows: &BTreeMap<String, String>) -> String {
    let head = format!("{machine}\n\n| promise | limit | measured | commit |\n|---|---|---|---|\n");
    rows.values().fold(head, |text, row| text + row)
}

/// What a tool of the system tells of the machine and the commit.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(project()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let page = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let figure = Figure {
            promise: "a reload".to_owned(),
            limit: "0 failed".to_owned(),
            measured: "0 of 6,000".to_owned(),
        };
        let rows = BTreeMap::from([(figure.promise.clone(), row(&figure, "abc"))]);
        let table = table("a machine", &rows);
        let written = replaced(&page, &table).unwrap();
        assert!(written.starts_with("before\n") && written.ends_with("\nafter\n"), "{written}");
        assert!(written.contains("| a reload | 0 failed | 0 of 6,000 | abc |\n"), "{written}");
        assert!(!written.contains("old"), "{written}");
        assert_eq!(replaced(&written, &table).as_deref(), Some(written.as_str()));
        assert_eq!(replaced("no marks", &table), None);
        assert_eq!(rows_of(&written), rows);
        assert_eq!(rows_of("no marks"), BTreeMap::new());
    }
}
