//! The worker of this process, as `worker.py` runs it.

use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use ostler_app::{EventLoop, RunError, Stopper, ThreadQueue};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::application::{Application, Parts};
use crate::environ::Environ;

/// A worker: the link to the proxy, and the application.
#[pyclass(frozen, module = "ostler_python")]
pub(crate) struct Worker {
    threads: usize,
    stopper: Stopper,
    queue: ThreadQueue,
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
    /// The worker that this process was started as.
    #[staticmethod]
    fn from_environment() -> PyResult<Self> {
        let worker = ostler_app::Worker::from_env().map_err(|error| failed(&error))?;
        let (threads, stopper) = (worker.thread_count(), worker.stopper());
        let (queue, event_loop) = worker.lend_threads();
        let event_loop = Mutex::new(Loop::Idle(Box::new(event_loop)));
        Ok(Self { threads, stopper, queue, event_loop })
    }

    /// How many threads are to [`work`](Self::work).
    #[getter]
    fn threads(&self) -> usize {
        self.threads
    }

    /// The life of a thread: calls the application for one request after the other.
    fn work(&self, py: Python<'_>, parts: Parts, environ: Py<PyDict>, mount: &str) {
        let application = Application::new(parts, Environ::new(environ, mount));
        py.detach(|| self.queue.work(&|request, reply| application.answer(request, reply)));
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
