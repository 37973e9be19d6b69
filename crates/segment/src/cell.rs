//! A cell: the place of one request on the ring link, between the proxy and one worker.
//!
//! A cell belongs to the row of the same number: who holds the row's permit uses the cell, so no
//! two requests ever meet in one, whichever proxy they come from.
//!
//! ```text
//! state    proxy: queue  worker: take  proxy: leave       worker: finish  proxy: close
//! Free     Queued        -             -                  -               -
//! Queued   -             Taken         Free, untaken      -               -
//! Taken    -             -             Left, running      Done            ¹
//! Left     -             -             -                  Done            ¹
//! Done     -             -             -, done            -               Free
//!
//! -: no change.  ¹ Free, once the worker's process is certain to have ended
//! ```
//!
//! The state is one word with the incarnation of the proxy and a sequence number, and all changes
//! are compare-and-swap: whoever comes late, with the ticket of an earlier request, changes
//! nothing. `Queued` is what makes a request safe to try elsewhere: the worker has not read it.
//!
//! The control words share one cache line, which goes to the worker and back once a request.

use crate::atomic::{AtomicU64, Ordering, fence};
use crate::map::Words;
use crate::stream::{Found, ReadEnd, Stream, StreamBroken, WriteEnd};

/// Control words of a cell: one cache line.
pub(crate) const CONTROL_WORDS: usize = 8;

const STATE: usize = 0;
const LANE: usize = 1;
const REQUEST_WRITTEN: usize = 2;
const REQUEST_READ: usize = 3;
const ANSWER_WRITTEN: usize = 4;
const ANSWER_READ: usize = 5;
const WAITS: usize = 6;
const BELL: usize = 7;

/// A worker's thread sleeps on the cell's bell.
const THREAD_WAITS: u64 = 1;
/// A worker's task waits for news of the cell.
const TASK_WAITS: u64 = 2;
/// The proxy waits for room in the request's ring.
const PROXY_WAITS: u64 = 4;

/// What becomes of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellState {
    /// Not in use.
    Free,
    /// The worker has not looked at the request.
    Queued,
    /// The worker has it.
    Taken,
    /// The worker has it, and nobody waits for the answer.
    Left,
    /// The worker has ended it: the handler has returned.
    Done,
}

/// Which use of a cell it is. Worth nothing once the cell is free again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellTicket {
    /// The state word without the state.
    claim: u64,
}

/// Where a request was when nobody waited for it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftAt {
    /// In the queue: the worker never saw it, and the cell is free.
    Queue,
    /// In the worker, which will end it.
    Worker,
    /// It had ended already.
    End,
}

/// What became of a cell whose proxy has died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CellReclaimed {
    /// It is free: the worker never took the request, or has ended it.
    Free,
    /// The handler has not ended. With `told`, a task of the worker waits for the cell's number in
    /// its news, and for the bell.
    InUse { told: bool },
}

/// One cell of a segment.
#[derive(Clone, Copy)]
pub struct Cell<'a> {
    words: Words<'a>,
    cells: &'a [AtomicU64],
}

/// How often the worker can have gone on while a cell is reclaimed: from `Queued` to `Done`, and
/// once more for the last look.
const RECLAIM_ATTEMPTS: usize = 4;

const STATE_MASK: u64 = 0xFF;
const SEQUENCE_SHIFT: u32 = 8;
const SEQUENCE_MASK: u64 = 0xFFFF_FFFF << SEQUENCE_SHIFT;
const INCARNATION_SHIFT: u32 = 40;

impl CellState {
    fn of(word: u64) -> Option<Self> {
        match word & STATE_MASK {
            0 => Some(Self::Free),
            1 => Some(Self::Queued),
            2 => Some(Self::Taken),
            3 => Some(Self::Left),
            4 => Some(Self::Done),
            _ => None,
        }
    }

    fn bits(self) -> u64 {
        match self {
            Self::Free => 0,
            Self::Queued => 1,
            Self::Taken => 2,
            Self::Left => 3,
            Self::Done => 4,
        }
    }
}

