//! A supervisor whose proxy process serves nobody and agrees to everything, and a worker.
//!
//! `fake-ostler run FILE` is the supervisor; the hidden subcommands are those of the real binary.
//! `fake-ostler worker [stubborn]` is a worker that only reports that it is ready.
//!
//! The proxy process kills the newest worker of a pool called `mortal` when it hears of another
//! configuration, and agrees to that when the next worker has started. On TERM it closes its
//! channel, and takes some time to end.

use std::process::ExitCode;
use std::time::Duration;

use ostler_supervisor::channel::Channel;
use ostler_supervisor::message::{FromProxy, PROTOCOL, ToProxy};
use ostler_supervisor::{Options, Supervisor, guard, log, stub};
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["exec-worker", plan] => return ExitCode::from(stub::run(plan)),
        ["guard"] => guard::run().map_err(Into::into),
        ["proxy"] => in_runtime(agree()),
        ["run", file] => in_runtime(supervise((*file).to_owned())),
        ["worker"] => in_runtime(work(false)),
        ["worker", "stubborn"] => in_runtime(work(true)),
        _ => Err("no such subcommand".into()),
    };
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::start();
            tracing::error!(%error, "failed");
            ExitCode::FAILURE
        }
    };
    log::finish(Duration::from_secs(1));
    code
}

fn in_runtime(task: impl Future<Output = Outcome>) -> Outcome {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(task)
}

async fn supervise(file: String) -> Outcome {
    let (supervisor, _control) =
        Supervisor::start(Options { config: file.into(), allow_root: true })?;
    Ok(supervisor.run().await?)
}

async fn agree() -> Outcome {
    log::start();
    let channel = Channel::inherited()?;
    let hello = FromProxy::Hello { protocol: PROTOCOL, pid: std::process::id() };
    channel.send(&hello, &[]).await?;
    let mut term = signal(SignalKind::terminate())?;
    let (mut mortal, mut held) = (None, None);
    loop {
        let received = tokio::select! {
            received = channel.recv::<ToProxy>() => received?,
            _ = term.recv() => {
                drop(channel);
                // Longer than it takes to see that the channel has closed: it ends after that.
                tokio::time::sleep(Duration::from_millis(300)).await;
                return Err("told to end".into());
            }
        };
        let Some((message, descriptors)) = received else { return Ok(()) };
        tracing::info!(kind = name(&message), descriptors = descriptors.len(), "heard");
        let answer = match message {
            ToProxy::Config { version, .. } => {
                if let Some(pid) = mortal.take().filter(|_| 1 < version) {
                    kill_process(pid, Signal::KILL)?;
                    held = Some(version);
                    continue;
                }
                FromProxy::ConfigApplied { version }
            }
            ToProxy::WorkerStarted { id, pid, .. } if id.pool == "mortal" => {
                let Some(version) = held.take() else {
                    mortal = Pid::from_raw(pid.cast_signed());
                    continue;
                };
                FromProxy::ConfigApplied { version }
            }
            ToProxy::WorkerWarm { id, .. } => FromProxy::WorkerWarmed { id, error: None },
            ToProxy::WorkerWithdraw { id } => FromProxy::WorkerWithdrawn { id },
            ToProxy::Sync => FromProxy::Synced,
            ToProxy::Drain => {
                channel.send(&FromProxy::Drained, &[]).await?;
                return Ok(());
            }
            ToProxy::Hello { .. }
            | ToProxy::AccessLog
            | ToProxy::WorkerLastWords { .. }
            | ToProxy::PoolOutlook { .. }
            | ToProxy::Pool { .. }
            | ToProxy::PostMortems { .. }
            | ToProxy::Stacks { .. }
            | ToProxy::OriginServer { .. }
            | ToProxy::Routes
            | ToProxy::Listener { .. }
            | ToProxy::ConfigError { .. }
            | ToProxy::WorkerStarted { .. }
            | ToProxy::WorkerServe { .. }
            | ToProxy::WorkerRecycled { .. }
            | ToProxy::WorkerExited { .. }
            | ToProxy::Proxies { .. }
            | ToProxy::History
            | ToProxy::LameDuck => continue,
        };
        channel.send(&answer, &[]).await?;
    }
}

/// The name of a message, without what is in it.
fn name(message: &ToProxy) -> String {
    let text = format!("{message:?}");
    text.split([' ', '{']).next().unwrap_or_default().to_owned()
}

async fn work(is_stubborn: bool) -> Outcome {
    let mut term = signal(SignalKind::terminate())?;
    sd_notify::notify(&[sd_notify::NotifyState::Ready])?;
    term.recv().await;
    if is_stubborn {
        std::future::pending::<()>().await;
    }
    Ok(())
}
