//! Shared memory of Ostler: rows (the scoreboard), the ring link, and pages of counters.
//!
//! A worker's [`Segment`] is one sealed memfd that the supervisor creates: a checked head, the
//! [`Figures`] of its process, one fixed-size [`Row`] for each unit of the worker's concurrency, and for each row a [`Cell`]
//! through which its request and the answer go. A claimed row is a permit.
//! A [`CounterPage`] is an array of counters that outlives the process that counts.
//!
//! **Invariants:** all `unsafe` is in `map`, which hands out atomic words and nothing else; no
//! content of a mapping is trusted, because a worker can write there: it is copied out within
//! fixed bounds, then checked. Nothing here blocks, and readers never hold up a writer.

pub mod counter;

mod atomic;
mod bell;
mod bits;
mod bytes;
mod cell;
mod cost;
mod error;
mod figures;
mod lane;
mod map;
#[cfg(all(test, loom))]
mod models;
mod page;
mod reclaim;
mod row;
mod segment;
mod state;
mod stream;
mod summary;

pub use bell::{Bell, LinkKind, Rung, WAKE_COST};
pub use cell::{Cell, CellState, CellTicket, LeftAt};
pub use cost::{Cost, Costs};
pub use error::SegmentError;
pub use figures::Figures;
pub use lane::{Lane, Owner};
pub use map::{Access, take_inherited};
pub use page::CounterPage;
pub use reclaim::Reclaimed;
pub use row::{RequestSnapshot, Row, RowSnapshot, RowTicket, TakenRow};
pub use segment::{MAX_LANES, MAX_POOL_NAME_BYTES, MAX_ROWS, Segment, SegmentHead};
pub use state::RowState;
pub use stream::{Found, ReadEnd, StreamBroken, WriteEnd};
pub use summary::{Summary, SummarySnapshot};
