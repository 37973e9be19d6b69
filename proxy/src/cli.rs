//! What can be typed after `ostler`, and the exit codes.
//!
//! Parsing only: `command` does what was asked.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ostler_status::UnixTime;

/// How a command ended (`sysexits.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    /// Done.
    Done,
    /// The command line is wrong.
    Usage,
    /// A bug of ours.
    Bug,
    /// The system refused something, or the supervisor does not answer.
    System,
    /// The configuration is wrong, or cannot be put in force.
    Config,
}

impl From<ExitStatus> for ExitCode {
    fn from(exit_status: ExitStatus) -> Self {
        Self::from(match exit_status {
            ExitStatus::Done => 0,
            ExitStatus::Usage => 64,
            ExitStatus::Bug => 70,
            ExitStatus::System => 71,
            ExitStatus::Config => 78,
        })
    }
}

/// Reverse proxy and application server.
#[derive(Debug, Parser)]
#[command(name = "ostler", version, about, disable_help_subcommand = true)]
struct CommandLine {
    #[command(subcommand)]
    subcommand: Ask,
}

/// What is asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Ask {
    /// Runs in the foreground
    Run {
        #[command(flatten)]
        file: ConfigFile,
        /// Run the proxy and pools as root where the configuration names no user
        #[arg(long)]
        allow_root: bool,
    },
    /// Checks the configuration and prints every error
    Check {
        #[command(flatten)]
        file: ConfigFile,
        /// Import the application of each pool with `wsgi`, as its workers would
        #[arg(long)]
        import: bool,
    },
    /// Prints the effective configuration: each key's value and where it came from
    Config {
        #[command(flatten)]
        file: ConfigFile,
        /// Print keys that have their default value, too
        #[arg(long)]
        defaults: bool,
    },
    /// Puts the configuration in force; returns when it is, or when it cannot be
    Reload {
        #[command(flatten)]
        target: Target,
        /// Reload even if every listener would be closed or every pool removed
        #[arg(long)]
        force: bool,
    },
    /// Replaces every worker of a pool, never below its capacity floor, or the proxy process,
    /// without losing a request; returns when that is done
    Recycle {
        /// The pool
        #[arg(required_unless_present = "proxy", conflicts_with = "proxy")]
        pool: Option<String>,
        /// Replace the proxy process
        #[arg(long)]
        proxy: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Prints what every thread of a pool is doing: its request, and the calls it is in
    Stacks {
        /// The pool
        pool: String,
        /// Print threads that take no requests, too
        #[arg(long)]
        all: bool,
        /// Print JSON, which has all threads
        #[arg(long, conflicts_with = "all")]
        json: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Finishes the requests that were accepted, then ends; returns when it has
    Stop {
        #[command(flatten)]
        target: Target,
        /// End at once
        #[arg(long)]
        now: bool,
    },
    /// Prints one screen: findings first, then pools, routes, requests and events
    Status {
        #[command(flatten)]
        target: Target,
        /// Print how it was at this moment, as 2026-01-31T14:03:12Z
        #[arg(long, value_name = "MOMENT")]
        at: Option<UnixTime>,
        /// Print JSON
        #[arg(long, conflicts_with = "auto")]
        json: bool,
        /// Print the plain-text fields of `mod_status`
        #[arg(long)]
        auto: bool,
    },
    /// Shows live what every thread is doing, and how it was; ? lists the keys
    Top {
        #[command(flatten)]
        target: Target,
        /// Begin in the past, at this moment, as 2026-01-31T14:03:12Z
        #[arg(long, value_name = "MOMENT")]
        at: Option<UnixTime>,
        /// Begin with this pool alone
        #[arg(long, value_name = "NAME")]
        pool: Option<String>,
        /// Time between two looks: 100ms to 1m
        #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
        interval: Duration,
    },
    /// The proxy process.
    #[command(hide = true)]
    Proxy,
    /// The stub that becomes a worker.
    #[command(hide = true)]
    ExecWorker {
        /// What to become.
        plan: String,
    },
    /// The process that ends all others when the supervisor is gone.
    #[command(hide = true)]
    Guard,
}

/// Which configuration.
#[derive(Clone, Debug, Args)]
pub(crate) struct ConfigFile {
    /// The configuration file [default: /etc/ostler/ostler.toml; where that does not exist and the
    /// user is not root, conf/ostler.toml]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    path: Option<PathBuf>,
}

/// Which running supervisor.
#[derive(Clone, Debug, Args)]
pub(crate) struct Target {
    #[command(flatten)]
    pub(crate) file: ConfigFile,
    /// The control socket [default: that of the configuration]
    #[arg(long, value_name = "PATH", conflicts_with = "path")]
    pub(crate) socket: Option<PathBuf>,
}

/// Reads the time between two looks.
fn interval(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|error: jiff::Error| error.to_string())?;
    let range = Duration::from_millis(100)..=Duration::from_mins(1);
    let interval = Duration::try_from(span).ok().filter(|interval| range.contains(interval));
    interval.ok_or_else(|| "not within 100ms to 1m".to_owned())
}

