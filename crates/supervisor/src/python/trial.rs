//! Trial imports: each Python application is imported once, as a worker would, and let go.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use ostler_conf::{ConfigError, ConfigErrors, Loaded, PoolConfig, WsgiApplication};
use rustix::process::Pid;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{library, options, words};
use crate::exit::{self, Exit};
use crate::identity::Identity;
use crate::limits::Limits;
use crate::output::{Tail, keep};
use crate::spawn::{self, Child, Equipment, Inherited};
use crate::stub::Plan;

/// How long the last lines of a process that ended are waited for. Only a process that left its
/// group can hold the pipe open.
const LAST_LINES: Duration = Duration::from_millis(250);

/// Imports the application of every pool with `wsgi`, one after the other: in the pool's
/// interpreter, directory and environment, and as its user where this is root. Each may take the
/// pool's `start-timeout`.
///
/// # Errors
///
/// Every application that was not imported, with what its interpreter said.
pub async fn check_imports(loaded: &Loaded) -> Result<(), ConfigErrors> {
    let mut errors: Vec<ConfigError> = Vec::new();
    for (name, pool) in &loaded.config.pools {
        let Some(application) = &pool.wsgi else { continue };
        if let Err(story) = import(name, pool, application).await {
            let shown = application.shown();
            let message = format!("pool {name:?}: cannot import {shown}: {story}");
            errors.push(loaded.pool_error(name, "wsgi", message));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(ConfigErrors(errors)) }
}

/// Imports one application; otherwise tells why not, and then what was printed.
async fn import(
    name: &str,
    pool: &PoolConfig,
    application: &WsgiApplication,
) -> Result<(), String> {
    let told = |error: io::Error| format!("cannot start a process: {error}");
    let plan = plan(pool, application)?;
    let mut children = signal(SignalKind::child()).map_err(told)?;
    let environment = environment(name, pool, &plan);
    let equipment = Equipment { environment, inherited: Inherited::All, ..Equipment::default() };
    let Child { pid, stdout, stderr } = spawn::spawn(&plan, equipment).map_err(told)?;
    let printed = Tail::default();
    let reading = async { tokio::join!(keep(stdout, &printed), keep(stderr, &printed)) };
    tokio::pin!(reading);
    let ending = end(pid, pool.start_timeout, &mut children);
    tokio::pin!(ending);
    let mut is_silent = false;
    let ended = loop {
        tokio::select! {
            _ = &mut reading, if !is_silent => is_silent = true,
            ended = &mut ending => break ended,
        }
    };
    if !is_silent {
        // What it said so far is enough where somebody else goes on.
        drop(tokio::time::timeout(LAST_LINES, &mut reading).await);
    }
    ended.map_err(|story| {
        let lines = printed.lines();
        std::iter::once(story).chain(lines).collect::<Vec<_>>().join("\n")
    })
}

/// Waits for the end of a process, which is killed when it takes longer than `limit`.
async fn end(pid: Pid, limit: Duration, children: &mut Signal) -> Result<(), String> {
    match tokio::time::timeout(limit, reaped(pid, children)).await {
        Ok(Exit::Status(0)) => Ok(()),
        Ok(exit) => Err(exit.to_string()),
        Err(_) => {
            exit::kill_group(pid);
            reaped(pid, children).await;
            Err(format!("not done within start-timeout ({limit:?})"))
        }
    }
}

async fn reaped(pid: Pid, children: &mut Signal) -> Exit {
    loop {
        if let Some((_, exit)) = exit::reap(&[pid]).pop() {
            return exit;
        }
        children.recv().await;
    }
}

fn plan(pool: &PoolConfig, application: &WsgiApplication) -> Result<Plan, String> {
    let library = library().map_err(|error| error.to_string())?;
    let mut options = options(pool);
    options.push("--check".to_owned());
    Ok(Plan {
        parent: rustix::process::getpid().as_raw_pid(),
        identity: Identity::of_pool(pool).map_err(|error| error.to_string())?,
        limits: Limits::of(pool),
        umask: pool.umask.map(|umask| umask.0),
        directory: pool.directory.clone(),
        listens: false,
        further_descriptors: 0,
        command: words(pool, &library, options, application),
    })
}

/// That of a worker, without what is about one that serves.
fn environment(name: &str, pool: &PoolConfig, plan: &Plan) -> BTreeMap<String, String> {
    let login = plan.identity.iter().flat_map(Identity::environment);
    let mut variables: BTreeMap<String, String> =
        login.map(|(variable, value)| (variable.to_owned(), value)).collect();
    variables.extend(pool.environment.clone());
    variables.insert("OSTLER_POOL".to_owned(), name.to_owned());
    variables.insert("OSTLER_THREADS".to_owned(), pool.threads.to_string());
    variables
}
