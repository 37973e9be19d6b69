//! What each route costs: requests, thread-seconds, bytes, errors, and what applications report.
//!
//! The counters are in pages that the supervisor owns, so that they go on when this process is
//! replaced or killed; here is what belongs to this process: the last minute, and the last request
//! of each route that made too many queries. How long requests hold rows is not kept at all while
//! they do: whoever asks looks at the rows.

mod books;
mod charge;
mod figures;
mod held;
mod window;

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Seek as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use ostler_segment::counter::{BOUNDS_US, Route as Counter};
use ostler_segment::{CounterPage, SegmentError};

pub(crate) use books::RouteBooks;
pub(crate) use charge::{Charge, believed};
pub(crate) use figures::Figures;
pub(crate) use held::HeldRows;
use window::Windows;

/// How often [`Ledger::tick`] is to be called.
pub(crate) const TICK: Duration = Duration::from_secs(5);

/// Routes that are told of, each on its own: as many as somebody reads through.
pub(crate) const TOLD: usize = 500;

#[expect(clippy::float_cmp, clippy::cast_precision_loss, reason = "a few small whole numbers")]
// Each bucket of a page is the bucket of the status page that has the same bound.
const _: () = {
    assert!(BOUNDS_US.len() == ostler_status::BOUNDS_MS.len());
    let mut bucket = 0;
    while bucket < BOUNDS_US.len() {
        assert!(BOUNDS_US[bucket] as f64 == ostler_status::BOUNDS_MS[bucket] * 1_000.0);
        bucket += 1;
    }
};

/// The books of all routes.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    index: ArcSwap<Index>,
    windows: Mutex<Windows>,
    /// Numbers of the routes that are told of, each on its own.
    told: Mutex<BTreeSet<u32>>,
}

/// Every route there ever was.
#[derive(Debug, Default)]
struct Index {
    /// By number. The first is that of all routes that have no number of their own.
    routes: Vec<Arc<RouteBooks>>,
    numbers: HashMap<Arc<str>, usize>,
    pages: Vec<Arc<CounterPage>>,
}

/// Why the supervisor's routes cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    /// The names cannot be read.
    #[error("the names of the routes cannot be read")]
    Names(#[from] io::Error),
    /// A page cannot be mapped.
    #[error("a page of counters cannot be used")]
    Page(#[from] SegmentError),
    /// A page is missing, or smaller than it has to be.
    #[error("route {0} has no counters")]
    NoCounters(usize),
}

/// All routes at one moment, by number.
#[derive(Debug)]
pub(crate) struct Totals {
    /// Since the supervisor started.
    pub(crate) all: Vec<Figures>,
    /// In the last minute.
    pub(crate) lately: Vec<Figures>,
    /// The rows that requests hold now.
    pub(crate) held: HeldRows,
}

impl Ledger {
    /// Takes in what the supervisor says: a file with the names, and the pages. Those that are
    /// known stay as they are.
    ///
    /// # Errors
    ///
    /// What [`LedgerError`] says; nothing was changed then.
    pub(crate) fn learn(&self, descriptors: Vec<OwnedFd>) -> Result<(), LedgerError> {
        let mut descriptors = descriptors.into_iter();
        let names = descriptors.next().ok_or(LedgerError::NoCounters(0))?;
        let names = read_names(names)?;
        let known = self.index.load();
        let mut pages = known.pages.clone();
        for page in descriptors.skip(pages.len()) {
            let page = CounterPage::map(page.as_fd())?;
            if page.len() < Counter::PAGE {
                return Err(LedgerError::NoCounters(pages.len() * Counter::PER_PAGE));
            }
            pages.push(Arc::new(page));
        }
        let mut routes = known.routes.clone();
        for (number, name) in names.into_iter().enumerate().skip(routes.len()) {
            let page = pages.get(number / Counter::PER_PAGE);
            let page = page.ok_or(LedgerError::NoCounters(number))?;
            routes.push(Arc::new(RouteBooks::new(number, &name, Arc::clone(page))));
        }
        let numbered = routes.iter().enumerate().skip(1);
        let numbers = numbered.map(|(number, route)| (Arc::clone(&route.name), number)).collect();
        // What was counted before this process came is not of the last minute.
        let before = routes.iter().map(|route| {
            let figures = route.figures();
            Figures { thread_us: route.show_thread_us(figures.thread_us), ..figures }
        });
        self.windows().begin(before);
        self.index.store(Arc::new(Index { routes, numbers, pages }));
        Ok(())
    }

    /// The books of a route; those of all others for one that has no number. `None` while the
    /// supervisor has not told of any.
    pub(crate) fn route(&self, name: &str) -> Option<Arc<RouteBooks>> {
        let index = self.index.load();
        let number = index.numbers.get(name).copied().unwrap_or(0);
        index.routes.get(number).cloned()
    }

    /// The name of a route by the number that rows hold.
    pub(crate) fn name(&self, number: u32) -> Option<Arc<str>> {
        let number = usize::try_from(number).ok().filter(|&number| number != 0)?;
        self.index.load().routes.get(number).map(|route| Arc::clone(&route.name))
    }

    /// The routes that are told of, each on its own, however many there are: those that were used
    /// first, and these for ever, so that neither their totals nor the sum of all others ever goes
    /// back. `used` are those that have cost something; what cost most goes first.
    pub(crate) fn told(&self, used: impl Iterator<Item = u32>) -> BTreeSet<u32> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for number in used {
            if TOLD <= told.len() {
                break;
            }
            told.insert(number);
        }
        told.clone()
    }

    /// Moves the last minute on. Called every [`TICK`].
    pub(crate) fn tick(&self, look: impl FnOnce() -> HeldRows, now: Instant) {
        let (current, _held) = self.current(look);
        self.windows().tick(current, now);
    }

    /// Sums up every route.
    pub(crate) fn totals(&self, look: impl FnOnce() -> HeldRows, now: Instant) -> Totals {
        let (all, held) = self.current(look);
        let lately = self.windows().sums(&all, now);
        Totals { all, lately, held }
    }

    /// Reads the counters first, and looks at the rows then: a request that ends meanwhile may be
    /// in neither, but never in both.
    fn current(&self, look: impl FnOnce() -> HeldRows) -> (Vec<Figures>, HeldRows) {
        let index = self.index.load();
        let mut current: Vec<Figures> = index.routes.iter().map(|route| route.figures()).collect();
        let mut held = look();
        held.believe(|number| self.name(number));
        for (number, (route, figures)) in index.routes.iter().zip(&mut current).enumerate() {
            let thread_us = figures.thread_us.saturating_add(held.of(number).us);
            figures.thread_us = route.show_thread_us(thread_us);
        }
        (current, held)
    }

    fn windows(&self) -> MutexGuard<'_, Windows> {
        // Nothing under this lock panics half-way.
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_names(file: OwnedFd) -> io::Result<Vec<String>> {
    let mut file = File::from(file);
    file.rewind()?;
    Ok(serde_json::from_str(&io::read_to_string(file)?)?)
}
