//! The parked connections in the order they were parked, so that the oldest can be closed when
//! there is no place for a new one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Every parked connection of the process that may be closed to make room.
#[derive(Debug, Default)]
pub(crate) struct ParkedList {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    parked: BTreeMap<u64, Arc<Notify>>,
}

impl ParkedList {
    /// Tells the connection that is parked longest to close. Returns whether there was one.
    pub(crate) fn evict_oldest(&self) -> bool {
        let oldest = self.lock().parked.pop_first();
        oldest.inspect(|(_, evict)| evict.notify_one()).is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's entry in the list; taken out when it is dropped.
#[derive(Debug)]
pub(crate) struct Parked<'l> {
    list: &'l ParkedList,
    entry: Option<(u64, Arc<Notify>)>,
}

impl<'l> Parked<'l> {
    /// Enters a connection, if it may be closed to make room.
    pub(crate) fn enter(list: &'l ParkedList, is_evictable: bool) -> Self {
        let entry = is_evictable.then(|| {
            let evict = Arc::new(Notify::new());
            let mut inner = list.lock();
            let number = inner.next;
            inner.next = number.wrapping_add(1);
            inner.parked.insert(number, Arc::clone(&evict));
            (number, evict)
        });
        Self { list, entry }
    }

    /// Waits until this connection is to make room.
    pub(crate) async fn evicted(&self) {
        match &self.entry {
            Some((_, evict)) => evict.notified().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        if let Some((number, _)) = &self.entry {
            self.list.lock().parked.remove(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_connection_parked_longest_makes_room_first() {
        let list = ParkedList::default();
        let first = Parked::enter(&list, true);
        let second = Parked::enter(&list, true);
        let _status = Parked::enter(&list, false);
        assert!(list.evict_oldest());
        first.evicted().await;
        drop(first);
        assert!(list.evict_oldest());
        second.evicted().await;
        assert!(!list.evict_oldest());
    }
}
