//! Runs WSGI applications as workers of Ostler.
//!
//! A Python interpreter loads this as the extension module `_native`.

#[pyo3::pymodule]
mod _native {}
