//! Who is let in: the permits of one pool and the queue before them.
//!
//! A *place* is one row of one worker; holding it is a permit. Who finds none waits, first come
//! first served, in a queue of bounded length; who finds that full, or no worker at all, is shed.
//! A newcomer never overtakes who waits.
//!
//! Nothing here waits or wakes: an operation returns who must be told. Each waiting request
//! carries a `W`, which is handed back when its place is found.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// One row of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The worker, by the number given to [`Admission::add_worker`].
    pub worker: u64,
    /// The row of its segment.
    pub row: u32,
}

/// Names one waiting request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Why a request is refused before it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// As many requests wait as may.
    QueueFull,
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
    /// Rows with one.
    busy: u32,
    /// Rows that another proxy holds, or has left a handler running in.
    held: u32,
}

impl Worker {
    fn is_idle(&self) -> bool {
        self.busy == 0 && self.held == 0
    }
}

#[derive(Debug)]
struct Waiting<W> {
    ticket: Ticket,
    since: Instant,
    waiter: W,
}

/// Permits and queue of one pool.
#[derive(Debug)]
pub struct Admission<W> {
    queue_length: usize,
    workers: Vec<Worker>,
    queue: VecDeque<Waiting<W>>,
    /// Whether it ever had a worker: a pool that is new is about to get some.
    had_worker: bool,
    next_ticket: u64,
    /// Where the search for the least busy worker begins, so that equals take turns.
    turn: usize,
}

impl<W> Admission<W> {
    /// A pool without workers, whose queue holds `queue_length` requests.
    #[must_use]
    pub fn new(queue_length: usize) -> Self {
        Self {
            queue_length,
            workers: Vec::new(),
            queue: VecDeque::new(),
            had_worker: false,
            next_ticket: 0,
            turn: 0,
        }
    }

    /// Changes the length of the queue. Who waits already, waits on.
    pub fn set_queue_length(&mut self, queue_length: usize) {
        self.queue_length = queue_length;
    }

    /// Makes a worker known that is starting: requests may wait for it.
    pub fn add_worker(&mut self, id: u64, rows: u32) {
        debug_assert!(self.workers.iter().all(|worker| worker.id != id), "a worker is added once");
        // Row 0 is given out first.
        let free = (0..rows).rev().collect();
        self.had_worker = true;
        self.workers.push(Worker { id, standing: Standing::Starting, free, busy: 0, held: 0 });
    }

    /// Lets a worker's rows be permits from here on. Grants them to those who wait.
    pub fn serve(&mut self, id: u64, now: Instant) -> Vec<Grant<W>> {
        if let Some(worker) = self.worker(id) {
            worker.standing = Standing::Serving;
        }
        let mut grants = Vec::new();
        while !self.queue.is_empty() {
            let Some(place) = self.take_place() else { break };
            grants.extend(self.grant(place, now));
        }
        grants
    }

    /// Gives out no more permits of a worker. Returns whether none of its permits is held.
    pub fn withdraw(&mut self, id: u64) -> bool {
        self.worker(id).is_none_or(|worker| {
            worker.standing = Standing::Withdrawn;
            worker.is_idle()
        })
    }

    /// Gives out no more permits of a worker whose process has ended. Requests wait on: another
    /// one is expected in its place, until [`Admission::remove_worker`].
    pub fn lose(&mut self, id: u64) {
        if let Some(worker) = self.worker(id)
            && worker.standing != Standing::Withdrawn
        {
            worker.standing = Standing::Lost;
        }
    }

    /// Forgets a worker that is gone; permits of it that are still held may be released later.
    ///
    /// Returns the waiting requests if nobody is left who could ever serve them.
    pub fn remove_worker(&mut self, id: u64) -> Vec<W> {
        self.workers.retain(|worker| worker.id != id);
        if self.has_prospect() {
            return Vec::new();
        }
        self.queue.drain(..).map(|waiting| waiting.waiter).collect()
    }

