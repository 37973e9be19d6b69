//! One round of one server: a fresh start, a second to warm up, and the part that is timed.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::Value;

use crate::accounting::{Usage, children_time};
use crate::build::Binaries;
use crate::figure::{Figure, Figures};
use crate::oha::{self, Counted};
use crate::scenario::{Kind, Scenario};
use crate::server::{Running, ServerName};
use crate::{clock, fault, idle, open};

/// Seconds of load before anything is counted.
pub(crate) const WARM_UP_SECONDS: u32 = 1;

/// The share of the processor time it could have above which a generator is the limit.
const LIMITED: f64 = 0.95;

/// What one round gave.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Round {
    pub(crate) figures: Figures,
    /// Answers by status.
    pub(crate) statuses: BTreeMap<String, u64>,
    /// Requests without an answer, by reason.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Processor time of the generator over what it could have had.
    pub(crate) generator_share: Option<f64>,
    /// What the server itself says of its queue, where it says anything.
    pub(crate) queue_wait_ms: Option<Value>,
}

/// Which round it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) server: ServerName,
    pub(crate) point: Option<u32>,
    pub(crate) number: u32,
    /// Requests a second that were measured before; 0 where nobody asks.
    pub(crate) capacity: f64,
}

impl Round {
    /// Whether the load generator was slower than the server.
    pub(crate) fn is_generator_limited(&self) -> bool {
        self.generator_share.is_some_and(|share| LIMITED <= share)
    }
}

/// Starts the server, measures it once, and ends it. `scenario` is already that of the point.
pub(crate) fn measure(turn: Turn, scenario: &Scenario, binaries: &Binaries) -> Result<Round> {
    let server = Running::start(turn.server, scenario, binaries)?;
    match scenario.kind {
        Kind::Closed => closed(&server, scenario, binaries),
        Kind::Open => open::measure(&server, turn, scenario, binaries),
        Kind::Idle => idle::measure(&server, scenario, binaries),
        Kind::Fault => fault::measure(&server, scenario, binaries),
    }
}

/// Answers a second that a closed loop gets, with twice as many connections as there are places.
pub(crate) fn capacity(
    server: ServerName,
    scenario: &Scenario,
    binaries: &Binaries,
) -> Result<f64> {
    let Some(worker) = &scenario.worker else { bail!("capacity is that of a worker") };
    let mut scenario = scenario.clone();
    scenario.load.connections = worker.places() * 2;
    let server = Running::start(server, &scenario, binaries)?;
    let round = closed(&server, &scenario, binaries)?;
    Ok(round.figures.get(&Figure::RequestsPerSecond).copied().unwrap_or_default())
}

#[expect(clippy::cast_precision_loss, reason = "memory in KiB is far below 2^53")]
fn closed(server: &Running, scenario: &Scenario, binaries: &Binaries) -> Result<Round> {
    let warm_up = oha::program(&binaries.oha, server, scenario, WARM_UP_SECONDS)?;
    oha::finish(oha::start(&warm_up)?)?;
    let program = oha::program(&binaries.oha, server, scenario, scenario.load.seconds)?;
    let (counted, cost) = Cost::of(server, || oha::finish(oha::start(&program)?))?;
    let mut round = counted_round(counted, scenario);
    round.figures.insert(Figure::MemoryMib, server.groups().memory_kib() as f64 / 1024.0);
    let answers = round.statuses.values().sum();
    cost.add_to(&mut round, answers, if scenario.is_pinned() { 1 } else { processors() });
    Ok(round)
}

/// The figures that oha's own count gives.
#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^53")]
pub(crate) fn counted_round(counted: Counted, scenario: &Scenario) -> Round {
    let expected = scenario.request.expected_status;
    let figures = Figures::from([
        (Figure::RequestsPerSecond, counted.with_status(expected) as f64 / counted.seconds),
        (Figure::LatencyP50Ms, counted.p50_ms),
        (Figure::LatencyP99Ms, counted.p99_ms),
        (Figure::LatencyP999Ms, counted.p999_ms),
        (Figure::Failed, counted.failed(expected) as f64),
    ]);
    let Counted { statuses, errors, .. } = counted;
    Round { figures, statuses, errors, ..Round::default() }
}

/// Processor time of everybody during a piece of work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    usage: Usage,
    generator: Duration,
    wall: Duration,
}

impl Cost {
    /// Does the work, whose generator has ended when it returns.
    pub(crate) fn of<T>(server: &Running, work: impl FnOnce() -> Result<T>) -> Result<(T, Self)> {
        let groups = server.groups();
        let (before, generator, start) = (groups.usage(), children_time(), clock::now());
        let done = work()?;
        let wall = start.elapsed();
        let after = groups.usage();
        let usage = Usage {
            server: after.server.saturating_sub(before.server),
            worker: after.worker.saturating_sub(before.worker),
        };
        Ok((done, Self { usage, generator: children_time().saturating_sub(generator), wall }))
    }

    /// Adds the time of one request of so many, and how busy the generator's processors were.
    #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^53")]
    pub(crate) fn add_to(&self, round: &mut Round, requests: u64, generator_processors: u32) {
        let each = |time: Duration| time.as_secs_f64() * 1e6 / requests.max(1) as f64;
        let Usage { server, worker } = self.usage;
        round.figures.extend([
            (Figure::CpuPerRequestUs, each(server + worker)),
            (Figure::ServerCpuUs, each(server)),
            (Figure::WorkerCpuUs, each(worker)),
            (Figure::GeneratorCpuUs, each(self.generator)),
        ]);
        let possible = self.wall.as_secs_f64() * f64::from(generator_processors);
        round.generator_share = Some(self.generator.as_secs_f64() / possible);
    }
}

fn processors() -> u32 {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(count).unwrap_or(u32::MAX)
}
