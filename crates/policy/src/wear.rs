//! When a worker has worn enough to be replaced.
//!
//! Compares what was measured of a worker with what its pool allows. What becomes of it is decided
//! by `recycle`.

use std::time::Duration;

use crate::recycle::Reason;

/// What a worker may wear before it is replaced; `None`: as much as it likes.
#[expect(clippy::struct_field_names, reason = "the names of the configuration")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WearLimits {
    /// Requests that it served.
    pub max_requests: Option<u64>,
    /// Time since its start.
    pub max_age: Option<Duration>,
    /// Resident memory of its process group, in bytes.
    pub max_memory: Option<u64>,
    /// Time without a request, once it had one.
    pub max_idle: Option<Duration>,
}

/// How much a worker has worn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wear {
    /// Requests that it served.
    pub requests: u64,
    /// Time since its start.
    pub age: Duration,
    /// Resident memory of its process group, in bytes; `None`: not known.
    pub memory: Option<u64>,
    /// Time without a request; `None` while it has one.
    pub idle: Option<Duration>,
}

impl WearLimits {
    /// Returns why a worker has worn enough, the most urgent reason first.
    ///
    /// `max_requests` and `max_age` are shortened by up to a tenth, by as much as `seed` says, so
    /// that workers which were started together are not replaced together.
    pub fn exceeded(&self, wear: &Wear, seed: u64) -> Option<Reason> {
        let is_over = |limit: Option<u64>, used: u64| limit.is_some_and(|limit| limit <= used);
        let max_age = self.max_age.map(|age| age.saturating_sub(age.mul_f64(share(seed) / 10.0)));
        if is_over(self.max_memory, wear.memory.unwrap_or_default()) {
            Some(Reason::MaxMemory)
        } else if max_age.is_some_and(|limit| limit <= wear.age) {
            Some(Reason::MaxAge)
        } else if is_over(self.max_requests.map(|limit| jittered(limit, seed)), wear.requests) {
            Some(Reason::MaxRequests)
        } else if self.max_idle.is_some_and(|limit| wear.idle.is_some_and(|idle| limit <= idle)) {
            (0 < wear.requests).then_some(Reason::MaxIdle)
        } else {
            None
        }
    }

    /// Whether a worker takes so much memory that it goes even below the floor.
    pub fn is_twice_the_memory(&self, wear: &Wear) -> bool {
        let used = wear.memory.unwrap_or_default();
        self.max_memory.is_some_and(|limit| limit.saturating_mul(2) <= used)
    }
}

/// Shortens a number by up to a tenth; what is left is at least one.
fn jittered(limit: u64, seed: u64) -> u64 {
    let most = limit / 10;
    let less = mixed(seed).checked_rem(most.saturating_add(1)).unwrap_or_default();
    limit.saturating_sub(less).max(1)
}

/// A share from 0 to 1 that depends on the seed alone.
fn share(seed: u64) -> f64 {
    let part = u32::try_from(mixed(seed) >> 32).unwrap_or_default();
    f64::from(part) / f64::from(u32::MAX)
}

/// `SplitMix64` (Steele et al., OOPSLA 2014): neighbouring seeds give unlike numbers.
fn mixed(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wear_is_noticed_at_its_limit_and_the_most_urgent_first() {
        let limits = WearLimits {
            max_requests: Some(100),
            max_age: Some(Duration::from_secs(100)),
            max_memory: Some(1000),
            max_idle: Some(Duration::from_secs(10)),
        };
        let none = Wear {
            requests: 1,
            age: Duration::ZERO,
            memory: Some(999),
            idle: Some(Duration::ZERO),
        };
        for seed in 0..100 {
            let wears = |wear: Wear| limits.exceeded(&wear, seed);
            assert_eq!(wears(none), None);
            assert_eq!(wears(Wear { requests: 89, age: Duration::from_secs(89), ..none }), None);
            assert_eq!(wears(Wear { requests: 100, ..none }), Some(Reason::MaxRequests));
            let old = Wear { age: Duration::from_secs(100), requests: 100, ..none };
            assert_eq!(wears(old), Some(Reason::MaxAge));
            assert_eq!(wears(Wear { memory: Some(1000), ..old }), Some(Reason::MaxMemory));
            let idle = Wear { idle: Some(Duration::from_secs(10)), ..none };
            assert_eq!(wears(idle), Some(Reason::MaxIdle));
            assert_eq!(wears(Wear { requests: 0, ..idle }), None, "it has served nobody yet");
            assert_eq!(wears(Wear { idle: None, ..idle }), None, "it is busy");
            assert_eq!(
                WearLimits::default().exceeded(&Wear { memory: Some(9999), ..old }, 1),
                None
            );
        }
        assert!(limits.is_twice_the_memory(&Wear { memory: Some(2000), ..none }));
        assert!(!limits.is_twice_the_memory(&Wear { memory: Some(1999), ..none }));
        assert!(!limits.is_twice_the_memory(&Wear { memory: None, ..none }));
    }

    #[test]
    fn jitter_spreads_and_is_the_same_for_the_same_worker() {
        let found: std::collections::BTreeSet<u64> =
            (0..1000).map(|seed| jittered(100, seed)).collect();
        assert_eq!(found, (90..=100).collect());
        assert_eq!(jittered(1, 7), 1);
        assert_eq!(jittered(100, 7), jittered(100, 7));
        assert!((0..1000).map(share).all(|share| (0.0..=1.0).contains(&share)));
    }
}