impl ConfigFile {
    /// Returns the file asked for, or the default one.
    pub(crate) fn path(&self) -> PathBuf {
        let is_root = rustix::process::geteuid().is_root();
        self.path.clone().unwrap_or_else(|| {
            let system = PathBuf::from("/etc/ostler/ostler.toml");
            if is_root || system.exists() { system } else { PathBuf::from("conf/ostler.toml") }
        })
    }
}

/// Parses the command line of this process. On error everything was said.
pub(crate) fn parse() -> Result<Ask, ExitStatus> {
    parse_from(std::env::args_os())
}

fn parse_from(
    arguments: impl IntoIterator<Item = impl Into<std::ffi::OsString> + Clone>,
) -> Result<Ask, ExitStatus> {
    match CommandLine::try_parse_from(arguments) {
        Ok(line) => Ok(line.subcommand),
        Err(error) => {
            let printed = error.print();
            let is_usage = error.use_stderr();
            Err(match printed {
                Err(_) => ExitStatus::System,
                Ok(()) if is_usage => ExitStatus::Usage,
                Ok(()) => ExitStatus::Done,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        CommandLine::command().debug_assert();
    }

    #[test]
    fn help_and_version_end_well_and_mistakes_are_usage_errors() {
        check(&["--help"], ExitStatus::Done);
        check(&["--version"], ExitStatus::Done);
        check(&["run", "--help"], ExitStatus::Done);
        check(&[], ExitStatus::Usage);
        check(&["rnu"], ExitStatus::Usage);
        check(&["run", "--port", "80"], ExitStatus::Usage);
        check(&["status", "--json", "--auto"], ExitStatus::Usage);
        check(&["stacks"], ExitStatus::Usage);
        check(&["status", "--at", "yesterday"], ExitStatus::Usage);
        check(&["top", "--interval", "1ms"], ExitStatus::Usage);
        check(&["top", "--interval", "2h"], ExitStatus::Usage);
        check(&["stop", "-c", "a.toml", "--socket", "b.sock"], ExitStatus::Usage);
    }

    #[test]
    fn an_interval_has_a_unit() {
        assert_eq!(interval("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(interval("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(interval("1m"), Ok(Duration::from_mins(1)));
        assert!(interval("1").is_err() && interval("-1s").is_err());
    }

    #[test]
    fn a_named_file_wins_over_the_default() {
        let file = ConfigFile { path: Some("a.toml".into()) };
        assert_eq!(file.path(), PathBuf::from("a.toml"));
    }

    #[track_caller]
    fn check(arguments: &[&str], expected: ExitStatus) {
        let all = std::iter::once("ostler").chain(arguments.iter().copied());
        assert_eq!(parse_from(all).unwrap_err(), expected, "{arguments:?}");
    }
}
