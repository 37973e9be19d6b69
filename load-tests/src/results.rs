//! What came of a scenario: every round as it was, medians, and how the criteria came out.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::criterion::{Measured, Verdict};
use crate::figure::Figure;
use crate::machine::Machine;
use crate::round::Round;
use crate::scenario::Scenario;
use crate::server::ServerName;
use crate::statistics::Spread;

/// All of one scenario, as it is written to `results/NAME.json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) scenario: Scenario,
    /// Whether server and generator had a processor each.
    pub(crate) is_pinned: bool,
    /// Requests a second that the open loop's arrivals are a share of.
    pub(crate) capacity: Option<f64>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) verdicts: Vec<Verdict>,
}

/// One server at one point.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cell {
    pub(crate) server: ServerName,
    pub(crate) point: Option<u32>,
    /// Why it was not measured to the end.
    pub(crate) error: Option<String>,
    pub(crate) medians: BTreeMap<Figure, Spread>,
    pub(crate) rounds: Vec<Round>,
}

impl Cell {
    pub(crate) fn new(server: ServerName, point: Option<u32>) -> Self {
        Self { server, point, error: None, medians: BTreeMap::new(), rounds: Vec::new() }
    }

    /// Adds a round, and takes the medians anew.
    pub(crate) fn add(&mut self, round: Round) {
        self.rounds.push(round);
        let mut values: BTreeMap<Figure, Vec<f64>> = BTreeMap::new();
        for (figure, value) in self.rounds.iter().flat_map(|round| &round.figures) {
            values.entry(*figure).or_default().push(*value);
        }
        let spread = |(figure, values): (Figure, Vec<f64>)| Some((figure, Spread::of(&values)?));
        self.medians = values.into_iter().filter_map(spread).collect();
    }

    /// Whether the generator was the limit in most rounds.
    pub(crate) fn is_generator_limited(&self) -> bool {
        let limited = self.rounds.iter().filter(|round| round.is_generator_limited()).count();
        self.rounds.len() < limited * 2
    }

    /// Its name in tables and plots.
    pub(crate) fn label(&self) -> String {
        let name = self.server.name();
        self.point.map_or_else(|| name.to_owned(), |point| format!("{name}, {point}"))
    }
}

impl Results {
    /// Looks at the criteria once all is measured.
    pub(crate) fn judge(&mut self) {
        self.verdicts = self.scenario.criterion.iter().map(|one| one.judge(self)).collect();
    }

    fn cell(&self, server: ServerName, at: Option<u32>) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.server == server && cell.point == at)
    }
}

impl Measured for Results {
    fn spread(&self, server: ServerName, at: Option<u32>, figure: Figure) -> Option<Spread> {
        self.cell(server, at)?.medians.get(&figure).copied()
    }

    fn is_generator_limited(&self, server: ServerName, at: Option<u32>) -> bool {
        self.cell(server, at).is_some_and(Cell::is_generator_limited)
    }
}
