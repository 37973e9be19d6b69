//! Queue blame: who held a pool's rows while a request waited for one.
//!
//! A look at the rows is taken when a request begins to wait and, while any wait, before a permit
//! comes back; at most every 50 ms, and shared by all. Of the look at the begin of a wait and the
//! last one before its end, the one is kept that shows the rows held longer, added up: while short
//! requests pass through, that is the one with the culprit in it, whether he came before or after.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ostler_policy::admission::{Admission, Holders, RouteId};

use crate::clock;

/// A wait that is worth an explanation. A tenth of a second is about what a person notices.
const LONG_WAIT: Duration = Duration::from_millis(100);
/// How old a look at the rows may be when it is shared.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Long waits that are kept for the status page …
const KEPT: usize = 8;
/// … of which each is the longest of so long a time.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// Routes whose names are kept, those of earlier configurations included. A name has at most some
/// hundred bytes; all beyond share one.
const ROUTES: usize = 10_000;

/// Who held the rows of a pool at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Blame {
    pub(crate) held: u32,
    pub(crate) capacity: u32,
    /// How long the rows had been held, added up.
    held_for: Duration,
    /// The routes that held most rows.
    pub(crate) routes: Vec<Blamed>,
}

/// What one route held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blamed {
    pub(crate) route: Arc<str>,
    pub(crate) count: u32,
    pub(crate) median_age: Duration,
}

/// A wait that was long, and who is to blame.
#[derive(Clone, Debug)]
pub(crate) struct LongWait {
    /// When it ended, since the epoch.
    pub(crate) at: Duration,
    pub(crate) waited: Duration,
    pub(crate) blame: Arc<Blame>,
    noted: Instant,
}

#[cfg(test)]
impl Blame {
    /// One route holds so many rows of all.
    pub(crate) fn of_route(route: &str, (count, age): (u32, Duration), capacity: u32) -> Self {
        let blamed = Blamed { route: Arc::from(route), count, median_age: age };
        Self { held: count, capacity, held_for: age * count, routes: vec![blamed] }
    }
}

/// As in `9 of 10 threads: 7 × /report/export (median age 6 s)`.
impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} threads", self.held, self.capacity)?;
        for (index, blamed) in self.routes.iter().enumerate() {
            let before = if index == 0 { ": " } else { ", " };
            let (age, unit) = match blamed.median_age.as_millis() {
                ms @ 0..1_000 => (ms, "ms"),
                ms => (ms / 1_000, "s"),
            };
            let Blamed { route, count, .. } = blamed;
            write!(f, "{before}{count} × {route} (median age {age} {unit})")?;
        }
        Ok(())
    }
}

/// What is known for explaining waits.
#[derive(Debug)]
pub(super) struct Blames {
    /// By route number.
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
    latest: Option<(Instant, Arc<Blame>)>,
    long_waits: VecDeque<LongWait>,
}

impl Blames {
    pub(super) fn new() -> Self {
        // The first name is for those that have none of their own.
        let names = vec![Arc::from("(another)")];
        let numbers = HashMap::new();
        Self { names, numbers, latest: None, long_waits: VecDeque::new() }
    }

    /// The number of a route by its name: the same as long as this process lives.
    pub(super) fn route(&mut self, name: &str) -> RouteId {
        if let Some(&known) = self.numbers.get(name) {
            return RouteId(known);
        }
        let next = u32::try_from(self.names.len()).ok().filter(|_| self.names.len() < ROUTES);
        let Some(number) = next else { return RouteId(0) };
        let name: Arc<str> = Arc::from(name);
        self.names.push(Arc::clone(&name));
        self.numbers.insert(name, number);
        RouteId(number)
    }

