//! What an application is called with: `environ` (PEP 3333, "environ Variables"; RFC 3875 §4.1).

mod variables;

use std::borrow::Cow;
use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use http::Version;
use ostler_app::RequestHead;
use percent_encoding::percent_decode;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use self::variables::Variables;
use crate::errors::Errors;
use crate::input::Input;

/// What every request has a value of its own for.
const OF_REQUESTS: [&str; 16] = [
    "REQUEST_METHOD",
    "REQUEST_URI",
    "RAW_URI",
    "QUERY_STRING",
    "SCRIPT_NAME",
    "PATH_INFO",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "REQUEST_SCHEME",
    "REMOTE_ADDR",
    "wsgi.url_scheme",
    "wsgi.input",
    "wsgi.errors",
    "mod_wsgi.request_id",
    "mod_wsgi.script_start",
];

/// What is the same for every request of a thread, and where the application is mounted.
pub(crate) struct Environ {
    /// Copied for every request, with a place for all that it has of its own: a dictionary that is
    /// large enough is copied as a whole.
    same: Py<PyDict>,
    /// `SCRIPT_NAME`: empty, or a path without a slash at its end.
    mount: String,
    variables: RefCell<Variables>,
    host: RefCell<Option<Host>>,
    client: RefCell<Option<Client>>,
}

/// A `Host`, and what was made of it. The next request usually has the same.
struct Host {
    field: Vec<u8>,
    is_secure: bool,
    name: Py<PyString>,
    port: Py<PyString>,
}

/// A chain of `X-Forwarded-For`, and the address of the client in it, likewise.
struct Client {
    chain: Vec<u8>,
    address: Py<PyString>,
}

impl Environ {
    pub(crate) fn new(same: &Bound<'_, PyDict>, mount: &str) -> PyResult<Self> {
        let same = same.copy()?;
        for name in OF_REQUESTS {
            same.set_item(PyString::intern(same.py(), name), same.py().None())?;
        }
        let mount = mount.trim_end_matches('/').to_owned();
        let (variables, host) = (RefCell::default(), RefCell::default());
        Ok(Self { same: same.unbind(), mount, variables, host, client: RefCell::default() })
    }

