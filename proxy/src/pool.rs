//! A pool as the proxy sees it: its workers, its permits and the queue before them.
//!
//! Who is admitted is decided by `ostler_policy::admission` under one short lock; this module
//! wakes who was granted a place, and keeps the books. A pool outlives configurations: a reload
//! changes its limits and its workers, not its queue.

mod admit;
mod blame;
mod held;
mod permit;
mod runs;
mod stuck;
mod timings;
mod worker;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use blame::Blames;
use ostler_conf::{PoolConfig, Share};
use ostler_policy::admission::{Admission, Place, RouteId};
use ostler_segment::CounterPage;
use ostler_segment::counter::Pool as Counter;
use ostler_status::{LastExit, PostMortem, Recycled, UnixTime};
use ostler_supervisor::message::{PendingRecycle, WorkerExit, WorkerId};
use tokio::sync::oneshot;

pub(crate) use admit::{NotAdmitted, Wait};
pub(crate) use blame::{Blame, LongWait};
pub(crate) use permit::{Patience, Permit};
pub(crate) use runs::HeldRow;
pub(crate) use stuck::UnfitWorkers;
pub(crate) use timings::{Percentiles, Timings, WINDOW_S};
pub(crate) use worker::{Standing, Worker};

use crate::clock;
use crate::proxies::Proxies;
use held::Held;

/// One pool.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) name: String,
    pub(crate) counters: CounterPage,
    /// This process, which marks the rows it claims, and the others.
    proxies: Arc<Proxies>,
    next_worker: AtomicU64,
    /// Where workers are reported that are to be replaced.
    unfit: Arc<UnfitWorkers>,
    /// What workers were doing when they got stuck, were killed or crashed.
    pub(crate) post_mortems: ArcSwap<Vec<PostMortem>>,
    books: Mutex<Books>,
}

/// Everything that changes, under one lock.
#[derive(Debug)]
struct Books {
    admission: Admission<Waiter>,
    workers: Vec<Arc<Worker>>,
    held: Vec<Held>,
    /// Whether somebody looks at what is held.
    is_looking: bool,
    timings: Timings,
    blames: Blames,
    /// Since when every permit is held.
    full_since: Option<Duration>,
    /// Since when the queue has had no room.
    queue_full_since: Option<Duration>,
    /// Requests that may wait.
    queue_length: usize,
    /// Since when a worker is missing that was there.
    degraded_since: Option<Duration>,
    /// How many workers it should have; while some are replaced there are more.
    processes: usize,
    /// How many workers served when the pool was whole last.
    whole: usize,
    last_exit: Option<LastExit>,
    outlook: Outlook,
    /// Workers that were replaced, the last one first.
    recycled: VecDeque<Recycled>,
}

/// What the supervisor is about to do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outlook {
    /// Workers that are to be replaced, in this order.
    pub(crate) pending: Vec<PendingRecycle>,
    /// When a worker is started that is held back because those before it died.
    pub(crate) retry_at: Option<Instant>,
}

impl Outlook {
    /// As the supervisor tells it now.
    pub(crate) fn new(pending: Vec<PendingRecycle>, retry_in_ms: Option<u64>) -> Self {
        let retry_at = retry_in_ms.map(|wait| clock::now() + Duration::from_millis(wait));
        Self { pending, retry_at }
    }
}

/// Wakes one waiting request with its place; dropped when no worker will ever serve it.
type Waiter = oneshot::Sender<Place>;

/// What the status page shows of a pool, taken at one moment.
#[derive(Debug)]
pub(crate) struct PoolView {
    pub(crate) workers: Vec<Arc<Worker>>,
    pub(crate) busy: u32,
    pub(crate) queued: usize,
    pub(crate) oldest_wait: Option<Duration>,
    pub(crate) full_since: Option<Duration>,
    pub(crate) queue_full_since: Option<Duration>,
    pub(crate) degraded_since: Option<Duration>,
    pub(crate) last_exit: Option<LastExit>,
    pub(crate) outlook: Outlook,
    pub(crate) recycled: Vec<Recycled>,
    pub(crate) queue_wait: Percentiles,
    pub(crate) run: Percentiles,
    /// The last waits that were long, the latest first.
    pub(crate) long_waits: Vec<LongWait>,
}

