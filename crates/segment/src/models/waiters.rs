//! Two in the worker wait for one cell: one reads the request, one writes the answer. What one of
//! them sees for itself takes nothing away from the other.

use loom::sync::Arc;
use loom::thread;

use super::{Event, Memory, RING_BYTES, check};
use crate::cell::Cell;
use crate::stream::{Found, ReadEnd, WriteEnd};

/// How one of them waits.
#[derive(Clone, Copy, Debug)]
enum Waits {
    OnThread,
    InTask,
}

#[derive(Debug)]
struct Worker {
    memory: Memory,
    /// The tasks' wakers.
    tasks: [Event; 2],
}

impl Worker {
    fn wait(&self, waits: Waits, task: usize, ready: impl Fn(&Cell<'_>) -> bool) {
        match waits {
            Waits::OnThread => self.memory.cell().sleep_until(ready),
            Waits::InTask => {
                while !self.memory.cell().wait_for_news(&ready) {
                    self.tasks[task].wait();
                }
            }
        }
    }

    /// What the proxy does once it has changed something.
    fn tell(&self) {
        if self.memory.cell().wake_worker() {
            self.tasks.iter().for_each(Event::set);
        }
    }
}

fn both_are_woken(reading: Waits, writing: Waits) {
    check(3, move || {
        let worker =
            Arc::new(Worker { memory: Memory::new(), tasks: [Event::new(), Event::new()] });
        let mut answer = WriteEnd::default();
        worker.memory.cell().write(&mut answer, &[7; RING_BYTES], false);
        let reader = {
            let worker = Arc::clone(&worker);
            let end = ReadEnd::default();
            thread::spawn(move || worker.wait(reading, 0, |cell| cell.has_request(&end)))
        };
        let writer = {
            let worker = Arc::clone(&worker);
            thread::spawn(move || worker.wait(writing, 1, |cell| cell.has_room(&answer)))
        };
        let cell = worker.memory.cell();
        let found = cell.receive(&mut ReadEnd::default(), RING_BYTES, &mut Vec::new());
        assert_eq!(found, Ok(Found::Bytes(RING_BYTES)));
        worker.tell();
        cell.send(&mut WriteEnd::default(), b"a", false);
        worker.tell();
        reader.join().unwrap();
        writer.join().unwrap();
    });
}

#[test]
fn two_threads() {
    both_are_woken(Waits::OnThread, Waits::OnThread);
}

#[test]
fn two_tasks() {
    both_are_woken(Waits::InTask, Waits::InTask);
}

#[test]
fn a_thread_that_reads_and_a_task_that_writes() {
    both_are_woken(Waits::OnThread, Waits::InTask);
}
