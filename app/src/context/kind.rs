//! The kinds of costs: how applications name them, and how they are written as `Server-Timing`.

use std::sync::{Mutex, PoisonError};

use ostler_segment::{Cost, Costs};

use crate::report;

/// Unknown names that are spoken of. Who has more has understood by then.
const MAX_UNKNOWN: usize = 16;

/// What a cost is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Database,
    Outbound,
    CacheHit,
    CacheMiss,
    Lock,
}

impl Kind {
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "cache.hit" => return Some(Self::CacheHit),
            "cache.miss" => return Some(Self::CacheMiss),
            "lock" => return Some(Self::Lock),
            _ => {}
        }
        match name.split_once('.').map_or(name, |(first, _)| first) {
            "db" => Some(Self::Database),
            "http" | "outbound" => Some(Self::Outbound),
            _ => None,
        }
    }

    /// The numbers that `count` of it, which took so long together, are added to.
    pub(super) fn amounts(self, count: u64, took_us: u64) -> [(Cost, u64); 2] {
        match self {
            Self::Database => [(Cost::DbQueries, count), (Cost::DbUs, took_us)],
            Self::Outbound => [(Cost::OutboundCalls, count), (Cost::OutboundUs, took_us)],
            // The time of a cache is kept nowhere.
            Self::CacheHit => [(Cost::CacheHits, count), (Cost::CacheHits, 0)],
            Self::CacheMiss => [(Cost::CacheMisses, count), (Cost::CacheMisses, 0)],
            // How often is not kept: once a request.
            Self::Lock => [(Cost::LockUs, took_us), (Cost::LockUs, 0)],
        }
    }
}

/// Says once that a name is none.
pub(super) fn report_unknown(name: &str) {
    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.len() < MAX_UNKNOWN && !said.iter().any(|known| known == name) {
        said.push(name.to_owned());
        report(format_args!(
            "cost {name:?} is ignored: names are db, db.…, http, http.…, outbound, outbound.…, \
             cache.hit, cache.miss and lock"
        ));
    }
}

/// The value of `Server-Timing`: a member for each kind that something was reported of, with its
/// time in milliseconds, and their number in `n`, which is a parameter of our own.
pub(super) fn server_timing(costs: &Costs) -> Option<String> {
    let timed = |name: &str, count, us: u64| {
        let (ms, rest) = (us / 1_000, us % 1_000);
        (count != 0 || us != 0).then(|| format!("{name};dur={ms}.{rest:03};n={count}"))
    };
    let counted = |name: &str, count| (count != 0).then(|| format!("{name};n={count}"));
    let members = [
        timed("db", costs.db_queries, costs.db_us),
        timed("http", costs.outbound_calls, costs.outbound_us),
        counted("cache.hit", costs.cache_hits),
        counted("cache.miss", costs.cache_misses),
    ];
    let members: Vec<String> = members.into_iter().flatten().collect();
    (!members.is_empty()).then(|| members.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_of_a_name_says_what_it_is() {
        for name in ["db", "db.query", "db.", "db.a.b"] {
            assert_eq!(Kind::of(name), Some(Kind::Database), "{name}");
        }
        for name in ["http", "http.search", "outbound", "outbound.mail"] {
            assert_eq!(Kind::of(name), Some(Kind::Outbound), "{name}");
        }
        assert_eq!(Kind::of("cache.hit"), Some(Kind::CacheHit));
        assert_eq!(Kind::of("cache.miss"), Some(Kind::CacheMiss));
        assert_eq!(Kind::of("lock"), Some(Kind::Lock));
        for name in ["", ".", "DB", "dbx", "cache", "cache.hits", "query", ".db", "https"] {
            assert_eq!(Kind::of(name), None, "{name}");
        }
    }

    #[test]
    fn a_field_has_a_member_for_each_kind() {
        check(Costs::default(), None);
        check(Costs { db_queries: 20, db_us: 12_300, ..none() }, Some("db;dur=12.300;n=20"));
        check(Costs { db_us: 7, ..none() }, Some("db;dur=0.007;n=0"));
        check(
            Costs { outbound_calls: 1, outbound_us: 1_000_001, cache_hits: 2, ..none() },
            Some("http;dur=1000.001;n=1, cache.hit;n=2"),
        );
        check(
            Costs { cache_misses: u64::MAX, ..none() },
            Some("cache.miss;n=18446744073709551615"),
        );
    }

    fn none() -> Costs {
        Costs::default()
    }

    #[track_caller]
    fn check(costs: Costs, expected: Option<&str>) {
        assert_eq!(server_timing(&costs).as_deref(), expected, "{costs:?}");
    }
}