impl Pool {
    /// A pool without workers. Its queue length comes with the first configuration.
    pub(crate) fn new(
        (name, counters): (String, CounterPage),
        proxies: Arc<Proxies>,
        unfit: Arc<UnfitWorkers>,
    ) -> Self {
        let books = Books {
            admission: Admission::new(0, Duration::ZERO),
            workers: Vec::new(),
            held: Vec::new(),
            is_looking: false,
            timings: Timings::new(clock::now()),
            blames: Blames::new(),
            full_since: None,
            queue_full_since: None,
            queue_length: 0,
            degraded_since: None,
            processes: 0,
            whole: 0,
            last_exit: None,
            outlook: Outlook::default(),
            recycled: VecDeque::new(),
        };
        let (next_worker, books) = (AtomicU64::new(1), Mutex::new(books));
        let post_mortems = ArcSwap::default();
        Self { name, counters, proxies, next_worker, unfit, post_mortems, books }
    }

    /// Changes how long and how many requests may wait, how many workers make the pool whole, and
    /// which routes may hold only a share of it.
    pub(crate) fn set_limits(&self, config: &PoolConfig, shares: &[(RouteId, Share)]) {
        let now = clock::now();
        let mut books = self.books();
        books.queue_length = config.queue_length as usize;
        books.admission.set_limits(config.queue_length as usize, config.queue_timeout);
        books.admission.set_shares(shares, now);
        books.processes = config.processes as usize;
        books.whole = books.whole.min(books.processes);
        Self::settle(&mut books, now);
    }

    /// The number of a route that leads here: the same as long as this process lives.
    pub(crate) fn route(&self, name: &str) -> RouteId {
        self.books().blames.route(name)
    }

    /// Whether a route of this name leads here, or did.
    pub(crate) fn has_route(&self, name: &str) -> bool {
        self.books().blames.knows(name)
    }

