//! What is needed to start processes and to reach them. Decides nothing.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::process::Pid;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendError;

use crate::event::Event;
use crate::guard::Guard;
use crate::identity::Identity;
use crate::message::WorkerId;
use crate::orphans::Orphans;
use crate::pages::Pages;
use crate::post_mortem::{PostMortem, PostMortems};
use crate::proxy::Proxy;
use crate::runtime_dir::RuntimeDir;
use crate::tasks::Tasks;
use crate::worker_control::Asker;

/// The parts of the supervisor that workers and the proxy process are started with.
#[derive(Debug)]
pub(crate) struct Machinery {
    pub(crate) runtime_dir: RuntimeDir,
    pub(crate) proxy_identity: Option<Identity>,
    pub(crate) pages: Pages,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) tasks: Tasks,
    pub(crate) guard: Option<Guard>,
    /// When a guard may be started, while there is none.
    pub(crate) guard_due: Instant,
    pub(crate) proxy: Proxy,
    pub(crate) generations: Generations,
    pub(crate) orphans: Orphans,
    pub(crate) post_mortems: PostMortems,
    /// Where the history is kept.
    pub(crate) history: Option<OwnedFd>,
    /// Event loops of a proxy process: `server.threads`.
    pub(crate) event_loops: usize,
}

impl Machinery {
    /// Has the guard end a process group with the supervisor.
    pub(crate) fn guard_started(&self, group: Pid) {
        if let Some(guard) = &self.guard {
            guard.started(group);
        }
    }

    /// Logs, keeps and shows what a worker was doing.
    pub(crate) fn add_post_mortem(&mut self, record: PostMortem) {
        self.post_mortems.add(record, &mut self.proxy);
    }

    /// Does the same with what the worker says of its threads, if it says so soon.
    pub(crate) fn complete_post_mortem(&mut self, record: PostMortem, asker: Option<Asker>) {
        let Some(asker) = asker else { return self.add_post_mortem(record) };
        let events = self.events.clone();
        self.tasks.spawn(async move {
            let record = match asker.ask().await {
                Ok(threads) => record.with_stacks(&threads),
                Err(_silence) => record,
            };
            let unsent = events.send(Event::PostMortem(Box::new(record))).await;
            // The supervisor ends meanwhile: the log is all there is left.
            if let Err(SendError(Event::PostMortem(record))) = unsent {
                record.log();
            }
        });
    }

    /// Tells the guard that a process group was killed.
    pub(crate) fn guard_ended(&self, group: Pid) {
        if let Some(guard) = &self.guard {
            guard.ended(group);
        }
    }
}

/// How many workers each place has seen. Kept for as long as the supervisor lives, so that no two
/// workers ever have the same id.
#[derive(Debug, Default)]
pub(crate) struct Generations {
    last: BTreeMap<(String, u32), u32>,
}

impl Generations {
    /// Returns the id of the next worker of a place.
    pub(crate) fn next(&mut self, pool: &str, slot: u32) -> WorkerId {
        let last = self.last.entry((pool.to_owned(), slot)).or_default();
        *last = last.saturating_add(1);
        WorkerId { pool: pool.to_owned(), slot, generation: *last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_count_each_place_on_its_own() {
        let mut generations = Generations::default();
        let seen = [("web", 0), ("web", 0), ("web", 1), ("api", 0), ("web", 0)]
            .map(|(pool, slot)| generations.next(pool, slot).generation);
        assert_eq!(seen, [1, 2, 1, 1, 3]);
    }
}