    /// Takes a permit for a request that arrives, if one is free and nobody waits for it.
    pub fn admit(&mut self) -> Option<Place> {
        if self.queue.is_empty() { self.take_place() } else { None }
    }

    /// Decides about a request that arrives and may wait.
    pub fn arrive(&mut self, waiter: W, now: Instant) -> Arrival<W> {
        if let Some(place) = self.admit() {
            return Arrival::Admitted(place, waiter);
        }
        if self.queue.is_empty() && !self.has_prospect() {
            return Arrival::Shed(Shed::PoolNotReady, waiter);
        }
        if self.queue_length <= self.queue.len() {
            return Arrival::Shed(Shed::QueueFull, waiter);
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket = self.next_ticket.wrapping_add(1);
        self.queue.push_back(Waiting { ticket, since: now, waiter });
        Arrival::Queued(ticket)
    }

    /// Says, without changing anything, whether a request that arrived now would be refused.
    #[must_use]
    pub fn would_shed(&self) -> Option<Shed> {
        let has_free = self
            .workers
            .iter()
            .any(|worker| worker.standing == Standing::Serving && !worker.free.is_empty());
        if self.queue.is_empty() && has_free {
            None
        } else if self.queue.is_empty() && !self.has_prospect() {
            Some(Shed::PoolNotReady)
        } else if self.queue_length <= self.queue.len() {
            Some(Shed::QueueFull)
        } else {
            None
        }
    }

    /// Takes a waiting request out of the queue: it waited too long, or its client left.
    ///
    /// `None` when its turn has come meanwhile: it holds a permit that must be released.
    pub fn leave(&mut self, ticket: Ticket) -> Option<W> {
        let at = self.queue.binary_search_by_key(&ticket, |waiting| waiting.ticket).ok()?;
        self.queue.remove(at).map(|waiting| waiting.waiter)
    }

    /// Takes a permit back and passes it on to who waits longest.
    pub fn release(&mut self, place: Place, now: Instant) -> Option<Grant<W>> {
        let worker = self.worker(place.worker)?;
        debug_assert!(!worker.free.contains(&place.row), "a permit is released once");
        debug_assert!(0 < worker.busy, "a permit that is released was held");
        worker.busy = worker.busy.saturating_sub(1);
        worker.free.push(place.row);
        self.pass_on(now)
    }

    fn pass_on(&mut self, now: Instant) -> Option<Grant<W>> {
        if self.queue.is_empty() {
            return None;
        }
        let place = self.take_place()?;
        self.grant(place, now)
    }

    /// Notes that somebody else has a place, which was free here or had been given out here: no
    /// permit until [`Admission::give_back`].
    pub fn hold_back(&mut self, place: Place) {
        let Some(worker) = self.worker(place.worker) else { return };
        if let Some(at) = worker.free.iter().position(|&row| row == place.row) {
            worker.free.remove(at);
        } else {
            debug_assert!(0 < worker.busy, "a place is free, or given out, or held back");
            worker.busy = worker.busy.saturating_sub(1);
        }
        worker.held = worker.held.saturating_add(1);
    }

    /// Takes a place that was held back into use, and passes it on to who waits longest.
    pub fn give_back(&mut self, place: Place, now: Instant) -> Option<Grant<W>> {
        let worker = self.worker(place.worker)?;
        debug_assert!(0 < worker.held, "a place that is given back was held back");
        worker.held = worker.held.saturating_sub(1);
        worker.free.push(place.row);
        self.pass_on(now)
    }

    /// A request whose turn had come lost its place to somebody else: it gets another one, or
    /// waits again where it waited before, with the ticket it had.
    pub fn resume(&mut self, ticket: Ticket, since: Instant, waiter: W) -> Option<(Place, W)> {
        if let Some(place) = self.take_place() {
            return Some((place, waiter));
        }
        let at = self.queue.partition_point(|waiting| waiting.ticket < ticket);
        self.queue.insert(at, Waiting { ticket, since, waiter });
        None
    }

    /// Whether nothing runs in a worker, as far as is known: it may be ended.
    #[must_use]
    pub fn is_idle(&self, id: u64) -> bool {
        self.workers.iter().find(|worker| worker.id == id).is_none_or(Worker::is_idle)
    }

    /// Places that are not free.
    #[must_use]
    pub fn busy(&self) -> u32 {
        self.workers.iter().map(|worker| worker.busy.saturating_add(worker.held)).sum()
    }

    /// Requests that wait.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// How long the first in the queue has waited.
    #[must_use]
    pub fn oldest_wait(&self, now: Instant) -> Option<Duration> {
        self.queue.front().map(|waiting| now.saturating_duration_since(waiting.since))
    }

    /// Workers that serve.
    #[must_use]
    pub fn serving(&self) -> usize {
        self.workers.iter().filter(|worker| worker.standing == Standing::Serving).count()
    }

    fn worker(&mut self, id: u64) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|worker| worker.id == id)
    }

    fn has_prospect(&self) -> bool {
        !self.had_worker || self.workers.iter().any(|worker| worker.standing != Standing::Withdrawn)
    }

    /// Takes a free row of the worker with the most of them.
    fn take_place(&mut self) -> Option<Place> {
        let count = self.workers.len();
        let turn = self.turn.checked_rem(count)?;
        let (before, from) = self.workers.split_at_mut(turn);
        let worker = from
            .iter_mut()
            .chain(before)
            .filter(|worker| worker.standing == Standing::Serving)
            .rev()
            .max_by_key(|worker| worker.free.len())?;
        let row = worker.free.pop()?;
        worker.busy = worker.busy.saturating_add(1);
        let place = Place { worker: worker.id, row };
        self.turn = turn.wrapping_add(1);
        Some(place)
    }

    fn grant(&mut self, place: Place, now: Instant) -> Option<Grant<W>> {
        let waiting = self.queue.pop_front()?;
        let waited = now.saturating_duration_since(waiting.since);
        Some(Grant { place, waited, waiter: waiting.waiter })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any instant will do: only differences count")]
    fn now() -> Instant {
        Instant::now()
    }

    /// A pool of `workers` with `rows` each that all serve.
    fn pool(workers: u64, rows: u32, queue_length: usize) -> Admission<u32> {
        let mut pool = Admission::new(queue_length);
        for id in 0..workers {
            pool.add_worker(id, rows);
            assert!(pool.serve(id, now()).is_empty());
        }
        pool
    }

    fn admitted(arrival: Arrival<u32>) -> Place {
        match arrival {
            Arrival::Admitted(place, _) => place,
            other @ (Arrival::Queued(_) | Arrival::Shed(..)) => panic!("not admitted: {other:?}"),
        }
    }

    fn queued(arrival: Arrival<u32>) -> Ticket {
        match arrival {
            Arrival::Queued(ticket) => ticket,
            other @ (Arrival::Admitted(..) | Arrival::Shed(..)) => panic!("not queued: {other:?}"),
        }
    }

    #[test]
    fn permits_go_to_the_least_busy_worker_in_turn() {
        let mut pool = pool(2, 2, 0);
        let taken: Vec<_> = (0..4).map(|_| admitted(pool.arrive(0, now())).worker).collect();
        assert_eq!((taken[0] != taken[1], taken[2] != taken[3]), (true, true), "{taken:?}");
        assert_eq!(pool.busy(), 4);
        assert!(matches!(pool.arrive(9, now()), Arrival::Shed(Shed::QueueFull, 9)));
    }

    #[test]
    fn who_waits_is_served_first_come_first_served_and_never_overtaken() {
        let mut pool = pool(1, 1, 3);
        let place = admitted(pool.arrive(0, now()));
        let first = queued(pool.arrive(1, now()));
        queued(pool.arrive(2, now()));
        queued(pool.arrive(3, now()));
        assert_eq!(pool.leave(first), Some(1));
        assert_eq!(pool.leave(first), None);
        let grant = pool.release(place, now()).unwrap();
        assert_eq!(grant.waiter, 2);
        queued(pool.arrive(4, now()));
        assert_eq!(pool.release(grant.place, now()).unwrap().waiter, 3);
    }

    #[test]
    fn requests_wait_for_a_worker_that_starts_and_are_shed_when_there_is_none() {
        let mut pool = Admission::new(2);
        queued(pool.arrive(1, now()));
        pool.add_worker(7, 1);
        queued(pool.arrive(2, now()));
        let grants = pool.serve(7, now());
        assert_eq!(grants.iter().map(|grant| grant.waiter).collect::<Vec<_>>(), [1]);
        pool.lose(7);
        assert_eq!(pool.would_shed(), None, "another one is expected in its place");
        assert_eq!(pool.remove_worker(7), [2], "nobody is left to serve it");
        assert!(matches!(pool.arrive(3, now()), Arrival::Shed(Shed::PoolNotReady, 3)));
    }

    #[test]
    fn a_withdrawn_worker_gives_no_permit_and_is_idle_when_the_last_is_back() {
        let mut pool = pool(2, 1, 5);
        let place = admitted(pool.arrive(0, now()));
        let other = admitted(pool.arrive(0, now()));
        assert!(!pool.withdraw(place.worker));
        queued(pool.arrive(1, now()));
        assert!(pool.release(place, now()).is_none());
        assert!(pool.is_idle(place.worker));
        assert_eq!(pool.release(other, now()).unwrap().place.worker, other.worker);
    }

    #[test]
    fn a_place_that_another_proxy_holds_is_no_permit_until_it_is_given_back() {
        let mut pool = pool(1, 2, 5);
        let held = Place { worker: 0, row: 0 };
        pool.hold_back(held);
        let place = admitted(pool.arrive(0, now()));
        assert_eq!((place.row, pool.busy()), (1, 2));
        queued(pool.arrive(1, now()));
        assert!(!pool.withdraw(0) && !pool.is_idle(0));
        assert!(pool.release(place, now()).is_none(), "it is withdrawn");
        assert!(!pool.is_idle(0), "a handler of the other proxy runs");
        assert!(pool.give_back(held, now()).is_none());
        assert!(pool.is_idle(0));
    }

    #[test]
    fn who_lost_the_place_it_was_given_keeps_its_turn() {
        let mut pool = pool(1, 2, 1);
        let (lost, other) = (admitted(pool.arrive(0, now())), admitted(pool.arrive(0, now())));
        let ticket = queued(pool.arrive(1, now()));
        let grant = pool.release(other, now()).unwrap();
        queued(pool.arrive(2, now()));
        pool.hold_back(grant.place);
        assert!(pool.resume(ticket, now(), grant.waiter).is_none(), "nothing else is free");
        assert_eq!(pool.queued(), 2, "also beyond the length of the queue");
        let grant = pool.give_back(other, now()).unwrap();
        assert_eq!(grant.waiter, 1, "before who came later");
        pool.hold_back(grant.place);
        assert!(pool.resume(ticket, now(), 1).is_none());
        assert_eq!(pool.leave(ticket), Some(1), "and may leave as before");
        assert_eq!(pool.release(lost, now()).unwrap().waiter, 2);
    }

    #[test]
    fn a_permit_of_a_worker_that_is_gone_is_released_without_effect() {
        let mut pool = pool(1, 1, 5);
        let place = admitted(pool.arrive(0, now()));
        pool.remove_worker(place.worker);
        assert!(pool.release(place, now()).is_none());
        assert_eq!(pool.busy(), 0);
    }
}
