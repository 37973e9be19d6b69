//! Life of one worker's place in its pool, decided without processes, signals or clocks.
//!
//! ```text
//! state     tick, due   ready      warmed     warm failed  serve     exited
//! Vacant    Starting ¹  -          -          -            -         -
//! Starting  Killed ²    Warming ³  -          -            -         Vacant
//! Warming   Killed ²    -          Warm       Killed ²     -         Vacant
//! Warm      -           -          -          -            Ready ⁴   Vacant
//! Ready     -           -          -          -            -         Vacant
//! Draining  Stopping ⁵  -          -          -            -         Gone
//! Stopping  Killed ²    -          -          -            -         Gone
//! Killed    -           -          -          -            -         Vacant, or Gone if retired
//! Gone      -           -          -          -            -         -
//!
//! state     retire      withdrawn    terminate    kill
//! Vacant    Gone        -            Gone         Gone
//! Starting  Stopping ⁵  -            Stopping ⁵   Killed ²
//! Warming   Stopping ⁵  -            Stopping ⁵   Killed ²
//! Warm      Stopping ⁵  -            Stopping ⁵   Killed ²
//! Ready     Draining ⁶  -            Stopping ⁵   Killed ²
//! Draining  -           Stopping ⁵   Stopping ⁵   Killed ²
//! Stopping  -           -            -            Killed ²
//! Killed    (retired)   -            (retired)    (retired)
//! Gone      -           -            -            -
//!
//! -: no change.
//! Commands: ¹ Spawn  ² Kill  ³ WarmUp  ⁴ Serve  ⁵ Terminate  ⁶ Withdraw
//! ```
//!
//! `retire`, `terminate` and `kill` end the place for good: nothing is started there again. A
//! worker that dies before it was ready is started again after a delay that doubles with each that
//! does so in a row; one that dies later, at once, unless that becomes a habit.
//!
//! The supervisor feeds events in and carries out the command that comes back.

use std::time::{Duration, Instant};

/// Delay after the first failed start. Short, because most first failures are races with a
/// dependency that starts at the same time.
pub const FIRST_DELAY: Duration = Duration::from_millis(250);

/// Longest delay between two starts: an operator who repaired the cause need not wait for longer.
pub const MAX_DELAY: Duration = Duration::from_secs(30);

/// Longest delay after a worker that had been ready: it serves somebody between two exits, and a
/// start a second leaves the processor to the others.
pub const MAX_DELAY_READY: Duration = Duration::from_secs(1);

/// How long a worker must have been ready for earlier failures to be forgotten.
pub const SETTLED: Duration = Duration::from_secs(10);

/// How many exits soon after ready are answered at once. More of them in a row are a crash loop,
/// which would take the processor from the workers that still work.
pub const FREE_RESTARTS: u32 = 3;

/// Stands for "never" where a deadline is too far away for the clock.
const FAR: Duration = Duration::from_hours(365 * 24);

/// State of one place, as the supervisor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// No process.
    Vacant {
        /// When the next one may start.
        retry_at: Instant,
    },
    /// The process starts and has not said that it is ready.
    Starting {
        /// When it is killed if not warm.
        deadline: Instant,
    },
    /// It answers warm-up requests.
    Warming {
        /// When it is killed if not warm.
        deadline: Instant,
    },
    /// It could serve, and nobody has said that it shall.
    Warm,
    /// It takes requests.
    Ready {
        /// Since when.
        since: Instant,
    },
    /// It takes no new request and finishes those it has.
    Draining {
        /// When it is told to end all the same.
        deadline: Instant,
    },
    /// It was told to end.
    Stopping {
        /// When it is killed.
        deadline: Instant,
    },
    /// Its process group was killed; the kernel has not yet reported the exit.
    Killed {
        /// Nothing shall be started in its place.
        retired: bool,
    },
    /// No process, and none will be started.
    Gone,
}

