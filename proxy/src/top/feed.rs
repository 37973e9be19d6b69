//! Asks the server for snapshots, on a thread of its own, and hears the signals that end a program.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use ostler_status::{Snapshot, UnixTime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::shown::News;
use crate::control_client;

/// Snapshots that may wait for the screen; then asking waits.
const QUEUE: usize = 2;

/// What the feed is to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// A moment of the past; `None`: now.
    pub(crate) at: Option<UnixTime>,
    pub(crate) is_paused: bool,
}

/// What the feed has to say.
#[derive(Debug)]
pub(crate) enum Fed {
    /// What the server said to this.
    News(Wanted, News),
    /// The program is to end.
    End,
}

/// Starts the thread. It ends when `wanted` is gone.
pub(crate) fn start(
    socket: PathBuf,
    interval: Duration,
    wanted: watch::Receiver<Wanted>,
) -> std::io::Result<Receiver<Fed>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (fed, receiver) = sync_channel(QUEUE);
    std::thread::Builder::new()
        .name("feed".to_owned())
        .spawn(move || runtime.block_on(follow(&socket, interval, wanted, &fed)))?;
    Ok(receiver)
}

async fn follow(
    socket: &std::path::Path,
    interval: Duration,
    mut wanted: watch::Receiver<Wanted>,
    fed: &SyncSender<Fed>,
) {
    let kinds = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()];
    let [mut term, mut hangup, mut interrupt] = kinds.map(|kind| signal(kind).ok());
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_due = tokio::select! {
            _ = ticks.tick() => true,
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                false
            }
            () = heard(&mut term) => break,
            () = heard(&mut hangup) => break,
            () = heard(&mut interrupt) => break,
        };
        let asked = *wanted.borrow_and_update();
        // The past does not change, and a pause is one.
        if asked.is_paused || (is_due && asked.at.is_some()) {
            continue;
        }
        let news = ask(socket, asked.at).await;
        if fed.send(Fed::News(asked, news)).is_err() {
            return;
        }
    }
    // Nobody listens only when the program ends anyway.
    drop(fed.send(Fed::End));
}

async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

async fn ask(socket: &std::path::Path, at: Option<UnixTime>) -> News {
    let document = match control_client::document(socket, &control_client::query("json", at)).await
    {
        Ok(document) => document,
        Err(error) => return News::Trouble(error.to_string()),
    };
    match serde_json::from_str::<Snapshot>(&document) {
        Ok(snapshot) => News::Snapshot(Box::new(snapshot)),
        Err(error) => News::Trouble(format!("the answer is not a snapshot: {error}")),
    }
}
