//! Who is let in: the permits of one pool and the queue before them.
//!
//! A *place* is one row of one worker; holding it is a permit. Who finds none waits, first come
//! first served, in a queue of bounded length; who finds that full, or no worker at all, or would
//! wait longer than anybody may, is shed. A newcomer never overtakes who could have its place.
//!
//! A route may be limited to a share of the places. Its requests beyond that stand aside: others
//! behind them are served, and among themselves they are first come first served.
//!
//! Nothing here waits or wakes. Each waiting request carries a `W`. After whatever may have freed
//! a place, [`Admission::next_grant`] hands back, one by one, those whose turn has come; until it
//! returns `None`, a place may be free while somebody waits for it.

mod forecast;
mod holders;
mod line;
mod pace;

use std::time::{Duration, Instant};

use ostler_conf::Share;

pub use holders::{Holder, Holders};
use line::{Line, Waiting};

/// One row of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The worker, by the number given to [`Admission::add_worker`].
    pub worker: u64,
    /// The row of its segment.
    pub row: u32,
}

/// Names the route of a request, the same in every configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub u32);

/// Names one waiting request. A later one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Why a request is refused before it waits, and after how long the queue is predicted to have
/// drained so far that it would not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// As many requests wait as may.
    QueueFull(Duration),
    /// It would wait longer than it may.
    PredictedWait(Duration),
    /// No worker serves, and none is starting.
    PoolNotReady,
}

/// What becomes of a request that arrives.
#[derive(Debug)]
pub enum Arrival<W> {
    /// It has a permit.
    Admitted(Place, W),
    /// It waits.
    Queued(Ticket),
    /// It is refused.
    Shed(Shed, W),
}

/// A waiting request whose turn has come.
#[derive(Debug)]
pub struct Grant<W> {
    /// Its permit.
    pub place: Place,
    /// How long it waited.
    pub waited: Duration,
    /// What it brought along.
    pub waiter: W,
}

/// Where a worker is in its life, as far as permits go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Starting,
    Serving,
    /// Its process has ended or is about to; another one takes its place.
    Lost,
    Withdrawn,
}

#[derive(Debug)]
struct Worker {
    id: u64,
    standing: Standing,
    /// Rows without a permit.
    free: Vec<u32>,
    /// By row: whose permit it is, and since when.
    held: Vec<Option<(RouteId, Instant)>>,
    /// Rows with one.
    busy: u32,
    /// Rows that another proxy holds, or has left a handler running in.
    elsewhere: u32,
}

impl Worker {
    fn rows(&self) -> u32 {
        u32::try_from(self.held.len()).unwrap_or(u32::MAX)
    }

    /// Rows that are not free.
    fn taken(&self) -> u32 {
        self.busy.saturating_add(self.elsewhere)
    }

    fn is_serving(&self) -> bool {
        self.standing == Standing::Serving
    }
}

/// Permits and queue of one pool.
#[derive(Debug)]
pub struct Admission<W> {
    queue_length: usize,
    queue_timeout: Duration,
    workers: Vec<Worker>,
    /// Rows of workers that serve.
    capacity: u32,
    /// The line of all routes without a share of their own, then theirs.
    lines: Vec<Line<W>>,
    /// Requests in all lines.
    queued: usize,
    /// Whether it ever had a worker: a pool that is new is about to get some.
    had_worker: bool,
    next_ticket: u64,
    /// Where the search for the least busy worker begins, so that equals take turns.
    turn: usize,
}

impl<W> Admission<W> {
    /// A pool without workers, whose queue holds `queue_length` requests, each for at most
    /// `queue_timeout`.
    #[must_use]
    pub fn new(queue_length: usize, queue_timeout: Duration) -> Self {
        Self {
            queue_length,
            queue_timeout,
            workers: Vec::new(),
            capacity: 0,
            lines: vec![Line::new(None)],
            queued: 0,
            had_worker: false,
            next_ticket: 0,
            turn: 0,
        }
    }

