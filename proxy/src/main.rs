//! Ostler: a reverse proxy and application server in one binary.
//!
//! The same program is the supervisor (`run`), the proxy process, the stub that becomes a worker,
//! and the commands of the operator; `cli` names them all.

use std::process::ExitCode;
use std::time::Duration;

mod access_log;
mod backlog;
mod body;
mod cli;
mod clock;
mod command;
mod connection;
mod control;
mod control_client;
mod deadline;
mod directory;
mod entry;
mod event_loop;
mod exchange;
mod history;
mod idle;
mod info;
mod ledger;
mod link;
mod listener;
mod live;
mod origin;
mod pace;
mod places;
mod pool;
mod process;
mod process_figures;
mod proxies;
mod reason;
mod relay;
mod request;
mod respond;
mod shared;
mod snapshot;
mod spool;
mod stacks;
mod status;
mod tasks;
mod top;
mod touch;
mod transport;
mod watch;

/// How long the last lines of the log may take to be written. Nobody may be reading them.
const LAST_LINES: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // A panic has said where on standard error; what is left to say is whose fault it is.
    let exit_code = std::panic::catch_unwind(run).unwrap_or_else(|_| cli::ExitStatus::Bug.into());
    ostler_supervisor::log::finish(LAST_LINES);
    exit_code
}

fn run() -> ExitCode {
    match cli::parse() {
        Ok(ask) => command::run(ask),
        Err(exit_status) => exit_status.into(),
    }
}
