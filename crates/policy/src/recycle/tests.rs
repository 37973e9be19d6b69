//! The rules one by one, and a simulation of a pool under any order of events.

use std::time::Duration;

use super::*;

const LIMITS: Limits = Limits { processes: 2, surge: 1, min_ready: 2 };
const ONE_LESS: Limits = Limits { processes: 2, surge: 0, min_ready: 1 };

use Standing::{Leaving, Ready, Rising, Vacant};

#[test]
fn nothing_is_done_without_a_request_and_what_is_missing_is_started() {
    check(LIMITS, &[], &[(1, 0, Ready), (2, 1, Ready)], None);
    check(LIMITS, &[], &[(1, 0, Ready)], Some(Step::Start { slot: 1 }));
    check(LIMITS, &[], &[(1, 0, Ready), (2, 1, Vacant)], None);
    check(ONE_LESS, &[], &[(1, 0, Ready), (2, 1, Leaving)], None);
}

#[test]
fn a_replacement_serves_before_the_one_before_it_goes() {
    let asked = [(1, Reason::Operator)];
    check(LIMITS, &asked, &[(1, 0, Ready), (2, 1, Ready)], Some(Step::Start { slot: 0 }));
    check(LIMITS, &asked, &[(1, 0, Ready), (2, 1, Ready), (3, 0, Rising)], None);
    let retire = Step::Retire { key: 1, reason: Some(Reason::Operator) };
    check(LIMITS, &asked, &[(1, 0, Ready), (2, 1, Ready), (3, 0, Ready)], Some(retire));
    check(LIMITS, &asked, &[(1, 0, Leaving), (2, 1, Ready), (3, 0, Ready)], None);
}

#[test]
fn the_floor_holds_a_worker_back_whose_replacement_serves() {
    let asked = [(1, Reason::MaxAge)];
    check(LIMITS, &asked, &[(1, 0, Ready), (2, 1, Vacant), (3, 0, Ready)], None);
    let lower = Limits { min_ready: 1, ..LIMITS };
    let retire = Step::Retire { key: 1, reason: Some(Reason::MaxAge) };
    check(lower, &asked, &[(1, 0, Ready), (2, 1, Vacant), (3, 0, Ready)], Some(retire));
}

#[test]
fn without_surge_the_old_one_goes_first_and_only_one() {
    let asked = [(1, Reason::Operator), (2, Reason::Operator)];
    let retire = Step::Retire { key: 1, reason: Some(Reason::Operator) };
    check(ONE_LESS, &asked, &[(1, 0, Ready), (2, 1, Ready)], Some(retire));
    check(ONE_LESS, &asked, &[(1, 0, Leaving), (2, 1, Ready)], None);
    check(ONE_LESS, &asked[1..], &[(2, 1, Ready)], Some(Step::Start { slot: 0 }));
    check(ONE_LESS, &asked[1..], &[(2, 1, Ready), (3, 0, Rising)], None);
}

#[test]
fn a_slow_drain_keeps_the_surge_place() {
    let asked = [(2, Reason::MaxAge)];
    check(LIMITS, &asked, &[(1, 0, Leaving), (2, 1, Ready), (3, 0, Ready)], None);
}

#[test]
fn urgent_reasons_come_first_and_equal_ones_in_their_order() {
    let mut scheduler = Scheduler::new(LIMITS);
    let asked = [
        (1, Reason::MaxAge),
        (2, Reason::ReloadOnChange),
        (3, Reason::Operator),
        (4, Reason::MaxIdle),
        (5, Reason::Health),
        (6, Reason::MaxMemory),
        (7, Reason::EveryThreadStuck),
        (8, Reason::RequestTimeout),
        // Known already: a lesser reason changes nothing, a more urgent one does.
        (5, Reason::MaxAge),
        (4, Reason::MaxMemory),
    ];
    for (key, reason) in asked {
        scheduler.request(key, reason);
    }
    let places: Vec<Place> = (1..=8).map(|key| Place { key, slot: 0, standing: Ready }).collect();
    let order: Vec<u64> = scheduler.pending(&places).map(|(place, _)| place.key).collect();
    assert_eq!(order, [7, 5, 8, 6, 4, 2, 3, 1]);
}