    /// Changes the limits of the queue. Who waits already, waits on.
    pub fn set_limits(&mut self, queue_length: usize, queue_timeout: Duration) {
        (self.queue_length, self.queue_timeout) = (queue_length, queue_timeout);
    }

    /// Changes which routes are limited to a share of the places. What a route holds already
    /// counts, and who waits keeps its turn.
    pub fn set_shares(&mut self, shares: &[(RouteId, Share)], now: Instant) {
        let mut before = std::mem::take(&mut self.lines);
        let mut line_for = |limit: Option<(RouteId, Share)>| {
            let route = limit.map(|(route, _)| route);
            let is_same = |line: &Line<W>| line.limit.map(|(route, _)| route) == route;
            let pace = before.iter().find(|line| is_same(line)).map(|line| line.pace.clone());
            Line { pace: pace.unwrap_or_default(), ..Line::new(limit) }
        };
        let limits = shares.iter().map(|&limit| Some(limit));
        self.lines = std::iter::once(None).chain(limits).map(&mut line_for).collect();
        for (ticket, waiting) in
            before.iter_mut().flat_map(|line| std::mem::take(&mut line.waiting))
        {
            let at = self.line_of(waiting.route);
            if let Some(line) = self.lines.get_mut(at) {
                line.waiting.insert(ticket, waiting);
            }
        }
        self.recount(now);
    }

    /// Makes a worker known that is starting: requests may wait for it.
    pub fn add_worker(&mut self, id: u64, rows: u32) {
        debug_assert!(self.workers.iter().all(|worker| worker.id != id), "a worker is added once");
        // Row 0 is given out first.
        let free = (0..rows).rev().collect();
        let held = vec![None; rows as usize];
        self.had_worker = true;
        self.workers.push(Worker {
            id,
            standing: Standing::Starting,
            free,
            held,
            busy: 0,
            elsewhere: 0,
        });
    }

    /// Lets a worker's rows be permits from here on.
    pub fn serve(&mut self, id: u64, now: Instant) {
        self.set_standing(id, Standing::Serving, now);
    }

    /// Gives out no more permits of a worker. Returns whether none of its permits is held.
    pub fn withdraw(&mut self, id: u64, now: Instant) -> bool {
        self.set_standing(id, Standing::Withdrawn, now);
        self.is_idle(id)
    }

    /// Gives out no more permits of a worker whose process has ended. Requests wait on: another
    /// one is expected in its place, until [`Admission::remove_worker`].
    pub fn lose(&mut self, id: u64, now: Instant) {
        if self.worker(id).is_some_and(|worker| worker.standing != Standing::Withdrawn) {
            self.set_standing(id, Standing::Lost, now);
        }
    }

    /// Forgets a worker that is gone; permits of it that are still held may be released later.
    ///
    /// Returns the waiting requests, in no order, if nobody is left who could ever serve them.
    pub fn remove_worker(&mut self, id: u64, now: Instant) -> Vec<W> {
        self.workers.retain(|worker| worker.id != id);
        self.recount(now);
        if self.has_prospect() {
            return Vec::new();
        }
        self.queued = 0;
        let waiting = self.lines.iter_mut().flat_map(|line| std::mem::take(&mut line.waiting));
        waiting.map(|(_, waiting)| waiting.waiter).collect()
    }

    /// Takes a permit for a request that arrives, if one is free that nobody waits for.
    pub fn admit(&mut self, route: RouteId, now: Instant) -> Option<Place> {
        if self.queued != 0 && self.next_line().is_some() {
            return None;
        }
        let line = self.line_of(route);
        if self.lines.get(line)?.is_full(self.capacity) {
            return None;
        }
        self.take_place(route, line, now)
    }

