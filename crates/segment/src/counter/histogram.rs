//! Durations in a page: how many fell into each bucket, and their sum.

use crate::page::CounterPage;

/// Upper bounds of all buckets but the last, which has none, in microseconds.
///
/// From a handler that answers from memory to one that is about to be given up.
pub const BOUNDS_US: [u64; 16] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

const BUCKETS: usize = BOUNDS_US.len() + 1;

/// The places of one histogram in a page: its buckets, then the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram {
    first: usize,
}

/// What a histogram held at one moment. Each number is exact; two of them may be one request apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// How many fell into each bucket.
    pub counts: [u64; BUCKETS],
    /// All of them together, in microseconds.
    pub sum_us: u64,
}

impl Histogram {
    /// Places that one takes.
    pub const PLACES: usize = BUCKETS + 1;

    /// The histogram that begins at this place of its page.
    #[must_use]
    pub const fn at(first: usize) -> Self {
        Self { first }
    }

    /// The same histogram of what begins so many places further back.
    pub(super) const fn behind(self, places: usize) -> Self {
        Self { first: places + self.first }
    }

    /// Counts one duration.
    pub fn add(self, page: &CounterPage, us: u64) {
        // Most requests do not wait at all.
        if us == 0 {
            return page.add(self.first, 1);
        }
        let bucket = BOUNDS_US.partition_point(|&bound| bound < us);
        page.add(self.first + bucket, 1);
        page.add(self.first + BUCKETS, us);
    }

    /// Returns the sum of all durations, in microseconds.
    pub fn sum_us(self, page: &CounterPage) -> u64 {
        page.get(self.first + BUCKETS)
    }

    /// Copies it out.
    pub fn read(self, page: &CounterPage) -> Durations {
        let counts = std::array::from_fn(|bucket| page.get(self.first + bucket));
        Durations { counts, sum_us: self.sum_us(page) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_whose_bound_it_does_not_exceed() {
        let fd = CounterPage::create(3 + Histogram::PLACES).unwrap();
        let page = CounterPage::map(fd.as_fd()).unwrap();
        let histogram = Histogram::at(3);
        for us in [0, 500, 501, 1_000, 60_000_000, 60_000_001] {
            histogram.add(&page, us);
        }
        let found = histogram.read(&page);
        assert_eq!((found.counts[0], found.counts[1]), (2, 2));
        assert_eq!((found.counts[15], found.counts[16]), (1, 1));
        assert_eq!(found.counts.iter().sum::<u64>(), 6);
        assert_eq!(found.sum_us, 120_002_002);
        assert_eq!((0..3).map(|place: usize| page.get(place)).sum::<u64>(), 0, "beside it");
    }
}
