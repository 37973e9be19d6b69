//! What clients notice when something breaks under load: requests that fail are counted.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::build::Binaries;
use crate::clock;
use crate::figure::Figure;
use crate::oha;
use crate::process::{output, signal};
use crate::round::{Round, counted_round};
use crate::scenario::{Fault, Scenario};
use crate::server::Running;
use crate::servers::ostler::{CONFIG, TOUCHED};

/// Between two faults: long enough that the last one is repaired.
const BETWEEN: Duration = Duration::from_secs(1);

pub(crate) fn measure(server: &Running, scenario: &Scenario, binaries: &Binaries) -> Result<Round> {
    let fault = scenario.load.fault.context("a scenario of faults names one")?;
    let program = oha::program(&binaries.oha, server, scenario, scenario.load.seconds)?;
    let load = oha::start(&program)?;
    // The last second is for the repair.
    let count = scenario.load.seconds.saturating_sub(1).max(1);
    for number in 0..count {
        clock::pass(BETWEEN);
        inject(fault, server, number, binaries)?;
    }
    let mut round = counted_round(oha::finish(load)?, scenario);
    round.figures.insert(Figure::Faults, f64::from(count));
    Ok(round)
}

fn inject(fault: Fault, server: &Running, number: u32, binaries: &Binaries) -> Result<()> {
    let groups = server.groups();
    match fault {
        Fault::Reload => {
            let path = server.folder().join(CONFIG);
            let text = fs::read_to_string(&path)?;
            let (one, other) = TOUCHED;
            let (from, to) = if text.contains(one) { (one, other) } else { (other, one) };
            fs::write(&path, text.replace(from, to))?;
            let ostler = binaries.ostler.as_os_str();
            output(&[ostler, "reload".as_ref(), "-c".as_ref(), path.as_os_str()])?;
        }
        Fault::WorkerKill => {
            let index = usize::try_from(number)? % groups.worker.len().max(1);
            signal(*groups.worker.get(index).context("there is no worker")?, Signal::KILL);
        }
        Fault::ProxyKill => {
            // Killing the supervisor would end it all.
            let mut proxies = groups.proxy.iter().filter(|pid| **pid != server.pid());
            signal(*proxies.next().context("there is no proxy")?, Signal::KILL);
        }
    }
    Ok(())
}