    /// Decides about a request that arrives and may wait.
    pub fn arrive(&mut self, route: RouteId, waiter: W, now: Instant) -> Arrival<W> {
        if let Some(place) = self.admit(route, now) {
            return Arrival::Admitted(place, waiter);
        }
        let line = self.line_of(route);
        if let Some(shed) = self.refusal(line, now) {
            return Arrival::Shed(shed, waiter);
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket = self.next_ticket.wrapping_add(1);
        if let Some(line) = self.lines.get_mut(line) {
            line.waiting.insert(ticket, Waiting { route, since: now, waiter });
            self.queued = self.queued.saturating_add(1);
        }
        Arrival::Queued(ticket)
    }

    /// Takes a waiting request out of the queue: it waited too long, or its client left.
    ///
    /// `None` when its turn has come meanwhile: it holds a permit that must be released.
    pub fn leave(&mut self, ticket: Ticket) -> Option<W> {
        let waiting = self.lines.iter_mut().find_map(|line| line.waiting.remove(&ticket))?;
        self.queued = self.queued.saturating_sub(1);
        Some(waiting.waiter)
    }

    /// Takes a permit back. Returns false where its worker is forgotten.
    pub fn release(&mut self, place: Place, now: Instant) -> bool {
        let capacity = self.capacity;
        let Some(worker) = self.workers.iter_mut().find(|worker| worker.id == place.worker) else {
            return false;
        };
        let row = usize::try_from(place.row).ok().and_then(|row| worker.held.get_mut(row));
        let Some((route, _)) = row.and_then(Option::take) else {
            debug_assert!(false, "a permit that is released was held");
            return false;
        };
        worker.busy = worker.busy.saturating_sub(1);
        worker.free.push(place.row);
        if worker.is_serving() {
            let line = self.line_of(route);
            if let Some(line) = self.lines.get_mut(line) {
                line.pace.complete(capacity, now);
            }
        }
        true
    }

    /// Notes that somebody else has a place, which was free here or had been given out here: no
    /// permit until [`Admission::give_back`].
    pub fn hold_back(&mut self, place: Place, now: Instant) {
        let Some(worker) = self.worker(place.worker) else { return };
        if let Some(at) = worker.free.iter().position(|&row| row == place.row) {
            worker.free.remove(at);
        } else {
            let row = usize::try_from(place.row).ok().and_then(|row| worker.held.get_mut(row));
            let was_held = row.and_then(Option::take).is_some();
            debug_assert!(was_held, "a place is free, or given out, or held back");
            worker.busy = worker.busy.saturating_sub(1);
        }
        worker.elsewhere = worker.elsewhere.saturating_add(1);
        self.recount(now);
    }

    /// Takes a place that was held back into use. Returns false where its worker is forgotten.
    pub fn give_back(&mut self, place: Place) -> bool {
        let Some(worker) = self.worker(place.worker) else { return false };
        debug_assert!(0 < worker.elsewhere, "a place that is given back was held back");
        worker.elsewhere = worker.elsewhere.saturating_sub(1);
        worker.free.push(place.row);
        true
    }

    /// A request whose turn had come lost its place to somebody else: it waits again where it
    /// waited before, since then, with the ticket it had.
    pub fn resume(&mut self, ticket: Ticket, route: RouteId, since: Instant, waiter: W) {
        let line = self.line_of(route);
        if let Some(line) = self.lines.get_mut(line) {
            line.waiting.insert(ticket, Waiting { route, since, waiter });
            self.queued = self.queued.saturating_add(1);
        }
    }

    /// Gives a free place to who waits for it longest. To be called again until it returns `None`.
    pub fn next_grant(&mut self, now: Instant) -> Option<Grant<W>> {
        if self.queued == 0 {
            return None;
        }
        let line = self.next_line()?;
        let route = self.lines.get(line)?.waiting.first_key_value()?.1.route;
        let place = self.take_place(route, line, now)?;
        let (_, waiting) = self.lines.get_mut(line)?.waiting.pop_first()?;
        self.queued = self.queued.saturating_sub(1);
        let waited = now.saturating_duration_since(waiting.since);
        Some(Grant { place, waited, waiter: waiting.waiter })
    }

    /// Sums up who holds the rows of workers that serve.
    #[must_use]
    pub fn holders(&self, now: Instant) -> Holders {
        let serving = self.workers.iter().filter(|worker| worker.is_serving());
        holders::sum_up(
            serving.flat_map(|worker| &worker.held).copied().flatten(),
            self.capacity,
            now,
        )
    }

    /// Whether nothing runs in a worker, as far as is known: it may be ended.
    #[must_use]
    pub fn is_idle(&self, id: u64) -> bool {
        self.held(id) == 0
    }

    /// Places of a worker that are not free.
    #[must_use]
    pub fn held(&self, id: u64) -> u32 {
        self.workers.iter().find(|worker| worker.id == id).map_or(0, Worker::taken)
    }

    /// Places that are not free.
    #[must_use]
    pub fn busy(&self) -> u32 {
        self.workers.iter().map(Worker::taken).sum()
    }

    /// Requests that wait.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// How long the first in the queue has waited.
    #[must_use]
    pub fn oldest_wait(&self, now: Instant) -> Option<Duration> {
        let first = |line: &Line<W>| line.waiting.first_key_value().map(|(_, first)| first.since);
        let since = self.lines.iter().filter_map(first).min()?;
        Some(now.saturating_duration_since(since))
    }

    /// Workers that serve.
    #[must_use]
    pub fn serving(&self) -> usize {
        self.workers.iter().filter(|worker| worker.is_serving()).count()
    }

    fn worker(&mut self, id: u64) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|worker| worker.id == id)
    }

    fn set_standing(&mut self, id: u64, standing: Standing, now: Instant) {
        if let Some(worker) = self.worker(id) {
            worker.standing = standing;
        }
        self.recount(now);
    }

    /// Counts anew what workers that serve have, and what each line holds of it.
    fn recount(&mut self, now: Instant) {
        let serving = self.workers.iter().filter(|worker| worker.is_serving());
        self.capacity = serving.clone().map(Worker::rows).sum();
        let mut counts = vec![0_u32; self.lines.len()];
        for (route, _) in serving.flat_map(|worker| &worker.held).flatten() {
            if let Some(count) = counts.get_mut(self.line_of(*route)) {
                *count = count.saturating_add(1);
            }
        }
        for (line, count) in self.lines.iter_mut().zip(counts) {
            line.pace.set_held(count, now);
        }
    }

    fn has_prospect(&self) -> bool {
        !self.had_worker || self.workers.iter().any(|worker| worker.standing != Standing::Withdrawn)
    }

    /// The line in which requests of a route wait: by its index.
    fn line_of(&self, route: RouteId) -> usize {
        self.lines.iter().position(|line| line.is_for(route)).unwrap_or(0)
    }

    /// The line of who waits longest among those who may have a place.
    fn next_line(&self) -> Option<usize> {
        let first = |(index, line): (usize, &Line<W>)| {
            let (ticket, _) = line.waiting.first_key_value()?;
            (!line.is_full(self.capacity)).then_some((*ticket, index))
        };
        self.lines.iter().enumerate().filter_map(first).min().map(|(_, index)| index)
    }

    /// Takes a free row of the worker with the most of them.
    fn take_place(&mut self, route: RouteId, line: usize, now: Instant) -> Option<Place> {
        let count = self.workers.len();
        let turn = self.turn.checked_rem(count)?;
        let (before, from) = self.workers.split_at_mut(turn);
        let worker = from
            .iter_mut()
            .chain(before)
            .filter(|worker| worker.is_serving())
            .rev()
            .max_by_key(|worker| worker.free.len())?;
        let row = worker.free.pop()?;
        worker.busy = worker.busy.saturating_add(1);
        if let Some(held) = usize::try_from(row).ok().and_then(|row| worker.held.get_mut(row)) {
            *held = Some((route, now));
        }
        let place = Place { worker: worker.id, row };
        self.turn = turn.wrapping_add(1);
        if let Some(line) = self.lines.get_mut(line) {
            line.pace.take(now);
        }
        Some(place)
    }
}

#[cfg(test)]
mod tests;
