//! What the threads of a pool are doing: asked of the supervisor, for the status page.
//!
//! Event loops ask; the task that speaks with the supervisor passes the question on, and the
//! answer back. There is one question at a time for each pool, and who asks meanwhile shares the
//! answer to it.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ostler_status::{Stacks, StacksBusy, StacksThread, StacksWorker, UnixTime};
use ostler_supervisor::stacks::{BusyThread, PoolStacks, ThreadStack, WorkerStacks};
use tokio::sync::{Notify, oneshot};

/// How long an answer is waited for: workers have two seconds of it.
const LIMIT: Duration = Duration::from_millis(2_500);

/// Who may wait for the stacks of one pool at a time.
const MOST_WAITING: usize = 64;

/// Why there are no stacks to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("the supervisor did not answer within {LIMIT:?}")]
    Late,
    #[error("{MOST_WAITING} others wait for these stacks already")]
    Busy,
}

/// Questions to the supervisor, and who waits for the answers.
#[derive(Debug, Default)]
pub(crate) struct StackQuestions {
    state: Mutex<State>,
    added: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Pools to be asked about.
    unsent: VecDeque<String>,
    waiting: BTreeMap<String, Vec<oneshot::Sender<Arc<Stacks>>>>,
}

impl StackQuestions {
    /// Asks what the threads of a pool are doing.
    pub(crate) async fn ask(&self, pool: &str) -> Result<Arc<Stacks>, NoAnswer> {
        let (reply, answer) = oneshot::channel();
        self.add(pool, reply)?;
        match tokio::time::timeout(LIMIT, answer).await {
            Ok(Ok(stacks)) => Ok(stacks),
            Ok(Err(_)) | Err(_) => Err(NoAnswer::Late),
        }
    }

    fn add(&self, pool: &str, reply: oneshot::Sender<Arc<Stacks>>) -> Result<(), NoAnswer> {
        let mut state = self.state();
        let State { unsent, waiting } = &mut *state;
        let waiting = waiting.entry(pool.to_owned()).or_default();
        // Who does not wait any more got no answer: the question is put again.
        waiting.retain(|reply| !reply.is_closed());
        if MOST_WAITING <= waiting.len() {
            return Err(NoAnswer::Busy);
        }
        if waiting.is_empty() && !unsent.iter().any(|unsent| unsent == pool) {
            unsent.push_back(pool.to_owned());
            self.added.notify_one();
        }
        waiting.push(reply);
        Ok(())
    }

    /// Waits for the next question to send, and takes it. Nothing is lost when this is dropped.
    pub(crate) async fn next(&self) -> String {
        loop {
            let first = self.state().unsent.pop_front();
            match first {
                Some(pool) => return pool,
                None => self.added.notified().await,
            }
        }
    }

    /// Passes on what the supervisor answers.
    pub(crate) fn answered(&self, pool: &str, file: OwnedFd) {
        let waiting = self.state().waiting.remove(pool).unwrap_or_default();
        if waiting.is_empty() {
            return;
        }
        match read(file) {
            Ok(stacks) => {
                let stacks = Arc::new(shown(stacks));
                for reply in waiting {
                    // One who asked and left does not care.
                    drop(reply.send(Arc::clone(&stacks)));
                }
            }
            Err(error) => tracing::error!(pool, %error, "stacks_not_read"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(file: OwnedFd) -> io::Result<PoolStacks> {
    let mut file = File::from(file);
    file.rewind()?;
    Ok(serde_json::from_str(&io::read_to_string(file)?)?)
}

/// As the status page tells it.
pub(crate) fn shown(stacks: PoolStacks) -> Stacks {
    Stacks {
        pool: stacks.pool,
        at: UnixTime::from_ms(stacks.at_unix_ms),
        workers: stacks.workers.into_iter().map(worker).collect(),
    }
}

fn worker(worker: WorkerStacks) -> StacksWorker {
    StacksWorker {
        slot: worker.id.slot,
        generation: worker.id.generation,
        pid: worker.pid,
        state: worker.state,
        silence: worker.silence,
        busy: worker.busy.into_iter().map(busy).collect(),
        idle: worker.idle,
        others: worker.others.into_iter().map(thread).collect(),
    }
}

fn busy(BusyThread { request, tid, stack }: BusyThread) -> StacksBusy {
    let (name, frames) = stack.map(|stack| (stack.name, stack.frames)).unzip();
    StacksBusy {
        id: request.id,
        method: request.method,
        target: request.target,
        host: request.host,
        client: request.client,
        running_ms: request.age_ms,
        stuck: request.is_stuck,
        tid,
        name,
        frames: frames.unwrap_or_default(),
    }
}

fn thread(ThreadStack { tid, name, frames }: ThreadStack) -> StacksThread {
    StacksThread { tid, name, frames }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn all_who_ask_meanwhile_share_one_question_and_its_answer() {
        let questions = StackQuestions::default();
        let supervisor = async {
            assert_eq!(questions.next().await, "web");
            while questions.state().waiting["web"].len() < 2 {
                tokio::task::yield_now().await;
            }
            questions.answered("web", file("web"));
        };
        let (one, other, ()) = tokio::join!(questions.ask("web"), questions.ask("web"), supervisor);
        assert_eq!(one.unwrap().pool, "web");
        assert_eq!(other.unwrap().pool, "web");
        assert!(questions.state().unsent.is_empty() && questions.state().waiting.is_empty());
    }

    #[tokio::test]
    async fn who_waits_is_bounded_and_who_left_is_forgotten() {
        let questions = StackQuestions::default();
        let mut replies: Vec<_> = (0..MOST_WAITING).map(|_| oneshot::channel()).collect();
        let answers: Vec<_> = replies
            .drain(..)
            .map(|(reply, answer)| {
                questions.add("web", reply).unwrap();
                answer
            })
            .collect();
        assert_eq!(questions.ask("web").await.unwrap_err(), NoAnswer::Busy);
        assert_eq!(questions.next().await, "web");
        drop(answers);
        questions.add("web", oneshot::channel().0).unwrap();
        assert_eq!(questions.next().await, "web", "it is asked again");
    }

    fn file(pool: &str) -> OwnedFd {
        let stacks = PoolStacks { pool: pool.to_owned(), at_unix_ms: 0, workers: Vec::new() };
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&serde_json::to_vec(&stacks).unwrap()).unwrap();
        file.into()
    }
}
