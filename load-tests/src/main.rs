//! Measures Ostler beside its peers, all in one run: `load-tests quick|compare|python|full|run NAME…`.
//!
//! Scenarios are files in `scenarios/`; what came out is written to `results/`. The module
//! `measure` is the order of events; the others each know one thing.

mod accounting;
mod build;
mod clock;
mod criterion;
mod fault;
mod figure;
mod hold;
mod ideal_queue;
mod idle;
mod machine;
mod markdown;
mod measure;
mod oha;
mod open;
mod plot;
mod poisson;
mod process;
mod python;
mod results;
mod round;
mod scenario;
mod server;
mod servers;
mod statistics;
mod text;

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::measure::Wanted;
use crate::scenario::Set;
use crate::server::ServerName;

/// Measures Ostler beside nginx, HAProxy and Apache.
#[derive(Debug, Parser)]
#[command(disable_help_subcommand = true)]
struct CommandLine {
    #[command(subcommand)]
    ask: Ask,
    #[command(flatten)]
    changes: Changes,
}

#[derive(Debug, Subcommand)]
enum Ask {
    /// The two rows of hello, in under three minutes
    Quick,
    /// The rows that something has to come out of, in about half an hour
    Compare,
    /// Those of applications in Python
    Python,
    /// Every scenario
    Full,
    /// These scenarios
    Run {
        /// Names of files in `scenarios/`
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Prints the names and titles of all scenarios
    List,
    /// Installs the load generator under the target folder
    InstallOha,
    #[command(hide = true)]
    Poisson(poisson::Plan),
    #[command(hide = true)]
    Hold(hold::Plan),
}

/// What is done in another way than the scenarios say.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Changes {
    /// Rounds of every scenario
    #[arg(long, global = true)]
    pub(crate) rounds: Option<u32>,
    /// Seconds of every round
    #[arg(long, global = true)]
    pub(crate) seconds: Option<u32>,
    /// Only these servers, with commas between
    #[arg(long, global = true, value_delimiter = ',', value_parser = server_name)]
    pub(crate) only: Vec<ServerName>,
    /// A folder with an `ostler` to measure, as it is
    #[arg(long, global = true)]
    pub(crate) ostler_bin: Option<PathBuf>,
    /// A script that Ostler's workers in Python run first
    #[arg(long, global = true)]
    pub(crate) preload: Option<PathBuf>,
    /// A folder for the results, other than load-tests/results
    #[arg(long, global = true)]
    pub(crate) results: Option<PathBuf>,
}

fn main() -> Result<()> {
    process::raise_open_files();
    let CommandLine { ask, changes } = CommandLine::parse();
    match ask {
        // Rounds as short as three minutes allow.
        Ask::Quick => {
            let (rounds, seconds) = (changes.rounds.or(Some(3)), changes.seconds.or(Some(2)));
            let changes = Changes { rounds, seconds, ..changes };
            measure::run("quick", &Wanted::Set(Set::Quick), &changes)
        }
        Ask::Compare => measure::run("compare", &Wanted::Set(Set::Compare), &changes),
        Ask::Python => measure::run("python", &Wanted::Set(Set::Python), &changes),
        Ask::Full => measure::run("full", &Wanted::All, &changes),
        Ask::Run { names } => measure::run("run", &Wanted::Names(names), &changes),
        Ask::List => measure::list(),
        Ask::InstallOha => build::install_oha().map(drop),
        Ask::Poisson(plan) => {
            let recorded = poisson::run(&plan)?;
            Ok(serde_json::to_writer(io::stdout().lock(), &recorded)?)
        }
        Ask::Hold(plan) => hold::run(&plan),
    }
}

fn server_name(text: &str) -> Result<ServerName, String> {
    let found = ServerName::ALL.into_iter().find(|server| server.name() == text);
    found.ok_or_else(|| {
        let names: Vec<&str> = ServerName::ALL.iter().map(|server| server.name()).collect();
        format!("one of {}", names.join(", "))
    })
}

/// Prints a line for the one who waits.
pub(crate) fn say(line: &str) {
    // Nobody may be reading; the results are in files.
    drop(writeln!(io::stdout(), "{line}"));
}
