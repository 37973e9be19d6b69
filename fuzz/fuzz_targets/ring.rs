//! The segment of a hostile worker: whatever it writes between two steps of the proxy, the proxy
//! does not panic, read more than a ring holds, or stand still.

#![no_main]

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use ostler_segment::{
    Access, CellTicket, Found, Owner, ReadEnd, Segment, SegmentHead, WriteEnd,
};

/// Enough rows that their rings are the smallest there are.
const ROWS: u32 = 16_384;
const RING_BYTES: u64 = 8 << 10;
const CELL_BYTES: u64 = 64 + 2 * RING_BYTES;

/// What happens next.
#[derive(Arbitrary, Debug)]
enum Event {
    /// The worker writes a word of a cell it serves, of its control words or its rings.
    WriteCell { row: u8, at: u16, word: u64 },
    /// The worker writes a word before the cells: lanes, sets, bell, rows.
    WriteBefore { back: u16, word: u64 },
    /// The worker counts on, or back, from what the proxy published.
    Count { row: u8, at: u8, by: i8, flags: u8 },
    Open { row: u8 },
    Queue,
    Send { bytes: u16, is_last: bool },
    WaitForRoom,
    Receive { limit: u32 },
    WakeWorker,
    Leave,
    Close,
    Look { lane: u8 },
    Ring,
}

struct Proxy {
    file: std::fs::File,
    segment: Segment,
    /// Where the cells are, in bytes.
    cells: u64,
    row: u32,
    ticket: Option<CellTicket>,
    sending: WriteEnd,
    receiving: ReadEnd,
}

fuzz_target!(|events: Vec<Event>| {
    let mut proxy = Proxy::new();
    for event in events {
        proxy.step(event);
    }
});

impl Proxy {
    fn new() -> Self {
        let head =
            SegmentHead { pool: "shop".to_owned(), slot: 0, generation: 1, rows: ROWS, lanes: 2 };
        let fd: OwnedFd = Segment::create(&head).expect("a memfd");
        let segment = Segment::map(fd.as_fd(), Access::Write).expect("ours");
        let file = std::fs::File::from(fd);
        let size = file.metadata().expect("open").len();
        Self {
            file,
            segment,
            cells: size - u64::from(ROWS) * CELL_BYTES,
            row: 0,
            ticket: None,
            sending: WriteEnd::default(),
            receiving: ReadEnd::default(),
        }
    }

    fn write(&self, offset: u64, word: u64) {
        self.file.write_all_at(&word.to_ne_bytes(), offset).expect("within the memory");
    }

    fn step(&mut self, event: Event) {
        let cell = self.segment.cell(self.row).expect("there is one for each row");
        match event {
            Event::WriteCell { row, at, word } => {
                let at = u64::from(at) % (CELL_BYTES / 8) * 8;
                self.write(self.cells + u64::from(row) * CELL_BYTES + at, word);
            }
            Event::WriteBefore { back, word } => {
                self.write(self.cells - 8 * (1 + u64::from(back)), word);
            }
            Event::Count { row, at, by, flags } => {
                let at = self.cells + u64::from(row) * CELL_BYTES + u64::from(at % 8) * 8;
                let mut word = [0; 8];
                self.file.read_exact_at(&mut word, at).expect("within the memory");
                let word = u64::from_ne_bytes(word).wrapping_add_signed(i64::from(by) * 97);
                self.write(at, word ^ (u64::from(flags) << 56));
            }
            Event::Open { row } => {
                self.row = u32::from(row);
                let cell = self.segment.cell(self.row).expect("there is one for each row");
                self.ticket = cell.open(1, 0);
                (self.sending, self.receiving) = Default::default();
            }
            Event::Queue => {
                self.ticket.map(|ticket| cell.queue(ticket));
                self.segment.enqueue(self.row);
            }
            Event::Send { bytes, is_last } => {
                let bytes = vec![7; usize::from(bytes)];
                let sent = cell.send(&mut self.sending, &bytes, is_last);
                assert!(sent <= bytes.len() && sent as u64 <= RING_BYTES);
            }
            Event::WaitForRoom => {
                let _has_room = cell.wait_for_room(&self.sending);
            }
            Event::Receive { limit } => self.receive(limit as usize),
            Event::WakeWorker => {
                let _has_news = cell.wake_worker();
            }
            Event::Leave => {
                self.ticket.map(|ticket| cell.leave(ticket));
            }
            Event::Close => self.ticket.iter().for_each(|&ticket| cell.close(ticket)),
            Event::Look { lane } => self.look(lane),
            Event::Ring => {
                let bell = self.segment.bell().expect("there is one");
                let _rung = (bell.ring(), bell.force());
                self.segment.add_news(self.row);
            }
        }
    }

    fn receive(&mut self, limit: usize) {
        let cell = self.segment.cell(self.row).expect("there is one for each row");
        let mut out = Vec::new();
        let is_ready = cell.has_answer(&self.receiving);
        let found = cell.receive(&mut self.receiving, limit, &mut out);
        assert!(out.len() <= limit && out.len() as u64 <= RING_BYTES);
        match found {
            Ok(Found::Bytes(count)) => assert_eq!((count, is_ready), (out.len(), true)),
            Ok(Found::Nothing) => assert!(out.is_empty() && (!is_ready || limit == 0)),
            Ok(Found::End) | Err(_) => assert!(out.is_empty()),
        }
    }

    fn look(&self, lane: u8) {
        let Some(lane) = self.segment.lane(u32::from(lane)) else { return };
        lane.claim(Owner { incarnation: 1, pid: 1 });
        lane.owner();
        lane.fall_asleep();
        let mut count = 0;
        lane.drain(|_row| count += 1);
        assert!(count <= ROWS.next_multiple_of(512), "no more than there are bits");
        lane.wake_up();
    }
}
