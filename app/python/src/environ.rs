//! What an application is called with: `environ` (PEP 3333, "environ Variables"; RFC 3875 §4.1).

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderName, TRANSFER_ENCODING};
use http::{HeaderMap, request};
use ostler_app::RequestExt as _;
use percent_encoding::percent_decode_str;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::errors::Errors;
use crate::input::Input;

/// Most names of fields that a thread keeps the variables' names of.
const KEPT_NAMES: usize = 256;

thread_local! {
    /// The variables' names of fields that were seen.
    static NAMES: RefCell<HashMap<HeaderName, Py<PyString>>> = RefCell::default();
}

/// What is the same for every request, and where the application is mounted.
pub(crate) struct Environ {
    /// Copied for every request.
    same: Py<PyDict>,
    /// `SCRIPT_NAME`: empty, or a path without a slash at its end.
    mount: String,
}

impl Environ {
    pub(crate) fn new(same: Py<PyDict>, mount: &str) -> Self {
        Self { same, mount: mount.trim_end_matches('/').to_owned() }
    }

    /// Makes the environ of one request.
    pub(crate) fn of<'py>(
        &self,
        py: Python<'py>,
        request: &request::Parts,
        input: Input,
        errors: &Bound<'py, Errors>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let environ = self.same.bind(py).copy()?;
        add_fields(&environ, &request.headers)?;
        self.add_target(&environ, request)?;
        add_server(&environ, request)?;
        let client = request.client_address().map(|address| address.to_string());
        let client = client.as_deref().unwrap_or_default();
        environ.set_item(intern!(py, "REMOTE_ADDR"), client)?;
        environ.set_item(intern!(py, "REQUEST_METHOD"), request.method.as_str())?;
        environ.set_item(intern!(py, "wsgi.input"), input)?;
        environ.set_item(intern!(py, "wsgi.errors"), errors)?;
        let id = request.request_id().unwrap_or_default();
        environ.set_item(intern!(py, "mod_wsgi.request_id"), id)?;
        environ.set_item(intern!(py, "mod_wsgi.script_start"), now_us().to_string())?;
        Ok(environ)
    }

    /// Splits the target into the place of the application, and the path below it.
    fn add_target(&self, environ: &Bound<'_, PyDict>, request: &request::Parts) -> PyResult<()> {
        let py = environ.py();
        let target = request.uri.path_and_query().map_or("", |target| target.as_str());
        let raw = native(py, target.as_bytes());
        environ.set_item(intern!(py, "REQUEST_URI"), &raw)?;
        environ.set_item(intern!(py, "RAW_URI"), &raw)?;
        let query = native(py, request.uri.query().unwrap_or_default().as_bytes());
        environ.set_item(intern!(py, "QUERY_STRING"), query)?;
        let path: Vec<u8> = percent_decode_str(request.uri.path()).collect();
        let (script_name, path) = self.split(&path);
        environ.set_item(intern!(py, "SCRIPT_NAME"), native(py, script_name))?;
        environ.set_item(intern!(py, "PATH_INFO"), native(py, path))
    }

    /// A path that is not below the mount is the application's as a whole.
    fn split<'p>(&self, path: &'p [u8]) -> (&'p [u8], &'p [u8]) {
        match path.split_at_checked(self.mount.len()) {
            Some((mount, below))
                if mount == self.mount.as_bytes() && matches!(below, [] | [b'/', ..]) =>
            {
                (mount, below)
            }
            _ => (b"", path),
        }
    }
}

/// The fields of the head. A name that comes again has its values joined.
fn add_fields(environ: &Bound<'_, PyDict>, fields: &HeaderMap) -> PyResult<()> {
    let py = environ.py();
    for name in fields.keys() {
        let Some(variable) = variable(py, name) else { continue };
        let mut values = fields.get_all(name).iter().map(http::HeaderValue::as_bytes);
        let (first, second) = (values.next().unwrap_or_default(), values.next());
        let Some(second) = second else {
            environ.set_item(variable, native(py, first))?;
            continue;
        };
        let separator: &[u8] = if name == COOKIE { b"; " } else { b", " };
        let all: Vec<&[u8]> = [first, second].into_iter().chain(values).collect();
        environ.set_item(variable, native(py, &all.join(separator)))?;
    }
    Ok(())
}

/// The variable for a field; `None` for one that applications do not get: about the connection, or
/// `Proxy`, whose variable programs take for their own configuration.
fn variable<'py>(py: Python<'py>, name: &HeaderName) -> Option<Bound<'py, PyString>> {
    if name == TRANSFER_ENCODING || name == "proxy" || name.as_str().contains('_') {
        return None;
    }
    if name == CONTENT_TYPE {
        return Some(intern!(py, "CONTENT_TYPE").clone());
    }
    if name == CONTENT_LENGTH {
        return Some(intern!(py, "CONTENT_LENGTH").clone());
    }
    NAMES.with_borrow_mut(|names| {
        if let Some(known) = names.get(name) {
            return Some(known.bind(py).clone());
        }
        let text = format!("HTTP_{}", name.as_str().to_ascii_uppercase().replace('-', "_"));
        let variable = PyString::new(py, &text);
        if names.len() < KEPT_NAMES {
            names.insert(name.clone(), variable.clone().unbind());
        }
        Some(variable)
    })
}

/// How the client reached the server.
fn add_server(environ: &Bound<'_, PyDict>, request: &request::Parts) -> PyResult<()> {
    let py = environ.py();
    let is_secure = request.is_secure();
    let scheme = if is_secure { intern!(py, "https").clone() } else { intern!(py, "http").clone() };
    environ.set_item(intern!(py, "wsgi.url_scheme"), &scheme)?;
    environ.set_item(intern!(py, "REQUEST_SCHEME"), &scheme)?;
    let host = request.headers.get(HOST).map_or(&b""[..], |host| host.as_bytes());
    let (name, port) = split_host(host);
    let usual = if is_secure { "443" } else { "80" };
    let port = if port.is_empty() { usual.as_bytes() } else { port };
    environ.set_item(intern!(py, "SERVER_NAME"), native(py, name))?;
    environ.set_item(intern!(py, "SERVER_PORT"), native(py, port))
}

/// Name and port of a `Host`; an address of IPv6 has brackets around it.
fn split_host(host: &[u8]) -> (&[u8], &[u8]) {
    let bracket = host.iter().rposition(|&byte| byte == b']').unwrap_or(0);
    match host.iter().rposition(|&byte| byte == b':').filter(|&colon| bracket <= colon) {
        Some(colon) => {
            (host.get(..colon).unwrap_or_default(), host.get(colon + 1..).unwrap_or_default())
        }
        None => (host, b""),
    }
}

/// Bytes as a native string: each is one character (PEP 3333, "A Note on String Types").
fn native<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => PyString::new(py, text),
        _ => PyString::new(py, &bytes.iter().copied().map(char::from).collect::<String>()),
    }
}

/// Microseconds since 1970.
fn now_us() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros())
}
