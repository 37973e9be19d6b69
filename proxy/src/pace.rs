//! Whether a client keeps to a least rate, in either direction.

use std::time::Duration;

/// A rate is averaged over this.
const WINDOW: Duration = Duration::from_secs(10);

/// What came or went while the client was waited for. Time spent waiting for anybody else does not
/// count against the client.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Notes bytes, and how long the client was waited for before them. Every whole window of
    /// waiting is held against the minimum: false when there were too few.
    pub(crate) fn keeps(&mut self, waited: Duration, bytes: u64, min_rate: u64) -> bool {
        self.waited = self.waited.saturating_add(waited);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.waited < WINDOW {
            return true;
        }
        let Self { waited, bytes } = std::mem::take(self);
        min_rate.saturating_mul(waited.as_secs()) <= bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_spent_waiting_for_the_client_counts_against_its_rate() {
        let seconds = Duration::from_secs;
        let mut slow = Pace::default();
        assert!(slow.keeps(seconds(9), 4_000, 500), "not a whole window yet");
        assert!(!slow.keeps(seconds(1), 900, 500), "490 bytes a second");
        let mut steady = Pace::default();
        assert!(steady.keeps(seconds(10), 5_000, 500));
        assert!(!steady.keeps(seconds(10), 4_999, 500), "each window counts");
        assert!(Pace::default().keeps(Duration::from_mins(1), 1, 0), "no minimum");
    }
}
