//! What is measured: a file of `scenarios/`, read and checked.
//!
//! Data only; what is done with it is decided elsewhere. A key that is not here is an error, so
//! that no file asks for something that nobody does.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::criterion::Criterion;
use crate::server::ServerName;

/// One scenario.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Scenario {
    /// The file's name without its ending.
    #[serde(skip_deserializing)]
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) kind: Kind,
    /// The sets it belongs to, beside the full one.
    #[serde(default)]
    pub(crate) sets: Vec<Set>,
    pub(crate) servers: Vec<ServerName>,
    /// Event threads (or processes) of each server.
    #[serde(default = "one")]
    pub(crate) server_threads: u32,
    /// Routes that Ostler is configured with. Other servers do not know this.
    #[serde(default = "one")]
    pub(crate) routes: u32,
    /// Pools that Ostler is configured with; requests go round them.
    #[serde(default = "one")]
    pub(crate) pools: u32,
    /// A number that is varied; each value is measured on its own.
    pub(crate) vary: Option<Vary>,
    pub(crate) worker: Option<WorkerPlan>,
    pub(crate) files: Option<Files>,
    #[serde(default)]
    pub(crate) request: RequestPlan,
    #[serde(default)]
    pub(crate) load: Load,
    /// What has to come out.
    #[serde(default)]
    pub(crate) criterion: Vec<Criterion>,
}

/// How load is made, and so what is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Each connection sends its next request when it has its answer.
    Closed,
    /// Requests arrive at their own times, whether or not the others were answered.
    Open,
    /// Connections that are kept and do nothing.
    Idle,
    /// Closed, while something is broken on purpose.
    Fault,
}

/// A set of scenarios that are run together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Set {
    Quick,
    Compare,
    Python,
}

/// The one number that differs between the points of a scenario.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Vary {
    Connections(Vec<u32>),
    WorkerThreads(Vec<u32>),
    Processes(Vec<u32>),
    Pools(Vec<u32>),
    Routes(Vec<u32>),
    /// Arrivals, in percent of the capacity that was measured before.
    LoadPercent(Vec<u32>),
}

/// The application behind the servers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct WorkerPlan {
    /// How our own program runs: `service` or `threads`.
    pub(crate) model: Option<Model>,
    /// An application in Python, for servers that run WSGI.
    pub(crate) wsgi: Option<Wsgi>,
    /// Another program. `{listen}` is where it has to listen when Ostler does not start it.
    pub(crate) command: Option<Vec<String>>,
    #[serde(default = "one")]
    pub(crate) processes: u32,
    #[serde(default = "one")]
    pub(crate) threads: u32,
    /// Requests in flight in a process; as many as threads unless set.
    pub(crate) concurrency: Option<u32>,
}

/// The two ways to write a worker with `ostler-app`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Model {
    Service,
    Threads,
}

/// The applications in Python.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Wsgi {
    /// That of `load-worker`, without a framework.
    Plain,
    /// The bookshop of the examples.
    Django,
}

/// Files that the servers answer with themselves, under `/static/0.bin`, `/static/1.bin`, ….
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Files {
    pub(crate) count: u32,
    pub(crate) bytes: usize,
}

/// What is asked for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RequestPlan {
    pub(crate) method: String,
    /// One of them is chosen for each request.
    pub(crate) paths: Vec<String>,
    pub(crate) body_bytes: usize,
    /// Whether a connection is kept; else each request has its own.
    pub(crate) keep_alive: bool,
    /// The version of HTTP, as the load generator calls it.
    pub(crate) http_version: String,
    pub(crate) expected_status: u16,
}

/// How much of it, and how often.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Load {
    pub(crate) connections: u32,
    pub(crate) seconds: u32,
    pub(crate) rounds: u32,
    /// Servers and workers on the first processor, the generator on the second. Closed loops are
    /// pinned unless the file says otherwise.
    pub(crate) pin: Option<bool>,
    /// What is broken, in a scenario of faults.
    pub(crate) fault: Option<Fault>,
}

