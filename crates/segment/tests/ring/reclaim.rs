//! What a proxy that died held is taken back, in every state that it can be in.

use ostler_segment::{
    CellState, CellTicket, Owner, Reclaimed, RowState, RowTicket, Segment, WriteEnd,
};

use super::{cell, create, map};

const DEAD: u32 = 1;
const NEXT: u32 = 2;
const BUSY: Reclaimed = Reclaimed::Busy { is_news: false };

/// How far the dead proxy, and the worker, got with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Claimed,
    Opened,
    Queued,
    Taken,
    Left,
    Finished,
    Closed,
}

const STEPS: [Step; 7] = [
    Step::Claimed,
    Step::Opened,
    Step::Queued,
    Step::Taken,
    Step::Left,
    Step::Finished,
    Step::Closed,
];

fn is_dead(incarnation: u32) -> bool {
    incarnation == DEAD
}

/// Goes so far in row 0.
fn go(segment: &Segment, to: Step) -> (RowTicket, Option<CellTicket>) {
    let row = segment.row(0).claim(DEAD).unwrap();
    let cell = cell(segment, 0);
    let mut ticket = None;
    for step in STEPS.into_iter().filter(|&step| step <= to) {
        match step {
            Step::Claimed => {}
            Step::Opened => ticket = cell.open(DEAD, 0),
            Step::Queued => {
                cell.send(&mut WriteEnd::default(), b"request", true);
                assert!(segment.row(0).start(row, 0, 0, 0) && cell.queue(ticket.unwrap()));
                segment.enqueue(0);
            }
            Step::Taken => assert_eq!(cell.take(), ticket),
            Step::Left => assert!(cell.leave(ticket.unwrap()).is_some()),
            Step::Finished => assert!(cell.finish(ticket.unwrap())),
            Step::Closed => cell.close(ticket.unwrap()),
        }
    }
    (row, ticket)
}

#[test]
fn a_row_of_a_dead_proxy_is_free_as_soon_as_no_handler_runs_in_it_and_not_before() {
    for step in STEPS {
        let fd = create();
        let (dead, next, worker) = (map(&fd), map(&fd), map(&fd));
        let (row, ticket) = go(&dead, step);
        drop(dead);
        assert_eq!(next.reclaim(0, |_| false), BUSY, "{step:?}: while it lives");
        let runs = matches!(step, Step::Taken | Step::Left);
        let found = next.reclaim(0, is_dead);
        assert_eq!(found, if runs { BUSY } else { Reclaimed::Free }, "{step:?}");
        if runs {
            assert_eq!(next.row(0).claim(NEXT), None, "{step:?}: the handler runs");
            assert!(cell(&worker, 0).is_left(ticket.unwrap()), "{step:?}: nobody waits");
            assert!(cell(&worker, 0).finish(ticket.unwrap()), "{step:?}");
            assert_eq!(next.reclaim(0, is_dead), Reclaimed::Free, "{step:?}");
        }
        assert_eq!(cell(&worker, 0).take(), None, "{step:?}: what was taken back is not there");
        assert_eq!(next.reclaim(0, is_dead), Reclaimed::Free, "{step:?}: again");

        let claimed = next.row(0).claim(NEXT).unwrap();
        let opened = cell(&next, 0).open(NEXT, 1).unwrap();
        assert_eq!(next.reclaim(0, is_dead), BUSY, "{step:?}: it is ours");
        assert!(!next.row(0).release(row), "{step:?}: the old claim is worth nothing");
        assert_eq!(cell(&next, 0).state(opened), Some(CellState::Free), "{step:?}");
        assert!(next.row(0).release(claimed), "{step:?}");
    }
}

#[test]
fn a_row_whose_request_went_over_http_stays_busy_and_so_does_one_without_a_cell() {
    let fd = create();
    let (dead, next) = (map(&fd), map(&fd));
    let row = dead.row(0).claim(DEAD).unwrap();
    dead.row(0).note_http(row);
    assert!(dead.row(0).start(row, 0, 0, 0));
    assert_eq!(next.reclaim(0, is_dead), BUSY);
    assert_eq!(next.row(0).state(), Some(RowState::Running));
    // The mark is that of one claim.
    assert!(dead.row(0).release(row));
    let _again = dead.row(0).claim(DEAD).unwrap();
    assert_eq!(next.reclaim(0, is_dead), Reclaimed::Free);
}

#[test]
fn a_task_that_waits_is_told_that_its_proxy_has_died() {
    let fd = create();
    let (dead, next, worker) = (map(&fd), map(&fd), map(&fd));
    let (_, ticket) = go(&dead, Step::Taken);
    let is_left = |cell: &ostler_segment::Cell<'_>| cell.is_left(ticket.unwrap());
    assert!(!cell(&worker, 0).wait_for_news(is_left));
    assert_eq!(next.reclaim(0, is_dead), Reclaimed::Busy { is_news: true });
    assert!(cell(&worker, 0).wait_for_news(is_left));
}

#[test]
fn lanes_of_a_dead_proxy_can_be_claimed_and_those_of_others_cannot() {
    let fd = create();
    let segment = map(&fd);
    let owner = |incarnation| Owner { incarnation, pid: 100 + incarnation };
    for (number, incarnation) in [(0, DEAD), (1, NEXT)] {
        assert!(segment.lane(number).unwrap().claim(owner(incarnation)));
    }
    segment.free_lanes(is_dead);
    assert_eq!(segment.lane(0).unwrap().owner(), None);
    assert_eq!(segment.lane(1).unwrap().owner(), Some(owner(NEXT)));
    assert!(segment.lane(0).unwrap().claim(owner(3)));
    assert!(!segment.lane(0).unwrap().free(owner(DEAD)), "it is another one's");
}
