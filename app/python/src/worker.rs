//! The worker of this process, as `worker.py` runs it.

use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use ostler_app::{EventLoop, RunError, Stopper, ThreadQueue};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::application::{Application, Parts};
use crate::environ::Environ;
use crate::stacks::Stacks;
use crate::threads::Threads;

/// A worker: the link to the proxy, and the application.
#[pyclass(frozen, module = "ostler_python")]
pub(crate) struct Worker {
    threads: usize,
    stopper: Stopper,
    queue: ThreadQueue,
    known: Threads,
    /// The descriptor that stacks are to be written to.
    stacks: i32,
    event_loop: Mutex<Loop>,
}

/// The event loop, which runs on a thread of its own.
enum Loop {
    Idle(Box<EventLoop>),
    Running(JoinHandle<Result<(), RunError>>),
    Over,
}

#[pymethods]
impl Worker {
    /// The worker that this process was started as. `signal` has `faulthandler` write stacks.
    #[staticmethod]
    fn from_environment(signal: i32) -> PyResult<Self> {
        let worker = ostler_app::Worker::from_env().map_err(|error| failed(&error))?;
        let known = Threads::default();
        let stacks = Stacks::new(signal, known.clone())?;
        let (teller, stacks) = (stacks.clone(), stacks.descriptor());
        let worker = worker.with_stacks(move || teller.tell());
        let (threads, stopper) = (worker.thread_count(), worker.stopper());
        let (queue, event_loop) = worker.lend_threads();
        let event_loop = Mutex::new(Loop::Idle(Box::new(event_loop)));
        Ok(Self { threads, stopper, queue, known, stacks, event_loop })
    }

    /// How many threads are to [`work`](Self::work).
    #[getter]
    fn threads(&self) -> usize {
        self.threads
    }

    /// The descriptor that `faulthandler` is to write stacks to.
    #[getter]
    fn stacks(&self) -> i32 {
        self.stacks
    }

    /// Notes the calling thread, so that its stack can be told apart.
    fn note_thread(&self, ident: u64, name: String) {
        self.known.add(ident, name);
    }

    /// The threads whose requests are stuck: which request, and which thread that has it, since
    /// which turn.
    fn stuck(&self) -> Vec<((u32, u32), u32, u64)> {
        let stuck = self.queue.stuck().into_iter();
        let known = stuck.filter_map(|it| {
            let turn = self.known.with_tid(it.tid)?.turn()?;
            Some((it.row, it.tid, turn))
        });
        known.collect()
    }

    /// Calls `send(ident, exception)` for a thread that is still in this turn. True if so.
    fn interrupt(
        &self,
        tid: u32,
        turn: u64,
        send: &Bound<'_, PyAny>,
        exception: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let thread = self.known.with_tid(tid);
        thread.map_or(Ok(false), |thread| thread.interrupt(turn, send, exception))
    }

    /// The life of a thread: calls the application for one request after the other.
    fn work(
        &self,
        py: Python<'_>,
        thread: (u64, String),
        parts: Parts,
        environ: &Bound<'_, PyDict>,
        mount: &str,
    ) -> PyResult<()> {
        let thread = self.known.add(thread.0, thread.1);
        let application = Application::new(parts, Environ::new(environ, mount)?, thread);
        py.detach(move || {
            self.queue.work(&|head, body, reply| application.answer(&head, body, reply));
        });
        Ok(())
    }

    /// Reports readiness and begins to take requests.
    fn start(&self) -> PyResult<()> {
        let Loop::Idle(event_loop) = self.replace(Loop::Over) else { return Ok(()) };
        let thread = std::thread::Builder::new().name("ostler-loop".to_owned());
        let running = thread.spawn(|| event_loop.run())?;
        self.replace(Loop::Running(running));
        Ok(())
    }

    /// Has the worker drained.
    fn stop(&self) {
        self.stopper.stop();
    }

    /// Waits for the end of the event loop, which comes before that of the threads.
    fn join(&self, py: Python<'_>) -> PyResult<()> {
        let Loop::Running(running) = self.replace(Loop::Over) else { return Ok(()) };
        match py.detach(|| running.join()) {
            Ok(result) => result.map_err(|error| failed(&error)),
            Err(_panic) => Err(PyRuntimeError::new_err("the event loop panicked")),
        }
    }
}

impl Worker {
    fn replace(&self, next: Loop) -> Loop {
        let mut held = self.event_loop.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *held, next)
    }
}

fn failed(error: &RunError) -> PyErr {
    PyRuntimeError::new_err(format!("{error:?}"))
}
