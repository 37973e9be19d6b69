//! Ostler: a reverse proxy and application server in one binary.
//!
//! The same program is the supervisor (`run`), the proxy process, the stub that becomes a worker,
//! and the commands of the operator; `cli` names them all.

use std::process::ExitCode;

mod cli;
mod command;
mod control;

fn main() -> ExitCode {
    match cli::parse() {
        Ok(subcommand) => command::run(subcommand),
        Err(exit_status) => exit_status.into(),
    }
}
