//! A pool as the proxy sees it: its workers, its permits and the queue before them.
//!
//! Who is admitted is decided by `ostler_policy::admission` under one short lock; this module
//! wakes who was granted a place, and keeps the books. A pool outlives configurations: a reload
//! changes its limits and its workers, not its queue.

mod permit;
mod timings;
mod worker;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ostler_policy::admission::{Admission, Arrival, Place, Shed, Ticket};
use ostler_segment::CounterPage;
use ostler_segment::counter::Pool as Counter;
use ostler_status::{LastExit, UnixTime};
use ostler_supervisor::message::{PendingRecycle, WorkerExit, WorkerId};
use tokio::sync::oneshot;

pub(crate) use permit::Permit;
pub(crate) use timings::{Percentiles, Timings, WINDOW_S};
pub(crate) use worker::{Standing, Worker};

use crate::clock;
use crate::connection::Client;

/// One pool.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) name: String,
    pub(crate) counters: CounterPage,
    /// Which proxy process of this supervisor we are: marks the rows we claim.
    incarnation: u32,
    next_worker: AtomicU64,
    books: Mutex<Books>,
}

/// Everything that changes, under one lock.
#[derive(Debug)]
struct Books {
    admission: Admission<Waiter>,
    workers: Vec<Arc<Worker>>,
    timings: Timings,
    /// Since when every permit is held.
    full_since: Option<Duration>,
    /// Since when a worker is missing that was there.
    degraded_since: Option<Duration>,
    /// How many workers it should have; while some are replaced there are more.
    processes: usize,
    /// How many workers served when the pool was whole last.
    whole: usize,
    last_exit: Option<LastExit>,
    outlook: Outlook,
}

/// What the supervisor is about to do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outlook {
    /// Workers that are to be replaced, in this order.
    pub(crate) pending: Vec<PendingRecycle>,
    /// When a worker is started that is held back because those before it died.
    pub(crate) retry_at: Option<Instant>,
}

/// Wakes one waiting request with its place; dropped when no worker will ever serve it.
type Waiter = oneshot::Sender<Place>;

/// Why a request was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAdmitted {
    /// The queue is full.
    QueueFull,
    /// It waited for `queue-timeout`.
    QueueTimeout,
    /// No worker serves, and none is starting.
    PoolNotReady,
    /// Its client left while it waited.
    ClientLeft,
}

impl From<Shed> for NotAdmitted {
    fn from(shed: Shed) -> Self {
        match shed {
            Shed::QueueFull => Self::QueueFull,
            Shed::PoolNotReady => Self::PoolNotReady,
        }
    }
}

/// What the status page shows of a pool, taken at one moment.
#[derive(Debug)]
pub(crate) struct PoolView {
    pub(crate) workers: Vec<Arc<Worker>>,
    pub(crate) busy: u32,
    pub(crate) queued: usize,
    pub(crate) oldest_wait: Option<Duration>,
    pub(crate) full_since: Option<Duration>,
    pub(crate) degraded_since: Option<Duration>,
    pub(crate) last_exit: Option<LastExit>,
    pub(crate) outlook: Outlook,
    pub(crate) queue_wait: Percentiles,
    pub(crate) run: Percentiles,
}

/// Bytes of pipelined requests read while one waits; past them, a client that leaves is noticed
/// only when it is answered.
const READ_AHEAD_BYTES: usize = 16 * 1024;

impl Pool {
    /// A pool without workers. Its queue length comes with the first configuration.
    pub(crate) fn new(name: String, counters: CounterPage, incarnation: u32) -> Self {
        let books = Books {
            admission: Admission::new(0),
            workers: Vec::new(),
            timings: Timings::new(clock::now()),
            full_since: None,
            degraded_since: None,
            processes: 0,
            whole: 0,
            last_exit: None,
            outlook: Outlook::default(),
        };
        let (next_worker, books) = (AtomicU64::new(1), Mutex::new(books));
        Self { name, counters, incarnation, next_worker, books }
    }

