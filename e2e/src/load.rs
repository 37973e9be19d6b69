//! Many clients at once that keep asking, and a tally of what they got.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, interval_at};

use crate::client::{ReadError, request};
use crate::{Client, DEADLINE, POLL};

/// Clients that ask for one path again and again, each on a kept connection.
#[derive(Debug)]
pub struct Load {
    clients: JoinSet<Tally>,
    stop: watch::Sender<bool>,
    answered: Arc<AtomicUsize>,
}

/// What clients got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many answers had which status and reason, such as `200 -`.
    pub answers: BTreeMap<String, usize>,
    /// Connections that ended without a byte of an answer: the request was not accepted.
    pub unanswered: usize,
    /// Connections that were refused.
    pub refused: usize,
    /// Answers that broke off or were malformed, in words.
    pub errors: Vec<String>,
}

impl Load {
    /// Sends so many clients off; each asks again as soon as it is answered.
    pub fn start(address: SocketAddr, path: &str, clients: usize) -> Self {
        Self::start_paced(address, path, clients, Duration::ZERO)
    }

    /// Sends so many clients off, of which each asks once in so long a time, or when it is
    /// answered if that is later. They begin one after the other, so that requests come evenly.
    pub fn start_paced(address: SocketAddr, path: &str, clients: usize, every: Duration) -> Self {
        let number = u32::try_from(clients).expect("not so many clients");
        let (stop, stopped) = watch::channel(false);
        let answered = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let begin = Instant::now();
        for client in 0..number {
            let pace = (!every.is_zero()).then(|| {
                let mut pace = interval_at(begin + every * client / number, every);
                pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
                pace
            });
            let counted = (stopped.clone(), Arc::clone(&answered));
            tasks.spawn(ask(address, path.to_owned(), counted, pace));
        }
        Self { clients: tasks, stop, answered }
    }

    /// How many answers have come so far.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until so many more answers have come.
    pub async fn until_answered(&self, more: usize) {
        let wanted = self.answered() + more;
        let deadline = Instant::now() + DEADLINE;
        let mut ticks = interval(POLL);
        while self.answered() < wanted {
            assert!(Instant::now() < deadline, "{} of {wanted} answers", self.answered());
            ticks.tick().await;
        }
    }

    /// Lets every client read its last answer, and adds up.
    pub async fn stop(self) -> Tally {
        self.stop.send_replace(true);
        let tallies = self.clients.join_all().await;
        tallies.into_iter().fold(Tally::default(), Tally::plus)
    }
}

impl Tally {
    /// How many answers had this status and reason, such as `503 queue-full`.
    pub fn count(&self, verdict: &str) -> usize {
        self.answers.get(verdict).copied().unwrap_or_default()
    }

    /// Fails the test unless every request got the answer 200.
    #[track_caller]
    pub fn expect_all_answered(&self) {
        let is_clean = self.unanswered == 0 && self.refused == 0 && self.errors.is_empty();
        let only_200 = self.answers.keys().all(|verdict| verdict == "200 -");
        assert!(is_clean && only_200 && 0 < self.count("200 -"), "{self:#?}");
    }

    fn plus(mut self, other: Self) -> Self {
        for (verdict, count) in other.answers {
            *self.answers.entry(verdict).or_default() += count;
        }
        self.unanswered += other.unanswered;
        self.refused += other.refused;
        self.errors.extend(other.errors);
        self
    }

    fn take_in(&mut self, error: &ReadError, has_begun: bool) {
        match error {
            ReadError::Closed => self.unanswered += 1,
            // A reset before any byte: the request was never read.
            ReadError::Broken(_) if !has_begun => self.unanswered += 1,
            ReadError::Broken(_)
            | ReadError::Truncated(_)
            | ReadError::Malformed(_)
            | ReadError::Deadline(_) => self.errors.push(error.to_string()),
        }
    }
}

async fn ask(
    address: SocketAddr,
    path: String,
    (mut stopped, answered): (watch::Receiver<bool>, Arc<AtomicUsize>),
    mut pace: Option<Interval>,
) -> Tally {
    let mut tally = Tally::default();
    let mut ticks = interval(POLL);
    while !*stopped.borrow() {
        let Ok(mut client) = Client::try_connect(address).await else {
            // Nobody listens: not to be asked in a tight loop.
            tally.refused += 1;
            ticks.tick().await;
            continue;
        };
        while !*stopped.borrow() {
            if let Some(pace) = &mut pace {
                tokio::select! {
                    _ = pace.tick() => {}
                    // What would come afterwards, would count as come in time.
                    _ = stopped.changed() => break,
                }
            }
            let sent = client.try_send(request("GET", &path)).await;
            let response = match sent {
                Ok(()) => client.try_response("GET").await,
                Err(error) => Err(ReadError::Broken(error)),
            };
            match response {
                Ok(response) => {
                    answered.fetch_add(1, Ordering::Relaxed);
                    *tally.answers.entry(response.verdict()).or_default() += 1;
                    if response.closes() {
                        break;
                    }
                }
                Err(error) => {
                    tally.take_in(&error, client.answers().has_begun());
                    break;
                }
            }
        }
    }
    tally
}
