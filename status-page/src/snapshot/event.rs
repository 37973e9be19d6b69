//! The part of a snapshot about what changed.

use serde::{Deserialize, Serialize};

use super::UnixTime;

/// Something that changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Event {
    /// When.
    pub at: UnixTime,
    /// What.
    pub kind: EventKind,
    /// The pool or origin that it is about.
    pub subject: Option<String>,
    /// A sentence for the operator.
    pub text: String,
}

impl Event {
    /// Most events that are kept.
    pub const KEPT: usize = 50;

    /// Returns until when that lasted which it says is over: its text ends with the clock of that.
    /// `None`: it tells of a beginning, or of a moment.
    pub(crate) fn until(&self) -> Option<UnixTime> {
        const DAY_S: u64 = 86_400;
        if !self.kind.lasts() {
            return None;
        }
        let (_, clock) = self.text.strip_suffix(" UTC.")?.rsplit_once(", until ")?;
        let mut seconds = 0;
        for part in clock.split(':') {
            seconds = seconds * 60 + u64::from(part.parse::<u8>().ok()?);
        }
        let noted = self.at.ms / 1_000;
        // It may have ended before midnight.
        let ago = (noted % DAY_S + DAY_S).checked_sub(seconds)? % DAY_S;
        Some(UnixTime::from_ms(noted.saturating_sub(ago) * 1_000))
    }
}

/// What changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// The server started.
    #[default]
    Started,
    /// The server began to drain.
    Draining,
    /// Another configuration came into force.
    ConfigLoaded,
    /// A configuration was refused.
    ConfigRefused,
    /// Another proxy process serves.
    ProxyReplaced,
    /// Every row of a pool was taken, or one is free again.
    PoolFull,
    /// The queue of a pool was full, or has room again.
    QueueFull,
    /// Requests were refused, or are no more.
    Shed,
    /// Workers of a pool went missing, or all are there again.
    PoolState,
    /// A worker was replaced.
    WorkerRecycled,
    /// A worker exited unasked.
    WorkerExited,
    /// Requests got stuck.
    Stuck,
    /// Requests of a route made too many database queries.
    OverBudget,
    /// A server of an origin went down, or is up again.
    OriginServer,
}

impl EventKind {
    /// Tells whether it begins and ends, each with an event of its own.
    fn lasts(self) -> bool {
        matches!(
            self,
            Self::PoolFull
                | Self::QueueFull
                | Self::Shed
                | Self::PoolState
                | Self::Stuck
                | Self::OriginServer
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_read_from_the_text() {
        let event = |kind, at_s: u64, text: &str| {
            let (at, text) = (UnixTime::from_ms(at_s * 1_000 + 7), text.to_owned());
            Event { at, kind, subject: None, text }.until().map(|until| until.ms)
        };
        let text = "Pool web has room again. It was full for 5.0 s, until 23:59:55 UTC.";
        assert_eq!(event(EventKind::PoolFull, 86_405, text), Some(86_395_000));
        assert_eq!(event(EventKind::WorkerExited, 86_405, text), None);
        let begins = "Pool web is full: 30 of 30 busy, 2 waiting.";
        assert_eq!(event(EventKind::PoolFull, 86_405, begins), None);
        let odd = "It was full, until 99:99:99:99:99 UTC.";
        assert_eq!(event(EventKind::PoolFull, 86_405, odd), None);
    }
}