    /// Changes how many requests may wait, and how many workers make the pool whole.
    pub(crate) fn set_limits(&self, queue_length: u32, processes: u32) {
        let mut books = self.books();
        books.admission.set_queue_length(queue_length as usize);
        books.processes = processes as usize;
        books.whole = books.whole.min(books.processes);
    }

    /// The number for a worker that is about to be added.
    pub(crate) fn next_worker_number(&self) -> u64 {
        self.next_worker.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes a worker known that is starting.
    pub(crate) fn add_worker(&self, worker: Arc<Worker>) {
        let mut books = self.books();
        books.admission.add_worker(worker.number, worker.segment.rows());
        books.workers.push(worker);
    }

    /// Lets a worker be given requests from here on.
    pub(crate) fn serve(&self, worker: &Worker) {
        worker.set_standing(Standing::Ready);
        let now = clock::now();
        let mut books = self.books();
        for grant in books.admission.serve(worker.number, now) {
            books.timings.queue_wait.record(grant.waited, now);
            Self::hand_over(&mut books, grant.place, grant.waiter, now);
        }
        if books.whole <= books.admission.serving() {
            books.whole = books.admission.serving().min(books.processes);
            books.degraded_since = None;
        }
    }

    /// Gives no new request to a worker, and waits until none is inside it.
    pub(crate) async fn withdraw(&self, worker: &Worker) {
        {
            let mut books = self.books();
            worker.set_standing(Standing::Draining);
            books.admission.withdraw(worker.number);
        }
        worker.close_idle_connections();
        while !self.books().admission.is_idle(worker.number) {
            worker.idle.notified().await;
        }
    }

    /// Grants no more permits of a worker that cannot be reached: its end is about to be reported.
    pub(crate) fn stop_granting(&self, worker: &Worker) {
        self.books().admission.lose(worker.number);
        worker.close_idle_connections();
    }

    /// Notes that a worker's process ended. It is forgotten by [`Pool::remove_worker`]: until
    /// then, requests wait for the one that is started in its place.
    pub(crate) fn note_exit(&self, worker: &Worker, exit: WorkerExit) {
        let was_withdrawn = worker.is_withdrawn();
        worker.set_standing(Standing::Killed);
        self.stop_granting(worker);
        let mut books = self.books();
        if !was_withdrawn {
            books.last_exit = Some(LastExit {
                at: UnixTime::from_ms(whole_ms(clock::unix_now())),
                slot: worker.id.slot,
                generation: worker.id.generation,
                exit: exit.to_string(),
                status: exit.status(),
                signal: exit.signal(),
                stderr: Vec::new(),
            });
            if books.admission.serving() < books.whole {
                books.degraded_since.get_or_insert_with(clock::unix_now);
            }
        }
        Self::note_fullness(&mut books);
    }

    /// Notes what the worker that exited last had printed.
    pub(crate) fn note_last_words(&self, id: &WorkerId, lines: Vec<String>) {
        let is_it = |exit: &&mut LastExit| exit.slot == id.slot && exit.generation == id.generation;
        if let Some(exit) = self.books().last_exit.as_mut().filter(is_it) {
            exit.stderr = lines;
        }
    }

    /// Notes what the supervisor is about to do.
    pub(crate) fn set_outlook(&self, outlook: Outlook) {
        self.books().outlook = outlook;
    }

    /// Forgets a worker whose process ended.
    pub(crate) fn remove_worker(&self, worker: &Worker) {
        let mut books = self.books();
        // Dropping the waiters tells them that nobody is left to serve them.
        drop(books.admission.remove_worker(worker.number));
        books.workers.retain(|known| known.number != worker.number);
        worker.idle.notify_one();
    }

    /// The worker of a slot and generation.
    pub(crate) fn worker(&self, slot: u32, generation: u32) -> Option<Arc<Worker>> {
        let books = self.books();
        let is_it =
            |worker: &&Arc<Worker>| worker.id.slot == slot && worker.id.generation == generation;
        books.workers.iter().find(is_it).cloned()
    }

    /// Refuses a request that could not be admitted anyway, before its body is read.
    ///
    /// # Errors
    ///
    /// Whatever [`Pool::admit`] would refuse it for at once.
    pub(crate) fn shed_early(&self) -> Result<(), NotAdmitted> {
        let shed = self.books().admission.would_shed();
        shed.map_or(Ok(()), |shed| Err(self.count(shed.into())))
    }

    /// Waits for a permit: first come, first served, until `queue_timeout` after it `arrived`.
    ///
    /// # Errors
    ///
    /// What [`NotAdmitted`] says; it is counted.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        client: &mut Client<'_>,
        arrived: Instant,
        queue_timeout: Duration,
    ) -> Result<Permit, NotAdmitted> {
        loop {
            let place = match self.enter(arrived) {
                Ok(Entered::Admitted(place, worker)) => Ok((place, worker, Duration::ZERO)),
                Ok(Entered::Queued(ticket, granted)) => {
                    let waited = (arrived, queue_timeout);
                    self.wait(client, waited, (ticket, granted)).await.map(|place| {
                        let queued = clock::now().saturating_duration_since(arrived);
                        (place, self.books().worker(place), queued)
                    })
                }
                Err(refused) => Err(refused),
            };
            let place = place.map_err(|refused| self.count(refused))?;
            if let Some(permit) = self.permit(place) {
                return Ok(permit);
            }
        }
    }