/// What is done to a server under load, about once a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// A value of the pool is changed and the configuration reloaded: new workers, same proxy.
    Reload,
    /// A worker is killed with SIGKILL.
    WorkerKill,
    /// The proxy is killed with SIGKILL.
    ProxyKill,
}

impl Default for RequestPlan {
    fn default() -> Self {
        Self {
            method: "GET".to_owned(),
            paths: vec!["/".to_owned()],
            body_bytes: 0,
            keep_alive: true,
            http_version: "1.1".to_owned(),
            expected_status: 200,
        }
    }
}

impl Default for Load {
    fn default() -> Self {
        Self { connections: 64, seconds: 4, rounds: 5, pin: None, fault: None }
    }
}

impl Vary {
    /// The values, in order.
    pub(crate) fn values(&self) -> &[u32] {
        match self {
            Self::Connections(values)
            | Self::WorkerThreads(values)
            | Self::Processes(values)
            | Self::Pools(values)
            | Self::Routes(values)
            | Self::LoadPercent(values) => values,
        }
    }

    /// What the numbers are, for a table.
    pub(crate) fn unit(&self) -> &'static str {
        match self {
            Self::Connections(_) => "connections",
            Self::WorkerThreads(_) => "threads",
            Self::Processes(_) => "processes",
            Self::Pools(_) => "pools",
            Self::Routes(_) => "routes",
            Self::LoadPercent(_) => "% of capacity",
        }
    }
}

impl WorkerPlan {
    /// Requests in flight in one process.
    pub(crate) fn concurrency(&self) -> u32 {
        self.concurrency.unwrap_or(self.threads).max(self.threads)
    }

    /// Requests that run at once, all processes together.
    pub(crate) fn places(&self) -> u32 {
        self.processes * self.concurrency()
    }
}

impl Scenario {
    /// Reads and checks the text of a file.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self> {
        let mut scenario: Self = toml::from_str(text)?;
        name.clone_into(&mut scenario.name);
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> Result<()> {
        let is_open = self.kind == Kind::Open;
        let varies_load = matches!(self.vary, Some(Vary::LoadPercent(_)));
        ensure!(is_open == varies_load, "an open loop varies load-percent, and nothing else does");
        let is_fault = self.kind == Kind::Fault;
        ensure!(is_fault == self.load.fault.is_some(), "`fault` goes with kind = \"fault\"");
        ensure!(self.worker.is_some() || self.files.is_some(), "nothing can be asked for");
        ensure!(!self.servers.is_empty() && !self.request.paths.is_empty(), "nothing is measured");
        if let Some(worker) = &self.worker {
            let has = [worker.model.is_some(), worker.wsgi.is_some(), worker.command.is_some()];
            let count = has.iter().filter(|has| **has).count();
            ensure!(count == 1, "a worker has either a `model`, `wsgi` or a `command`");
            if let Some(server) = self.servers.iter().find(|server| !server.runs(worker)) {
                bail!("{} does not run such a worker", server.name());
            }
        }
        let points = self.points();
        for criterion in &self.criterion {
            criterion.check(&self.servers, &points)?;
        }
        Ok(())
    }

    /// The values of the number that is varied; one without a value where nothing is.
    pub(crate) fn points(&self) -> Vec<Option<u32>> {
        let values = self.vary.as_ref().map(Vary::values);
        values.map_or_else(|| vec![None], |values| values.iter().copied().map(Some).collect())
    }

