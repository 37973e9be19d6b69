//! `wsgi.errors`: lines for the error log, with the id of the request they are about.
//!
//! They go to standard error, from where the supervisor takes them into its log with the pool and
//! the slot. A line goes out when it is whole, is flushed, or gets long.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyString;
use rustix::io::Errno;

use crate::fork::is_forked;

/// Longest part of a line that waits for its end.
const LINE_BYTES: usize = 8 * 1024;

thread_local! {
    /// The stream of the request that this thread is at.
    static CURRENT: RefCell<Option<Py<Errors>>> = const { RefCell::new(None) };
}

/// The stream of the calling thread's request; none in a process that the application forked.
#[pyfunction]
pub(crate) fn errors(py: Python<'_>) -> Option<Py<Errors>> {
    if is_forked() {
        return None;
    }
    CURRENT.with_borrow(|current| current.as_ref().map(|errors| errors.clone_ref(py)))
}

/// Notes which request the calling thread is at.
pub(crate) fn set_current(errors: Option<Py<Errors>>) {
    // What it replaces is dropped when nothing is borrowed: its drop may run other code.
    drop(CURRENT.replace(errors));
}

/// The stream of one request.
#[pyclass(frozen, module = "ostler_python")]
pub(crate) struct Errors {
    id: String,
    /// A line that is not whole.
    begun: Mutex<String>,
}

impl Errors {
    pub(crate) fn new(id: String) -> Self {
        Self { id, begun: Mutex::default() }
    }

    /// Adds text, and returns the lines that are to be written.
    fn take_lines(&self, text: &str, is_flush: bool) -> String {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.push_str(text);
        let is_due = is_flush || LINE_BYTES <= begun.len();
        let end = if is_due { begun.len() } else { begun.rfind('\n').map_or(0, |at| at + 1) };
        let whole: String = begun.drain(..end).collect();
        let named = |line: &str| format!("[{}] {line}\n", self.id);
        whole.lines().map(named).collect::<Vec<_>>().concat()
    }

    /// Whether there is a line that is not whole.
    pub(crate) fn has_begun(&self) -> bool {
        !self.begun.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Writes lines about this request.
    pub(crate) fn report(&self, text: &str) {
        write(&self.take_lines(text, true));
    }
}

#[pymethods]
impl Errors {
    fn write(&self, py: Python<'_>, text: &Bound<'_, PyString>) -> PyResult<usize> {
        let lines = self.take_lines(&text.to_string_lossy(), false);
        py.detach(|| write(&lines));
        text.len()
    }

    fn writelines(&self, py: Python<'_>, lines: &Bound<'_, PyAny>) -> PyResult<()> {
        for line in lines.try_iter()? {
            self.write(py, line?.cast::<PyString>()?)?;
        }
        Ok(())
    }

    fn flush(&self, py: Python<'_>) {
        let lines = self.take_lines("", true);
        py.detach(|| write(&lines));
    }
}

impl Drop for Errors {
    fn drop(&mut self) {
        if self.has_begun() {
            self.report("");
        }
    }
}

/// Writes to standard error, without a lock that a process which the application forks meanwhile
/// would find taken for ever. What cannot be written is lost.
fn write(lines: &str) {
    let mut rest = lines.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(rustix::stdio::stderr(), rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(_lost) => return,
        }
    }
}