    /// Makes the environ of one request.
    pub(crate) fn of<'py>(
        &self,
        py: Python<'py>,
        head: &RequestHead,
        input: Input,
        errors: &Bound<'py, Errors>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let environ = self.same.bind(py).copy()?;
        self.variables.borrow_mut().add_fields(&environ, head)?;
        self.add_target(&environ, head)?;
        self.add_server(&environ, head)?;
        environ.set_item(intern!(py, "REQUEST_METHOD"), method(py, head.method())?)?;
        environ.set_item(intern!(py, "SERVER_PROTOCOL"), protocol(py, head.version()))?;
        self.add_client(&environ, head)?;
        environ.set_item(intern!(py, "wsgi.input"), input)?;
        environ.set_item(intern!(py, "wsgi.errors"), errors)?;
        let id = native(py, head.request_id().unwrap_or_default())?;
        environ.set_item(intern!(py, "mod_wsgi.request_id"), id)?;
        environ.set_item(intern!(py, "mod_wsgi.script_start"), now_us().to_string())?;
        Ok(environ)
    }

    /// Splits the target into the place of the application, and the path below it.
    fn add_target(&self, environ: &Bound<'_, PyDict>, head: &RequestHead) -> PyResult<()> {
        let py = environ.py();
        let target = head.target();
        let raw = native(py, target)?;
        let (sent, query) = match target.iter().position(|&byte| byte == b'?') {
            Some(mark) => {
                (target.get(..mark).unwrap_or_default(), target.get(mark + 1..).unwrap_or_default())
            }
            None => (target, &b""[..]),
        };
        let path: Cow<'_, [u8]> = percent_decode(sent).into();
        let (script_name, below) = self.split(&path);
        // Usually it is all the same.
        let below = if below == target { raw.clone() } else { native(py, below)? };
        environ.set_item(intern!(py, "SCRIPT_NAME"), native(py, script_name)?)?;
        environ.set_item(intern!(py, "PATH_INFO"), below)?;
        environ.set_item(intern!(py, "QUERY_STRING"), native(py, query)?)?;
        environ.set_item(intern!(py, "REQUEST_URI"), &raw)?;
        environ.set_item(intern!(py, "RAW_URI"), raw)
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

    /// How the client reached the server.
    fn add_server(&self, environ: &Bound<'_, PyDict>, head: &RequestHead) -> PyResult<()> {
        let py = environ.py();
        let is_secure = head.is_secure();
        let scheme = if is_secure { intern!(py, "https") } else { intern!(py, "http") };
        environ.set_item(intern!(py, "wsgi.url_scheme"), scheme)?;
        environ.set_item(intern!(py, "REQUEST_SCHEME"), scheme)?;
        if is_secure {
            // As `mod_ssl` says it.
            environ.set_item(intern!(py, "HTTPS"), intern!(py, "on"))?;
        }
        let field = head.host().unwrap_or_default();
        let mut known = self.host.borrow_mut();
        let is_known = |host: &&Host| host.field == field && host.is_secure == is_secure;
        let host = match known.as_ref().filter(is_known) {
            Some(host) => host,
            None => known.insert(Host::read(py, field, is_secure)?),
        };
        environ.set_item(intern!(py, "SERVER_NAME"), &host.name)?;
        environ.set_item(intern!(py, "SERVER_PORT"), &host.port)
    }

    /// Who the client is.
    fn add_client(&self, environ: &Bound<'_, PyDict>, head: &RequestHead) -> PyResult<()> {
        let py = environ.py();
        let mut known = self.client.borrow_mut();
        let is_known = |client: &&Client| head.forwarded_for() == Some(client.chain.as_slice());
        let client = match known.as_ref().filter(is_known) {
            Some(client) => client,
            None => known.insert(Client::read(py, head)),
        };
        environ.set_item(intern!(py, "REMOTE_ADDR"), &client.address)
    }
}

impl Client {
    fn read(py: Python<'_>, head: &RequestHead) -> Self {
        let chain = head.forwarded_for().unwrap_or_default().to_vec();
        // A client of a UNIX listener has none.
        let address = head.client_address().map(|address| address.to_string());
        Self { chain, address: PyString::new(py, &address.unwrap_or_default()).unbind() }
    }
}

impl Host {
    fn read(py: Python<'_>, field: &[u8], is_secure: bool) -> PyResult<Self> {
        let (name, port) = split_host(field);
        let usual = if is_secure { "443" } else { "80" };
        let port = if port.is_empty() { usual.as_bytes() } else { port };
        let (name, port) = (native(py, name)?.unbind(), native(py, port)?.unbind());
        Ok(Self { field: field.to_vec(), is_secure, name, port })
    }
}

/// The method, usually a string that is there already.
fn method<'py>(py: Python<'py>, method: &[u8]) -> PyResult<Bound<'py, PyString>> {
    match method {
        b"GET" => Ok(intern!(py, "GET").clone()),
        b"POST" => Ok(intern!(py, "POST").clone()),
        b"HEAD" => Ok(intern!(py, "HEAD").clone()),
        other => native(py, other),
    }
}

fn protocol(py: Python<'_>, version: Version) -> &Bound<'_, PyString> {
    if version == Version::HTTP_10 { intern!(py, "HTTP/1.0") } else { intern!(py, "HTTP/1.1") }
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
fn native<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    if bytes.is_ascii() {
        return PyString::from_bytes(py, bytes);
    }
    Ok(PyString::new(py, &bytes.iter().copied().map(char::from).collect::<String>()))
}

/// Microseconds since 1970.
fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
