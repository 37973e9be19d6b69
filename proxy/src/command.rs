//! What each subcommand does, and with which exit code it ends.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use ostler_conf::{Config, ConfigErrors, Loaded};
use ostler_supervisor::{Options, StartError, Supervisor, guard, log, stub};

use crate::cli::{Ask, ConfigFile, ExitStatus, Target};
use crate::control::Control;
use crate::control_client::{self, AskError, Form, StacksForm};
use crate::process;
use crate::top::{self, TopOptions};
use crate::{touch, watch};

/// How long the last answers of the control socket may take to be written.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Does what was asked.
pub(crate) fn run(ask: Ask) -> ExitCode {
    match ask {
        Ask::Run { file, allow_root } => {
            supervise(Options { config: file.path(), allow_root }).into()
        }
        Ask::Check { file, import } => check(&file, import).into(),
        Ask::Config { file, defaults } => show_config(&file, defaults).into(),
        Ask::Reload { target, force } => {
            with_socket(&target, |socket| control_client::reload(socket, force)).into()
        }
        Ask::Recycle { pool: Some(pool), target, .. } => {
            with_socket(&target, |socket| control_client::recycle(socket, &pool)).into()
        }
        Ask::Recycle { pool: None, target, .. } => {
            with_socket(&target, control_client::recycle_proxy).into()
        }
        Ask::Stacks { pool, all, json, target } => {
            let form = match (json, all) {
                (true, _) => StacksForm::Json,
                (false, true) => StacksForm::All,
                (false, false) => StacksForm::Text,
            };
            with_socket(&target, |socket| control_client::stacks(socket, &pool, form)).into()
        }
        Ask::Stop { target, now } => {
            with_socket(&target, |socket| control_client::stop(socket, now)).into()
        }
        Ask::Status { target, at, json, auto } => {
            let form = Form::of(json, auto);
            with_socket(&target, |socket| control_client::status(socket, form, at)).into()
        }
        Ask::Top { target, at, pool, interval } => {
            let shown = control_socket(&target)
                .map(|socket| top::run(TopOptions { socket, interval, pool, at }));
            match shown {
                Ok(Ok(())) => ExitStatus::Done.into(),
                Ok(Err(error)) => {
                    complain(&format!("ostler: {error}"));
                    error.exit_status().into()
                }
                Err(exit_status) => exit_status.into(),
            }
        }
        Ask::Proxy => {
            call_process(c"ostler-proxy");
            log::start();
            process::run()
        }
        Ask::ExecWorker { plan } => stub::run(&plan).into(),
        Ask::Guard => {
            call_process(c"ostler-guard");
            guard::run().map_or(ExitStatus::System, |()| ExitStatus::Done).into()
        }
    }
}

/// Prints a line, or more, for the operator. What cannot be printed is lost.
pub(crate) fn say(text: &str) {
    drop(writeln!(io::stdout(), "{}", text.trim_end()));
}

/// Prints what went wrong.
pub(crate) fn complain(text: &str) {
    drop(writeln!(io::stderr(), "{}", text.trim_end()));
}

fn supervise(options: Options) -> ExitStatus {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(exit_status) => return exit_status,
    };
    runtime.block_on(async {
        match Supervisor::start(options) {
            Ok((supervisor, socket)) => serve(supervisor, socket).await,
            Err(error) => refuse(&error),
        }
    })
}

/// What runs everything of this process. On error it was said.
fn runtime() -> Result<tokio::runtime::Runtime, ExitStatus> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        complain(&format!("ostler: {error}"));
        ExitStatus::System
    })
}

async fn serve(supervisor: Supervisor, socket: std::os::unix::net::UnixListener) -> ExitStatus {
    let handle = supervisor.handle();
    let mut control = match Control::new(socket, handle.clone()) {
        Ok(control) => control,
        Err(error) => return refuse(&StartError::System(error)),
    };
    let outcome = tokio::select! {
        outcome = supervisor.run() => outcome,
        never = control.serve() => match never {},
        never = watch::follow(handle.clone()) => match never {},
        never = touch::follow(handle) => match never {},
    };
    control.finish(LAST_ANSWERS).await;
    match outcome {
        Ok(()) => ExitStatus::Done,
        Err(error) => {
            complain(&format!("ostler: {error}"));
            ExitStatus::Config
        }
    }
}

fn refuse(error: &StartError) -> ExitStatus {
    if let StartError::Config(errors) = error {
        complain(&errors.to_string());
    } else {
        complain(&format!("ostler: {error}"));
    }
    if error.is_config() { ExitStatus::Config } else { ExitStatus::System }
}

fn check(file: &ConfigFile, import: bool) -> ExitStatus {
    let path = file.path();
    let loaded = match load(&path) {
        Ok(loaded) => loaded,
        Err(exit_status) => return exit_status,
    };
    let mut checked = ostler_supervisor::check_pools(&loaded);
    if import && checked.is_ok() {
        let runtime = match runtime() {
            Ok(runtime) => runtime,
            Err(exit_status) => return exit_status,
        };
        checked = runtime.block_on(ostler_supervisor::check_imports(&loaded));
    }
    match checked {
        Ok(()) => {
            say(&format!("{}: ok", path.display()));
            ExitStatus::Done
        }
        Err(errors) => {
            complain(&errors.to_string());
            ExitStatus::Config
        }
    }
}

fn show_config(file: &ConfigFile, defaults: bool) -> ExitStatus {
    match load(&file.path()) {
        Ok(loaded) => {
            say(&loaded.effective(defaults));
            ExitStatus::Done
        }
        Err(exit_status) => exit_status,
    }
}

/// Reads a configuration. On error everything was said.
fn load(path: &Path) -> Result<Loaded, ExitStatus> {
    Config::load(path).map_err(|errors: ConfigErrors| {
        complain(&errors.to_string());
        ExitStatus::Config
    })
}

/// Asks the supervisor something and says what it answers.
fn with_socket(target: &Target, ask: impl FnOnce(&Path) -> Result<String, AskError>) -> ExitStatus {
    let socket = match control_socket(target) {
        Ok(socket) => socket,
        Err(exit_status) => return exit_status,
    };
    match ask(&socket) {
        Ok(answer) => {
            say(&answer);
            ExitStatus::Done
        }
        Err(error) => {
            complain(&format!("ostler: {error}"));
            error.exit_status()
        }
    }
}

fn control_socket(target: &Target) -> Result<PathBuf, ExitStatus> {
    match &target.socket {
        Some(path) => Ok(path.clone()),
        None => Ok(load(&target.file.path())?.config.server.control_socket),
    }
}

/// Names this process for `ps` and `top`, which would show `exe`.
fn call_process(name: &std::ffi::CStr) {
    if let Err(error) = rustix::thread::set_name(name) {
        tracing::debug!(%error, "process_not_named");
    }
}
