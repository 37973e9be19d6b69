//! The way of a request to its permit: refused at once, admitted at once, or through the queue.
//!
//! Whoever waits leaves the queue however its waiting ends, also when it is cancelled: a
//! [`Waiting`] that is dropped takes its ticket back, or the place it was given and never saw.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ostler_policy::admission::{Arrival, Place, RouteId, Shed, Ticket};
use ostler_segment::counter::Pool as Counter;
use tokio::sync::oneshot;

use super::{Blame, Permit, Pool, Worker, whole_ms};
use crate::clock;
use crate::connection::Client;
use crate::entry::Entry;

/// Why a request was not admitted, and where that is known, after how long the queue is predicted
/// to have drained so far that it would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAdmitted {
    /// The queue is full.
    QueueFull(Duration),
    /// It waited for `queue-timeout`.
    QueueTimeout(Duration),
    /// It would wait longer than `queue-timeout`.
    PredictedWait(Duration),
    /// No worker serves, and none is starting.
    PoolNotReady,
    /// Its client left while it waited.
    ClientLeft,
}

impl From<Shed> for NotAdmitted {
    fn from(shed: Shed) -> Self {
        match shed {
            Shed::QueueFull(after) => Self::QueueFull(after),
            Shed::PredictedWait(after) => Self::PredictedWait(after),
            Shed::PoolNotReady => Self::PoolNotReady,
        }
    }
}

/// How a request may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) route: RouteId,
    pub(crate) arrived: Instant,
    pub(crate) queue_timeout: Duration,
}

/// Bytes of pipelined requests read while one waits; past them, a client that leaves is noticed
/// only when it is answered.
const READ_AHEAD_BYTES: usize = 16 * 1024;

/// A request in the queue.
#[derive(Debug)]
struct Waiting<'p> {
    pool: &'p Pool,
    ticket: Ticket,
    granted: oneshot::Receiver<Place>,
    /// Who held the rows when it came.
    blame: Arc<Blame>,
}

impl Waiting<'_> {
    /// Takes it out of the queue; `Some` when its turn has come meanwhile.
    fn leave(&mut self) -> Option<Place> {
        let mut books = self.pool.books();
        let has_left = books.admission.leave(self.ticket).is_some();
        if has_left {
            Pool::note_fullness(&mut books);
        }
        drop(books);
        if has_left { None } else { self.granted.try_recv().ok() }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.leave() {
            self.pool.release_place(place);
        }
    }
}

enum Entered<'p> {
    Admitted(Place, Option<Arc<Worker>>),
    Queued(Waiting<'p>),
}

impl Pool {
    /// Refuses a request that could not be admitted anyway, before its body is read.
    ///
    /// # Errors
    ///
    /// Whatever [`Pool::admit`] would refuse it for at once.
    pub(crate) fn shed_early(&self, route: RouteId, now: Instant) -> Result<(), NotAdmitted> {
        let shed = self.books().admission.would_shed(route, now);
        shed.map_or(Ok(()), |shed| Err(self.count(shed.into())))
    }

