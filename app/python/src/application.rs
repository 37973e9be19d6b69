//! One call of the application (PEP 3333).

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ostler_app::{Body, Reply, RequestHead};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::answering::{AnswerError, Answering, Wanted};
use crate::bytes_of::bytes_of;
use crate::environ::Environ;
use crate::errors::{Errors, set_current};
use crate::fork::{self, is_forked};
use crate::head::type_name;
use crate::input::Input;
use crate::regular_file::RegularFile;
use crate::start_response::StartResponse;
use crate::threads::Thread;

/// A wait for the interpreter lock that is worth telling: taking it when it is free takes less.
const LOCK_WAIT: Duration = Duration::from_micros(5);

/// An application, and what `worker.py` has for it.
#[derive(FromPyObject)]
pub(crate) struct Parts {
    /// The application.
    callable: Py<PyAny>,
    /// The type of `wsgi.file_wrapper`.
    file_wrapper: Py<PyAny>,
    /// Tells of one which file it is, if that is a regular one: descriptor, offset, length.
    regular_file: Py<PyAny>,
    /// Makes text of an exception.
    describe: Py<PyAny>,
    /// Takes back what was sent to a thread and has not come, where requests are interrupted.
    forget_interrupt: Option<Py<PyAny>>,
}

/// An application that can be called.
pub(crate) struct Application {
    parts: Parts,
    environ: Environ,
    thread: Arc<Thread>,
}

