//! Results as a page: what had to come out, then a table for each scenario.

use std::collections::BTreeSet;

use crate::criterion::{Outcome, Verdict};
use crate::figure::Figure;
use crate::results::{Cell, Results};
use crate::scenario::{Scenario, Vary};
use crate::text::add;

/// The page of several scenarios; `set` is what was asked for.
pub(crate) fn page(set: &str, all: &[Results]) -> String {
    let mut text = format!("# Load tests: {set}\n\n");
    if let Some(results) = all.first() {
        line(&mut text, &results.machine.summary());
        line(&mut text, "");
        for (name, version) in &results.machine.versions {
            line(&mut text, &format!("- {name}: {version}"));
        }
    }
    line(&mut text, "\nEach figure is the median of the rounds, with the lowest and the highest.");
    criteria(&mut text, all);
    for results in all {
        scenario(&mut text, results);
    }
    text
}

fn criteria(text: &mut String, all: &[Results]) {
    if all.iter().all(|results| results.verdicts.is_empty()) {
        return;
    }
    line(text, "\n## What has to come out\n");
    line(text, "| scenario | criterion | measured | limit | |\n|---|---|--:|--:|---|");
    for results in all {
        for Verdict { text: said, outcome, value, limit } in &results.verdicts {
            let value = value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"));
            let outcome = match outcome {
                Outcome::Pass => "pass",
                Outcome::Fail => "**FAIL**",
                Outcome::NotDecided => "not decided",
            };
            let name = &results.scenario.name;
            line(text, &format!("| {name} | {said} | {value} | {limit} | {outcome} |"));
        }
    }
}

fn scenario(text: &mut String, results: &Results) {
    let Scenario { name, title, vary, load, .. } = &results.scenario;
    line(text, &format!("\n## {title}\n"));
    let pinned =
        if results.is_pinned { "server and generator have a processor each" } else { "not pinned" };
    let (rounds, seconds, connections) = (load.rounds, load.seconds, load.connections);
    line(
        text,
        &format!("`{name}`: {rounds} rounds of {seconds} s, {connections} connections, {pinned}."),
    );
    if let Some(capacity) = results.capacity {
        line(text, &format!("Capacity, measured first: {capacity:.0} requests/s."));
    }
    let figures: BTreeSet<Figure> =
        results.cells.iter().flat_map(|cell| cell.medians.keys().copied()).collect();
    let point = vary.as_ref().map(Vary::unit);
    let mut head = "| server |".to_owned();
    let mut rule = "|---|".to_owned();
    for title in point.into_iter().chain(figures.iter().map(|figure| figure.title())) {
        add(&mut head, format_args!(" {title} |"));
        rule += "--:|";
    }
    line(text, &format!("\n{head}\n{rule}"));
    for cell in &results.cells {
        row(text, cell, &figures);
    }
    for cell in &results.cells {
        notes(text, cell);
    }
}

fn row(text: &mut String, cell: &Cell, figures: &BTreeSet<Figure>) {
    let mut row = format!("| {} |", cell.server.name());
    if let Some(point) = cell.point {
        add(&mut row, format_args!(" {point} |"));
    }
    for figure in figures {
        row += &cell.medians.get(figure).map_or_else(
            || " – |".to_owned(),
            |spread| {
                let show = |value| figure.show(value);
                let (median, min, max) = (show(spread.median), show(spread.min), show(spread.max));
                if min == max {
                    format!(" {median} |")
                } else {
                    format!(" {median} ({min}–{max}) |")
                }
            },
        );
    }
    line(text, &row);
}

/// What a reader has to know of a row that its numbers do not say.
fn notes(text: &mut String, cell: &Cell) {
    let label = cell.label();
    if cell.is_generator_limited() {
        line(text, &format!("\n{label}: the load generator was the limit."));
    }
    if let Some(error) = &cell.error {
        line(text, &format!("\n{label}: not measured: {}", error.replace('\n', "; ")));
    }
    let mut errors: Vec<String> = Vec::new();
    for round in &cell.rounds {
        errors.extend(round.errors.iter().map(|(reason, count)| format!("{count} × {reason}")));
    }
    if !errors.is_empty() {
        line(text, &format!("\n{label}: unanswered in some rounds: {}", errors.join(", ")));
    }
    if let Some(waits) = cell.rounds.last().and_then(|round| round.queue_wait_ms.as_ref()) {
        line(text, &format!("\n{label}: says of its own queue, in ms: `{waits}`"));
    }
}

fn line(text: &mut String, line: &str) {
    add(text, format_args!("{line}\n"));
}
