//! `ostler top`: the live view in a terminal.
//!
//! `feed` asks the server, `state` holds what the operator asked for, `shown` what is known, and
//! `draw` makes the screen from both. This module alone touches the terminal, and gives it back
//! however the program ends: by a key, a signal, an error or a panic.

mod draw;
mod feed;
mod rows;
mod shown;
mod state;

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use ostler_status::UnixTime;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use tokio::sync::watch;

use crate::cli::ExitStatus;
use crate::clock;
use feed::{Fed, Wanted};
use shown::Shown;
use state::State;

/// How long the terminal is waited for before the server is listened to again: shorter than an eye
/// notices, long enough to cost nothing.
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 40_000_000 };

/// What was typed behind `ostler top`.
#[derive(Debug)]
pub(crate) struct TopOptions {
    pub(crate) socket: PathBuf,
    pub(crate) interval: Duration,
    pub(crate) pool: Option<String>,
    pub(crate) at: Option<UnixTime>,
}

/// Why the live view ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TopError {
    /// Nobody could see it.
    #[error("this is not a terminal; `ostler status` prints one screen of text")]
    NoTerminal,
    /// The terminal cannot be used, or the thread not be started.
    #[error("the terminal cannot be used: {0}")]
    Terminal(#[from] io::Error),
}

impl TopError {
    /// How the command ends.
    pub(crate) fn exit_status(&self) -> ExitStatus {
        match self {
            Self::NoTerminal => ExitStatus::Usage,
            Self::Terminal(_) => ExitStatus::System,
        }
    }
}

/// Shows the server until the operator has seen enough, or a signal ends it.
///
/// # Errors
///
/// When this is not a terminal, or it fails. The terminal is as it was before then, too.
pub(crate) fn run(options: TopOptions) -> Result<(), TopError> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(TopError::NoTerminal);
    }
    let state = State { pool: options.pool, at: options.at, ..State::default() };
    let (wanted, receiver) = watch::channel(asked(&state));
    let fed = feed::start(options.socket, options.interval, receiver)?;
    // This also has a panic give the terminal back before it speaks.
    let mut terminal = ratatui::try_init()?;
    let outcome = show(&mut terminal, state, &wanted, &fed);
    let restored = ratatui::try_restore();
    Ok(outcome.and(restored)?)
}

fn show(
    terminal: &mut DefaultTerminal,
    mut state: State,
    wanted: &watch::Sender<Wanted>,
    fed: &Receiver<Fed>,
) -> io::Result<()> {
    let mut shown = Shown::default();
    let mut is_stale = true;
    while !state.is_over {
        if is_stale {
            terminal.draw(|frame| draw::screen(frame, &state, &shown))?;
        }
        is_stale = false;
        if is_hung_up()? {
            return Ok(());
        }
        while event::poll(Duration::ZERO)? {
            is_stale = true;
            if let Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
            {
                state = state.key(key, &shown.seen(now()));
                let next = asked(&state);
                wanted.send_if_modified(|before| std::mem::replace(before, next) != next);
            }
        }
        loop {
            match fed.try_recv() {
                // What was asked for before the last key is not what is wanted any more.
                Ok((asked_for, _)) if asked_for.at != state.at => {}
                Ok((_, news)) => {
                    shown = shown.note(news, now());
                    is_stale = true;
                }
                Err(TryRecvError::Empty) => break,
                // A signal has ended the feed.
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
    }
    Ok(())
}

/// Waits a glance for a key; whether the terminal is gone. Asking it for events would never return
/// then.
fn is_hung_up() -> io::Result<bool> {
    let stdin = io::stdin();
    let mut polled = [PollFd::new(&stdin, PollFlags::IN)];
    match rustix::event::poll(&mut polled, Some(&GLANCE)) {
        // A signal, such as that of another size.
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL))
}

fn asked(state: &State) -> Wanted {
    Wanted { at: state.at, is_paused: state.is_paused }
}

fn now() -> UnixTime {
    UnixTime::from_ms(u64::try_from(clock::unix_now().as_millis()).unwrap_or(u64::MAX))
}
