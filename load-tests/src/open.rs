//! An open loop: arrivals at a share of the capacity, and how long they waited.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::build::Binaries;
use crate::figure::{Figure, Figures};
use crate::ideal_queue::{Arrival, latencies_us};
use crate::poisson::Recorded;
use crate::process::{GENERATOR_CORE, Program};
use crate::round::{Cost, Round, Turn, WARM_UP_SECONDS};
use crate::scenario::Scenario;
use crate::server::{Running, get};
use crate::statistics::percentile;

/// What a server answers that takes no more.
const REFUSED: u16 = 503;

/// The share of capacity that warms a server up.
const WARM_UP: f64 = 0.5;

pub(crate) fn measure(
    server: &Running,
    turn: Turn,
    scenario: &Scenario,
    binaries: &Binaries,
) -> Result<Round> {
    let seconds = scenario.load.seconds;
    let rate = turn.capacity * f64::from(turn.point.unwrap_or(100)) / 100.0;
    // Every server gets the same arrivals in a round, and others in the next.
    let seed = u64::from(turn.number);
    let warm_up = program(server, scenario, binaries, turn.capacity * WARM_UP);
    generate(&warm_up, WARM_UP_SECONDS, seed)?;
    let program = program(server, scenario, binaries, rate);
    let (recorded, cost) = Cost::of(server, || generate(&program, seconds, seed))?;
    let mut round = Round { figures: figures(&recorded, scenario), ..Round::default() };
    let goodput = goodput(&recorded, scenario);
    round.figures.insert(Figure::RequestsPerSecond, goodput);
    round.figures.insert(Figure::GoodputOverCapacity, goodput / turn.capacity);
    for record in &recorded.records {
        *round.statuses.entry(record.status.to_string()).or_default() += 1;
    }
    // One thread, whatever it is bound to.
    cost.add_to(&mut round, recorded.records.len() as u64, 1);
    round.queue_wait_ms = queue_wait(server);
    Ok(round)
}

fn program(server: &Running, scenario: &Scenario, binaries: &Binaries, rate: f64) -> Program {
    let path = scenario.paths().into_iter().next().unwrap_or_default();
    let own = binaries.own.display().to_string();
    let address = server.address.to_string();
    let rate = rate.to_string();
    let words = [&own, "poisson", "--address", &address, "--path", &path, "--rate", &rate];
    Program::new(words).on(scenario.is_pinned().then_some(GENERATOR_CORE))
}

fn generate(program: &Program, seconds: u32, seed: u64) -> Result<Recorded> {
    let mut command = program.command();
    command.args(["--seconds", &seconds.to_string(), "--seed", &seed.to_string()]);
    let ended = command.stderr(Stdio::inherit()).output().context("cannot start the generator")?;
    ensure!(ended.status.success(), "the generator: {}", ended.status);
    serde_json::from_slice(&ended.stdout).context("cannot read what the generator printed")
}

/// Expected answers that came while requests arrived, a second.
#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^53")]
fn goodput(recorded: &Recorded, scenario: &Scenario) -> f64 {
    let end_us = u64::from(scenario.load.seconds) * 1_000_000;
    let expected = scenario.request.expected_status;
    let good =
        recorded.records.iter().filter(|one| one.status == expected && one.done_us <= end_us);
    good.count() as f64 / f64::from(scenario.load.seconds)
}

#[expect(clippy::cast_precision_loss, reason = "times are in µs, for some seconds")]
fn figures(recorded: &Recorded, scenario: &Scenario) -> Figures {
    let expected = scenario.request.expected_status;
    let answered: Vec<_> =
        recorded.records.iter().filter(|record| record.status == expected).collect();
    let refused = recorded.records.iter().filter(|record| record.status == REFUSED).count();
    let latencies = answered.iter().map(|one| one.done_us.saturating_sub(one.planned_us));
    let waits =
        answered.iter().map(|one| one.done_us.saturating_sub(one.planned_us + one.service_us));
    let arrivals: Vec<Arrival> = answered
        .iter()
        .map(|one| Arrival { at_us: one.planned_us, service_us: one.service_us })
        .collect();
    let places = scenario.worker.as_ref().map_or(1, |worker| worker.processes * worker.threads);
    let (latencies, waits) = (sorted(latencies), sorted(waits));
    let ideal = sorted(latencies_us(&arrivals, places).into_iter());
    let ms = |values: &[u64], per_mille| percentile(values, per_mille) as f64 / 1000.0;
    let (own_p99, ideal_p99) = (ms(&latencies, 990), ms(&ideal, 990));
    Figures::from([
        (Figure::LatencyP50Ms, ms(&latencies, 500)),
        (Figure::LatencyP99Ms, own_p99),
        (Figure::LatencyP999Ms, ms(&latencies, 999)),
        (Figure::WaitP50Ms, ms(&waits, 500)),
        (Figure::WaitP99Ms, ms(&waits, 990)),
        (Figure::WaitP999Ms, ms(&waits, 999)),
        (Figure::IdealP50Ms, ms(&ideal, 500)),
        (Figure::IdealP99Ms, ideal_p99),
        (Figure::IdealP999Ms, ms(&ideal, 999)),
        (Figure::P99OverIdeal, own_p99 / ideal_p99),
        (Figure::Refused, refused as f64),
        (Figure::Failed, (recorded.records.len() - answered.len() - refused) as f64),
    ])
}

fn sorted(values: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values
}

/// What Ostler's status page says of the wait in its queue; nothing from other servers.
fn queue_wait(server: &Running) -> Option<Value> {
    let answer = get(server.status_address, "/server-status?json").ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let mut status: Value = serde_json::from_str(body).ok()?;
    Some(status["pools"]["app-0"]["queue_wait_ms"].take()).filter(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poisson::Record;

    #[test]
    fn latency_counts_from_the_planned_time_and_refusals_apart() {
        let scenario = Scenario::parse(
            "open",
            "title = 'a'\nkind = 'open'\nservers = ['ostler']\nvary = { load-percent = [95] }\n\
             [worker]\nmodel = 'threads'\n[load]\nseconds = 1\n",
        );
        let scenario = scenario.unwrap();
        let record = |planned_us, done_us, status| {
            let (sent_us, first_byte_us) = (planned_us + 10, done_us);
            Record { planned_us, sent_us, first_byte_us, done_us, status, service_us: 5000 }
        };
        let records = vec![
            record(0, 6000, 200),
            record(1000, 12_000, 200),
            record(2000, 2500, 503),
            record(3000, 0, 0),
        ];
        let recorded = Recorded { records, connections: 2 };
        let figures = figures(&recorded, &scenario);
        let close = |figure: Figure, expected: f64| {
            assert!((figures[&figure] - expected).abs() < 1e-9, "{figure:?}: {}", figures[&figure]);
        };
        close(Figure::LatencyP99Ms, 11.0);
        close(Figure::WaitP99Ms, 6.0);
        // One thread: the second waits 4 ms for the first.
        close(Figure::IdealP99Ms, 9.0);
        close(Figure::Refused, 1.0);
        close(Figure::Failed, 1.0);
        assert!((goodput(&recorded, &scenario) - 2.0).abs() < 1e-9);
    }
}