#[test]
fn one_worker_at_a_time_for_stuck_threads_but_others_may_go_beside_it() {
    let wide = Limits { processes: 3, surge: 2, min_ready: 3 };
    let places = [(1, 0, Ready), (2, 1, Ready), (3, 2, Ready), (4, 0, Rising)];
    let asked = [(1, Reason::RequestTimeout), (2, Reason::RequestTimeout)];
    check(wide, &asked, &places, None);
    let asked = [(1, Reason::RequestTimeout), (2, Reason::EveryThreadStuck)];
    check(wide, &asked, &places, Some(Step::Start { slot: 1 }));
    let asked = [(1, Reason::RequestTimeout), (2, Reason::RequestTimeout), (3, Reason::MaxAge)];
    check(wide, &asked, &places, Some(Step::Start { slot: 2 }));
}

#[test]
fn a_worker_that_serves_nobody_does_not_wait_for_a_surge_place() {
    let asked = [(2, Reason::EveryThreadStuck)];
    let retire = Step::Retire { key: 2, reason: Some(Reason::EveryThreadStuck) };
    let full = [(1, 0, Leaving), (2, 1, Ready), (3, 0, Ready)];
    check(LIMITS, &asked, &full, Some(retire));
    check(LIMITS, &asked, &full[1..], Some(Step::Start { slot: 1 }));
}

#[test]
fn a_replacement_is_given_up_with_its_request_and_takes_over_from_one_that_died() {
    let beside = [(1, 0, Ready), (2, 1, Ready), (3, 0, Rising)];
    check(LIMITS, &[], &beside, Some(Step::Retire { key: 3, reason: None }));
    let died = [(1, 0, Vacant), (2, 1, Ready), (3, 0, Rising)];
    check(LIMITS, &[], &died, Some(Step::Retire { key: 1, reason: None }));
}

#[test]
fn a_worker_that_does_not_serve_yet_goes_at_once() {
    let asked = [(1, Reason::Configuration)];
    let retire = Step::Retire { key: 1, reason: Some(Reason::Configuration) };
    check(LIMITS, &asked, &[(1, 0, Rising), (2, 1, Vacant)], Some(retire));
    check(LIMITS, &asked, &[(1, 0, Vacant), (2, 1, Vacant)], Some(retire));
}

#[test]
fn slots_that_are_too_many_go_as_far_as_the_floor_allows() {
    let retire = Step::Retire { key: 3, reason: Some(Reason::Configuration) };
    check(LIMITS, &[], &[(1, 0, Ready), (2, 1, Ready), (3, 2, Ready)], Some(retire));
    check(LIMITS, &[], &[(1, 0, Ready), (2, 1, Rising), (3, 2, Ready)], None);
}

#[test]
fn a_forced_request_goes_at_its_time_whatever_the_floor_says() {
    let now = start();
    let mut scheduler = Scheduler::new(LIMITS);
    scheduler.request(1, Reason::MaxMemory);
    let later = now + Duration::from_secs(30);
    scheduler.force(1, later);
    scheduler.force(1, later + Duration::from_secs(9));
    let places = places(&[(1, 0, Ready), (2, 1, Ready), (3, 0, Vacant)]);
    assert_eq!((scheduler.next(&places, now), scheduler.due(now)), (None, Some(later)));
    let retire = Step::Retire { key: 1, reason: Some(Reason::MaxMemory) };
    assert_eq!(scheduler.next(&places, later), Some(retire));
    scheduler.exited(1);
    assert_eq!(scheduler.due(now), None);
}

#[track_caller]
fn check(
    limits: Limits,
    asked: &[(u64, Reason)],
    standings: &[(u64, u32, Standing)],
    expected: Option<Step>,
) {
    let mut scheduler = Scheduler::new(limits);
    for &(key, reason) in asked {
        scheduler.request(key, reason);
    }
    assert_eq!(scheduler.next(&places(standings), start()), expected);
}

fn places(standings: &[(u64, u32, Standing)]) -> Vec<Place> {
    let place = |&(key, slot, standing)| Place { key, slot, standing };
    standings.iter().map(place).collect()
}

#[expect(clippy::disallowed_methods, reason = "the start of the virtual clock")]
fn start() -> Instant {
    Instant::now()
}
