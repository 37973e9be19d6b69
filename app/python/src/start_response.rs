//! `start_response`, and the `write` that it returns, for one request.

use pyo3::exceptions::{PyAssertionError, PyConnectionAbortedError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::answering::{AnswerError, Answering};
use crate::bytes_of::bytes_of;
use crate::fork::refuse_in_fork;
use crate::head::{Head, type_name};

/// `start_response(status, headers, exc_info=None)`.
#[pyclass(frozen, module = "ostler_python")]
pub(crate) struct StartResponse(Answering);

/// `write(data)`.
#[pyclass(frozen, module = "ostler_python")]
pub(crate) struct Write(Answering);

impl StartResponse {
    pub(crate) fn new(answering: Answering) -> Self {
        Self(answering)
    }
}

#[pymethods]
impl StartResponse {
    #[pyo3(signature = (status, headers, exc_info=None, /))]
    fn __call__(
        &self,
        status: &Bound<'_, PyAny>,
        headers: &Bound<'_, PyAny>,
        exc_info: Option<&Bound<'_, PyTuple>>,
    ) -> PyResult<Write> {
        refuse_in_fork()?;
        let head = Head::stated(status, headers)?;
        match (self.0.state(head, exc_info.is_some()), exc_info) {
            (Ok(()), _) => Ok(Write(self.0.clone())),
            (Err(AnswerError::HeadSent), Some(exc_info)) => Err(raised(exc_info)?),
            (Err(error), _) => Err(PyAssertionError::new_err(error.to_string())),
        }
    }
}

#[pymethods]
impl Write {
    #[pyo3(signature = (data, /))]
    fn __call__(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        refuse_in_fork()?;
        let piece = bytes_of(data).ok_or_else(|| {
            PyTypeError::new_err(format!("write() takes bytes, not {}", type_name(data)))
        })?;
        match self.0.write(py, &piece) {
            Ok(_wanted) => Ok(()),
            Err(AnswerError::Left) => Err(PyConnectionAbortedError::new_err("the client has left")),
            Err(error) => Err(PyAssertionError::new_err(error.to_string())),
        }
    }
}

/// The exception of an `exc_info`, to be raised once more where it was.
fn raised(exc_info: &Bound<'_, PyTuple>) -> PyResult<PyErr> {
    let (exception, traceback) = (exc_info.get_item(1)?, exc_info.get_item(2)?);
    let exception = exception.call_method1("with_traceback", (traceback,))?;
    Ok(PyErr::from_value(exception))
}
