//! The part of the snapshot about routes: what each of them costs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ostler_segment::counter::{Durations, Route as Counter};
use ostler_status as status;

use super::costs;
use crate::clock;
use crate::ledger::{Figures, HeldRows, Ledger, TOLD, Totals};
use crate::live::{ChargedRoute, LiveConfig};

/// Every route in the order of the configuration; where there are too many, those that were used
/// first, and the sum of all others.
pub(super) fn take(ledger: &Ledger, live: &LiveConfig) -> Vec<status::Route> {
    let pools = live.pools.values().map(|target| &target.pool);
    let totals = ledger.totals(|| HeldRows::look(pools, clock::now()), clock::now());
    let mut seen = BTreeSet::new();
    let is_new = |route: &&ChargedRoute| seen.insert(route.books.number);
    let routes: Vec<&ChargedRoute> = live.charged.iter().filter(is_new).collect();
    let by_pool = by_pool(&routes, &totals);
    let own = ledger.told(used(&routes, &totals));
    let (are_few, is_full) = (routes.len() <= TOLD, own.len() == TOLD);
    // As long as there is room, the first of those that have cost nothing are told of, too.
    let mut room = TOLD.saturating_sub(own.len());
    let mut is_told = |number: u32| {
        let is_own = are_few || own.contains(&number);
        let has_room = !is_own && 0 < room;
        room -= usize::from(has_room);
        is_own || has_room
    };
    let (mut told, mut others) = (Vec::new(), None);
    for charged in routes {
        let number = charged.books.number;
        // Those without a number of their own are a sum already.
        if number != 0 && is_told(number) {
            told.push(route(charged, &totals, &by_pool));
            continue;
        }
        let sum: &mut status::Route = others.get_or_insert_with(none);
        // What begins to cost something while there is room is told of the next time.
        if number == 0 || is_full {
            sum.add(&route(charged, &totals, &by_pool));
        }
    }
    told.extend(others);
    told
}

/// The numbers of the routes that have cost something: what has held most first.
fn used(routes: &[&ChargedRoute], totals: &Totals) -> impl Iterator<Item = u32> {
    let numbers = routes.iter().map(|route| route.books.number);
    let all = numbers.map(|number| (number, figures(&totals.all, number)));
    let mut used: Vec<(Reverse<u64>, u32)> = all
        .filter(|(number, figures)| *number != 0 && *figures != Figures::default())
        .map(|(number, figures)| (Reverse(figures.thread_us), number))
        .collect();
    used.sort_unstable();
    used.into_iter().map(|(_, number)| number)
}

/// What the routes of each pool held in the last minute, in microseconds.
fn by_pool<'r>(routes: &[&'r ChargedRoute], totals: &Totals) -> BTreeMap<&'r str, u64> {
    let mut sums = BTreeMap::new();
    for route in routes {
        if let Some(pool) = &route.pool {
            let sum: &mut u64 = sums.entry(pool.as_str()).or_default();
            let held_us = figures(&totals.lately, route.books.number).thread_us;
            *sum = sum.saturating_add(held_us);
        }
    }
    sums
}

fn figures(all: &[Figures], number: u32) -> Figures {
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    all.get(number).copied().unwrap_or_default()
}

fn route(charged: &ChargedRoute, totals: &Totals, by_pool: &BTreeMap<&str, u64>) -> status::Route {
    let books = &charged.books;
    let counters = books.counters();
    let all = figures(&totals.all, books.number);
    let lately = figures(&totals.lately, books.number);
    let of_pool = charged.pool.as_deref().and_then(|pool| by_pool.get(pool)).copied();
    let [queue_wait, run] = books.histograms().map(|durations| histogram(&durations));
    status::Route {
        name: books.name.to_string(),
        pool: charged.pool.clone(),
        origin: charged.origin.clone(),
        busy: totals.held.of(usize::try_from(books.number).unwrap_or_default()).rows,
        requests_total: all.requests,
        errors_total: all.errors,
        shed_total: all.shed,
        bytes_received_total: counters.get(Counter::BytesReceived),
        bytes_sent_total: counters.get(Counter::BytesSent),
        thread_s_total: seconds(all.thread_us),
        cpu_s_total: seconds(all.cpu_us),
        costs: costs(&all.costs),
        over_budget_total: all.over_budget,
        queue_wait,
        run,
        window: status::RouteWindow {
            requests: lately.requests,
            errors: lately.errors,
            shed: lately.shed,
            thread_s: seconds(lately.thread_us),
            thread_share: share(lately.thread_us, of_pool.unwrap_or(0)),
            cpu_s: seconds(lately.cpu_us),
            costs: costs(&lately.costs),
            over_budget: lately.over_budget,
        },
        over_budget: books.last_over_budget(),
    }
}

fn share(part_us: u64, whole_us: u64) -> f64 {
    if whole_us == 0 { 0.0 } else { (seconds(part_us) / seconds(whole_us)).min(1.0) }
}

fn seconds(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64()
}

/// Durations as the status page has them.
pub(super) fn histogram(durations: &Durations) -> status::Histogram {
    let sum_ms = seconds(durations.sum_us) * 1_000.0;
    status::Histogram { counts: durations.counts.to_vec(), sum_ms }
}

/// The sum of no routes.
fn none() -> status::Route {
    status::Route { name: "(others)".to_owned(), ..status::Route::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_routes_that_were_used_first_are_told_of_for_ever() {
        let ledger = Ledger::default();
        assert!(ledger.told([].into_iter()).is_empty());
        assert_eq!(ledger.told([900].into_iter()).into_iter().collect::<Vec<_>>(), [900]);
        let most_first = || (1..=800).rev();
        let told = ledger.told(most_first());
        assert_eq!((told.len(), told.first(), told.last()), (TOLD, Some(&302), Some(&900)));
        assert_eq!(ledger.told([1, 2, 3].into_iter().chain(most_first())), told);
    }
}
