//! What the application forks is not a worker.
//!
//! A process that an application forks has this worker's memory, with the requests in it, and the
//! one thread that forked. It may do as it likes, but not answer, read or take requests: they are
//! the worker's.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::{PyRuntimeError, PySystemExit};
use pyo3::prelude::*;

static IS_FORKED: AtomicBool = AtomicBool::new(false);

/// Notes that this is a process that the application forked (`os.register_at_fork`).
#[pyfunction]
pub(crate) fn forked() {
    IS_FORKED.store(true, Ordering::Relaxed);
}

/// Whether this is one.
pub(crate) fn is_forked() -> bool {
    IS_FORKED.load(Ordering::Relaxed)
}

/// Refuses what only the worker may do.
pub(crate) fn refuse_in_fork() -> PyResult<()> {
    if is_forked() {
        let text = "the request belongs to the process that this one was forked from";
        return Err(PyRuntimeError::new_err(text));
    }
    Ok(())
}

/// Ends a process that the application forked and that came back from its request.
pub(crate) fn end(py: Python<'_>, status: i32) {
    // It does not return, and fails only without the module `os`.
    let _ended = py.import("os").and_then(|os| os.call_method1("_exit", (status,)));
}

/// The status that Python ends a process with for this exception, which it tells of as Python does.
pub(crate) fn status_of(py: Python<'_>, error: &PyErr) -> i32 {
    if !error.is_instance_of::<PySystemExit>(py) {
        error.print(py);
        return 1;
    }
    let code = error.value(py).getattr("code").ok();
    code.filter(|code| !code.is_none()).map_or(0, |code| code.extract().unwrap_or(1))
}
