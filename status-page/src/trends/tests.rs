//! Trends from snapshots, with gaps and restarts between them.

use super::*;
use crate::snapshot::{Pool, ShedTotal};

/// A step begins here.
const START_S: u64 = 1_767_225_600;

#[test]
fn each_point_has_the_worst_of_its_step_and_the_rate_of_its_counters() {
    let mut log = TrendLog::default();
    // Ten a second; the pool is full in one second only.
    for second in 0..=20 {
        log.note(&snapshot(second, second * 10, if second == 13 { 30 } else { 3 }));
    }
    let trends = log.trends(at(20));
    assert_eq!((trends.until, trends.step_s), (at(30), 10));
    assert_eq!(trends.requests.len(), TrendLog::STEPS);
    assert_eq!(last(&trends.requests, 4), [None, Some(10.0), Some(10.0), Some(10.0)]);
    assert_eq!(last(&trends.errors, 2), [Some(1.0), Some(1.0)]);
    let web = &trends.pools["web"];
    assert_eq!(last(&web.busy, 4), [None, Some(3.0), Some(30.0), Some(3.0)]);
    assert_eq!(last(&web.shed, 2), [Some(2.0), Some(2.0)]);
}

#[test]
fn a_gap_or_a_counter_that_went_back_is_no_rate() {
    let mut log = TrendLog::default();
    log.note(&snapshot(0, 1_000, 1));
    // Six seconds later: who knows what was between.
    log.note(&snapshot(6, 2_000, 1));
    assert_eq!(last(&log.trends(at(6)).requests, 1), [None]);
    // Another server.
    log.note(&snapshot(7, 5, 1));
    assert_eq!(last(&log.trends(at(7)).requests, 1), [None]);
    log.note(&snapshot(8, 15, 1));
    assert_eq!(last(&log.trends(at(8)).requests, 1), [Some(10.0)]);
    // The clock was set back: nothing is negative.
    log.note(&snapshot(3, 25, 1));
    assert_eq!(last(&log.trends(at(8)).requests, 1), [Some(10.0)]);
}

#[test]
fn what_was_noted_while_the_clock_was_ahead_is_dropped_once_it_is_right() {
    let mut log = TrendLog::default();
    // An hour and more of the future.
    for second in 10_000..14_000 {
        log.note(&snapshot(second, second, 1));
    }
    for second in 0..600 {
        log.note(&snapshot(second, 20_000 + second * 10, 1));
    }
    let trends = log.trends(at(599));
    let known = trends.requests.iter().flatten().count();
    assert_eq!((known, log.steps.len()), (60, 60));
}

#[test]
fn what_is_older_than_an_hour_is_forgotten_and_steps_of_the_history_join() {
    let mut log = TrendLog::default();
    for second in 0..3_700 {
        log.note(&snapshot(second, second, 1));
    }
    assert_eq!(log.steps.len(), TrendLog::STEPS);
    let number = Step::number_of(at(0));
    assert_eq!(log.steps(number, number + 12).len(), 2, "370 steps, of which 360 are kept");

    let mut joined = TrendLog::default();
    for step in log.steps(0, u64::MAX).into_iter().rev() {
        joined.add(step.clone());
        joined.add(step);
    }
    let (once, twice) = (log.trends(at(3_699)), joined.trends(at(3_699)));
    assert_eq!(once.requests, twice.requests, "rates do not depend on how a step was put together");
    assert_eq!(once.pools["web"].busy, twice.pools["web"].busy);
}

fn last(points: &[Option<f64>], number: usize) -> &[Option<f64>] {
    &points[points.len() - number..]
}

fn at(second: u64) -> UnixTime {
    UnixTime::from_ms((START_S + second) * 1_000)
}

fn snapshot(second: u64, requests: u64, busy: u64) -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.server.started = at(second);
    snapshot.requests.total = requests;
    snapshot.requests.by_status.server_error = requests / 10;
    let shed_total = ShedTotal { queue_full: requests / 5, ..ShedTotal::default() };
    snapshot.pools.insert("web".to_owned(), Pool { busy, shed_total, ..Pool::default() });
    snapshot
}
