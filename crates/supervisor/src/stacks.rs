//! What every thread of a pool is doing, asked for by an operator: the stacks that its workers
//! show, beside the requests in their rows.
//!
//! Workers are asked by a task, all at once, so that the dispatcher waits for none of them.

use std::sync::Arc;

use ostler_policy::worker::WorkerState;
use ostler_segment::Segment;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::event::Event;
use crate::handle::StacksError;
use crate::message::{ToProxy, WorkerId};
use crate::post_mortem::{HeldRequest, held_requests};
use crate::proxy::memory_file;
use crate::start::unix_ms;
use crate::supervisor::Supervisor;
use crate::worker_control::{Answer, Asker, NoStacks};

/// The name of a worker's main thread, which takes no requests.
const MAIN: &str = "main";

/// What the threads of a pool are doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolStacks {
    /// Name of the pool.
    pub pool: String,
    /// When this was asked, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Every worker that has a process, in the order of slots and generations.
    pub workers: Vec<WorkerStacks>,
}

/// What the threads of a worker are doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStacks {
    /// The worker.
    pub id: WorkerId,
    /// Its process.
    pub pid: u32,
    /// Where it is in its life, in a word.
    pub state: String,
    /// Why it shows no stacks, where it does not.
    pub silence: Option<String>,
    /// Requests inside it, those past their time first, then the longest-running.
    pub busy: Vec<BusyThread>,
    /// Threads that wait for a request.
    pub idle: u32,
    /// Threads that take no requests.
    pub others: Vec<ThreadStack>,
}

/// A request, and the thread that it is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusyThread {
    /// The request.
    pub request: HeldRequest,
    /// The number of its thread, where the worker says so.
    pub tid: Option<u32>,
    /// The stack of that thread, where the worker shows it.
    pub stack: Option<ThreadStack>,
}

/// The stack of a thread, as its worker tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadStack {
    /// Its number; `None` where the worker does not know it.
    pub tid: Option<u32>,
    /// Its name.
    pub name: String,
    /// At most 100 calls, the most recent first.
    pub frames: Vec<String>,
}

/// A worker to be asked.
#[derive(Debug)]
pub(crate) struct Witness {
    pub(crate) id: WorkerId,
    pub(crate) pid: Pid,
    pub(crate) state: WorkerState,
    pub(crate) segment: Arc<Segment>,
    pub(crate) asker: Option<Asker>,
}

impl Witness {
    async fn ask(self) -> WorkerStacks {
        let answer = match &self.asker {
            Some(asker) => asker.ask().await,
            None => Err(NoStacks::NoSocket),
        };
        // Read when the answer is there: its stacks are of a moment ago.
        let rows = held_requests(&self.segment);
        let worker = (self.id, self.pid.as_raw_pid().unsigned_abs());
        worker_stacks(worker, word(self.state), rows, answer)
    }
}

fn word(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Starting { .. } => "starting",
        WorkerState::Warming { .. } | WorkerState::Warm => "warming",
        WorkerState::Ready { .. } => "ready",
        WorkerState::Draining { .. } | WorkerState::Stopping { .. } => "draining",
        WorkerState::Killed { .. } | WorkerState::Vacant { .. } | WorkerState::Gone => "killed",
    }
}

