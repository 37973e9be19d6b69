//! Memory at rest, and what each idle connection adds to it.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::accounting::memory_kib;
use crate::build::Binaries;
use crate::clock;
use crate::figure::{Figure, Figures};
use crate::process::Program;
use crate::round::Round;
use crate::scenario::Scenario;
use crate::server::Running;

/// After so long a server has put away what the last request needed.
const SETTLED: Duration = Duration::from_secs(2);

#[expect(clippy::cast_precision_loss, reason = "memory in KiB is far below 2^53")]
pub(crate) fn measure(server: &Running, scenario: &Scenario, binaries: &Binaries) -> Result<Round> {
    clock::pass(SETTLED);
    let groups = server.groups();
    let (proxy, all) = (memory_kib(&groups.proxy), memory_kib(&groups.server));
    let path = scenario.paths().into_iter().next().unwrap_or_default();
    let (own, address) = (binaries.own.display().to_string(), server.address.to_string());
    let count = scenario.load.connections.to_string();
    let words = [&own, "hold", "--address", &address, "--path", &path, "--connections", &count];
    let mut command = Program::new(words).command();
    let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut said = String::new();
    let output = holder.stdout.take().context("it was piped")?;
    BufReader::new(output).read_line(&mut said)?;
    clock::pass(SETTLED);
    let held = memory_kib(&server.groups().proxy);
    // Its input ends, and so does it.
    drop(holder.stdin.take());
    let status = holder.wait()?;
    ensure!(said.trim() == "held" && status.success(), "connections were not held: {status}");
    let each = held.saturating_sub(proxy) as f64 * 1024.0 / f64::from(scenario.load.connections);
    let figures = Figures::from([
        (Figure::ProxyMemoryMib, proxy as f64 / 1024.0),
        (Figure::ServerMemoryMib, all as f64 / 1024.0),
        (Figure::BytesPerConnection, each),
    ]);
    Ok(Round { figures, ..Round::default() })
}
