//! The head of a response, as an application states it (PEP 3333).

use std::borrow::Cow;

use http::StatusCode;
use ostler_app::{HeadRefused, ResponseHead};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};

/// What is about the connection to the client, which is the proxy's (RFC 9110 §7.6.1).
const ABOUT_CONNECTION: [&str; 6] =
    ["connection", "te", "trailer", "transfer-encoding", "upgrade", "keep-alive"];

/// The head of a response, and the length that it states for its body.
pub(crate) struct Head {
    pub(crate) head: ResponseHead,
    pub(crate) length: Option<u64>,
}

impl Head {
    /// Reads what `start_response` was called with.
    pub(crate) fn stated(status: &Bound<'_, PyAny>, fields: &Bound<'_, PyAny>) -> PyResult<Self> {
        let status =
            status.cast::<PyString>().map_err(|_other| not(status, "the status", "str"))?;
        let fields =
            fields.cast::<PyList>().map_err(|_other| not(fields, "the headers", "list"))?;
        let mut head = Self { head: begin(&latin1(status, "the status")?)?, length: None };
        for field in fields.iter() {
            head.add(&field)?;
        }
        Ok(head)
    }

    /// The answer to a request that the application failed at.
    pub(crate) fn failed() -> Self {
        Self { head: ResponseHead::new(StatusCode::INTERNAL_SERVER_ERROR), length: None }
    }

    fn add(&mut self, field: &Bound<'_, PyAny>) -> PyResult<()> {
        let field = field.cast::<PyTuple>().map_err(|_other| not(field, "a header", "tuple"))?;
        let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = field.extract()?;
        let name = name.cast::<PyString>().map_err(|_other| not(&name, "a header name", "str"))?;
        let what = "a header value";
        let value = value.cast::<PyString>().map_err(|_other| not(&value, what, "str"))?;
        let (name, value) = (latin1(name, "a header name")?, latin1(value, what)?);
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = length_of(&value)?;
            if self.length.is_some_and(|before| before != length) {
                return Err(PyValueError::new_err("two different values of Content-Length"));
            }
            if self.length.replace(length).is_some() {
                return Ok(());
            }
        } else if is_about_connection(&name) {
            return Ok(());
        }
        self.head.add(&name, &value).map_err(|refused| refusal(refused, &name))
    }
}

fn is_about_connection(name: &[u8]) -> bool {
    ABOUT_CONNECTION.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// Reads a status line without its protocol: three digits, and a reason where that is not the usual.
fn begin(text: &[u8]) -> PyResult<ResponseHead> {
    let garbled = || {
        let text = String::from_utf8_lossy(text);
        PyValueError::new_err(format!("the status is {text:?}, but has to be like \"200 OK\""))
    };
    let (digits, rest) = text.split_at_checked(3).ok_or_else(garbled)?;
    let status = StatusCode::from_bytes(digits).map_err(|_garbled| garbled())?;
    if status.is_informational() || !(rest.is_empty() || rest.starts_with(b" ")) {
        return Err(garbled());
    }
    match rest.trim_ascii() {
        b"" => Ok(ResponseHead::new(status)),
        reason => ResponseHead::with_reason(status, reason).map_err(|_refused| garbled()),
    }
}

fn refusal(refused: HeadRefused, name: &[u8]) -> PyErr {
    let name = String::from_utf8_lossy(name);
    PyValueError::new_err(match refused {
        HeadRefused::Name => format!("'{}' is no header name", name.escape_debug()),
        HeadRefused::Text => {
            format!("the value of {} has control characters", name.to_ascii_lowercase())
        }
        HeadRefused::TooLarge => {
            format!("the headers given to start_response are too many: {refused}")
        }
    })
}

fn length_of(value: &[u8]) -> PyResult<u64> {
    let text = std::str::from_utf8(value.trim_ascii()).ok();
    let digits = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).ok_or_else(|| {
        let value = String::from_utf8_lossy(value);
        PyValueError::new_err(format!("Content-Length is {value:?}, but has to be a number"))
    })
}

/// The bytes that a native string stands for (PEP 3333, "A Note on String Types").
fn latin1<'t>(text: &'t Bound<'_, PyString>, what: &str) -> PyResult<Cow<'t, [u8]>> {
    let text = text.to_cow()?;
    if text.is_ascii() {
        return Ok(match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        });
    }
    let bytes: Option<Vec<u8>> = text.chars().map(|it| u8::try_from(it).ok()).collect();
    bytes.map(Cow::Owned).ok_or_else(|| {
        PyValueError::new_err(format!("{what} has characters that are not of ISO-8859-1: {text:?}"))
    })
}

fn not(found: &Bound<'_, PyAny>, what: &str, wanted: &str) -> PyErr {
    let found = type_name(found);
    PyTypeError::new_err(format!("{what} given to start_response is {found}, not {wanted}"))
}

/// The name of an object's type.
pub(crate) fn type_name(found: &Bound<'_, PyAny>) -> String {
    found.get_type().name().map_or_else(|_error| "?".to_owned(), |name| name.to_string())
}