/// Brings requests and stacks together, by the number of the thread.
fn worker_stacks(
    (id, pid): (WorkerId, u32),
    state: &str,
    rows: Vec<(HeldRequest, Option<u32>)>,
    answer: Answer,
) -> WorkerStacks {
    let (threads, silence) = match answer {
        Ok(threads) if threads.is_empty() => (Vec::new(), Some("it has none to show".to_owned())),
        Ok(threads) => (threads.to_vec(), None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let takes_requests = |thread: &ThreadStack| thread.tid.is_some() && thread.name != MAIN;
    let (mut takers, others): (Vec<_>, Vec<_>) = threads.into_iter().partition(takes_requests);
    let mut busy = Vec::with_capacity(rows.len());
    for (request, tid) in rows {
        let at = takers.iter().position(|thread| tid.is_some() && thread.tid == tid);
        busy.push(BusyThread { request, tid, stack: at.map(|at| takers.swap_remove(at)) });
    }
    let idle = u32::try_from(takers.len()).unwrap_or(u32::MAX);
    WorkerStacks { id, pid, state: state.to_owned(), silence, busy, idle, others }
}

async fn ask_all(pool: String, witnesses: Vec<Witness>) -> PoolStacks {
    let at_unix_ms = unix_ms();
    let mut asked = JoinSet::new();
    for witness in witnesses {
        asked.spawn(witness.ask());
    }
    let mut workers = asked.join_all().await;
    workers.sort_by(|one, other| one.id.cmp(&other.id));
    PoolStacks { pool, at_unix_ms, workers }
}

/// Where the stacks of a pool go.
pub(crate) type StacksReply = oneshot::Sender<Result<PoolStacks, StacksError>>;

impl Supervisor {
    /// Asks every worker of a pool what it is doing; `reply` hears it.
    pub(crate) fn begin_stacks(&mut self, pool: String, reply: StacksReply) {
        if !self.current.contains_key(&pool) {
            let pools = self.current.keys().cloned().collect();
            // One who asked and left does not care.
            drop(reply.send(Err(StacksError::UnknownPool { pool, pools })));
            return;
        }
        let witnesses = self.workers.witnesses(&pool);
        self.machinery.tasks.spawn(async move {
            let stacks = ask_all(pool, witnesses).await;
            drop(reply.send(Ok(stacks)));
        });
    }

    /// Does the same for the proxy process. What one asks while the workers are asked already is
    /// answered with the others.
    pub(crate) fn begin_stacks_for_proxy(&mut self, pool: String) {
        let is_known = self.current.contains_key(&pool);
        if !is_known || !self.asked_by_proxy.insert(pool.clone()) {
            return;
        }
        let witnesses = self.workers.witnesses(&pool);
        let events = self.machinery.events.clone();
        self.machinery.tasks.spawn(async move {
            let stacks = ask_all(pool, witnesses).await;
            // Nobody listens only while the supervisor ends.
            drop(events.send(Event::Stacks(Box::new(stacks))).await);
        });
    }

    /// Tells the proxy process what it asked.
    pub(crate) fn tell_stacks(&mut self, stacks: &PoolStacks) {
        let pool = stacks.pool.clone();
        self.asked_by_proxy.remove(&pool);
        let file =
            serde_json::to_string(stacks).map_err(Into::into).and_then(|it| memory_file(&it));
        match file {
            Ok(file) => self.machinery.proxy.tell(ToProxy::Stacks { pool }, vec![file]),
            Err(error) => tracing::error!(pool, %error, "stacks_not_passed_on"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_stacks_are_brought_together_by_the_number_of_the_thread() {
        let answer = [
            thread(Some(1), MAIN),
            thread(Some(2), "ostler-0"),
            thread(Some(3), "ostler-1"),
            thread(Some(4), "ostler-2"),
            thread(None, "mailer"),
        ];
        let rows = vec![request("a", Some(3)), request("b", None), request("c", Some(9))];
        let found = worker_stacks((id(), 7), "ready", rows, Ok(Arc::from(answer)));
        let busy: Vec<(&str, Option<&str>)> = found.busy.iter().map(named).collect();
        assert_eq!(busy, [("a", Some("ostler-1")), ("b", None), ("c", None)]);
        let others: Vec<&str> = found.others.iter().map(|thread| thread.name.as_str()).collect();
        assert_eq!((found.idle, others, found.silence), (2, vec![MAIN, "mailer"], None));
    }

    #[test]
    fn a_worker_that_shows_nothing_is_told_with_its_requests() {
        let silent = "it did not answer within 2s: it is no Python worker, or it hangs";
        let answers = [(Err(NoStacks::Silent), silent), (Ok(Arc::from([])), "it has none to show")];
        for (answer, expected) in answers {
            let rows = vec![request("a", Some(3))];
            let found = worker_stacks((id(), 7), "ready", rows, answer);
            assert_eq!(found.silence.as_deref(), Some(expected));
            assert_eq!((found.busy.len(), found.busy[0].tid), (1, Some(3)));
        }
    }

    fn named(busy: &BusyThread) -> (&str, Option<&str>) {
        (&busy.request.id, busy.stack.as_ref().map(|stack| stack.name.as_str()))
    }

    fn thread(tid: Option<u32>, name: &str) -> ThreadStack {
        ThreadStack { tid, name: name.to_owned(), frames: vec!["a".to_owned()] }
    }

    fn request(id: &str, tid: Option<u32>) -> (HeldRequest, Option<u32>) {
        (HeldRequest { id: id.to_owned(), ..HeldRequest::default() }, tid)
    }

    fn id() -> WorkerId {
        WorkerId { pool: "web".to_owned(), slot: 0, generation: 1 }
    }
}
