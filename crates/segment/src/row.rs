//! One unit of a worker's concurrency: claimed for a request, described, and given back.
//!
//! ```text
//! state      claim     describe   start     mark_stuck   release ¹
//! Free       Claimed   -          -         -            -
//! Claimed    -         writes     Running   -            Free
//! Running    -         -          -         Stuck        Free
//! Stuck      -         -          -         -            Free
//!
//! -: refused, no change.  ¹ and all but claim: only with the ticket of this claim
//! ```
//!
//! The state word also guards the summary: it is written in `Claimed` and read in `Running` and
//! `Stuck`, so a reader that finds the same claim running before and after its copy has a whole
//! one. Counters are kept from claim to claim. Processor time is in `row/processor.rs`.

mod processor;

use crate::atomic::{AtomicU64, Ordering, fence};

use crate::cost::{COST_WORDS, Cost, Costs};
use crate::map::Words;
use crate::row::processor::PROCESSOR_WORDS;
use crate::state::{RowState, StateWord};
use crate::summary::{self, SUMMARY_WORDS, Summary, SummarySnapshot};
pub use processor::TakenRow;

/// Words of a row: a multiple of the 8 words of a cache line.
pub(crate) const ROW_WORDS: usize = 80;

const STATE: usize = 0;
const TID: usize = 1;
const REQUESTS_TOTAL: usize = 2;
const BUSY_US_TOTAL: usize = 3;
const QUEUED_US: usize = 4;
const STARTED_UNIX_US: usize = 5;
const OVER_HTTP: usize = 6;
const ROUTE: usize = 7;
const SUMMARY: usize = 8;
const COSTS: usize = SUMMARY + SUMMARY_WORDS;
/// In a cache line of its own.
const PROCESSOR: usize = 72;

const _: () = assert!(COSTS + COST_WORDS <= PROCESSOR && PROCESSOR.is_multiple_of(8));
const _: () = assert!(PROCESSOR + PROCESSOR_WORDS <= ROW_WORDS && ROW_WORDS.is_multiple_of(8));

/// How often a reader starts again when requests change under it.
const READ_ATTEMPTS: usize = 8;

/// One row of a segment.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    words: Words<'a>,
}

/// The right to use a row: which claim it was. Worth nothing once the row is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a claimed row stays busy until it is released"]
pub struct RowTicket {
    claimed: StateWord,
}

impl RowTicket {
    /// Lower 24 bits of the incarnation of the proxy that claimed it.
    pub(crate) fn incarnation(self) -> u32 {
        self.claimed.incarnation
    }
}

/// A row at one moment. Each number is exact; two of them may be one request apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowSnapshot {
    /// What the row is doing.
    pub state: RowState,
    /// Lower 24 bits of the incarnation that claimed it last.
    pub incarnation: u32,
    /// How many times it has been claimed (wraps).
    pub sequence: u32,
    /// Thread of the worker that serves it; 0: unknown.
    pub tid: u32,
    /// Requests that ended in it.
    pub requests_total: u64,
    /// Time of these requests in the application, in microseconds.
    pub busy_us_total: u64,
    /// Processor time of these requests and of the one in it, in microseconds, as far as it is
    /// known.
    pub cpu_us_total: u64,
    /// The request in the application; `None` too if it changed at every attempt to read it.
    pub request: Option<RequestSnapshot>,
}

/// The request of a busy row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestSnapshot {
    /// How long it waited for the row, in microseconds.
    pub queued_us: u64,
    /// When it was handed over, in microseconds since 1970.
    pub started_unix_us: u64,
    /// Number of the route that led to it, as the supervisor counts them.
    pub route: u32,
    /// Processor time it has used, in microseconds, as far as it is known.
    pub cpu_us: Option<u64>,
    /// What the application has reported of it so far.
    pub costs: Costs,
    /// What it is.
    pub summary: SummarySnapshot,
}

impl<'a> Row<'a> {
    /// Takes words for a row. There must be `ROW_WORDS` of them.
    pub(crate) fn new(words: Words<'a>) -> Self {
        debug_assert_eq!(words.len(), ROW_WORDS);
        Self { words }
    }

