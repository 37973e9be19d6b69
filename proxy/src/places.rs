//! The places for client connections: `server.max-connections`.
//!
//! Who finds none waits, and the oldest idle connection makes room: at once if there is one, else
//! as soon as one becomes idle. A lower limit lets the connections above it end in peace.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::idle::ParkedList;

/// All places.
#[derive(Debug)]
pub(crate) struct Places {
    inner: Mutex<Inner>,
    freed: Notify,
    /// Connections that may be closed to make room.
    pub(crate) parked: ParkedList,
}

#[derive(Debug)]
struct Inner {
    limit: usize,
    taken: usize,
    waiting: usize,
}

/// One place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
}

impl Places {
    /// So many places.
    pub(crate) fn new(limit: usize) -> Self {
        let inner = Mutex::new(Inner { limit, taken: 0, waiting: 0 });
        Self { inner, freed: Notify::new(), parked: ParkedList::default() }
    }

    /// Changes how many there are.
    pub(crate) fn resize(&self, limit: usize) {
        self.lock().limit = limit;
        self.freed.notify_waiters();
    }

    /// Waits for a place.
    pub(crate) async fn take(self: &Arc<Self>) -> Place {
        if let Some(place) = self.try_take() {
            return place;
        }
        let _waiting = Waiting::begin(self);
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // Before looking, so that a place that is freed in between is not missed.
            freed.as_mut().enable();
            if let Some(place) = self.try_take() {
                return place;
            }
            self.parked.evict_oldest();
            freed.await;
        }
    }

    /// Called by a connection that was just parked: if a place is wanted, the oldest goes.
    pub(crate) fn make_room(&self) {
        if 0 < self.lock().waiting {
            self.parked.evict_oldest();
        }
    }

    fn try_take(self: &Arc<Self>) -> Option<Place> {
        let mut inner = self.lock();
        if inner.limit <= inner.taken {
            return None;
        }
        inner.taken += 1;
        Some(Place { places: Arc::clone(self) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().taken -= 1;
        self.places.freed.notify_one();
    }
}

/// Somebody waits, until this is dropped.
struct Waiting<'p> {
    places: &'p Places,
}

impl<'p> Waiting<'p> {
    fn begin(places: &'p Places) -> Self {
        places.lock().waiting += 1;
        Self { places }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.places.lock().waiting -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::idle::Parked;

    async fn is_pending(work: impl Future) -> bool {
        tokio::time::timeout(Duration::from_millis(1), work).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_idle_connection_makes_room_also_when_it_becomes_idle_later() {
        let places = Arc::new(Places::new(1));
        let place = places.take().await;
        let mut next = std::pin::pin!(places.take());
        assert!(is_pending(&mut next).await);
        let parked = Parked::enter(&places.parked, true);
        places.make_room();
        parked.evicted().await;
        drop(place);
        next.await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_lower_limit_holds_once_enough_connections_have_ended() {
        let places = Arc::new(Places::new(3));
        let (first, second) = (places.take().await, places.take().await);
        places.resize(1);
        assert!(is_pending(places.take()).await);
        drop(first);
        assert!(is_pending(places.take()).await);
        drop(second);
        assert!(!is_pending(places.take()).await);
        places.resize(2);
        let _both = (places.take().await, places.take().await);
    }
}