/// What the supervisor saw, or was told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerEvent {
    /// Time passed.
    Tick,
    /// The worker reported that it can take requests.
    Ready,
    /// The worker answered every warm-up request.
    Warmed,
    /// The worker did not answer a warm-up request as it should.
    WarmFailed,
    /// The warm worker shall serve.
    Serve,
    /// The worker shall finish what it has, and end for good.
    Retire,
    /// No request is inside the worker, and none will be sent to it.
    Withdrawn,
    /// The worker shall end for good, whatever it is doing: its requests have lost their clients.
    Terminate,
    /// The worker's process group shall be killed, and nothing started in its place.
    Kill,
    /// The process ended, or could not be started.
    Exited,
}

/// What the supervisor must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerCommand {
    /// Start a process, of the next generation.
    Spawn,
    /// Have warm-up requests sent.
    WarmUp,
    /// Let it have requests.
    Serve,
    /// Let it have no more requests, and report when none is inside.
    Withdraw,
    /// Send TERM to the process.
    Terminate,
    /// Send KILL to the process group.
    Kill,
}

/// Times that bound the states.
#[expect(clippy::struct_field_names, reason = "the names of the configuration")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerLimits {
    /// From spawn to warm.
    pub start_timeout: Duration,
    /// From withdrawal to TERM.
    pub drain_timeout: Duration,
    /// From TERM to KILL.
    pub stop_timeout: Duration,
}

/// One place in a pool: its state, and what failed in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerLife {
    state: WorkerState,
    /// Workers that died before ready or soon after it.
    failures: u32,
    /// Those of them since the last one that was ready.
    failed_starts: u32,
}

impl WorkerLife {
    /// Returns a vacant place in which a worker is due to start at once.
    pub fn new(now: Instant) -> Self {
        Self { state: WorkerState::Vacant { retry_at: now }, failures: 0, failed_starts: 0 }
    }

    /// Returns the state.
    pub fn state(&self) -> WorkerState {
        self.state
    }

    /// Returns how many workers in a row died before ready or soon after it.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Returns when `Tick` will change something.
    pub fn due(&self) -> Option<Instant> {
        match self.state {
            WorkerState::Vacant { retry_at } => Some(retry_at),
            WorkerState::Starting { deadline }
            | WorkerState::Warming { deadline }
            | WorkerState::Draining { deadline }
            | WorkerState::Stopping { deadline } => Some(deadline),
            WorkerState::Warm
            | WorkerState::Ready { .. }
            | WorkerState::Killed { .. }
            | WorkerState::Gone => None,
        }
    }

    /// Returns whether there is a process.
    pub fn has_process(&self) -> bool {
        !matches!(self.state, WorkerState::Vacant { .. } | WorkerState::Gone)
    }

    /// Returns the next state, and the command the supervisor must carry out.
    ///
    /// `now` never goes back between calls. An event that makes no sense in a state, such as a
    /// second `Ready`, changes nothing: the worker may misbehave, the supervisor may not.
    #[must_use]
    pub fn step(
        self,
        event: WorkerEvent,
        now: Instant,
        limits: &WorkerLimits,
    ) -> (Self, Option<WorkerCommand>) {
        use WorkerState::{Draining, Ready, Starting, Stopping, Warm, Warming};

        match (event, self.state) {
            (WorkerEvent::Tick, _) => self.tick(now, limits),
            (WorkerEvent::Exited, _) => (self.exited(now), None),
            (WorkerEvent::Ready, Starting { deadline }) => {
                self.to(Warming { deadline }, WorkerCommand::WarmUp)
            }
            (WorkerEvent::Warmed, Warming { .. }) => (Self { state: Warm, ..self }, None),
            (WorkerEvent::WarmFailed, Warming { .. }) => self.kill(false),
            (WorkerEvent::Serve, Warm) => self.to(Ready { since: now }, WorkerCommand::Serve),
            (WorkerEvent::Retire, Ready { .. }) => {
                let deadline = later(now, limits.drain_timeout);
                self.to(Draining { deadline }, WorkerCommand::Withdraw)
            }
            (WorkerEvent::Withdrawn, Draining { .. })
            | (
                WorkerEvent::Retire | WorkerEvent::Terminate,
                Starting { .. } | Warming { .. } | Warm,
            )
            | (WorkerEvent::Terminate, Ready { .. } | Draining { .. }) => {
                self.terminate(now, limits)
            }
            (
                WorkerEvent::Kill,
                Starting { .. }
                | Warming { .. }
                | Warm
                | Ready { .. }
                | Draining { .. }
                | Stopping { .. },
            ) => self.kill(true),
            (WorkerEvent::Retire | WorkerEvent::Terminate | WorkerEvent::Kill, _) => {
                (self.retired(), None)
            }
            _ => (self, None),
        }
    }

