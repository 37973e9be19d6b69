//! The load generator that operators use: `oha`, at a fixed rate, and its verdict.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};

use crate::binary::target_folder;

/// What oha calls a request that was under way when time was up.
const AT_THE_END: &str = "aborted due to deadline";

/// A load under way.
#[derive(Debug)]
pub struct Oha(Child);

/// What it counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    /// Answers by status.
    pub statuses: BTreeMap<String, u64>,
    /// Requests without an answer, by reason.
    pub errors: BTreeMap<String, u64>,
    /// Answers a second.
    pub rate: f64,
    /// 99 of 100 answers came within so many milliseconds.
    pub p99_ms: f64,
}

/// Where the program is, if it is installed: `cargo xtask test --soak` sees to that.
pub fn program() -> Option<PathBuf> {
    let path = target_folder().join("tools/bin/oha");
    path.is_file().then_some(path)
}

impl Oha {
    /// Sends so many requests a second over so many kept connections, for so long.
    pub fn start(url: (SocketAddr, &str), rate: u32, connections: u32, lasts: Duration) -> Self {
        let program = program().expect("oha is installed: `cargo xtask test --soak` does it");
        let (address, path) = url;
        let child = Command::new(program)
            .args(["--no-tui", "--output-format", "json", "--no-color"])
            .args(["-z", &format!("{}ms", lasts.as_millis()), "-q", &rate.to_string()])
            .args(["-c", &connections.to_string(), &format!("http://{address}{path}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        Self(child.expect("oha starts"))
    }

    /// Waits until its time is up.
    pub async fn finish(self) -> Counted {
        let ended = self.0.wait_with_output().await.expect("oha ends");
        let errors = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "oha: {}: {errors}", ended.status);
        let output: Value = serde_json::from_slice(&ended.stdout).expect("oha prints JSON");
        let counts = |name: &str| -> BTreeMap<String, u64> {
            let counts = output[name].as_object().into_iter().flatten();
            counts.map(|(key, count)| (key.clone(), count.as_u64().unwrap_or_default())).collect()
        };
        let mut errors = counts("errorDistribution");
        errors.remove(AT_THE_END);
        Counted {
            statuses: counts("statusCodeDistribution"),
            errors,
            rate: output["summary"]["requestsPerSec"].as_f64().unwrap_or_default(),
            p99_ms: output["latencyPercentiles"]["p99"].as_f64().unwrap_or_default() * 1000.0,
        }
    }
}

impl Counted {
    /// Answers with this status.
    pub fn with_status(&self, status: u16) -> u64 {
        self.statuses.get(&status.to_string()).copied().unwrap_or_default()
    }

    /// Requests that got another answer than 200, or none.
    pub fn failed(&self) -> u64 {
        let answers: u64 = self.statuses.values().sum();
        answers - self.with_status(200) + self.errors.values().sum::<u64>()
    }
}
