//! Two proxies in one segment, and tickets that are out of date.

use ostler_segment::{CellState, Found, LeftAt, Owner, ReadEnd, WriteEnd};

use super::{cell, create, map};

const DEAD: Owner = Owner { incarnation: 1, pid: 100 };
const NEXT: Owner = Owner { incarnation: 2, pid: 200 };

#[test]
fn a_cell_of_a_dead_proxy_is_not_used_by_the_next_one_and_its_news_go_to_the_dead_ones_lane() {
    let fd = create();
    let (dead, next, worker) = (map(&fd), map(&fd), map(&fd));
    assert!(dead.lane(0).unwrap().claim(DEAD));
    let ticket = cell(&dead, 0).open(DEAD.incarnation, 0).unwrap();
    cell(&dead, 0).send(&mut WriteEnd::default(), b"old", true);
    assert!(cell(&dead, 0).queue(ticket));
    dead.enqueue(0);
    assert_eq!(cell(&next, 0).open(NEXT.incarnation, 1), None, "it is queued");
    drop(dead);

    assert!(!next.lane(0).unwrap().claim(NEXT), "it belongs to the dead one");
    assert!(next.lane(1).unwrap().claim(NEXT));
    assert_eq!(next.lane(0).unwrap().owner(), Some(DEAD));
    assert_eq!(worker.dequeue(0), Some(0));
    let taken = cell(&worker, 0).take().unwrap();
    assert_eq!(cell(&next, 0).open(NEXT.incarnation, 1), None, "it is taken");

    // The other cell goes its own way meanwhile.
    let other = cell(&next, 1).open(NEXT.incarnation, 1).unwrap();
    cell(&next, 1).send(&mut WriteEnd::default(), b"new", true);
    assert!(cell(&next, 1).queue(other));
    let other_taken = cell(&worker, 1).take().unwrap();
    for (row, text, owner) in [(0, b"old", DEAD), (1, b"new", NEXT)] {
        let mut out = Vec::new();
        let (found, _) = cell(&worker, row).read(&mut ReadEnd::default(), 9, &mut out).unwrap();
        assert_eq!((found, out.as_slice()), (Found::Bytes(3), text.as_slice()));
        assert_eq!(cell(&worker, row).lane(), owner.incarnation - 1);
    }
    for (row, ticket) in [(0, taken), (1, other_taken)] {
        assert!(cell(&worker, row).finish(ticket));
        // Neither event loop has said that it sleeps or that it is awake.
        let _sleeps = worker.lane(cell(&worker, row).lane()).unwrap().tell(row);
    }
    let mut told = Vec::new();
    next.lane(1).unwrap().drain(|row| told.push(row));
    assert_eq!(told, [1], "news of the dead one's request go to the dead one");
    assert_eq!(cell(&next, 1).state(other), Some(CellState::Done));
    assert_eq!(cell(&next, 0).open(NEXT.incarnation, 1), None, "nobody has closed it");
}

#[test]
fn an_old_ticket_changes_nothing_in_whatever_state_the_cell_is() {
    let fd = create();
    let (proxy, worker) = (map(&fd), map(&fd));
    let proxy_cell = cell(&proxy, 0);
    let old = proxy_cell.open(1, 0).unwrap();
    assert!(proxy_cell.queue(old));
    assert_eq!(cell(&worker, 0).take(), Some(old));
    assert!(cell(&worker, 0).finish(old));
    proxy_cell.close(old);

    let new = proxy_cell.open(2, 1).unwrap();
    let expect_unchanged = |state| {
        assert!(!proxy_cell.queue(old));
        assert_eq!(proxy_cell.leave(old), None);
        assert_eq!(proxy_cell.state(old), None);
        assert!(!cell(&worker, 0).finish(old));
        assert!(cell(&worker, 0).is_left(old));
        proxy_cell.close(old);
        assert_eq!(proxy_cell.state(new), Some(state));
    };
    expect_unchanged(CellState::Free);
    assert!(proxy_cell.queue(new));
    expect_unchanged(CellState::Queued);
    assert_eq!(cell(&worker, 0).take(), Some(new));
    expect_unchanged(CellState::Taken);
    assert_eq!(proxy_cell.leave(new), Some(LeftAt::Worker));
    expect_unchanged(CellState::Left);
    assert!(cell(&worker, 0).finish(new));
    expect_unchanged(CellState::Done);
    proxy_cell.close(new);
    expect_unchanged(CellState::Free);
}
