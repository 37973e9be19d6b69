//! The generator of closed loops: `oha`, run to its end and its JSON read.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::process::{GENERATOR_CORE, Program};
use crate::scenario::Scenario;
use crate::server::Running;

/// What oha calls a request that was under way when time was up. It is no error of a server.
const AT_THE_END: &str = "aborted due to deadline";

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Counted {
    pub(crate) seconds: f64,
    /// Answers by status.
    pub(crate) statuses: BTreeMap<String, u64>,
    /// Requests without an answer, by reason.
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Output {
    summary: Summary,
    latency_percentiles: BTreeMap<String, Option<f64>>,
    status_code_distribution: BTreeMap<String, u64>,
    error_distribution: BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize)]
struct Summary {
    total: f64,
}

impl Counted {
    /// Answers of any status.
    pub(crate) fn answers(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Answers with this status.
    pub(crate) fn with_status(&self, status: u16) -> u64 {
        self.statuses.get(&status.to_string()).copied().unwrap_or_default()
    }

    /// Answers with another status, and requests without one.
    pub(crate) fn failed(&self, expected_status: u16) -> u64 {
        self.answers() - self.with_status(expected_status) + self.errors.values().sum::<u64>()
    }
}

/// The command for this load.
pub(crate) fn program(
    oha: &Path,
    server: &Running,
    scenario: &Scenario,
    seconds: u32,
) -> Result<Program> {
    let request = &scenario.request;
    let mut words = vec![oha.display().to_string()];
    let mut add = |more: &[&str]| words.extend(more.iter().map(|word| (*word).to_owned()));
    add(&["--no-tui", "--output-format", "json", "--no-color", "--disable-compression"]);
    add(&["-z", &format!("{seconds}s"), "-c", &scenario.load.connections.to_string()]);
    add(&["-m", &request.method, "--http-version", &request.http_version]);
    if !request.keep_alive {
        add(&["--disable-keepalive"]);
    }
    if 0 < request.body_bytes {
        let body = server.folder().join("body.bin");
        fs::write(&body, vec![b'0'; request.body_bytes])?;
        add(&["-D", &body.display().to_string(), "-T", "application/octet-stream"]);
    }
    if scenario.is_pinned() {
        add(&["--worker-threads", "1"]);
    }
    let urls: Vec<String> =
        scenario.paths().iter().map(|path| format!("http://{}{path}", server.address)).collect();
    if let [url] = urls.as_slice() {
        add(&[url]);
    } else {
        let list = server.folder().join("urls.txt");
        fs::write(&list, urls.join("\n"))?;
        add(&["--urls-from-file", &list.display().to_string()]);
    }
    Ok(Program::new(words).on(scenario.is_pinned().then_some(GENERATOR_CORE)))
}

/// Starts it.
pub(crate) fn start(program: &Program) -> Result<Child> {
    let mut command = program.command();
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("cannot start oha")
}

/// Waits for its end.
pub(crate) fn finish(oha: Child) -> Result<Counted> {
    let ended = oha.wait_with_output()?;
    let errors = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "oha: {}: {errors}", ended.status);
    parse(&String::from_utf8_lossy(&ended.stdout)).context("cannot read what oha printed")
}

fn parse(text: &str) -> Result<Counted> {
    let output: Output = serde_json::from_str(text)?;
    let percentile = |name: &str| {
        let seconds = output.latency_percentiles.get(name).copied().flatten();
        seconds.unwrap_or_default() * 1000.0
    };
    let (p50_ms, p99_ms, p999_ms) = (percentile("p50"), percentile("p99"), percentile("p99.9"));
    let mut errors = output.error_distribution;
    errors.remove(AT_THE_END);
    let statuses = output.status_code_distribution;
    Ok(Counted { seconds: output.summary.total, statuses, errors, p50_ms, p99_ms, p999_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_version_1_16_prints_is_read() {
        let counted = parse(include_str!("../testdata/oha-1.16.0.json")).unwrap();
        assert_eq!(counted.answers(), 2275);
        assert_eq!(counted.with_status(200), 2270);
        assert_eq!(counted.errors, BTreeMap::from([("connection closed".to_owned(), 3)]));
        assert_eq!(counted.failed(200), 5 + 3);
        assert!((counted.p99_ms - 1.727_148).abs() < 1e-9);
        assert!((counted.seconds - 1.002_130_08).abs() < 1e-9);
    }
}
