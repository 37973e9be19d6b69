//! A run: scenario after scenario, in rounds that go through all servers in turn (A B C A B C …),
//! so that whatever changes on the machine in the meantime changes for all of them.
//!
//! A server is started anew for each of its rounds and ended after: an idle one costs something,
//! and one that was started once may have been lucky with its memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Result, bail, ensure};

use crate::build::{self, Binaries};
use crate::figure::Figure;
use crate::machine::Machine;
use crate::results::{Cell, Results};
use crate::round::{self, Turn};
use crate::scenario::{self, Kind, Scenario, Set};
use crate::{Changes, markdown, plot, say};

/// Which scenarios are run.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    Set(Set),
    Names(Vec<String>),
    All,
}

/// Runs the scenarios that are wanted, and writes what came out.
pub(crate) fn run(set: &str, wanted: &Wanted, changes: &Changes) -> Result<()> {
    let scenarios = choose(wanted, changes)?;
    let servers: BTreeSet<_> =
        scenarios.iter().flat_map(|scenario| scenario.servers.iter().copied()).collect();
    say("building, and looking for what is needed");
    let is_python = scenarios.iter().any(Scenario::is_python);
    let binaries = build::prepare(&servers, is_python, changes)?;
    let mut versions: BTreeMap<String, String> = servers
        .iter()
        .map(|server| (server.name().to_owned(), build::version(*server, &binaries)))
        .collect();
    if is_python {
        versions.insert("python".to_owned(), binaries.python.versions()?);
    }
    versions.insert("oha".to_owned(), build::OHA_VERSION.to_owned());
    let machine = Machine::find(versions);
    let default = build::workspace().join("load-tests/results");
    let folder = changes.results.as_deref().unwrap_or(&default);
    fs::create_dir_all(folder)?;
    let mut all = Vec::new();
    for scenario in scenarios {
        let results = measure(scenario, &machine, &binaries)?;
        write(folder, &results)?;
        all.push(results);
        // What there is can be read while the rest is measured.
        fs::write(folder.join(format!("{set}.md")), markdown::page(set, &all))?;
    }
    say(&markdown::page(set, &all));
    let cells = all.iter().flat_map(|results| &results.cells);
    let failed = cells.filter(|cell| cell.error.is_some()).count();
    ensure!(failed == 0, "{failed} servers could not be measured; the tables above say why");
    Ok(())
}

/// Prints what there is.
pub(crate) fn list() -> Result<()> {
    for scenario in scenario::read_all(&folder_of_scenarios())? {
        say(&format!("{:24} {}", scenario.name, scenario.title));
    }
    Ok(())
}

fn folder_of_scenarios() -> std::path::PathBuf {
    build::workspace().join("load-tests/scenarios")
}

fn choose(wanted: &Wanted, changes: &Changes) -> Result<Vec<Scenario>> {
    let mut scenarios = scenario::read_all(&folder_of_scenarios())?;
    if let Wanted::Names(names) = wanted {
        let is_known = |name: &&String| scenarios.iter().any(|scenario| scenario.name == **name);
        if let Some(name) = names.iter().find(|name| !is_known(name)) {
            bail!("there is no scenario {name}: see `load-tests list`");
        }
    }
    scenarios.retain(|scenario| match wanted {
        Wanted::Set(set) => scenario.sets.contains(set),
        Wanted::Names(names) => names.contains(&scenario.name),
        Wanted::All => true,
    });
    for scenario in &mut scenarios {
        let load = &mut scenario.load;
        load.rounds = changes.rounds.unwrap_or(load.rounds);
        load.seconds = changes.seconds.unwrap_or(load.seconds);
        if !changes.only.is_empty() {
            scenario.servers.retain(|server| changes.only.contains(server));
        }
    }
    scenarios.retain(|scenario| !scenario.servers.is_empty());
    ensure!(!scenarios.is_empty(), "nothing is left to measure");
    Ok(scenarios)
}

fn measure(scenario: Scenario, machine: &Machine, binaries: &Binaries) -> Result<Results> {
    say(&format!("\n{}: {}", scenario.name, scenario.title));
    let capacity = match (scenario.kind, scenario.servers.first()) {
        (Kind::Open, Some(server)) => Some(round::capacity(*server, &scenario, binaries)?),
        _ => None,
    };
    if let Some(capacity) = capacity {
        say(&format!("  capacity {capacity:.0}/s"));
    }
    let mut cells = Vec::new();
    for point in scenario.points() {
        cells.extend(scenario.servers.iter().map(|server| Cell::new(*server, point)));
    }
    for number in 1..=scenario.load.rounds {
        for cell in cells.iter_mut().filter(|cell| cell.error.is_none()) {
            let capacity = capacity.unwrap_or_default();
            let turn = Turn { server: cell.server, point: cell.point, number, capacity };
            match round::measure(turn, &scenario.at(cell.point), binaries) {
                Ok(round) => cell.add(round),
                Err(error) => cell.error = Some(format!("{error:#}")),
            }
            say(&format!("  round {number}: {:24} {}", cell.label(), last_round(cell)));
        }
    }
    let is_pinned = scenario.is_pinned();
    let (machine, verdicts) = (machine.clone(), Vec::new());
    let mut results = Results { machine, scenario, is_pinned, capacity, cells, verdicts };
    results.judge();
    Ok(results)
}

/// What is said of a round while the next one runs.
const SHOWN: [Figure; 8] = [
    Figure::RequestsPerSecond,
    Figure::CpuPerRequestUs,
    Figure::LatencyP99Ms,
    Figure::IdealP99Ms,
    Figure::ProxyMemoryMib,
    Figure::BytesPerConnection,
    Figure::MemoryMib,
    Figure::Failed,
];

/// What the last round gave, in a line.
fn last_round(cell: &Cell) -> String {
    if let Some(error) = &cell.error {
        return error.clone();
    }
    let Some(round) = cell.rounds.last() else { return String::new() };
    let show = |figure: &Figure| {
        let value = round.figures.get(figure)?;
        Some(format!("{} {}", figure.show(*value), figure.title()))
    };
    let mut said: Vec<String> = SHOWN.iter().filter_map(show).collect();
    if round.is_generator_limited() {
        said.push("generator limited".to_owned());
    }
    said.join(", ")
}

fn write(folder: &Path, results: &Results) -> Result<()> {
    let json = serde_json::to_string_pretty(results)? + "\n";
    fs::write(folder.join(format!("{}.json", results.scenario.name)), json)?;
    for (name, svg) in plot::draw(results) {
        fs::write(folder.join(name), svg)?;
    }
    Ok(())
}
