//! The signals that the supervisor listens to.

use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// A child process ended.
    Child,
    /// Finish what was accepted, then end.
    Stop,
    /// End at once.
    StopNow,
    /// Put the configuration in force.
    Reload,
    /// Open log files anew.
    ReopenLogs,
    /// Nothing; listened to because it would end the process otherwise.
    Nothing,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Signals {
    child: Stream,
    terminate: Stream,
    interrupt: Stream,
    hangup: Stream,
    user1: Stream,
    user2: Stream,
}

impl Signals {
    /// Begins to listen.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            child: signal(SignalKind::child())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the next one. Cancel safe.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.child.recv() => Signal::Child,
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::StopNow,
            _ = self.hangup.recv() => Signal::Reload,
            _ = self.user1.recv() => Signal::ReopenLogs,
            _ = self.user2.recv() => Signal::Nothing,
        }
    }
}
