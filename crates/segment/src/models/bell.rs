//! The bell: every request is taken, and nobody sleeps while one waits.

use std::sync::atomic::{AtomicUsize, Ordering as Counting};
use std::time::Duration;

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::{Event, check, words};
use crate::atomic::{AtomicU64, Ordering};
use crate::bell::{BELL_WORDS, Bell, LinkKind, Rung};
use crate::bits::Bits;
use crate::map::Words;

/// Both requests are inside at once: what handlers that wait for each other need.
#[derive(Debug)]
struct Meeting {
    inside: Mutex<usize>,
    changed: Condvar,
}

/// A worker's side of a segment, for `requests` in all.
#[derive(Debug)]
struct Worker {
    words: Vec<AtomicU64>,
    closed: AtomicU64,
    eventfd: Event,
    requests: usize,
    taken: AtomicUsize,
    meeting: Option<Meeting>,
}

impl Worker {
    fn new(kind: LinkKind, requests: usize) -> Self {
        let worker = Self {
            words: words(BELL_WORDS + 1),
            closed: AtomicU64::new(0),
            eventfd: Event::new(),
            requests,
            taken: AtomicUsize::new(0),
            meeting: None,
        };
        worker.bell().announce(kind);
        worker
    }

    fn bell(&self) -> Bell<'_> {
        Bell::new(Words::of_memory(&self.words[..BELL_WORDS]))
    }

    fn queued(&self) -> Bits<'_> {
        Bits(&self.words[BELL_WORDS..])
    }

    /// What an event loop of the proxy does.
    fn queue(&self, cell: u32) {
        self.queued().set(cell);
        if self.bell().ring() == Rung::WritePipe {
            self.eventfd.set();
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst) != 0
    }

    fn has_work(&self) -> bool {
        self.queued().any() || self.is_closed()
    }

    /// Runs a handler. The last one closes.
    fn handle(&self) {
        if let Some(meeting) = &self.meeting {
            let mut inside = meeting.inside.lock().unwrap();
            *inside += 1;
            meeting.changed.notify_all();
            while *inside < self.requests {
                inside = meeting.changed.wait(inside).unwrap();
            }
        }
        if self.taken.fetch_add(1, Counting::SeqCst) + 1 == self.requests {
            self.closed.store(1, Ordering::SeqCst);
            self.bell().wake_all();
        }
    }

    /// The life of a thread of a worker.
    fn run_thread(&self) {
        let mut start = 0;
        loop {
            if let Some(cell) = self.queued().pop(start) {
                start = cell + 1;
                self.bell().busy(|| self.queued().any());
                self.handle();
            } else if self.is_closed() {
                return;
            } else {
                self.bell().sleep(|| self.has_work());
            }
        }
    }

    /// The life of a service's event loop.
    fn run_loop(&self) {
        loop {
            while self.queued().pop(0).is_some() {
                self.handle();
            }
            if self.bell().stop_looking(|| self.queued().any()) {
                continue;
            }
            if self.is_closed() {
                return;
            }
            self.eventfd.wait();
        }
    }

    fn expect_all_taken(&self) {
        assert_eq!(self.taken.load(Counting::SeqCst), self.requests);
        assert!(!self.queued().any());
    }
}

#[test]
fn a_sleeping_thread_is_woken_for_a_request() {
    check(4, || {
        let worker = Arc::new(Worker::new(LinkKind::Threads, 1));
        let thread = spawn(&worker, Worker::run_thread);
        worker.queue(3);
        thread.join().unwrap();
        worker.expect_all_taken();
    });
}

#[test]
fn two_requests_run_side_by_side_on_two_threads() {
    check(3, || {
        let mut worker = Worker::new(LinkKind::Threads, 2);
        worker.meeting = Some(Meeting { inside: Mutex::new(0), changed: Condvar::new() });
        let worker = Arc::new(worker);
        let threads = [spawn(&worker, Worker::run_thread), spawn(&worker, Worker::run_thread)];
        worker.queue(0);
        worker.queue(1);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        worker.expect_all_taken();
    });
}

#[test]
fn two_proxies_queue_for_one_thread() {
    check(3, || {
        let worker = Arc::new(Worker::new(LinkKind::Threads, 2));
        let thread = spawn(&worker, Worker::run_thread);
        let other = spawn(&worker, |worker| worker.queue(1));
        worker.queue(0);
        other.join().unwrap();
        thread.join().unwrap();
        worker.expect_all_taken();
    });
}

#[test]
fn where_handlers_are_short_the_thread_comes_back_for_what_it_left() {
    check(2, || {
        let worker = Arc::new(Worker::new(LinkKind::Threads, 2));
        worker.bell().note_handler(Duration::from_nanos(100));
        assert!(worker.bell().is_short());
        let threads = [spawn(&worker, Worker::run_thread), spawn(&worker, Worker::run_thread)];
        worker.queue(0);
        worker.queue(1);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        worker.expect_all_taken();
    });
}

#[test]
fn an_event_loop_hears_of_every_request() {
    check(3, || {
        let worker = Arc::new(Worker::new(LinkKind::Service, 3));
        let running = spawn(&worker, Worker::run_loop);
        let other = spawn(&worker, |worker| worker.queue(2));
        worker.queue(0);
        worker.queue(1);
        other.join().unwrap();
        running.join().unwrap();
        worker.expect_all_taken();
    });
}

fn spawn(worker: &Arc<Worker>, life: fn(&Worker)) -> thread::JoinHandle<()> {
    let worker = Arc::clone(worker);
    thread::spawn(move || life(&worker))
}
