//! What lives as long as the proxy process and is used by all of its event loops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use ostler_segment::CounterPage;
use tokio::sync::watch;

use crate::access_log::AccessLog;
use crate::clock;
use crate::connection::Connection;
use crate::history::History;
use crate::ledger::Ledger;
use crate::live::LiveConfig;
use crate::places::Places;
use crate::stacks::StackQuestions;
use crate::tasks::Tasks;

/// The process as a whole.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The configuration in force; each request uses the one it finds when it begins.
    pub(crate) live: ArcSwap<LiveConfig>,
    /// Counters that outlive this process.
    pub(crate) counters: CounterPage,
    /// What each route costs.
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) gauges: Gauges,
    pub(crate) tasks: Tasks,
    pub(crate) phase: watch::Sender<Phase>,
    /// Places for client connections.
    pub(crate) places: Arc<Places>,
    pub(crate) access_log: AccessLog,
    pub(crate) ids: RequestIds,
    pub(crate) complaints: Complaints,
    pub(crate) supervisor: Supervisor,
    /// Why the last reload failed.
    pub(crate) config_error: ArcSwap<Option<String>>,
    /// The past, and what happened lately.
    pub(crate) history: History,
    /// What the supervisor is asked about the threads of pools.
    pub(crate) stacks: Arc<StackQuestions>,
    /// While it drains: another proxy process serves in its place.
    pub(crate) is_replaced: AtomicBool,
}

/// What the proxy knows of the process that started it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Supervisor {
    pub(crate) pid: u32,
    /// Since the epoch.
    pub(crate) started: Duration,
    /// Which proxy process of this supervisor we are: from 1.
    pub(crate) incarnation: u32,
}

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    /// Serving, while the health path says 503.
    LameDuck,
    /// Nothing new is accepted; connections close after their next answer.
    Draining,
}

/// Numbers that go up and down.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) open: AtomicI64,
    pub(crate) idle: AtomicI64,
    pub(crate) writing: AtomicI64,
    pub(crate) in_flight: AtomicI64,
}

/// Counts one connection or request in a gauge until it is dropped.
#[derive(Debug)]
pub(crate) struct Activity<'s> {
    gauge: Option<&'s AtomicI64>,
}

impl<'s> Activity<'s> {
    /// A client connection that waits for a request; those of operators are not counted.
    pub(crate) fn idle(shared: &'s Shared, connection: &Connection) -> Self {
        Self::begin(connection.place.is_some().then_some(&shared.gauges.idle))
    }

    /// Counts in `gauge` from now on.
    pub(crate) fn begin(gauge: Option<&'s AtomicI64>) -> Self {
        if let Some(gauge) = gauge {
            gauge.fetch_add(1, Ordering::Relaxed);
        }
        Self { gauge }
    }
}

impl Drop for Activity<'_> {
    fn drop(&mut self) {
        if let Some(gauge) = self.gauge {
            gauge.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Makes request ids: unique among processes by their random half, within one by counting.
#[derive(Debug)]
pub(crate) struct RequestIds {
    prefix: String,
    next: AtomicU64,
}

impl RequestIds {
    /// Ids of this process alone.
    pub(crate) fn new() -> Self {
        use std::hash::{BuildHasher as _, RandomState};
        let prefix = RandomState::new().hash_one((std::process::id(), clock::unix_now()));
        // 48 random bits are enough beside the counter, and twenty characters fit a log line.
        Self { prefix: format!("{:012x}", prefix >> 16), next: AtomicU64::new(1) }
    }

    /// Writes the next id over `id`.
    pub(crate) fn write_next(&self, id: &mut String) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        id.clone_from(&self.prefix);
        let digits = (u64::BITS - number.leading_zeros()).div_ceil(4).max(8);
        for place in (0..digits).rev() {
            let digit = u32::try_from((number >> (4 * place)) & 0xf).unwrap_or_default();
            id.extend(char::from_digit(digit, 16));
        }
    }
}

/// Lets a message that repeats through one time a minute.
#[derive(Debug)]
pub(crate) struct Complaints {
    start: Instant,
    /// Milliseconds since `start` from which on the next may be made.
    next_ms: AtomicU64,
}

impl Complaints {
    const EVERY_MS: u64 = 60_000;

    /// The first message is due at once.
    pub(crate) fn new() -> Self {
        Self { start: clock::now(), next_ms: AtomicU64::new(0) }
    }

    /// Whether the message is due now; if so, it is not for a minute.
    pub(crate) fn is_due(&self) -> bool {
        let elapsed = clock::now().saturating_duration_since(self.start);
        let now_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let due = self.next_ms.load(Ordering::Relaxed);
        due <= now_ms
            && self
                .next_ms
                .compare_exchange(
                    due,
                    now_ms.saturating_add(Self::EVERY_MS),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_twenty_hexadecimal_digits_until_the_counter_needs_more() {
        let ids = RequestIds { prefix: "0123456789ab".to_owned(), next: AtomicU64::new(0xaf) };
        let mut id = "the one before".to_owned();
        let mut next = || {
            ids.write_next(&mut id);
            id.clone()
        };
        assert_eq!(next(), "0123456789ab000000af");
        assert_eq!(next(), "0123456789ab000000b0");
        ids.next.store(0x1_0000_0000, Ordering::Relaxed);
        assert_eq!(next(), "0123456789ab100000000");
    }
}