    async fn wait(
        &self,
        client: &mut Client<'_>,
        (arrived, queue_timeout): (Instant, Duration),
        (ticket, mut granted): (Ticket, oneshot::Receiver<Place>),
    ) -> Result<Place, NotAdmitted> {
        let transport = &client.transport;
        let outcome = client.deadline.run(arrived + queue_timeout, async {
            tokio::select! {
                biased;
                place = &mut granted => place.map_err(|_dropped| NotAdmitted::PoolNotReady),
                () = transport.closed_by_peer(&mut client.input, READ_AHEAD_BYTES) => {
                    Err(NotAdmitted::ClientLeft)
                }
            }
        });
        let refused = match outcome.await {
            Ok(Ok(place)) => return Ok(place),
            Ok(Err(NotAdmitted::PoolNotReady)) => return Err(NotAdmitted::PoolNotReady),
            Ok(Err(refused)) => refused,
            Err(_elapsed) => NotAdmitted::QueueTimeout,
        };
        if self.books().admission.leave(ticket).is_some() {
            return Err(refused);
        }
        // Its turn came at the same moment: the place is used, or given back.
        match (granted.try_recv(), refused) {
            (Ok(place), NotAdmitted::ClientLeft) => {
                self.release_place(place);
                Err(refused)
            }
            (Ok(place), _) => Ok(place),
            (Err(_), _) => Err(NotAdmitted::PoolNotReady),
        }
    }

    fn enter(&self, now: Instant) -> Result<Entered, NotAdmitted> {
        let mut books = self.books();
        if let Some(place) = books.admission.admit() {
            books.timings.queue_wait.record(Duration::ZERO, now);
            Self::note_fullness(&mut books);
            return Ok(Entered::Admitted(place, books.worker(place)));
        }
        let (waiter, granted) = oneshot::channel();
        match books.admission.arrive(waiter, now) {
            Arrival::Admitted(place, _) => Ok(Entered::Admitted(place, books.worker(place))),
            Arrival::Queued(ticket) => Ok(Entered::Queued(ticket, granted)),
            Arrival::Shed(shed, _) => Err(shed.into()),
        }
    }

    /// Claims the row of a place. `None` when somebody else holds it: then the place is lost until
    /// its worker is replaced, which is better than two requests in one row.
    fn permit(
        self: &Arc<Self>,
        (place, worker, queued): (Place, Option<Arc<Worker>>, Duration),
    ) -> Option<Permit> {
        let Some(worker) = worker else {
            self.release_place(place);
            return None;
        };
        let ticket = worker.segment.row(place.row).claim(self.incarnation);
        let Some(ticket) = ticket else {
            let (pool, slot, row) = (&self.name, worker.id.slot, place.row);
            tracing::error!(%pool, slot, row, "row_held_by_another");
            return None;
        };
        self.counters.add(Counter::RequestsTotal, 1);
        if !queued.is_zero() {
            self.counters.add(Counter::QueueWaitMsTotal, whole_ms(queued));
        }
        Some(Permit::new(Arc::clone(self), worker, place, ticket, queued))
    }

