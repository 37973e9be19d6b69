//! The head of a response, as an application states it (PEP 3333).

use std::borrow::Cow;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, MaxSizeReached, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, StatusCode, response};
use hyper::ext::ReasonPhrase;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};

/// The head of a response, and the length that it states for its body.
pub(crate) struct Head {
    pub(crate) parts: response::Parts,
    pub(crate) length: Option<u64>,
}

impl Head {
    /// Reads what `start_response` was called with.
    pub(crate) fn stated(status: &Bound<'_, PyAny>, fields: &Bound<'_, PyAny>) -> PyResult<Self> {
        let status =
            status.cast::<PyString>().map_err(|_other| not(status, "the status", "str"))?;
        let fields =
            fields.cast::<PyList>().map_err(|_other| not(fields, "the headers", "list"))?;
        let (status, reason) = status_of(&latin1(status, "the status")?)?;
        let mut head = Self { parts: parts(status), length: None };
        if let Some(reason) = reason {
            head.parts.extensions.insert(reason);
        }
        head.parts.headers.try_reserve(fields.len()).map_err(too_many)?;
        for field in fields.iter() {
            head.add(&field)?;
        }
        Ok(head)
    }

    /// The answer to a request that the application failed at.
    pub(crate) fn failed() -> Self {
        Self { parts: parts(StatusCode::INTERNAL_SERVER_ERROR), length: None }
    }

    /// Whether the response has a body (RFC 9110 §6.4.1), unless it answers HEAD.
    pub(crate) fn may_have_body(&self) -> bool {
        !matches!(self.parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    }

    fn add(&mut self, field: &Bound<'_, PyAny>) -> PyResult<()> {
        let field = field.cast::<PyTuple>().map_err(|_other| not(field, "a header", "tuple"))?;
        let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = field.extract()?;
        let name = name.cast::<PyString>().map_err(|_other| not(&name, "a header name", "str"))?;
        let what = "a header value";
        let value = value.cast::<PyString>().map_err(|_other| not(&value, what, "str"))?;
        let name = HeaderName::from_bytes(&latin1(name, "a header name")?)
            .map_err(|_garbled| PyValueError::new_err(format!("{name:?} is no header name")))?;
        let bytes = latin1(value, what)?;
        let value = HeaderValue::from_bytes(bytes.trim_ascii()).map_err(|_garbled| {
            PyValueError::new_err(format!("the value of {name} has control characters"))
        })?;
        if name == CONTENT_LENGTH {
            let length = length_of(&value)?;
            if self.length.is_some_and(|before| before != length) {
                return Err(PyValueError::new_err("two different values of Content-Length"));
            }
            self.length = Some(length);
            self.parts.headers.insert(name, value);
        } else if !is_about_connection(&name) {
            self.parts.headers.try_append(name, value).map_err(too_many)?;
        }
        Ok(())
    }
}

fn parts(status: StatusCode) -> response::Parts {
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = status;
    parts.headers = HeaderMap::new();
    parts
}

/// The connection to the client is the proxy's, and so are the fields about it (RFC 9110 §7.6.1).
fn is_about_connection(name: &HeaderName) -> bool {
    [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE].contains(name) || name == "keep-alive"
}

/// Reads a status line without its protocol: three digits, and a reason where that is not the usual.
fn status_of(text: &[u8]) -> PyResult<(StatusCode, Option<ReasonPhrase>)> {
    let garbled = || {
        let text = String::from_utf8_lossy(text);
        PyValueError::new_err(format!("the status is {text:?}, but has to be like \"200 OK\""))
    };
    let (digits, rest) = text.split_at_checked(3).ok_or_else(garbled)?;
    let status = StatusCode::from_bytes(digits).map_err(|_garbled| garbled())?;
    if status.is_informational() || !(rest.is_empty() || rest.starts_with(b" ")) {
        return Err(garbled());
    }
    let reason = rest.trim_ascii();
    let is_usual = reason.is_empty()
        || status.canonical_reason().is_some_and(|usual| usual.as_bytes() == reason);
    if is_usual {
        return Ok((status, None));
    }
    Ok((status, Some(ReasonPhrase::try_from(reason).map_err(|_garbled| garbled())?)))
}

fn too_many(_full: MaxSizeReached) -> PyErr {
    PyValueError::new_err("the headers given to start_response are too many")
}

fn length_of(value: &HeaderValue) -> PyResult<u64> {
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).ok_or_else(|| {
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