/// Why an application was not called to its end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the application raised an exception")]
    Raised(#[from] PyErr),
    #[error("{0}")]
    Answer(#[from] AnswerError),
    #[error("a piece of the response's body is {found}, not bytes")]
    NotBytes { found: String },
    #[error("the application returned {found}, which is not iterable")]
    NotIterable { found: String },
}

impl Application {
    pub(crate) fn new(parts: Parts, environ: Environ, thread: Arc<Thread>) -> Self {
        Self { parts, environ, thread }
    }

    /// Answers a request. The interpreter lock is held from here on, but for waits.
    #[expect(clippy::disallowed_methods, reason = "what requests wait for is measured here")]
    pub(crate) fn answer(&self, head: &RequestHead, body: Body, reply: Reply) {
        let answering = Answering::new(reply, head.method() == b"HEAD");
        let asked = Instant::now();
        Python::attach(|py| {
            let waited = asked.elapsed();
            if LOCK_WAIT <= waited {
                ostler_app::cost("lock", 1, waited);
            }
            self.thread.begin();
            let input = Input::new(body);
            let id = String::from_utf8_lossy(head.request_id().unwrap_or(b"-")).into_owned();
            let result = Bound::new(py, Errors::new(id)).map_err(Failure::from).map(|errors| {
                set_current(Some(errors.clone().unbind()));
                self.run(py, (head, input), &errors, &answering);
                set_current(None);
                if errors.get().has_begun() {
                    report(py, &errors, "");
                }
            });
            if let Err(failure) = result {
                answering.fail(py);
                drop(failure);
            }
            self.thread.end();
            self.forget_interrupt(py);
        });
    }

    /// Calls the application and tells what went wrong.
    fn run(
        &self,
        py: Python<'_>,
        (head, input): (&RequestHead, Input),
        errors: &Bound<'_, Errors>,
        answering: &Answering,
    ) {
        let result = self
            .environ
            .of(py, head, input, errors)
            .map_err(Failure::from)
            .and_then(|environ| self.call(&environ, answering));
        if is_forked() {
            let status = match &result {
                Ok(()) => 0,
                Err(Failure::Raised(error)) => fork::status_of(py, error),
                Err(_answered) => 1,
            };
            fork::end(py, status);
            return;
        }
        let line = || {
            let [method, target] = [head.method(), head.target()].map(String::from_utf8_lossy);
            format!("{method} {target}")
        };
        match result {
            Ok(()) => {}
            // Whoever wanted the response is not there any more.
            Err(Failure::Answer(AnswerError::Left)) => answering.fail(py),
            Err(failure) => {
                let text = format!("{}: {failure}\n{}", line(), self.traceback(py, &failure));
                report(py, errors, &text);
                answering.fail(py);
            }
        }
        let excess = answering.over();
        if 0 < excess {
            let text = format!(
                "{}: the response's body is {excess} bytes longer than its Content-Length: cut\n",
                line()
            );
            report(py, errors, &text);
        }
    }

    fn call(&self, environ: &Bound<'_, PyAny>, answering: &Answering) -> Result<(), Failure> {
        let py = environ.py();
        let start_response = Bound::new(py, StartResponse::new(answering.clone()))?;
        let iterable = self.parts.callable.bind(py).call1((environ, start_response))?;
        let sent = self.send(&iterable, answering);
        // The application is to clean up in peace.
        self.forget_interrupt(py);
        // A list has none.
        let closed = match iterable.cast_exact::<PyList>() {
            Ok(_list) => Ok(()),
            Err(_other) => close(&iterable),
        };
        sent.and(closed)
    }

    fn send(&self, iterable: &Bound<'_, PyAny>, answering: &Answering) -> Result<(), Failure> {
        let py = iterable.py();
        if let Some(only) = only_piece(iterable)? {
            let only = only.cast::<PyBytes>().map_err(|_other| not_bytes(&only))?;
            return Ok(answering.end(py, only.as_bytes())?);
        }
        if let Some(file) = self.regular_file(iterable)? {
            return Ok(answering.send_file(py, &file)?);
        }
        let pieces = iterable.try_iter().map_err(|error| {
            if iterable.hasattr("__iter__").unwrap_or(true) {
                return Failure::Raised(error);
            }
            Failure::NotIterable { found: type_name(iterable) }
        })?;
        for item in pieces {
            let item = item?;
            let piece = bytes_of(&item).ok_or_else(|| not_bytes(&item))?;
            // Nothing is sent before there is something.
            if !piece.is_empty() && answering.write(py, &piece)? == Wanted::Nothing {
                break;
            }
        }
        Ok(answering.end(py, &[])?)
    }

    /// The file that a file wrapper stands for, if that is a regular one.
    fn regular_file(&self, iterable: &Bound<'_, PyAny>) -> PyResult<Option<RegularFile>> {
        let py = iterable.py();
        if !iterable.get_type().is(&self.parts.file_wrapper) {
            return Ok(None);
        }
        let found = self.parts.regular_file.bind(py).call1((iterable,))?;
        let found: Option<(i32, u64, u64)> = found.extract()?;
        let open = |(descriptor, offset, length)| {
            let opened: io::Result<_> = RegularFile::of_descriptor(descriptor, offset, length);
            opened.ok()
        };
        Ok(found.and_then(open))
    }

    /// Takes back an exception that was sent to this thread and has not been raised.
    fn forget_interrupt(&self, py: Python<'_>) {
        if let Some(forget) = &self.parts.forget_interrupt
            && self.thread.was_interrupted()
        {
            // There is nothing to do about a thread that Python does not know any more.
            drop(forget.bind(py).call1((self.thread.ident, py.None())));
        }
    }

    fn traceback(&self, py: Python<'_>, failure: &Failure) -> String {
        let Failure::Raised(error) = failure else { return String::new() };
        let described = self.parts.describe.bind(py).call1((error.value(py), error.traceback(py)));
        described.and_then(|text| text.extract()).unwrap_or_else(|_undescribed| error.to_string())
    }
}

fn report(py: Python<'_>, errors: &Bound<'_, Errors>, text: &str) {
    let errors = errors.get();
    py.detach(|| errors.report(text));
}

/// The piece of a list or a tuple that has one: the length of the body is known then.
fn only_piece<'py>(iterable: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    if let Ok(list) = iterable.cast_exact::<PyList>() {
        return if list.len() == 1 { list.get_item(0).map(Some) } else { Ok(None) };
    }
    if let Ok(tuple) = iterable.cast_exact::<PyTuple>() {
        return if tuple.len() == 1 { tuple.get_item(0).map(Some) } else { Ok(None) };
    }
    Ok(None)
}

fn not_bytes(item: &Bound<'_, PyAny>) -> Failure {
    Failure::NotBytes { found: type_name(item) }
}

/// Calls the `close` of what an application returned, if there is one.
fn close(iterable: &Bound<'_, PyAny>) -> Result<(), Failure> {
    let py = iterable.py();
    if let Some(close) = iterable.getattr_opt(intern!(py, "close"))? {
        close.call0()?;
    }
    Ok(())
}
