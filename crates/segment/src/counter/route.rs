//! The counters of routes: many routes share a page, each with places of its own.

use super::Histogram;
use crate::page::CounterPage;

counters! {
    /// Counters of one route.
    Route {
        /// Requests ended.
        RequestsTotal = "requests",
        /// Of these, answered with 500 to 599, or broken off by a worker or an origin.
        ErrorsTotal = "errors",
        /// Of these, refused with 503 before they had a row.
        ShedTotal = "shed",
        /// Bytes received from clients.
        BytesReceived = "bytes_received",
        /// Bytes sent to clients.
        BytesSent = "bytes_sent",
        /// Processor time in the application, in microseconds.
        CpuUs = "cpu_us",
        /// Database queries.
        DbQueries = "db_queries",
        /// Time they took, in microseconds.
        DbUs = "db_us",
        /// Calls to other services.
        OutboundCalls = "outbound_calls",
        /// Time they took, in microseconds.
        OutboundUs = "outbound_us",
        /// Questions that a cache could answer.
        CacheHits = "cache_hits",
        /// Questions that it could not.
        CacheMisses = "cache_misses",
        /// Time spent waiting for the lock of an interpreter, in microseconds.
        LockUs = "lock_us",
        /// Requests with more database queries than `status.query-budget`.
        OverBudget = "over_budget",
        /// The most time in rows, in microseconds, that any reader has shown: none shows less.
        ThreadUsShown = "thread_us_shown",
    }
}

impl Route {
    /// Waits in the queue.
    pub const QUEUE_WAIT: Histogram = Histogram::at(Self::COUNT);
    /// Times in rows, of requests that have ended.
    pub const RUN: Histogram = Histogram::at(Self::COUNT + Histogram::PLACES);
    /// Places of one route: whole cache lines, so that no two routes share one.
    pub const PLACES: usize = (Self::COUNT + 2 * Histogram::PLACES).next_multiple_of(8);
    /// Routes of a page.
    pub const PER_PAGE: usize = 1_024;
    /// Pages at the most.
    pub const MAX_PAGES: usize = 10;
    /// Counters of a page.
    pub const PAGE: usize = Self::PER_PAGE * Self::PLACES;
}

/// The counters of one route within a page.
#[derive(Clone, Copy, Debug)]
pub struct RouteCounters<'p> {
    page: &'p CounterPage,
    first: usize,
}

impl<'p> RouteCounters<'p> {
    /// Those of the route at this place among all routes, in the page that it falls into.
    pub fn new(page: &'p CounterPage, number: usize) -> Self {
        Self { page, first: number % Route::PER_PAGE * Route::PLACES }
    }

    /// Adds to a counter.
    pub fn add(self, counter: Route, amount: u64) {
        self.page.add(self.first + counter as usize, amount);
    }

    /// Returns a counter.
    pub fn get(self, counter: Route) -> u64 {
        self.page.get(self.first + counter as usize)
    }

    /// Raises a counter to `value`, unless it is higher. Returns what it is then.
    pub fn raise(self, counter: Route, value: u64) -> u64 {
        self.page.raise(self.first + counter as usize, value)
    }

    /// Returns the page, and a histogram in it.
    pub fn histogram(self, histogram: Histogram) -> (&'p CounterPage, Histogram) {
        (self.page, histogram.behind(self.first))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn routes_of_one_page_do_not_touch_each_other() {
        let fd = CounterPage::create(Route::PAGE).unwrap();
        let page = CounterPage::map(fd.as_fd()).unwrap();
        for number in [0, 1, Route::PER_PAGE - 1] {
            let counters = RouteCounters::new(&page, number);
            for &counter in Route::ALL {
                counters.add(counter, 1);
            }
            for histogram in [Route::QUEUE_WAIT, Route::RUN] {
                let (page, histogram) = counters.histogram(histogram);
                histogram.add(page, u64::MAX / 4);
            }
        }
        for number in [0, 1, Route::PER_PAGE - 1] {
            let counters = RouteCounters::new(&page, number);
            assert!(Route::ALL.iter().all(|&counter| counters.get(counter) == 1), "{number}");
            let (page, run) = counters.histogram(Route::RUN);
            assert_eq!(run.read(page).counts.iter().sum::<u64>(), 1, "{number}");
        }
        let between = RouteCounters::new(&page, 2);
        assert!(Route::ALL.iter().all(|&counter| between.get(counter) == 0));
    }

    #[test]
    fn a_counter_is_raised_and_never_lowered() {
        let fd = CounterPage::create(Route::PAGE).unwrap();
        let page = CounterPage::map(fd.as_fd()).unwrap();
        let counters = RouteCounters::new(&page, 7);
        assert_eq!(counters.raise(Route::ThreadUsShown, 5), 5);
        assert_eq!(counters.raise(Route::ThreadUsShown, 3), 5);
        assert_eq!(counters.get(Route::ThreadUsShown), 5);
    }
}
