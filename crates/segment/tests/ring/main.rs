//! The ring link over real memfds: what a proxy finds when its worker dies, is replaced, or lies.

#![expect(clippy::unwrap_used, reason = "helpers of tests; clippy only knows test functions")]

mod death;
mod hostile;
mod incarnations;
mod reclaim;

use std::os::fd::{AsFd, OwnedFd};

use ostler_segment::{Access, Cell, Segment, SegmentHead};

/// Rows of the segments here.
const ROWS: u32 = 2;

fn create() -> OwnedFd {
    let head =
        SegmentHead { pool: "shop".to_owned(), slot: 0, generation: 1, rows: ROWS, lanes: 2 };
    Segment::create(&head).unwrap()
}

fn map(fd: &OwnedFd) -> Segment {
    Segment::map(fd.as_fd(), Access::Write).unwrap()
}

fn cell(segment: &Segment, row: u32) -> Cell<'_> {
    segment.cell(row).unwrap()
}