    /// Takes a place back that was not used, and passes it on to who waits longest.
    fn release_place(&self, place: Place) {
        self.end_run(place, None, clock::now());
    }

    /// Takes a place back, and passes it on to who waits longest. Records how long a request ran
    /// in the application, if one did.
    fn end_run(&self, place: Place, ran: Option<Duration>, now: Instant) {
        let mut books = self.books();
        if let Some(ran) = ran {
            self.counters.add(Counter::RunMsTotal, whole_ms(ran));
            books.timings.run.record(ran, now);
        }
        if let Some(grant) = books.admission.release(place, now) {
            books.timings.queue_wait.record(grant.waited, now);
            Self::hand_over(&mut books, grant.place, grant.waiter, now);
        }
        Self::note_fullness(&mut books);
        let is_idle = books.admission.is_idle(place.worker);
        let worker = books.workers.iter().find(|worker| worker.number == place.worker);
        if let Some(worker) = worker.filter(|worker| is_idle && worker.is_withdrawn()) {
            worker.idle.notify_one();
        }
    }

    /// Wakes who was granted a place; if it left at this moment, the next in turn.
    fn hand_over(books: &mut Books, place: Place, waiter: Waiter, now: Instant) {
        let mut offer = waiter.send(place).err();
        while let Some(refused) = offer {
            let next = books.admission.release(refused, now);
            offer = next.and_then(|grant| grant.waiter.send(grant.place).err());
        }
        Self::note_fullness(books);
    }

    fn note_fullness(books: &mut Books) {
        let capacity: u32 = books
            .workers
            .iter()
            .filter(|worker| worker.standing() == Standing::Ready)
            .map(|worker| worker.segment.rows())
            .sum();
        let is_full = 0 < capacity && capacity <= books.admission.busy();
        match (is_full, books.full_since) {
            (true, None) => books.full_since = Some(clock::unix_now()),
            (false, Some(_)) => books.full_since = None,
            (true, Some(_)) | (false, None) => {}
        }
    }

    fn count(&self, refused: NotAdmitted) -> NotAdmitted {
        let counter = match refused {
            NotAdmitted::QueueFull => Counter::ShedQueueFull,
            NotAdmitted::QueueTimeout => Counter::ShedQueueTimeout,
            NotAdmitted::PoolNotReady => Counter::ShedPoolNotReady,
            NotAdmitted::ClientLeft => Counter::Left,
        };
        self.counters.add(counter, 1);
        refused
    }

    /// The pool at this moment, for the status page.
    pub(crate) fn view(&self) -> PoolView {
        let now = clock::now();
        let books = self.books();
        PoolView {
            workers: books.workers.clone(),
            busy: books.admission.busy(),
            queued: books.admission.queued(),
            oldest_wait: books.admission.oldest_wait(now),
            full_since: books.full_since,
            degraded_since: books.degraded_since,
            last_exit: books.last_exit.clone(),
            outlook: books.outlook.clone(),
            queue_wait: books.timings.queue_wait.percentiles(now),
            run: books.timings.run.percentiles(now),
        }
    }

    /// Whether a worker serves.
    pub(crate) fn is_serving(&self) -> bool {
        0 < self.books().admission.serving()
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Nothing under this lock panics half-way; if something did, the books are still the best
        // there is.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    /// The worker of a place; `None` when it is forgotten already.
    fn worker(&self, place: Place) -> Option<Arc<Worker>> {
        self.workers.iter().find(|known| known.number == place.worker).cloned()
    }
}

enum Entered {
    Admitted(Place, Option<Arc<Worker>>),
    Queued(Ticket, oneshot::Receiver<Place>),
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
