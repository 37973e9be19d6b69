//! A worker that writes what it likes where it likes: its proxy does not panic, hang, or read
//! more than a ring holds. `fuzz/fuzz_targets/ring.rs` does the same for longer.

use std::os::fd::OwnedFd;

use ostler_segment::{CellTicket, Found, Owner, ReadEnd, Segment, WriteEnd};
use proptest::prelude::*;

use super::{ROWS, cell, create, map};

/// Bytes of a ring of these segments: see `segment::ring_words`.
const RING_BYTES: usize = 128 << 10;

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The worker writes a word, counted from the end of the segment's rows.
    Write {
        at: u64,
        word: u64,
    },
    Open,
    Queue,
    Send {
        bytes: usize,
        is_last: bool,
    },
    WaitForRoom,
    Receive {
        limit: usize,
    },
    WakeWorker,
    Leave,
    Close,
    Look,
    Ring,
}

/// Words that mean something somewhere, and any others.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..9_u64,
        (0..9_u64).prop_map(|back| u64::MAX - back),
        (0..64_u32).prop_map(|bit| 1 << bit),
        (0..64_u32).prop_map(|bit| (1_u64 << bit).wrapping_sub(1)),
        (0..4_u64, 0..2_u64 << 17).prop_map(|(flags, count)| (flags << 62) | count),
        any::<u64>(),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..300_u64, word()).prop_map(|(at, word)| Event::Write { at, word }),
        1 => Just(Event::Open),
        1 => Just(Event::Queue),
        2 => (0..200_000_usize, any::<bool>())
            .prop_map(|(bytes, is_last)| Event::Send { bytes, is_last }),
        1 => Just(Event::WaitForRoom),
        3 => (0..300_000_usize).prop_map(|limit| Event::Receive { limit }),
        1 => Just(Event::WakeWorker),
        1 => Just(Event::Leave),
        1 => Just(Event::Close),
        1 => Just(Event::Look),
        1 => Just(Event::Ring),
    ]
}

/// The proxy's side, with one request at a time in the first cell.
struct Proxy {
    fd: OwnedFd,
    segment: Segment,
    ticket: Option<CellTicket>,
    sending: WriteEnd,
    receiving: ReadEnd,
}

impl Proxy {
    fn new() -> Self {
        let fd = create();
        let segment = map(&fd);
        let (sending, receiving) = (WriteEnd::default(), ReadEnd::default());
        Self { fd, segment, ticket: None, sending, receiving }
    }

    fn do_event(&mut self, event: Event) {
        let cell = cell(&self.segment, 0);
        match event {
            Event::Write { at, word } => self.write(at, word),
            Event::Open => {
                self.ticket = cell.open(1, 0);
                (self.sending, self.receiving) = (WriteEnd::default(), ReadEnd::default());
            }
            Event::Queue => {
                let _queued = self.ticket.map(|ticket| cell.queue(ticket));
                self.segment.enqueue(0);
            }
            Event::Send { bytes, is_last } => {
                let sent = cell.send(&mut self.sending, &vec![7; bytes], is_last);
                assert!(sent <= bytes.min(RING_BYTES));
            }
            Event::WaitForRoom => {
                let _has_room = cell.wait_for_room(&self.sending);
            }
            Event::Receive { limit } => self.receive(limit),
            Event::WakeWorker => {
                let _waiter = cell.wake_worker();
            }
            Event::Leave => {
                let _left_at = self.ticket.map(|ticket| cell.leave(ticket));
            }
            Event::Close => self.ticket.iter().for_each(|&ticket| cell.close(ticket)),
            Event::Look => self.look(),
            Event::Ring => {
                let bell = self.segment.bell().unwrap();
                let _rung = (bell.ring(), bell.force(), bell.is_short());
                self.segment.add_news(0);
            }
        }
    }

    fn receive(&mut self, limit: usize) {
        let mut out = Vec::new();
        let found = cell(&self.segment, 0).receive(&mut self.receiving, limit, &mut out);
        assert!(out.len() <= limit.min(RING_BYTES), "more than a ring holds");
        match found {
            Ok(Found::Bytes(count)) => assert!(0 < count && count == out.len()),
            Ok(Found::Nothing | Found::End) | Err(_) => assert!(out.is_empty()),
        }
    }

    fn look(&self) {
        let owner = Owner { incarnation: 1, pid: 1 };
        for lane in (0..9).filter_map(|number| self.segment.lane(number)) {
            let _claimed = (lane.claim(owner), lane.owner());
            lane.fall_asleep();
            let mut count = 0;
            lane.drain(|_row| count += 1);
            assert!(count <= 8 * 64, "no more than there are bits");
            lane.wake_up();
        }
        let _has_queued = self.segment.has_queued();
        for row in self.segment.iter() {
            let _snapshot = (row.snapshot(), row.state());
        }
    }

    /// Writes where a worker might want to: the last rows, bell, sets, lanes, the first cell's
    /// control words, or the second's.
    fn write(&self, at: u64, word: u64) {
        let size = rustix::fs::fstat(&self.fd).unwrap().st_size.unsigned_abs();
        let cell_bytes = (8 + 2 * RING_BYTES as u64 / 8) * 8;
        let cells = size - u64::from(ROWS) * cell_bytes;
        let offset = match at {
            // The 250 words before the cells, and the words of the cell from 250 on.
            0..250 => cells.saturating_sub(8 * (250 - at)),
            250..275 => cells + 8 * ((at - 250) % 8),
            _ => cells + cell_bytes + 8 * (at - 275),
        };
        rustix::io::pwrite(&self.fd, &word.to_ne_bytes(), offset).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]
    #[test]
    fn a_worker_that_writes_anything_anywhere_does_not_harm_its_proxy(
        events in prop::collection::vec(event(), 1..60),
    ) {
        let mut proxy = Proxy::new();
        for event in events {
            proxy.do_event(event);
        }
    }
}
