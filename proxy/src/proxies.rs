//! Which proxy processes of this supervisor live: the rows of the others are taken back.
//!
//! **Invariant:** a process is held to be dead only if the supervisor said so: it has started
//! since, and is not among the living. One that nothing was heard of lives.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bits of an incarnation that a segment keeps.
const INCARNATION_MASK: u32 = (1 << 24) - 1;

/// The proxy processes, as the supervisor told last.
#[derive(Debug)]
pub(crate) struct Proxies {
    /// Which one this is.
    pub(crate) own: u32,
    told: Mutex<Told>,
}

#[derive(Debug)]
struct Told {
    living: Vec<u32>,
    /// The last one that was started, whether it lives or not.
    newest: u32,
}

impl Proxies {
    /// Nothing is known of the others.
    pub(crate) fn new(own: u32) -> Self {
        Self { own, told: Mutex::new(Told { living: vec![own], newest: 0 }) }
    }

    /// Notes what the supervisor tells.
    pub(crate) fn note(&self, living: Vec<u32>, newest: u32) {
        *self.told() = Told { living, newest };
    }

    /// Whether the process with these lower 24 bits of its incarnation has ended.
    pub(crate) fn is_dead(&self, incarnation: u32) -> bool {
        let told = self.told();
        let bits = |incarnation: u32| incarnation & INCARNATION_MASK;
        let lives = told.living.iter().any(|&one| bits(one) == incarnation);
        let is_known = incarnation <= bits(told.newest);
        is_known && !lives && incarnation != bits(self.own)
    }

    /// Whether another one has taken over from this one, or is about to.
    pub(crate) fn has_successor(&self) -> bool {
        self.told().living.iter().any(|&one| self.own < one)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_the_supervisor_said_has_ended_is_dead() {
        let proxies = Proxies::new(3);
        assert!(!proxies.is_dead(1) && !proxies.is_dead(3), "nothing was said");
        proxies.note(vec![2, 3], 3);
        let dead: Vec<u32> = (1..6).filter(|&one| proxies.is_dead(one)).collect();
        assert_eq!(dead, [1], "a later one may have started meanwhile");
        assert!(!proxies.has_successor());
        proxies.note(vec![3, 5], 5);
        let dead: Vec<u32> = (1..7).filter(|&one| proxies.is_dead(one)).collect();
        assert_eq!(dead, [1, 2, 4]);
        assert!(proxies.has_successor());
    }
}
