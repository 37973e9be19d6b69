//! Tables of who is let in, in which order, and who is not.

use super::*;

const ANY: RouteId = RouteId(0);
const SLOW: RouteId = RouteId(7);
const MS: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_mins(1);

#[expect(clippy::disallowed_methods, reason = "any instant will do: only differences count")]
fn now() -> Instant {
    Instant::now()
}

/// A pool of `workers` with `rows` each that all serve.
fn pool(workers: u64, rows: u32, queue_length: usize) -> Admission<u32> {
    let mut pool = Admission::new(queue_length, MINUTE);
    for id in 0..workers {
        pool.add_worker(id, rows);
        pool.serve(id, now());
    }
    pool
}

/// Releases a permit; returns who has it next.
fn released(pool: &mut Admission<u32>, place: Place) -> Option<Grant<u32>> {
    assert!(pool.release(place, now()));
    pool.next_grant(now())
}

fn admitted(arrival: Arrival<u32>) -> Place {
    match arrival {
        Arrival::Admitted(place, _) => place,
        other @ (Arrival::Queued(_) | Arrival::Shed(..)) => panic!("not admitted: {other:?}"),
    }
}

fn queued(arrival: Arrival<u32>) -> Ticket {
    match arrival {
        Arrival::Queued(ticket) => ticket,
        other @ (Arrival::Admitted(..) | Arrival::Shed(..)) => panic!("not queued: {other:?}"),
    }
}

#[test]
fn permits_go_to_the_least_busy_worker_in_turn() {
    let mut pool = pool(2, 2, 0);
    let taken: Vec<_> = (0..4).map(|_| admitted(pool.arrive(ANY, 0, now())).worker).collect();
    assert_eq!((taken[0] != taken[1], taken[2] != taken[3]), (true, true), "{taken:?}");
    assert_eq!(pool.busy(), 4);
    assert!(matches!(pool.arrive(ANY, 9, now()), Arrival::Shed(Shed::QueueFull(_), 9)));
}

#[test]
fn who_waits_is_served_first_come_first_served_and_never_overtaken() {
    let mut pool = pool(1, 1, 3);
    let place = admitted(pool.arrive(ANY, 0, now()));
    let first = queued(pool.arrive(ANY, 1, now()));
    queued(pool.arrive(ANY, 2, now()));
    queued(pool.arrive(ANY, 3, now()));
    assert_eq!(pool.leave(first), Some(1));
    assert_eq!(pool.leave(first), None);
    let grant = released(&mut pool, place).unwrap();
    assert_eq!(grant.waiter, 2);
    queued(pool.arrive(ANY, 4, now()));
    assert_eq!(released(&mut pool, grant.place).unwrap().waiter, 3);
}

#[test]
fn requests_wait_for_a_worker_that_starts_and_are_shed_when_there_is_none() {
    let mut pool = Admission::new(2, MINUTE);
    queued(pool.arrive(ANY, 1, now()));
    pool.add_worker(7, 1);
    queued(pool.arrive(ANY, 2, now()));
    assert!(pool.next_grant(now()).is_none(), "it starts");
    pool.serve(7, now());
    let granted: Vec<u32> =
        std::iter::from_fn(|| pool.next_grant(now())).map(|it| it.waiter).collect();
    assert_eq!(granted, [1]);
    pool.lose(7, now());
    assert_eq!(pool.would_shed(ANY, now()), None, "another one is expected in its place");
    assert_eq!(pool.remove_worker(7, now()), [2], "nobody is left to serve it");
    assert!(matches!(pool.arrive(ANY, 3, now()), Arrival::Shed(Shed::PoolNotReady, 3)));
}

#[test]
fn a_withdrawn_worker_gives_no_permit_and_is_idle_when_the_last_is_back() {
    let mut pool = pool(2, 1, 5);
    let place = admitted(pool.arrive(ANY, 0, now()));
    let other = admitted(pool.arrive(ANY, 0, now()));
    assert!(!pool.withdraw(place.worker, now()));
    queued(pool.arrive(ANY, 1, now()));
    assert!(released(&mut pool, place).is_none());
    assert!(pool.is_idle(place.worker));
    assert_eq!(released(&mut pool, other).unwrap().place.worker, other.worker);
}

