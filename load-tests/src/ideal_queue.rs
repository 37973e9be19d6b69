//! The best that any server could do: one queue, first come first served, that costs nothing.
//!
//! Given when requests arrived and how long the handler really took for each, it says when each
//! would have been answered with so many threads. Pure.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// One request, in µs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Since the start of the round.
    pub(crate) at_us: u64,
    /// How long it occupies a thread.
    pub(crate) service_us: u64,
}

/// From arrival to answer of each request, in the order given, which is that of arrival.
///
/// # Panics
///
/// Without a thread.
pub(crate) fn latencies_us(arrivals: &[Arrival], threads: u32) -> Vec<u64> {
    let mut free_at: BinaryHeap<Reverse<u64>> = (0..threads).map(|_| Reverse(0)).collect();
    let serve = |arrival: &Arrival| {
        let Reverse(free) = free_at.pop().expect("there is a thread");
        let end = free.max(arrival.at_us) + arrival.service_us;
        free_at.push(Reverse(end));
        end - arrival.at_us
    };
    arrivals.iter().map(serve).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_waits_for_the_thread_that_is_free_first() {
        // Nobody waits while threads are free.
        check(&[(0, 5), (0, 5)], 2, &[5, 5]);
        // With one thread, the second waits for the first.
        check(&[(0, 5), (0, 5)], 1, &[5, 10]);
        check(&[(0, 5), (3, 5), (20, 5)], 1, &[5, 7, 5]);
        // The third takes the thread that ends at 2, not the one that ends at 10.
        check(&[(0, 10), (0, 2), (1, 4)], 2, &[10, 2, 5]);
        check(&[], 3, &[]);
    }

    #[test]
    fn at_twice_the_capacity_the_wait_grows_with_every_request() {
        let arrivals: Vec<(u64, u64)> = (0..100).map(|index| (index * 5, 10)).collect();
        let latencies = latencies(&arrivals, 1);
        assert_eq!((latencies[0], latencies[99]), (10, 10 + 99 * 5));
    }

    #[track_caller]
    fn check(arrivals: &[(u64, u64)], threads: u32, expected: &[u64]) {
        assert_eq!(latencies(arrivals, threads), expected);
    }

    fn latencies(arrivals: &[(u64, u64)], threads: u32) -> Vec<u64> {
        let arrival = |&(at_us, service_us): &(u64, u64)| Arrival { at_us, service_us };
        latencies_us(&arrivals.iter().map(arrival).collect::<Vec<_>>(), threads)
    }
}