impl CellTicket {
    fn of(word: u64) -> Self {
        Self { claim: word & !STATE_MASK }
    }

    fn with(self, state: CellState) -> u64 {
        self.claim | state.bits()
    }
}

impl<'a> Cell<'a> {
    /// Takes words for a cell: the control words, then two rings of equal size.
    ///
    /// `None` if they cannot be written.
    pub(crate) fn new(words: Words<'a>) -> Option<Self> {
        Some(Self { words, cells: words.writable()? })
    }

    // What the proxy does.

    /// Prepares a free cell for a request of this proxy. Only with the permit of its row.
    ///
    /// `None` if it is not free: then it is not to be used.
    pub fn open(&self, incarnation: u32, lane: u32) -> Option<CellTicket> {
        let word = self.control(STATE).load(Ordering::Acquire);
        if CellState::of(word) != Some(CellState::Free) {
            return None;
        }
        let sequence = word.wrapping_add(1 << SEQUENCE_SHIFT) & SEQUENCE_MASK;
        let claim = (u64::from(incarnation) << INCARNATION_SHIFT) | sequence;
        self.request().reset();
        self.answer().reset();
        self.control(WAITS).store(0, Ordering::Relaxed);
        self.control(LANE).store(u64::from(lane), Ordering::Relaxed);
        // Whoever sees the request queued sees all of the above.
        self.control(STATE).store(CellTicket { claim }.with(CellState::Free), Ordering::Release);
        Some(CellTicket { claim })
    }

    /// Gives the request to the worker. What was sent so far is there when it looks.
    pub fn queue(&self, ticket: CellTicket) -> bool {
        self.change(ticket, CellState::Free, CellState::Queued)
    }

    /// Sends a part of the request, as much as there is room for, and returns how much that was.
    pub fn send(&self, end: &mut WriteEnd, bytes: &[u8], is_last: bool) -> usize {
        end.write(self.request(), bytes, is_last)
    }

    /// Asks to be told when there is room for more of the request. True if there is some already.
    pub fn wait_for_room(&self, end: &WriteEnd) -> bool {
        self.wait(PROXY_WAITS, || 0 < end.room(self.request()))
    }