#[test]
fn a_permit_of_a_worker_that_is_gone_is_released_without_effect() {
    let mut pool = pool(1, 1, 5);
    let place = admitted(pool.arrive(ANY, 0, now()));
    pool.remove_worker(place.worker, now());
    assert!(!pool.release(place, now()));
    assert_eq!(pool.busy(), 0);
}

#[test]
fn who_is_over_its_share_stands_aside_and_keeps_its_order() {
    let mut pool = pool(1, 4, 10);
    pool.set_shares(&[(SLOW, Share::percent(50))], now());
    let held: Vec<Place> = (0..2).map(|_| admitted(pool.arrive(SLOW, 0, now()))).collect();
    assert_eq!(pool.would_shed(SLOW, now()), None);
    for waiter in [1, 2, 3] {
        queued(pool.arrive(SLOW, waiter, now()));
    }
    assert!(pool.next_grant(now()).is_none(), "two rows are free, but not for them");
    let others = [(); 2].map(|()| admitted(pool.arrive(ANY, 10, now())));
    queued(pool.arrive(ANY, 11, now()));
    assert_eq!(released(&mut pool, others[0]).unwrap().waiter, 11, "passes by who came before");
    assert_eq!(released(&mut pool, held[0]).unwrap().waiter, 1);
    assert!(released(&mut pool, others[1]).is_none());
    assert_eq!(released(&mut pool, held[1]).unwrap().waiter, 2);
    assert_eq!(pool.queued(), 1);
}

#[test]
fn a_share_is_of_the_rows_that_serve_and_of_the_queue() {
    let mut pool = pool(2, 4, 4);
    pool.set_shares(&[(SLOW, Share::percent(50))], now());
    let held: Vec<Place> = (0..4).map(|_| admitted(pool.arrive(SLOW, 0, now()))).collect();
    queued(pool.arrive(SLOW, 1, now()));
    queued(pool.arrive(SLOW, 2, now()));
    assert!(matches!(pool.arrive(SLOW, 3, now()), Arrival::Shed(Shed::QueueFull(_), 3)));
    pool.withdraw(0, now());
    assert!(pool.next_grant(now()).is_none(), "it holds two of four rows that serve");
    let of_other = held.iter().find(|place| place.worker == 1).unwrap();
    assert_eq!(released(&mut pool, *of_other).unwrap().waiter, 1);
    pool.add_worker(2, 4);
    pool.serve(2, now());
    assert_eq!(pool.next_grant(now()).unwrap().waiter, 2, "the limit is four again");
}

#[test]
fn shares_may_change_while_their_routes_hold_and_wait() {
    let mut pool = pool(1, 4, 10);
    let held: Vec<Place> = (0..3).map(|_| admitted(pool.arrive(SLOW, 0, now()))).collect();
    let other = admitted(pool.arrive(ANY, 0, now()));
    for (route, waiter) in [(SLOW, 1), (ANY, 2), (SLOW, 3)] {
        queued(pool.arrive(route, waiter, now()));
    }
    pool.set_shares(&[(SLOW, Share::percent(50))], now());
    assert_eq!(released(&mut pool, held[0]).unwrap().waiter, 2, "it still holds two of two");
    pool.set_shares(&[], now());
    assert_eq!(released(&mut pool, other).unwrap().waiter, 1, "in the order they came");
    assert_eq!(released(&mut pool, held[1]).unwrap().waiter, 3);
}

