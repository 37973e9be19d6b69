//! A lane: an event loop that sleeps is woken for every piece of news.

use loom::sync::Arc;
use loom::thread;

use super::{Event, check, words};
use crate::atomic::{AtomicU64, Ordering};
use crate::bits::words_for;
use crate::lane::{LANE_WORDS, Lane};
use crate::map::Words;

/// A lane, and what became of its cells.
#[derive(Debug)]
struct Told {
    words: Vec<AtomicU64>,
    answers: Vec<AtomicU64>,
    eventfd: Event,
}

impl Told {
    fn new() -> Self {
        let words = words(LANE_WORDS + words_for(1));
        Self { words, answers: super::words(2), eventfd: Event::new() }
    }

    fn lane(&self) -> Lane<'_> {
        Lane::new(Words::of_memory(&self.words)).expect("it can be written")
    }

    /// What a worker does: writes an answer, and tells of it.
    fn answer(&self, cell: u32, answer: u64) {
        self.answers[cell as usize].store(answer, Ordering::Relaxed);
        if self.lane().tell(cell) {
            self.eventfd.set();
        }
    }

    /// What an event loop does until every answer is as wanted. Returns what it saw at each look.
    fn run_until(&self, wanted: [u64; 2]) {
        let mut seen = [0, 0];
        loop {
            let mut has_news = false;
            self.lane().fall_asleep();
            self.lane().drain(|cell| {
                has_news = true;
                let at = cell as usize;
                let answer = self.answers[at].load(Ordering::Relaxed);
                assert!(seen[at] <= answer, "an older answer after a newer one");
                seen[at] = answer;
            });
            if seen == wanted {
                return;
            }
            // With news a task is to run, so the loop does not sleep.
            if !has_news {
                self.eventfd.wait();
            }
            self.lane().wake_up();
        }
    }
}

#[test]
fn no_news_of_two_workers_threads_is_lost() {
    check(3, || {
        let told = Arc::new(Told::new());
        let threads = [(0, 1), (1, 1)].map(|(cell, answer)| {
            let told = Arc::clone(&told);
            thread::spawn(move || told.answer(cell, answer))
        });
        told.run_until([1, 1]);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn the_last_news_of_a_cell_is_seen() {
    check(3, || {
        let told = Arc::new(Told::new());
        let worker = {
            let told = Arc::clone(&told);
            thread::spawn(move || {
                told.answer(0, 1);
                told.answer(0, 2);
                told.answer(0, 3);
            })
        };
        told.run_until([3, 0]);
        worker.join().unwrap();
    });
}