    /// Appends what is there of the answer to `out`, at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// When the worker broke the answer off, or its counters make no sense.
    pub fn receive(
        &self,
        end: &mut ReadEnd,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<Found, StreamBroken> {
        end.read(self.answer(), limit, out)
    }

    /// Tells whether [`Self::receive`] would find anything but nothing.
    pub fn has_answer(&self, end: &ReadEnd) -> bool {
        end.is_ready(self.answer())
    }

    /// Wakes the threads of the worker that wait for what the proxy did to the cell. True: a task
    /// waits too; the cell's number belongs into the worker's news, and its bell rung.
    #[must_use = "a task that waits does not notice otherwise"]
    pub fn wake_worker(&self) -> bool {
        let waits = self.control(WAITS);
        // After what was published, before the look: see `wait`.
        fence(Ordering::SeqCst);
        if waits.load(Ordering::Relaxed) & (THREAD_WAITS | TASK_WAITS) == 0 {
            return false;
        }
        let before = waits.fetch_and(!(THREAD_WAITS | TASK_WAITS), Ordering::SeqCst);
        if before & THREAD_WAITS != 0 {
            self.words.futex_wake_all(BELL);
        }
        before & TASK_WAITS != 0
    }

    /// Notes that nobody waits for the answer any more.
    ///
    /// `None` if the cell is not in this use, which an honest worker never brings about.
    pub fn leave(&self, ticket: CellTicket) -> Option<LeftAt> {
        if self.change(ticket, CellState::Queued, CellState::Free) {
            return Some(LeftAt::Queue);
        }
        if self.change(ticket, CellState::Taken, CellState::Left) {
            return Some(LeftAt::Worker);
        }
        match self.state(ticket)? {
            CellState::Done => Some(LeftAt::End),
            CellState::Left => Some(LeftAt::Worker),
            CellState::Free | CellState::Queued | CellState::Taken => None,
        }
    }

    /// Returns the state, or `None` if the cell is not in this use any more.
    pub fn state(&self, ticket: CellTicket) -> Option<CellState> {
        let word = self.control(STATE).load(Ordering::Acquire);
        CellState::of(word).filter(|_| CellTicket::of(word) == ticket)
    }

    /// Makes the cell free: the worker has ended the request, or its process has ended.
    pub fn close(&self, ticket: CellTicket) {
        let (word, free) =
            (self.control(STATE).load(Ordering::Relaxed), ticket.with(CellState::Free));
        if CellTicket::of(word) == ticket {
            // Where it fails, somebody who has no business there has changed it meanwhile.
            let order = (Ordering::AcqRel, Ordering::Relaxed);
            let _freed = self.control(STATE).compare_exchange(word, free, order.0, order.1);
        }
    }

    // What the worker does.

    /// Takes the request, if one is queued. Exactly one of any number of threads gets it.
    pub fn take(&self) -> Option<CellTicket> {
        let word = self.control(STATE).load(Ordering::Relaxed);
        let ticket = CellTicket::of(word);
        let is_queued = CellState::of(word) == Some(CellState::Queued);
        (is_queued && self.change(ticket, CellState::Queued, CellState::Taken)).then_some(ticket)
    }

    /// Returns whom to tell what becomes of the request.
    pub fn lane(&self) -> u32 {
        u32::try_from(self.control(LANE).load(Ordering::Relaxed)).unwrap_or(u32::MAX)
    }

    /// Appends what is there of the request to `out`, at most `limit` bytes. True beside it: the
    /// proxy waits for the room that became.
    ///
    /// # Errors
    ///
    /// When the proxy broke the request off.
    pub fn read(
        &self,
        end: &mut ReadEnd,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(Found, bool), StreamBroken> {
        let found = end.read(self.request(), limit, out)?;
        Ok((found, matches!(found, Found::Bytes(_)) && self.proxy_waits()))
    }

    /// Tells whether all of the request was read that will ever come.
    pub fn is_request_read(&self, end: &ReadEnd) -> bool {
        end.is_at_end(self.request())
    }

    /// Writes a part of the answer, as much as there is room for, and returns how much that was.
    pub fn write(&self, end: &mut WriteEnd, bytes: &[u8], is_last: bool) -> usize {
        end.write(self.answer(), bytes, is_last)
    }

    /// Breaks the answer off, unless it is complete.
    pub fn abort(&self, end: &mut WriteEnd) {
        end.abort(self.answer());
    }

    /// Sleeps, on a thread, until the proxy sent or took something or left, or `ready` says so.
    pub fn sleep_until(&self, ready: impl Fn(&Self) -> bool) {
        loop {
            let seen = self.words.futex_value(BELL);
            if self.wait(THREAD_WAITS, || ready(self)) {
                return;
            }
            self.words.futex_wait(BELL, seen);
        }
    }

    /// Wakes the thread that sleeps on the cell, so that it looks again.
    pub fn rouse(&self) {
        self.words.futex_wake_all(BELL);
    }

    /// Asks for news of the cell, for a task. True if `ready` says that there is no need to wait.
    pub fn wait_for_news(&self, ready: impl Fn(&Self) -> bool) -> bool {
        self.wait(TASK_WAITS, || ready(self))
    }

    /// Tells whether there is something to read of the request.
    pub fn has_request(&self, end: &ReadEnd) -> bool {
        end.is_ready(self.request())
    }

    /// Tells whether there is room for more of the answer.
    pub fn has_room(&self, end: &WriteEnd) -> bool {
        0 < end.room(self.answer())
    }

    /// Tells whether nobody waits for the answer any more.
    pub fn is_left(&self, ticket: CellTicket) -> bool {
        self.state(ticket) != Some(CellState::Taken)
    }

    /// Tells whether the worker has the request and has not ended it, waited for or not.
    pub fn is_running(&self, ticket: CellTicket) -> bool {
        matches!(self.state(ticket), Some(CellState::Taken | CellState::Left))
    }

    /// Notes that the proxy has died: nobody waits for the answer any more. Who sleeps on the cell
    /// looks again.
    pub fn abandon(&self) {
        let word = self.control(STATE).load(Ordering::Acquire);
        let ticket = CellTicket::of(word);
        let is_left = self.change(ticket, CellState::Queued, CellState::Free)
            || self.change(ticket, CellState::Taken, CellState::Left);
        if is_left {
            self.rouse();
        }
    }

    /// Takes the cell from a proxy whose process has ended, as far as the worker is done with it.
    pub(crate) fn reclaim(&self, incarnation: u32) -> CellReclaimed {
        let busy = CellReclaimed::InUse { told: false };
        for _ in 0..RECLAIM_ATTEMPTS {
            let word = self.control(STATE).load(Ordering::Acquire);
            let (ticket, state) = (CellTicket::of(word), CellState::of(word));
            // In use for another proxy, its row has changed hands meanwhile.
            let is_theirs = Self::incarnation(ticket) == incarnation;
            match state {
                Some(CellState::Free) => return CellReclaimed::Free,
                Some(from @ (CellState::Queued | CellState::Done)) if is_theirs => {
                    if self.change(ticket, from, CellState::Free) {
                        return CellReclaimed::Free;
                    }
                }
                Some(CellState::Taken) if is_theirs => {
                    if self.change(ticket, CellState::Taken, CellState::Left) {
                        return CellReclaimed::InUse { told: self.wake_worker() };
                    }
                }
                Some(_) | None => return busy,
            }
        }
        busy
    }

    /// Gives the cell back to the proxy: the handler has ended.
    pub fn finish(&self, ticket: CellTicket) -> bool {
        self.change(ticket, CellState::Taken, CellState::Done)
            || self.change(ticket, CellState::Left, CellState::Done)
    }

    /// Returns the lower bits of the incarnation of the proxy that a ticket is from.
    pub fn incarnation(ticket: CellTicket) -> u32 {
        u32::try_from(ticket.claim >> INCARNATION_SHIFT).unwrap_or(0)
    }

    // What both do.

    /// Announces a wait, then looks again: either this side sees what the other one published, or
    /// the other side, which looks after it published, sees the announcement. It stands even when
    /// there is no need to wait: another one of the same side may have announced itself as well.
    fn wait(&self, flag: u64, is_ready: impl Fn() -> bool) -> bool {
        self.control(WAITS).fetch_or(flag, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        is_ready()
    }

    fn proxy_waits(&self) -> bool {
        let waits = self.control(WAITS);
        fence(Ordering::SeqCst);
        waits.load(Ordering::Relaxed) & PROXY_WAITS != 0
            && waits.fetch_and(!PROXY_WAITS, Ordering::SeqCst) & PROXY_WAITS != 0
    }

    fn change(&self, ticket: CellTicket, from: CellState, to: CellState) -> bool {
        let (from, to) = (ticket.with(from), ticket.with(to));
        let state = self.control(STATE);
        state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    fn request(&self) -> Stream<'a> {
        self.stream(REQUEST_WRITTEN, REQUEST_READ, |rings| rings.split_at(rings.len() / 2).0)
    }

    fn answer(&self) -> Stream<'a> {
        self.stream(ANSWER_WRITTEN, ANSWER_READ, |rings| rings.split_at(rings.len() / 2).1)
    }

    fn stream(
        &self,
        written: usize,
        read: usize,
        ring: impl Fn(&'a [AtomicU64]) -> &'a [AtomicU64],
    ) -> Stream<'a> {
        let (_, rings) = self.cells.split_at(CONTROL_WORDS);
        Stream { written: self.control(written), read: self.control(read), ring: ring(rings) }
    }

    fn control(&self, index: usize) -> &'a AtomicU64 {
        self.cells.get(index).expect("a cell has its control words")
    }
}

impl std::fmt::Debug for Cell<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = CellState::of(self.control(STATE).load(Ordering::Relaxed));
        formatter.debug_struct("Cell").field("state", &state).finish_non_exhaustive()
    }
}
