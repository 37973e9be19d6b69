//! Bytes that Python made, where Rust needs them.

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

/// Up to which length copying costs less than keeping what Python has.
const COPY_BYTES: usize = 16 * 1024;

/// Takes a piece of a body, which has to be bytes (PEP 3333).
pub(crate) fn bytes_of(piece: &Bound<'_, PyAny>) -> Option<Bytes> {
    let piece = piece.cast::<PyBytes>().ok()?;
    let bytes = piece.as_bytes();
    if bytes.len() <= COPY_BYTES {
        return Some(Bytes::copy_from_slice(bytes));
    }
    Some(Bytes::from_owner(PyBackedBytes::from(piece.clone())))
}
