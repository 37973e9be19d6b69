//! Shared memory of Ostler: the rows of each worker (the scoreboard) and pages of counters.
//!
//! A worker's [`Segment`] is one sealed memfd that the supervisor creates: a checked head, then
//! one fixed-size [`Row`] for each unit of the worker's concurrency. A claimed row is a permit.
//! A [`CounterPage`] is an array of counters that outlives the process that counts.
//!
//! **Invariants:** all `unsafe` is in `map`, which hands out atomic words and nothing else; no
//! content of a mapping is trusted, because a worker can write there: it is copied out within
//! fixed bounds, then checked. Nothing here blocks, and readers never hold up a writer.

pub mod counter;

mod error;
mod map;
mod page;
mod row;
mod segment;
mod state;
mod summary;

pub use error::SegmentError;
pub use map::Access;
pub use page::CounterPage;
pub use row::{RequestSnapshot, Row, RowSnapshot, RowTicket};
pub use segment::{MAX_POOL_NAME_BYTES, MAX_ROWS, Segment, SegmentHead};
pub use state::RowState;
pub use summary::{Summary, SummarySnapshot};