    /// Waits for a permit: first come, first served, until `queue_timeout` after it arrived.
    /// A long wait is explained in the entry.
    ///
    /// # Errors
    ///
    /// What [`NotAdmitted`] says; it is counted.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        client: &mut Client<'_>,
        entry: &mut Entry,
        wait: Wait,
    ) -> Result<Permit, NotAdmitted> {
        let mut entered = self.enter(wait);
        loop {
            let mut turn = None;
            let place = match entered {
                Ok(Entered::Admitted(place, worker)) => Ok((place, worker, Duration::ZERO)),
                Ok(Entered::Queued(waiting)) => {
                    turn = Some((waiting.ticket, Arc::clone(&waiting.blame)));
                    self.wait(client, entry, (wait, waiting)).await
                }
                Err(refused) => Err(refused),
            };
            let place = place.map_err(|refused| self.count(refused))?;
            if let Some(permit) = self.permit(place) {
                return Ok(permit);
            }
            entered = match turn {
                Some(turn) => Ok(self.resume(turn, wait)),
                None => self.enter(wait),
            };
        }
    }

    async fn wait(
        &self,
        client: &mut Client<'_>,
        entry: &mut Entry,
        (wait, mut waiting): (Wait, Waiting<'_>),
    ) -> Result<(Place, Option<Arc<Worker>>, Duration), NotAdmitted> {
        let outcome = self.until_granted(client, wait, &mut waiting).await;
        let now = clock::now();
        let waited = now.saturating_duration_since(wait.arrived);
        let mut books = self.books();
        let books = &mut *books;
        let explained = (waited, Arc::clone(&waiting.blame));
        if let Some(blame) = books.blames.explain(explained, &books.admission, now) {
            entry.held = Some(blame);
        }
        match outcome {
            Ok(place) => Ok((place, books.worker(place), waited)),
            Err(NotAdmitted::QueueTimeout(_)) => {
                Err(NotAdmitted::QueueTimeout(books.admission.retry_after(wait.route, now)))
            }
            Err(refused) => Err(refused),
        }
    }

    async fn until_granted(
        &self,
        client: &mut Client<'_>,
        wait: Wait,
        waiting: &mut Waiting<'_>,
    ) -> Result<Place, NotAdmitted> {
        let transport = &client.transport;
        let granted = &mut waiting.granted;
        let outcome = client.deadline.run(wait.arrived + wait.queue_timeout, async {
            tokio::select! {
                biased;
                place = granted => place.map_err(|_dropped| NotAdmitted::PoolNotReady),
                () = transport.closed_by_peer(&mut client.input, READ_AHEAD_BYTES) => {
                    Err(NotAdmitted::ClientLeft)
                }
            }
        });
        match outcome.await {
            // A place that comes at the same moment is given back with what waited for it.
            Ok(outcome) => outcome,
            Err(_elapsed) => waiting.leave().ok_or(NotAdmitted::QueueTimeout(Duration::ZERO)),
        }
    }

    fn enter(&self, Wait { route, arrived, .. }: Wait) -> Result<Entered<'_>, NotAdmitted> {
        let mut books = self.books();
        let books = &mut *books;
        if let Some(place) = books.admission.admit(route, arrived) {
            books.timings.queue_wait.record(Duration::ZERO, arrived);
            Self::note_fullness(books);
            return Ok(Entered::Admitted(place, books.worker(place)));
        }
        let (waiter, granted) = oneshot::channel();
        match books.admission.arrive(route, waiter, arrived) {
            Arrival::Admitted(place, _) => Ok(Entered::Admitted(place, books.worker(place))),
            Arrival::Queued(ticket) => {
                Self::note_fullness(books);
                let blame = books.blames.look(&books.admission, arrived);
                Ok(Entered::Queued(Waiting { pool: self, ticket, granted, blame }))
            }
            Arrival::Shed(shed, _) => Err(shed.into()),
        }
    }

    /// Another wait, in its old place, for a request whose turn had come.
    fn resume(&self, (ticket, blame): (Ticket, Arc<Blame>), wait: Wait) -> Entered<'_> {
        let (waiter, granted) = oneshot::channel();
        let mut books = self.books();
        books.admission.resume(ticket, wait.route, wait.arrived, waiter);
        Self::settle(&mut books, clock::now());
        Entered::Queued(Waiting { pool: self, ticket, granted, blame })
    }

    /// Claims the row of a place. `None` when another proxy holds it: then the place is held back.
    fn permit(
        self: &Arc<Self>,
        (place, worker, queued): (Place, Option<Arc<Worker>>, Duration),
    ) -> Option<Permit> {
        let Some(worker) = worker else {
            self.release_place(place);
            return None;
        };
        let ticket = worker.segment.row(place.row).claim(self.proxies.own);
        let Some(ticket) = ticket else {
            self.hold_back(&worker, place.row);
            return None;
        };
        self.counters.add(Counter::RequestsTotal, 1);
        if !queued.is_zero() {
            self.counters.add(Counter::QueueWaitMsTotal, whole_ms(queued));
        }
        Some(Permit::new(Arc::clone(self), worker, place, ticket, queued))
    }

    fn count(&self, refused: NotAdmitted) -> NotAdmitted {
        let counter = match refused {
            NotAdmitted::QueueFull(_) => Counter::ShedQueueFull,
            NotAdmitted::QueueTimeout(_) => Counter::ShedQueueTimeout,
            NotAdmitted::PredictedWait(_) => Counter::ShedPredictedWait,
            NotAdmitted::PoolNotReady => Counter::ShedPoolNotReady,
            NotAdmitted::ClientLeft => Counter::Left,
        };
        self.counters.add(counter, 1);
        refused
    }
}
