//! Runs WSGI applications as workers of Ostler.
//!
//! A Python interpreter, the operator's own, loads this as the extension module `_native` of
//! `ostler_python` and calls its `main`. What is Python's to do is in `worker.py`, which is part of
//! this file; what is done for each request is in Rust: `application` calls the application,
//! `environ` makes what it is called with, `input` is the request's body, `answering` the response.
//!
//! Each thread of the application is a `threading.Thread` that lends itself to [`worker`] for good.
//! It holds the interpreter lock only while Python runs: while it waits for a request, reads it and
//! writes the answer, others have it.
//!
//! What it deliberately does not do: speak HTTP, limit time or size, start processes.

mod answering;
mod application;
mod bytes_of;
mod environ;
mod errors;
mod fork;
mod head;
mod input;
mod regular_file;
mod stacks;
mod start_response;
mod threads;
mod worker;

use std::ffi::CStr;

/// The module as Python sees it.
#[pyo3::pymodule]
mod _native {
    use std::ffi::CString;

    use pyo3::prelude::*;
    use pyo3::types::PyModule;

    #[pymodule_export]
    use crate::errors::{Errors, errors};
    #[pymodule_export]
    use crate::fork::forked;
    #[pymodule_export]
    use crate::input::Input;
    #[pymodule_export]
    use crate::start_response::StartResponse;
    #[pymodule_export]
    use crate::worker::Worker;

    /// Runs a worker as the command line says. Does not return.
    #[pyfunction]
    #[pyo3(pass_module)]
    fn main(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        let known = py.import("sys")?.getattr("modules")?;
        for (name, file, source) in crate::SOURCES {
            if !known.contains(name.to_string_lossy())? {
                PyModule::from_code(py, &CString::new(source)?, file, name)?;
            }
        }
        py.import("ostler_python.worker")?.call_method1("main", (module,))?;
        Ok(())
    }

    /// Reports what the request of the calling thread has cost: see `ostler_app::cost`.
    #[pyfunction]
    fn cost(name: &str, count: u64, seconds: f64) {
        let took = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
        ostler_app::cost(name, count, took);
    }
}

/// What is Python's to do: names of modules, of files, and what is in them. The package comes
/// first; where it is installed, it is there already.
const SOURCES: [(&CStr, &CStr, &str); 5] = [
    (
        c"ostler_python",
        c"ostler_python/__init__.py",
        include_str!("../python/ostler_python/__init__.py"),
    ),
    (c"ostler_python.cost", c"ostler_python/cost.py", include_str!("cost.py")),
    (c"ostler_python.interrupt", c"ostler_python/interrupt.py", include_str!("interrupt.py")),
    (c"ostler_python.streams", c"ostler_python/streams.py", include_str!("streams.py")),
    (c"ostler_python.worker", c"ostler_python/worker.py", include_str!("worker.py")),
];
