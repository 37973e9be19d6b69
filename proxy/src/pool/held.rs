//! Places that another proxy process holds, or that one which died has left a handler running in.
//!
//! While one proxy replaces another both send to the same workers, and a claim of a row decides
//! which of them has it. A place whose row is somebody else's is held back; nobody tells when it
//! becomes free, so it is looked at every [`LOOK_EVERY`]. What belongs to a process that has ended
//! is taken back as soon as its handler has.

use std::sync::Arc;
use std::time::Duration;

use ostler_policy::admission::Place;
use ostler_segment::{Reclaimed, RowState};

use super::{Books, Pool, Standing, Worker};
use crate::clock;

/// How often places that are held back are looked at: what a request may wait longer for one than
/// it had to, while two proxies share the workers.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A place that is held back.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) worker: Arc<Worker>,
    row: u32,
}

impl Held {
    fn place(&self) -> Place {
        Place { worker: self.worker.number, row: self.row }
    }
}

impl Pool {
    /// Holds back the rows of a worker that somebody else has claimed.
    pub(super) fn hold_claimed(self: &Arc<Self>, worker: &Arc<Worker>) {
        let rows = 0..worker.segment.rows();
        for row in rows.filter(|&row| worker.segment.row(row).state() != Some(RowState::Free)) {
            self.hold_back(worker, row);
        }
    }

    /// Holds back a place whose row somebody else has claimed.
    #[expect(clippy::disallowed_methods, reason = "ends with the process, not with a drain")]
    pub(super) fn hold_back(self: &Arc<Self>, worker: &Arc<Worker>, row: u32) {
        let held = Held { worker: Arc::clone(worker), row };
        let mut books = self.books();
        books.admission.hold_back(held.place(), clock::now());
        books.held.push(held);
        if !std::mem::replace(&mut books.is_looking, true) {
            tokio::spawn(Arc::clone(self).look_until_free());
        }
    }

    async fn look_until_free(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let mut books = self.books();
            self.look(&mut books);
            if books.held.is_empty() {
                books.is_looking = false;
                return;
            }
        }
    }

    /// Gives back the places that have become free.
    fn look(&self, books: &mut Books) {
        let now = clock::now();
        let (free, held) = std::mem::take(&mut books.held)
            .into_iter()
            .filter(|held| held.worker.standing() != Standing::Killed)
            .partition(|held| self.is_free(held));
        books.held = held;
        let free: Vec<Held> = free;
        for held in free {
            books.admission.give_back(held.place());
            held.worker.idle.notify_one();
        }
        Self::settle(books, now);
    }

    fn is_free(&self, held: &Held) -> bool {
        let is_dead = |incarnation| self.proxies.is_dead(incarnation);
        match held.worker.segment.reclaim(held.row, is_dead) {
            Reclaimed::Free => true,
            Reclaimed::Busy { is_news } => {
                if let Some(ring) = held.worker.ring.as_ref().filter(|_| is_news) {
                    ring.tell_worker(held.row);
                }
                false
            }
        }
    }
}