    /// The scenario with this value in its place.
    pub(crate) fn at(&self, point: Option<u32>) -> Self {
        let mut scenario = self.clone();
        let Some(value) = point else { return scenario };
        match (&self.vary, &mut scenario.worker) {
            (Some(Vary::Connections(_)), _) => scenario.load.connections = value,
            (Some(Vary::WorkerThreads(_)), Some(worker)) => worker.threads = value,
            (Some(Vary::Processes(_)), Some(worker)) => worker.processes = value,
            (Some(Vary::Pools(_)), _) => scenario.pools = value,
            (Some(Vary::Routes(_)), _) => scenario.routes = value,
            (Some(Vary::WorkerThreads(_) | Vary::Processes(_)), None)
            | (Some(Vary::LoadPercent(_)) | None, _) => {}
        }
        scenario
    }

    /// Whether the application is in Python.
    pub(crate) fn is_python(&self) -> bool {
        self.worker.as_ref().is_some_and(|worker| worker.wsgi.is_some())
    }

    /// Whether server and generator have a processor each.
    pub(crate) fn is_pinned(&self) -> bool {
        self.load.pin.unwrap_or(self.kind == Kind::Closed)
    }

    /// The paths that are asked for; with several pools, those of each.
    pub(crate) fn paths(&self) -> Vec<String> {
        if self.pools == 1 {
            return self.request.paths.clone();
        }
        let paths = |pool| self.request.paths.iter().map(move |path| format!("/pool-{pool}{path}"));
        (0..self.pools).flat_map(paths).collect()
    }
}

/// Reads every scenario of a folder, in the order of their names.
pub(crate) fn read_all(folder: &Path) -> Result<Vec<Scenario>> {
    let mut scenarios = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "toml") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let text = fs::read_to_string(&path)?;
            let scenario = Scenario::parse(&name, &text);
            scenarios.push(scenario.with_context(|| path.display().to_string())?);
        }
    }
    scenarios.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(scenarios)
}

fn one() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str = "title = 'a'\nkind = 'closed'\nservers = ['ostler']\n\
        [worker]\nmodel = 'service'\n";

    #[test]
    fn every_scenario_of_this_project_is_valid() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let scenarios = read_all(&folder).unwrap();
        assert!(15 < scenarios.len(), "only {}", scenarios.len());
        for set in [Set::Quick, Set::Compare, Set::Python] {
            assert!(scenarios.iter().any(|scenario| scenario.sets.contains(&set)), "{set:?}");
        }
    }

    #[test]
    fn the_smallest_scenario_is_a_closed_loop_on_pinned_processors() {
        let scenario = Scenario::parse("small", SMALLEST).unwrap();
        assert!(scenario.is_pinned());
        assert_eq!((scenario.points(), scenario.load.rounds), (vec![None], 5));
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let refused = |text: &str| {
            let error = Scenario::parse("bad", text).unwrap_err();
            format!("{error:#}")
        };
        assert!(refused(&format!("colour = 1\n{SMALLEST}")).contains("unknown field"));
        assert!(refused(&SMALLEST.replace("closed", "open")).contains("load-percent"));
        assert!(refused(&SMALLEST.replace("closed", "fault")).contains("fault"));
        assert!(refused(&SMALLEST.replace("model = 'service'", "")).contains("either"));
        assert!(refused(&format!("{SMALLEST}wsgi = 'plain'")).contains("either"));
        assert!(refused(&SMALLEST.replace("ostler", "granian")).contains("granian"));
        assert!(refused(&SMALLEST.replace("'ostler'", "")).contains("nothing is measured"));
        let criterion =
            "[[criterion]]\ntext = 'x'\nfigure = 'failed'\nserver = 'nginx'\nat-most = 1";
        assert!(refused(&format!("{SMALLEST}{criterion}")).contains("nginx"));
    }

    #[test]
    fn each_point_changes_one_number() {
        let text = format!("vary = {{ pools = [1, 2] }}\n{SMALLEST}");
        let scenario = Scenario::parse("pools", &text).unwrap();
        assert_eq!(scenario.points(), [Some(1), Some(2)]);
        assert_eq!(scenario.at(Some(1)).paths(), ["/"]);
        assert_eq!(scenario.at(Some(2)).paths(), ["/pool-0/", "/pool-1/"]);
    }
}
