//! Who holds the rows of a pool, summed up by route: what a request waits for.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use super::RouteId;

/// Routes that are told of.
const TOP: usize = 3;

/// Who held a pool's rows at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// Rows that were held.
    pub held: u32,
    /// Of so many that requests are given.
    pub capacity: u32,
    /// How long they had been held, added up.
    pub held_for: Duration,
    /// The routes that held most of them, first the one with the most.
    pub top: Vec<Holder>,
}

/// What one route held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The route.
    pub route: RouteId,
    /// Rows it held.
    pub count: u32,
    /// Half of them had been held no longer.
    pub median_age: Duration,
}

/// Sums up who holds rows, and since when.
pub(super) fn sum_up(
    held: impl Iterator<Item = (RouteId, Instant)>,
    capacity: u32,
    now: Instant,
) -> Holders {
    let age = |(route, since)| (route, now.saturating_duration_since(since));
    let mut ages: Vec<(RouteId, Duration)> = held.map(age).collect();
    ages.sort_unstable();
    let mut top: Vec<Holder> =
        ages.chunk_by(|(one, _), (other, _)| one == other).filter_map(holder).collect();
    top.sort_by_key(|holder| Reverse((holder.count, holder.median_age)));
    top.truncate(TOP);
    let held_for = ages.iter().fold(Duration::ZERO, |sum, (_, age)| sum.saturating_add(*age));
    Holders { held: number(ages.len()), capacity, held_for, top }
}

/// Sums up the rows of one route, the youngest first.
fn holder(ages: &[(RouteId, Duration)]) -> Option<Holder> {
    let &(route, median_age) = ages.get(ages.len().saturating_sub(1) / 2)?;
    Some(Holder { route, count: number(ages.len()), median_age })
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_stand_in_the_order_of_what_they_hold_with_their_median_ages() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let held = [(1, 9), (2, 1), (2, 5), (2, 3), (3, 8), (4, 7), (1, 2)];
        let held = held.into_iter().map(|(route, since)| (RouteId(route), at(since)));
        let found = sum_up(held, 10, at(10));
        assert_eq!((found.held, found.capacity), (7, 10));
        assert_eq!(found.held_for, Duration::from_secs(35));
        let told: Vec<_> = found
            .top
            .iter()
            .map(|holder| (holder.route.0, holder.count, holder.median_age.as_secs()))
            .collect();
        assert_eq!(told, [(2, 3, 7), (1, 2, 1), (4, 1, 3)]);
        assert_eq!(sum_up(std::iter::empty(), 10, start).top, []);
    }
}