#[test]
fn a_wait_that_would_be_too_long_is_refused_with_the_time_it_takes_to_get_short_enough() {
    let mut pool = Admission::new(1_000, 1_000 * MS);
    let mut now = now();
    pool.add_worker(0, 1);
    pool.serve(0, now);
    for _ in 0..100 {
        let place = pool.admit(ANY, now).unwrap();
        now += 100 * MS;
        pool.release(place, now);
    }
    let place = pool.admit(ANY, now).unwrap();
    let before = (0..).take_while(|_| matches!(pool.arrive(ANY, 0, now), Arrival::Queued(_)));
    assert_eq!(before.count(), 10, "ten of 100 ms each in a second");
    let Some(Shed::PredictedWait(after)) = pool.would_shed(ANY, now) else { panic!("let wait") };
    assert!((45..=55).contains(&after.as_millis()), "{after:?}");
    now += 100 * MS;
    pool.release(place, now);
    assert!(pool.next_grant(now).is_some());
    assert_eq!(pool.would_shed(ANY, now), None);
    // Nothing comes back for a while: what would have been let wait is not any more.
    now += 20_000 * MS;
    assert!(matches!(pool.would_shed(ANY, now), Some(Shed::PredictedWait(_))));
}

#[test]
fn a_share_is_taken_into_account_by_the_prediction() {
    let mut pool = Admission::new(1_000, 1_000 * MS);
    let mut now = now();
    pool.set_shares(&[(SLOW, Share::percent(50))], now);
    pool.add_worker(0, 4);
    pool.serve(0, now);
    for _ in 0..100 {
        let slow = pool.admit(SLOW, now).unwrap();
        let fast = pool.admit(ANY, now).unwrap();
        now += 10 * MS;
        pool.release(fast, now);
        now += 390 * MS;
        pool.release(slow, now);
    }
    for route in [SLOW, SLOW, ANY, ANY] {
        pool.admit(route, now).unwrap();
    }
    let waits = |pool: &mut Admission<u32>, route| {
        (0..500).take_while(|_| matches!(pool.arrive(route, 0, now), Arrival::Queued(_))).count()
    };
    assert_eq!(waits(&mut pool, SLOW), 5, "two rows, 400 ms each");
    let others = waits(&mut pool, ANY);
    assert!((190..=215).contains(&others), "{others}: two rows, 10 ms each");
}

#[test]
fn a_place_that_another_proxy_holds_is_no_permit_until_it_is_given_back() {
    let mut pool = pool(1, 2, 5);
    let held = Place { worker: 0, row: 0 };
    pool.hold_back(held, now());
    let place = admitted(pool.arrive(ANY, 0, now()));
    assert_eq!((place.row, pool.busy()), (1, 2));
    queued(pool.arrive(ANY, 1, now()));
    assert!(!pool.withdraw(0, now()) && !pool.is_idle(0));
    assert!(released(&mut pool, place).is_none(), "it is withdrawn");
    assert!(!pool.is_idle(0), "a handler of the other proxy runs");
    assert!(pool.give_back(held));
    assert!(pool.is_idle(0));
}

#[test]
fn who_lost_the_place_it_was_given_keeps_its_turn() {
    let mut pool = pool(1, 2, 1);
    let (lost, other) =
        (admitted(pool.arrive(ANY, 0, now())), admitted(pool.arrive(ANY, 0, now())));
    let ticket = queued(pool.arrive(ANY, 1, now()));
    let grant = released(&mut pool, other).unwrap();
    queued(pool.arrive(ANY, 2, now()));
    pool.hold_back(grant.place, now());
    pool.resume(ticket, ANY, now(), grant.waiter);
    assert!(pool.next_grant(now()).is_none(), "nothing else is free");
    assert_eq!(pool.queued(), 2, "also beyond the length of the queue");
    assert!(pool.give_back(other));
    let grant = pool.next_grant(now()).unwrap();
    assert_eq!(grant.waiter, 1, "before who came later");
    pool.hold_back(grant.place, now());
    pool.resume(ticket, ANY, now(), 1);
    assert_eq!(pool.leave(ticket), Some(1), "and may leave as before");
    assert_eq!(released(&mut pool, lost).unwrap().waiter, 2);
}