    fn tick(self, now: Instant, limits: &WorkerLimits) -> (Self, Option<WorkerCommand>) {
        if self.due().is_none_or(|due| now < due) {
            return (self, None);
        }
        match self.state {
            WorkerState::Vacant { .. } => {
                let deadline = later(now, limits.start_timeout);
                self.to(WorkerState::Starting { deadline }, WorkerCommand::Spawn)
            }
            WorkerState::Starting { .. } | WorkerState::Warming { .. } => self.kill(false),
            WorkerState::Draining { .. } => self.terminate(now, limits),
            WorkerState::Stopping { .. } => self.kill(true),
            WorkerState::Warm
            | WorkerState::Ready { .. }
            | WorkerState::Killed { .. }
            | WorkerState::Gone => (self, None),
        }
    }

    fn exited(self, now: Instant) -> Self {
        match self.state {
            WorkerState::Vacant { .. } | WorkerState::Gone => self,
            WorkerState::Draining { .. }
            | WorkerState::Stopping { .. }
            | WorkerState::Killed { retired: true } => Self { state: WorkerState::Gone, ..self },
            WorkerState::Ready { since } if SETTLED <= now.duration_since(since) => Self::new(now),
            WorkerState::Ready { .. } => self.failed(now, 0),
            WorkerState::Starting { .. }
            | WorkerState::Warming { .. }
            | WorkerState::Warm
            | WorkerState::Killed { retired: false } => {
                self.failed(now, self.failed_starts.saturating_add(1))
            }
        }
    }

    /// Vacant, with one more failure, after so many failed starts in a row.
    fn failed(self, now: Instant, failed_starts: u32) -> Self {
        let failures = self.failures.saturating_add(1);
        let habit = delay_after(failures.saturating_sub(FREE_RESTARTS)).min(MAX_DELAY_READY);
        let retry_at = later(now, delay_after(failed_starts).max(habit));
        Self { state: WorkerState::Vacant { retry_at }, failures, failed_starts }
    }

    /// The same, but nothing will be started here again.
    fn retired(self) -> Self {
        let state = match self.state {
            WorkerState::Vacant { .. } | WorkerState::Gone => WorkerState::Gone,
            WorkerState::Killed { .. } => WorkerState::Killed { retired: true },
            WorkerState::Starting { .. }
            | WorkerState::Warming { .. }
            | WorkerState::Warm
            | WorkerState::Ready { .. }
            | WorkerState::Draining { .. }
            | WorkerState::Stopping { .. } => self.state,
        };
        Self { state, ..self }
    }

    fn terminate(self, now: Instant, limits: &WorkerLimits) -> (Self, Option<WorkerCommand>) {
        let deadline = later(now, limits.stop_timeout);
        self.to(WorkerState::Stopping { deadline }, WorkerCommand::Terminate)
    }

    fn kill(self, retired: bool) -> (Self, Option<WorkerCommand>) {
        self.to(WorkerState::Killed { retired }, WorkerCommand::Kill)
    }

    fn to(self, state: WorkerState, command: WorkerCommand) -> (Self, Option<WorkerCommand>) {
        (Self { state, ..self }, Some(command))
    }
}

/// How long to wait after so many failures in a row. Doubles with each, up to [`MAX_DELAY`].
#[must_use]
pub fn delay_after(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => {
            FIRST_DELAY.saturating_mul(2_u32.saturating_pow(doublings)).min(MAX_DELAY)
        }
    }
}

fn later(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait).unwrap_or_else(|| now + FAR)
}

#[cfg(test)]
mod tests;
