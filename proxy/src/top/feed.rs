//! Asks the server for snapshots, on a thread of its own, and hears the signals that end a program.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use ostler_status::{Snapshot, UnixTime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::shown::News;
use crate::control_client;

/// Snapshots that may wait for the screen; then asking waits.
const QUEUE: usize = 2;

/// How long the screen has for its end after a signal.
const GRACE: Duration = Duration::from_millis(500);

/// What the feed is to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// A moment of the past; `None`: now.
    pub(crate) at: Option<UnixTime>,
    pub(crate) is_paused: bool,
}

/// What the server said to this.
pub(crate) type Fed = (Wanted, News);

/// Starts the thread. It ends when `wanted` is gone, and at a signal: then the screen hears that the
/// channel is closed, and where it does not, the thread itself ends the program.
pub(crate) fn start(
    socket: PathBuf,
    interval: Duration,
    wanted: watch::Receiver<Wanted>,
) -> std::io::Result<Receiver<Fed>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (fed, receiver) = sync_channel(QUEUE);
    std::thread::Builder::new().name("feed".to_owned()).spawn(move || {
        let end = runtime.block_on(follow(&socket, interval, wanted, fed));
        if end == End::Signal {
            runtime.block_on(end_program());
        }
    })?;
    Ok(receiver)
}

/// Why the feed ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Nobody listens any more.
    Unheard,
    /// The program is to end.
    Signal,
}

async fn follow(
    socket: &Path,
    interval: Duration,
    mut wanted: watch::Receiver<Wanted>,
    fed: SyncSender<Fed>,
) -> End {
    let mut signals = Signals::new();
    let mut ticks = tokio::time::interval_at(Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What is wanted first is asked at once.
    wanted.mark_changed();
    let mut is_answered = false;
    loop {
        let is_due = tokio::select! {
            biased;
            () = signals.heard() => return End::Signal,
            changed = wanted.changed() => {
                if changed.is_err() {
                    return End::Unheard;
                }
                false
            }
            _ = ticks.tick() => true,
        };
        let asked = *wanted.borrow_and_update();
        // The past does not change once it is known, and a pause is one.
        if asked.is_paused || (is_due && is_answered && asked.at.is_some()) {
            continue;
        }
        let news = tokio::select! {
            biased;
            () = signals.heard() => return End::Signal,
            news = ask(socket, asked.at) => news,
        };
        is_answered = matches!(news, News::Snapshot(_));
        match fed.try_send((asked, news)) {
            Ok(()) => {}
            // The screen stands still; it is asked again.
            Err(TrySendError::Full(_)) => is_answered = false,
            Err(TrySendError::Disconnected(_)) => return End::Unheard,
        }
    }
}

/// Ends the program where the screen does not: it may wait for a terminal that is gone or stopped.
#[expect(clippy::exit, reason = "the main thread may never return")]
async fn end_program() {
    tokio::time::sleep(GRACE).await;
    // Giving the terminal back may wait for it, too.
    let restored = tokio::task::spawn_blocking(ratatui::restore);
    drop(tokio::time::timeout(GRACE, restored).await);
    std::process::exit(0);
}

/// The signals that end a program.
struct Signals([Option<Signal>; 3]);

impl Signals {
    fn new() -> Self {
        let kinds = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()];
        Self(kinds.map(|kind| signal(kind).ok()))
    }

    async fn heard(&mut self) {
        let [term, hangup, interrupt] = &mut self.0;
        tokio::select! {
            () = heard(term) => {}
            () = heard(hangup) => {}
            () = heard(interrupt) => {}
        }
    }
}

async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

async fn ask(socket: &Path, at: Option<UnixTime>) -> News {
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