    /// Whether a route has this name.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.numbers.contains_key(name)
    }

    /// Who holds the rows now, or did a moment ago.
    pub(super) fn look<W>(&mut self, admission: &Admission<W>, now: Instant) -> Arc<Blame> {
        let is_fresh = |(at, _): &&(Instant, _)| now.saturating_duration_since(*at) < LOOK_EVERY;
        if let Some((_, latest)) = self.latest.as_ref().filter(is_fresh) {
            return Arc::clone(latest);
        }
        let blame = Arc::new(self.named(admission.holders(now)));
        self.latest = Some((now, Arc::clone(&blame)));
        blame
    }

    /// Explains a wait that has ended, if it was long. `first` is the look at its begin.
    pub(super) fn explain<W>(
        &mut self,
        (waited, first): (Duration, Arc<Blame>),
        admission: &Admission<W>,
        now: Instant,
    ) -> Option<Arc<Blame>> {
        if waited < LONG_WAIT {
            return None;
        }
        let last = self.look(admission, now);
        let blame = if first.held_for < last.held_for { last } else { first };
        self.keep(LongWait {
            at: clock::unix_now(),
            waited,
            blame: Arc::clone(&blame),
            noted: now,
        });
        Some(blame)
    }

    fn keep(&mut self, wait: LongWait) {
        match self.long_waits.back_mut() {
            Some(last) if wait.noted.saturating_duration_since(last.noted) < KEEP_EVERY => {
                if last.waited < wait.waited {
                    *last = LongWait { noted: last.noted, ..wait };
                }
            }
            _ => {
                if self.long_waits.len() == KEPT {
                    self.long_waits.pop_front();
                }
                self.long_waits.push_back(wait);
            }
        }
    }

    /// The last long waits, the latest first.
    pub(super) fn long_waits(&self) -> Vec<LongWait> {
        self.long_waits.iter().rev().cloned().collect()
    }

    fn named(&self, holders: Holders) -> Blame {
        let Holders { held, capacity, held_for, top } = holders;
        let name = |route: RouteId| {
            let number = usize::try_from(route.0).unwrap_or_default();
            self.names
                .get(number)
                .or_else(|| self.names.first())
                .map_or_else(|| Arc::from(""), Arc::clone)
        };
        let routes = top.into_iter().map(|holder| Blamed {
            route: name(holder.route),
            count: holder.count,
            median_age: holder.median_age,
        });
        Blame { held, capacity, held_for, routes: routes.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pool of one worker whose rows are held by a slow and a fast route.
    fn held() -> (Blames, Admission<()>, Instant) {
        let mut blames = Blames::new();
        let (slow, fast) = (blames.route("/report/export"), blames.route("/"));
        assert_eq!((blames.route("/"), fast == slow), (fast, false));
        let mut admission = Admission::new(10, Duration::from_secs(10));
        let now = clock::now();
        admission.add_worker(0, 4);
        admission.serve(0, now);
        for route in [slow, slow] {
            admission.admit(route, now).unwrap();
        }
        let now = now + Duration::from_secs(6);
        admission.admit(fast, now).unwrap();
        (blames, admission, now + Duration::from_millis(40))
    }

    #[test]
    fn it_reads_as_a_sentence() {
        let (mut blames, admission, now) = held();
        let text = blames.look(&admission, now).to_string();
        let expected =
            "3 of 4 threads: 2 × /report/export (median age 6 s), 1 × / (median age 40 ms)";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_look_with_the_culprit_in_it_is_kept_and_short_waits_are_not_explained() {
        let (mut blames, admission, now) = held();
        let first = blames.look(&admission, now);
        let short = Duration::from_millis(99);
        assert_eq!(blames.explain((short, Arc::clone(&first)), &admission, now), None);

        let idle = Admission::<()>::new(1, Duration::ZERO);
        let later = now + Duration::from_millis(200);
        let waited = Duration::from_millis(200);
        let kept = blames.explain((waited, Arc::clone(&first)), &idle, later);
        assert_eq!(kept.as_ref(), Some(&first), "nobody holds anything at its end");
        let much_later = now + Duration::from_secs(9);
        let kept = blames.explain((waited, first), &admission, much_later).unwrap();
        assert_eq!(kept.routes[0].median_age, Duration::from_millis(15_040));
        assert_eq!(blames.long_waits().len(), 2);
    }

    #[test]
    fn of_each_second_the_longest_wait_is_kept_and_of_these_the_last_few() {
        let (mut blames, admission, start) = held();
        for tenths in 0..200_u32 {
            let now = start + Duration::from_millis(100) * tenths;
            let waited = Duration::from_millis(u64::from(150 + tenths % 10));
            let first = blames.look(&admission, now);
            assert!(blames.explain((waited, first), &admission, now).is_some());
        }
        let kept = blames.long_waits();
        assert_eq!(kept.len(), KEPT);
        assert!(kept.iter().all(|wait| wait.waited.as_millis() == 159), "{kept:#?}");
    }
}
