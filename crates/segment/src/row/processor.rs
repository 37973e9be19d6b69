//! Processor time of a row's requests, as far as their worker tells which thread they are on.
//!
//! ```text
//! word     written by      what
//! total    the worker      of all requests that ended in the row
//! taken    the worker      clock of the thread when it took the request
//! request  the worker      of the request, when it ended
//! live     the supervisor  of the request, once a second while it runs
//! ```
//!
//! To read a thread's clock is a system call. So the worker reads it at the end of a request only
//! if a millisecond has passed since its last reading, and what the thread has used since then goes
//! to the request at whose end it is read. That is exact, to a millisecond, for long requests, and
//! right on average for short ones, most of which get nothing.
//!
//! All words but the total carry the claim they are about, so that none of them has to be cleared,
//! and what comes late is about nobody: 24 bits of its number, then 40 bits of microseconds, which
//! is twelve days. Claims that agree in these bits are 16 million requests apart.

use super::{PROCESSOR, Row, RowTicket, STARTED_UNIX_US, STATE, TID};
use crate::atomic::{Ordering, fence};
use crate::state::StateWord;

/// Words of it.
pub(super) const PROCESSOR_WORDS: usize = 4;

const TOTAL_US: usize = PROCESSOR;
const TAKEN: usize = PROCESSOR + 1;
const REQUEST: usize = PROCESSOR + 2;
const LIVE: usize = PROCESSOR + 3;

const TIME_BITS: u32 = 40;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
const CLAIM_MASK: u64 = u64::MAX >> TIME_BITS;

/// A running request whose thread is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenRow {
    sequence: u32,
    /// Its thread, as the worker says.
    pub tid: u32,
    /// When it was handed over, in microseconds since 1970.
    pub started_unix_us: u64,
    /// Clock of the thread when it took the request: the lower bits.
    clock_us: u64,
}

impl TakenRow {
    /// Returns what the request has used when the thread's clock stands at `clock_us`. A clock that
    /// is behind, as one that the kernel brings up to date seldom may be, has used nothing.
    pub(crate) fn used_us(&self, clock_us: u64) -> u64 {
        let used = clock_us.wrapping_sub(self.clock_us) & TIME_MASK;
        if used <= TIME_MASK / 2 { used } else { 0 }
    }
}

impl Row<'_> {
    /// Records which thread has taken the request in the row, and what its clock stood at when it
    /// was read last. Called in the worker.
    pub fn set_thread(&self, tid: u32, clock_us: u64) {
        // Whoever sees the thread sees that the row was claimed for this request.
        fence(Ordering::Release);
        self.set_tid(tid);
        if let Some(sequence) = self.sequence() {
            let taken = about(sequence, clock_us & TIME_MASK);
            // Whoever sees it sees the thread too.
            self.words.store(TAKEN, taken, Ordering::Release);
        }
    }

    /// Counts what the request in the row has used. Called in the worker, at its end.
    pub fn add_cpu(&self, used_us: u64) {
        if let Some(total) = self.cell(TOTAL_US) {
            total.fetch_add(used_us, Ordering::Relaxed);
        }
        if let Some(sequence) = self.sequence() {
            let used = about(sequence, used_us.min(TIME_MASK));
            self.words.store(REQUEST, used, Ordering::Relaxed);
        }
    }

    /// Returns the running request, if its thread is known. For the supervisor, which looks what
    /// the thread's clock stands at and then says so.
    pub fn taken(&self) -> Option<TakenRow> {
        let before = StateWord::unpack(self.words.load_acquire(STATE))?;
        let clock_us = time_of(before.sequence, self.words.load_acquire(TAKEN))?;
        let tid = u32::try_from(self.words.load(TID)).ok().filter(|&tid| tid != 0)?;
        let started_unix_us = self.words.load_acquire(STARTED_UNIX_US);
        let after = StateWord::unpack(self.words.load(STATE))?;
        let sequence = before.sequence;
        let is_running = before.is_running() && after.is_running() && after.sequence == sequence;
        is_running.then_some(TakenRow { sequence, tid, started_unix_us, clock_us })
    }

    /// Writes down what the clock of a request's thread stands at. For the supervisor alone.
    pub fn note_clock(&self, taken: &TakenRow, clock_us: u64) {
        let live = about(taken.sequence, taken.used_us(clock_us));
        self.words.store_figure(LIVE, live, Ordering::Relaxed);
    }

    /// Returns the processor time of a request that has ended in the row, in microseconds; `None`
    /// where the worker did not tell, or left it to a later one.
    pub fn request_cpu_us(&self, ticket: RowTicket) -> Option<u64> {
        time_of(ticket.claimed.sequence, self.words.load(REQUEST))
    }

    /// Of this claim: what it was at its end, else what it was when it was looked at last.
    pub(super) fn cpu_us_of(&self, sequence: u32) -> Option<u64> {
        [REQUEST, LIVE].into_iter().find_map(|word| time_of(sequence, self.words.load(word)))
    }

    /// Of all requests that ended, and as far as it is known of this claim's.
    pub(super) fn cpu_us_total(&self, sequence: u32) -> u64 {
        let has_ended = time_of(sequence, self.words.load(REQUEST)).is_some();
        let live = time_of(sequence, self.words.load(LIVE)).filter(|_| !has_ended);
        self.words.load(TOTAL_US).saturating_add(live.unwrap_or(0))
    }

    /// Which claim it is; `None` for a state word that makes no sense.
    fn sequence(&self) -> Option<u32> {
        StateWord::unpack(self.words.load(STATE)).map(|word| word.sequence)
    }
}

fn about(sequence: u32, time_us: u64) -> u64 {
    (u64::from(sequence) & CLAIM_MASK) << TIME_BITS | time_us
}

/// The time that a word says of this claim. The first claim of a row is number 1, so that a word
/// nobody has written is about none.
fn time_of(sequence: u32, word: u64) -> Option<u64> {
    (word >> TIME_BITS == u64::from(sequence) & CLAIM_MASK).then_some(word & TIME_MASK)
}
