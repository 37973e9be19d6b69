//! The thread that writes log lines, so that nobody else waits for who reads them.
//!
//! Lines wait in a bounded queue. What finds no place in it is dropped and counted, and the count
//! is written once the queue is empty. What processes print may take half of the places, so that
//! it never costs the lines of the supervisor itself.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Lines that may wait: more than a start with a thousand workers logs at once.
pub(super) const PLACES: usize = 8192;

/// Where lines end up.
pub(super) type Target = Box<dyn Write + Send>;

/// Who a line is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// This process.
    Own,
    /// One that it started.
    Printed,
}

/// The way to the thread.
#[derive(Clone)]
pub(super) struct Writer {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// There is something to do.
    work: Condvar,
    /// There is nothing left to do.
    idle: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    dropped: u64,
    next_target: Option<Target>,
    is_idle: bool,
}

impl Writer {
    /// Starts the thread, which writes to `target`. `dropped` makes the line about dropped ones.
    pub(super) fn start(target: Target, dropped: fn(u64) -> Vec<u8>) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let writer = Self { shared: Arc::clone(&shared) };
        thread::Builder::new().name("log".to_owned()).spawn(move || shared.run(target, dropped))?;
        Ok(writer)
    }

    /// Puts a line into the queue, or drops it.
    pub(super) fn write(&self, line: Vec<u8>, origin: Origin) {
        let mut queue = self.shared.lock();
        let has_place = match origin {
            Origin::Own => queue.lines.len() < PLACES,
            // Once one was dropped, the others up to the count are: gaps are few and large.
            Origin::Printed => queue.dropped == 0 && queue.lines.len() < PLACES / 2,
        };
        if has_place {
            queue.lines.push_back(line);
        } else {
            queue.dropped += 1;
        }
        self.shared.work.notify_one();
    }

    /// Writes to another target from the next line on.
    pub(super) fn switch(&self, target: Target) {
        self.shared.lock().next_target = Some(target);
        self.shared.work.notify_one();
    }

    /// Waits until everything is written, but no longer than `limit`.
    pub(super) fn finish(&self, limit: Duration) {
        let is_busy =
            |queue: &mut Queue| !queue.is_idle || !queue.lines.is_empty() || 0 < queue.dropped;
        let waited = self.shared.idle.wait_timeout_while(self.shared.lock(), limit, is_busy);
        drop(waited);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of the thread.
    fn run(&self, mut target: Target, dropped: fn(u64) -> Vec<u8>) {
        let mut queue = self.lock();
        loop {
            if let Some(next) = queue.next_target.take() {
                target = next;
            }
            let Some(line) = queue.next(dropped) else {
                queue.is_idle = true;
                self.idle.notify_all();
                queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.is_idle = false;
                continue;
            };
            drop(queue);
            // What cannot be written is lost: there is nobody left to tell.
            drop(target.write_all(&line));
            queue = self.lock();
        }
    }
}

impl Queue {
    fn next(&mut self, dropped: fn(u64) -> Vec<u8>) -> Option<Vec<u8>> {
        self.lines.pop_front().or_else(|| {
            let count = std::mem::take(&mut self.dropped);
            (0 < count).then(|| dropped(count))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// The reader takes nothing until it is told to, as a pipe that is full.
    #[test]
    fn a_reader_that_stalls_holds_nobody_up_and_is_told_how_much_it_missed() {
        let (open, opened) = channel();
        let (sender, written) = channel();
        let writer = Writer::start(Box::new(Gate { opened, sender }), dropped).unwrap();

        for _ in 0..2 * PLACES {
            writer.write(b"printed".to_vec(), Origin::Printed);
        }
        writer.write(b"own".to_vec(), Origin::Own);
        writer.finish(Duration::ZERO);
        drop(open);
        writer.finish(Duration::from_secs(20));

        let lines: Vec<String> = written.try_iter().collect();
        let printed = lines.iter().filter(|line| *line == "printed").count();
        // The thread may hold one line beside those in the queue.
        assert!((PLACES / 2..=PLACES / 2 + 1).contains(&printed), "{printed}");
        let last = format!("{} dropped", 2 * PLACES - printed);
        assert_eq!(lines[printed..], ["own".to_owned(), last]);
    }

    #[test]
    fn another_target_gets_the_lines_that_follow() {
        let (first, second) = (channel(), channel());
        let (_, closed) = channel();
        let writer =
            Writer::start(Box::new(Gate { opened: closed, sender: first.0 }), dropped).unwrap();
        writer.write(b"one".to_vec(), Origin::Own);
        writer.finish(Duration::from_secs(20));
        let (_, closed) = channel();
        writer.switch(Box::new(Gate { opened: closed, sender: second.0 }));
        writer.write(b"two".to_vec(), Origin::Own);
        writer.finish(Duration::from_secs(20));
        assert_eq!(first.1.try_iter().collect::<Vec<_>>(), ["one"]);
        assert_eq!(second.1.try_iter().collect::<Vec<_>>(), ["two"]);
    }

    fn dropped(count: u64) -> Vec<u8> {
        format!("{count} dropped").into_bytes()
    }

    /// Blocks for as long as the sender of `opened` lives.
    struct Gate {
        opened: Receiver<()>,
        sender: Sender<String>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (Ok(()) | Err(_)) = self.opened.recv();
            self.sender
                .send(String::from_utf8_lossy(bytes).into_owned())
                .map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