    /// The number for a worker that is about to be added.
    pub(crate) fn next_worker_number(&self) -> u64 {
        self.next_worker.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes a worker known that is starting.
    pub(crate) fn add_worker(self: &Arc<Self>, worker: &Arc<Worker>) {
        {
            let mut books = self.books();
            books.admission.add_worker(worker.number, worker.segment.rows());
            books.workers.push(Arc::clone(worker));
        }
        self.hold_claimed(worker);
    }

    /// Lets a worker be given requests from here on.
    pub(crate) fn serve(&self, worker: &Worker) {
        worker.set_standing(Standing::Ready);
        let now = clock::now();
        let mut books = self.books();
        books.admission.serve(worker.number, now);
        Self::settle(&mut books, now);
        if books.whole <= books.admission.serving() {
            books.whole = books.admission.serving().min(books.processes);
            books.degraded_since = None;
        }
    }

    /// Gives no new request to a worker, and waits until none is inside it, but for those that are
    /// stuck and past their grace: nobody waits for these, and they would hold up its replacement.
    pub(crate) async fn withdraw(&self, worker: &Worker) {
        {
            let now = clock::now();
            let mut books = self.books();
            worker.set_standing(Standing::Draining);
            books.admission.withdraw(worker.number, now);
            Self::settle(&mut books, now);
        }
        worker.close_idle_connections();
        while worker.overdue() < self.books().admission.held(worker.number) {
            worker.idle.notified().await;
        }
    }

    /// Grants no more permits of a worker that cannot be reached: its end is about to be reported.
    pub(crate) fn stop_granting(&self, worker: &Worker) {
        let now = clock::now();
        let mut books = self.books();
        books.admission.lose(worker.number, now);
        Self::settle(&mut books, now);
        drop(books);
        worker.close_idle_connections();
    }

    /// Notes that a worker's process ended. It is forgotten by [`Pool::remove_worker`]: until
    /// then, requests wait for the one that is started in its place.
    pub(crate) fn note_exit(&self, worker: &Worker, exit: WorkerExit) {
        let was_withdrawn = worker.is_withdrawn();
        worker.set_standing(Standing::Killed);
        self.stop_granting(worker);
        let figures = worker.segment.figures();
        let mut books = self.books();
        if !was_withdrawn {
            books.last_exit = Some(LastExit {
                at: UnixTime::from_ms(whole_ms(clock::unix_now())),
                slot: worker.id.slot,
                generation: worker.id.generation,
                exit: exit.to_string(),
                status: exit.status(),
                signal: exit.signal(),
                rss_bytes: figures.map(|figures| figures.rss_bytes),
                cpu_s: figures.map(|it| Duration::from_micros(it.cpu_us()).as_secs_f64()),
                ..LastExit::default()
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

    /// Notes that a worker is being replaced, and why.
    pub(crate) fn note_recycle(&self, id: &WorkerId, reason: String) {
        let mut books = self.books();
        let worker = books.workers.iter().find(|worker| worker.id == *id);
        let figures = worker.and_then(|worker| worker.segment.figures());
        let recycled = Recycled {
            at: UnixTime::from_ms(whole_ms(clock::unix_now())),
            slot: id.slot,
            generation: id.generation,
            reason,
            rss_bytes: figures.map(|figures| figures.rss_bytes),
        };
        books.recycled.push_front(recycled);
        books.recycled.truncate(Recycled::KEPT);
    }

    /// Notes what the supervisor is about to do.
    pub(crate) fn set_outlook(&self, outlook: Outlook) {
        self.books().outlook = outlook;
    }

    /// Forgets a worker whose process ended.
    pub(crate) fn remove_worker(&self, worker: &Worker) {
        let now = clock::now();
        let mut books = self.books();
        // Dropping the waiters tells them that nobody is left to serve them.
        drop(books.admission.remove_worker(worker.number, now));
        Self::settle(&mut books, now);
        books.workers.retain(|known| known.number != worker.number);
        books.held.retain(|held| held.worker.number != worker.number);
        worker.idle.notify_one();
    }

    /// Its workers.
    pub(crate) fn workers(&self) -> Vec<Arc<Worker>> {
        self.books().workers.clone()
    }

    /// The worker of a slot and generation.
    pub(crate) fn worker(&self, slot: u32, generation: u32) -> Option<Arc<Worker>> {
        let books = self.books();
        let is_it =
            |worker: &&Arc<Worker>| worker.id.slot == slot && worker.id.generation == generation;
        books.workers.iter().find(is_it).cloned()
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
            let ran_us = u64::try_from(ran.as_micros()).unwrap_or(u64::MAX);
            Counter::RUN.add(&self.counters, ran_us);
            books.timings.run.record(ran, now);
        }
        let books = &mut *books;
        if books.admission.queued() != 0 {
            // Who holds the rows while others wait is looked at while he still does.
            drop(books.blames.look(&books.admission, now));
        }
        books.admission.release(place, now);
        Self::settle(books, now);
        let held = books.admission.held(place.worker);
        let worker = books.workers.iter().find(|worker| worker.number == place.worker);
        let is_over = |worker: &Worker| held <= worker.overdue() && worker.is_withdrawn();
        if let Some(worker) = worker.filter(|worker| is_over(worker)) {
            worker.idle.notify_one();
        }
    }

    /// Gives free places to those who wait for them.
    fn settle(books: &mut Books, now: Instant) {
        while let Some(grant) = books.admission.next_grant(now) {
            match grant.waiter.send(grant.place) {
                Ok(()) => books.timings.queue_wait.record(grant.waited, now),
                // It left at this moment: the next in turn.
                Err(refused) => drop(books.admission.release(refused, now)),
            }
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
        note_since(&mut books.full_since, is_full);
        let queued = books.admission.queued();
        // Where nobody may wait, there is no room for the next one once every permit is held.
        let has_no_room = books.queue_length <= queued && (is_full || 0 < queued);
        note_since(&mut books.queue_full_since, has_no_room);
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
            queue_full_since: books.queue_full_since,
            degraded_since: books.degraded_since,
            last_exit: books.last_exit.clone(),
            outlook: books.outlook.clone(),
            recycled: books.recycled.iter().cloned().collect(),
            queue_wait: books.timings.queue_wait.percentiles(now),
            run: books.timings.run.percentiles(now),
            long_waits: books.blames.long_waits(),
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

/// Keeps since when something is so.
fn note_since(since: &mut Option<Duration>, is_so: bool) {
    match (is_so, *since) {
        (true, None) => *since = Some(clock::unix_now()),
        (false, Some(_)) => *since = None,
        (true, Some(_)) | (false, None) => {}
    }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