    /// Claims the row if it is free, for the proxy of this incarnation.
    ///
    /// Exactly one of any number of concurrent callers gets the ticket.
    pub fn claim(&self, incarnation: u32) -> Option<RowTicket> {
        let state = self.cell(STATE)?;
        let word = state.load(Ordering::Relaxed);
        let free = StateWord::unpack(word).filter(|free| free.state == RowState::Free)?;
        let sequence = free.sequence.wrapping_add(1);
        let claimed = StateWord { incarnation, sequence, state: RowState::Claimed };
        state
            .compare_exchange(word, claimed.pack(), Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
            .then_some(RowTicket { claimed })
    }

    /// Writes what the request is. Returns whether the ticket's claim has not started yet.
    pub fn describe(&self, ticket: RowTicket, summary: &Summary<'_>) -> bool {
        let Some(cells) = self.held(ticket, RowState::Claimed) else { return false };
        // Whoever sees a store below also sees that the row was claimed anew before it.
        fence(Ordering::Release);
        if let Some(cells) = cells.get(SUMMARY..) {
            summary::write(summary, cells);
        }
        true
    }

    /// Records that the request of a route is handed over, after `queued_us` in the queue.
    ///
    /// Returns whether the ticket's claim was waiting for this.
    pub fn start(
        &self,
        ticket: RowTicket,
        route: u32,
        queued_us: u64,
        started_unix_us: u64,
    ) -> bool {
        let Some(cells) = self.held(ticket, RowState::Claimed) else { return false };
        fence(Ordering::Release);
        store(cells, ROUTE, u64::from(route));
        store(cells, QUEUED_US, queued_us);
        store(cells, STARTED_UNIX_US, started_unix_us);
        for cost in 0..COST_WORDS {
            store(cells, COSTS + cost, 0);
        }
        self.change(ticket, RowState::Claimed, RowState::Running)
    }

    /// Notes that the claim's request goes over HTTP, before it does: when its handler has ended
    /// is known to nobody but the proxy then.
    pub fn note_http(&self, ticket: RowTicket) {
        if let Some(cell) = self.cell(OVER_HTTP) {
            cell.store(ticket.claimed.pack(), Ordering::Release);
        }
    }

    /// Tells whether the claim's request went over HTTP.
    pub(crate) fn is_over_http(&self, ticket: RowTicket) -> bool {
        self.words.load_acquire(OVER_HTTP) == ticket.claimed.pack()
    }

    /// Returns the claim that holds the row, whosever it is. `None` for a free row, and for a
    /// state word that makes no sense.
    pub(crate) fn holder(&self) -> Option<RowTicket> {
        let word = StateWord::unpack(self.words.load_acquire(STATE))?;
        let claimed = word.with(RowState::Claimed);
        (word.state != RowState::Free).then_some(RowTicket { claimed })
    }

    /// Marks a running request as past its time. Returns whether it was running.
    pub fn mark_stuck(&self, ticket: RowTicket) -> bool {
        self.change(ticket, RowState::Running, RowState::Stuck)
    }

    /// Counts a request that ended after `busy_us` microseconds in the application.
    ///
    /// Called by whoever holds the row, before [`Self::release`].
    pub fn add_request(&self, busy_us: u64) {
        for (index, amount) in [(REQUESTS_TOTAL, 1), (BUSY_US_TOTAL, busy_us)] {
            if let Some(cell) = self.cell(index) {
                cell.fetch_add(amount, Ordering::Relaxed);
            }
        }
    }

    /// Adds to what the request in the row costs. Called in the worker, while the row is held.
    pub fn add_cost(&self, cost: Cost, amount: u64) {
        if let Some(cell) = self.cell(COSTS + cost as usize) {
            cell.fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// Returns what the application has reported of the request in the row, or of the last one.
    pub fn costs(&self) -> Costs {
        Costs::read(|cost| self.words.load(COSTS + cost as usize))
    }

    /// Gives the row back. Returns whether the ticket still held it.
    pub fn release(&self, ticket: RowTicket) -> bool {
        [RowState::Running, RowState::Claimed, RowState::Stuck]
            .into_iter()
            .any(|from| self.change(ticket, from, RowState::Free))
    }

    /// Records which thread serves the row; 0: unknown. Written by the worker.
    pub fn set_tid(&self, tid: u32) {
        if let Some(cell) = self.cell(TID) {
            cell.store(u64::from(tid), Ordering::Relaxed);
        }
    }

    /// Returns what the row is doing, or `None` if its state word makes no sense.
    pub fn state(&self) -> Option<RowState> {
        StateWord::unpack(self.words.load(STATE)).map(|word| word.state)
    }

    /// Returns how many requests ended in it.
    pub fn requests_total(&self) -> u64 {
        self.words.load(REQUESTS_TOTAL)
    }

    /// Returns the route of the request in the application and when it was handed over, in
    /// microseconds since 1970: a part of [`Self::snapshot`], for who looks at every row at once.
    ///
    /// `None` for every other row, and for one whose request changed while it was read.
    pub fn running(&self) -> Option<(u32, u64)> {
        let before = StateWord::unpack(self.words.load(STATE)).filter(|it| it.is_running())?;
        fence(Ordering::Acquire);
        let route = u32::try_from(self.words.load(ROUTE)).unwrap_or(u32::MAX);
        let started_unix_us = self.words.load(STARTED_UNIX_US);
        fence(Ordering::Acquire);
        let after = StateWord::unpack(self.words.load(STATE))?;
        let same = after.is_running() && after.with(before.state) == before;
        same.then_some((route, started_unix_us))
    }

    /// Copies the row out, or returns `None` if its state word makes no sense.
    ///
    /// Everything in it but the state is only what stood there: whoever can write the segment,
    /// the worker too, can have written it.
    pub fn snapshot(&self) -> Option<RowSnapshot> {
        for _ in 1..READ_ATTEMPTS {
            let (snapshot, whole) = self.try_snapshot()?;
            if whole {
                return Some(snapshot);
            }
        }
        self.try_snapshot().map(|(snapshot, _)| snapshot)
    }

    /// Reads once. False beside it: a request ran, but changed while it was read.
    pub(crate) fn try_snapshot(&self) -> Option<(RowSnapshot, bool)> {
        let before = StateWord::unpack(self.words.load(STATE))?;
        fence(Ordering::Acquire);
        let mut request = None;
        if before.is_running() {
            let queued_us = self.words.load(QUEUED_US);
            let started_unix_us = self.words.load(STARTED_UNIX_US);
            let route = u32::try_from(self.words.load(ROUTE)).unwrap_or(u32::MAX);
            let cpu_us = self.cpu_us_of(before.sequence);
            let costs = self.costs();
            let raw = summary::copy(self.words.part(SUMMARY, SUMMARY_WORDS)?);
            fence(Ordering::Acquire);
            let after = StateWord::unpack(self.words.load(STATE))?;
            let same = after.is_running() && after.with(before.state) == before;
            request = same.then(|| RequestSnapshot {
                queued_us,
                started_unix_us,
                route,
                cpu_us,
                costs,
                summary: summary::read(&raw),
            });
        }
        let whole = request.is_some() == before.is_running();
        let snapshot = RowSnapshot {
            state: before.state,
            incarnation: before.incarnation,
            sequence: before.sequence,
            tid: u32::try_from(self.words.load(TID)).unwrap_or(0),
            requests_total: self.words.load(REQUESTS_TOTAL),
            busy_us_total: self.words.load(BUSY_US_TOTAL),
            cpu_us_total: self.cpu_us_total(before.sequence),
            request,
        };
        Some((snapshot, whole))
    }

    fn cell(&self, index: usize) -> Option<&'a AtomicU64> {
        self.words.writable()?.get(index)
    }

    /// Returns the words if the ticket's claim is in this state.
    fn held(&self, ticket: RowTicket, state: RowState) -> Option<&'a [AtomicU64]> {
        let cells = self.words.writable()?;
        (self.words.load(STATE) == ticket.claimed.with(state).pack()).then_some(cells)
    }

    fn change(&self, ticket: RowTicket, from: RowState, to: RowState) -> bool {
        let (from, to) = (ticket.claimed.with(from).pack(), ticket.claimed.with(to).pack());
        self.cell(STATE).is_some_and(|state| {
            state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
    }
}

impl std::fmt::Debug for Row<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Row").field("state", &self.state()).finish_non_exhaustive()
    }
}

fn store(cells: &[AtomicU64], index: usize, value: u64) {
    if let Some(cell) = cells.get(index) {
        cell.store(value, Ordering::Relaxed);
    }
}
