//! The fields of a head as variables: `HTTP_…`, `CONTENT_TYPE` and `CONTENT_LENGTH` (RFC 3875
//! §4.1.18).
//!
//! What a name is to applications is made once and kept. Clients send the same fields in the same
//! order, so it is usually found where it was in the head before, and often with the same value.

use std::collections::HashMap;

use ostler_app::RequestHead;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::native;

/// How many names are kept from one request to the next, and how many bytes of them.
const KEPT_NAMES: usize = 256;
const KEPT_NAME_BYTES: usize = 16 * 1024;

/// Up to which length a value is.
const KEPT_BYTES: usize = 128;

/// What is not kept beyond its request, as it may be secret, or as no other has the same.
const NOT_KEPT: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "x-request-id"];

/// The variables of one thread's requests.
#[derive(Default)]
pub(super) struct Variables {
    all: Vec<Variable>,
    names: Vec<Name>,
    by_spelling: HashMap<Box<[u8]>, usize>,
    /// Of all names together.
    bytes: usize,
    /// Which of the names came in which place of the last head.
    last: Vec<usize>,
    /// How many heads there were.
    heads: u64,
}

/// The name of a field, as it was spelled.
struct Name {
    spelling: Box<[u8]>,
    variable: usize,
}

/// What a name is to applications.
struct Variable {
    /// `None` for a field that they do not get.
    name: Option<Py<PyString>>,
    /// The last head that had it.
    head: u64,
    is_kept: bool,
    /// What was made of the value that came before.
    value: Option<(Vec<u8>, Py<PyString>)>,
}

impl Variables {
    /// Adds the fields of a head. A name that comes again has its values joined.
    pub(super) fn add_fields(
        &mut self,
        environ: &Bound<'_, PyDict>,
        head: &RequestHead,
    ) -> PyResult<()> {
        let py = environ.py();
        if KEPT_NAMES < self.names.len() || KEPT_NAME_BYTES < self.bytes {
            *self = Self { heads: self.heads, ..Self::default() };
        }
        self.heads += 1;
        for (place, (name, value)) in head.fields().enumerate() {
            let index = self.find(py, place, name);
            let Some(variable) = self.all.get_mut(index) else { continue };
            let before = std::mem::replace(&mut variable.head, self.heads);
            let value = variable.text(py, value)?;
            let Some(name) = &variable.name else { continue };
            if before == self.heads {
                join(environ, name.bind(py), &value)?;
            } else {
                environ.set_item(name, value)?;
            }
        }
        Ok(())
    }

    /// The number of the variable for a name, which came in this place of the head.
    fn find(&mut self, py: Python<'_>, place: usize, spelling: &[u8]) -> usize {
        let last = self.last.get(place).and_then(|&index| self.names.get(index));
        if let Some(name) = last.filter(|name| *name.spelling == *spelling) {
            return name.variable;
        }
        let index = self.by_spelling.get(spelling).copied();
        let index = index.unwrap_or_else(|| self.add(py, spelling));
        if self.last.len() <= place {
            self.last.resize(place + 1, usize::MAX);
        }
        if let Some(last) = self.last.get_mut(place) {
            *last = index;
        }
        self.names.get(index).map_or(usize::MAX, |name| name.variable)
    }

    /// Adds a name that is not known in this spelling.
    fn add(&mut self, py: Python<'_>, spelling: &[u8]) -> usize {
        let usual = spelling.to_ascii_lowercase();
        let known = self.by_spelling.get(&*usual).and_then(|&index| self.names.get(index));
        let variable = known.map_or(self.all.len(), |name| name.variable);
        if known.is_none() {
            self.all.push(Variable::of(py, &usual));
            self.add_spelling(&usual, variable);
        }
        if usual == spelling { self.names.len() - 1 } else { self.add_spelling(spelling, variable) }
    }

    fn add_spelling(&mut self, spelling: &[u8], variable: usize) -> usize {
        let index = self.names.len();
        self.bytes += spelling.len();
        self.names.push(Name { spelling: spelling.into(), variable });
        self.by_spelling.insert(spelling.into(), index);
        index
    }
}

impl Variable {
    /// What a name in small letters is.
    fn of(py: Python<'_>, name: &[u8]) -> Self {
        let is_kept = !NOT_KEPT.iter().any(|known| known.as_bytes() == name);
        Self { name: variable_of(py, name), head: 0, is_kept, value: None }
    }

    /// A value as a native string.
    fn text<'py>(&mut self, py: Python<'py>, value: &[u8]) -> PyResult<Bound<'py, PyString>> {
        if let Some((bytes, text)) = &self.value
            && *bytes == value
        {
            return Ok(text.bind(py).clone());
        }
        let text = native(py, value)?;
        if self.is_kept && value.len() <= KEPT_BYTES {
            self.value = Some((value.to_vec(), text.clone().unbind()));
        }
        Ok(text)
    }
}

/// The variable for a field, by its name in small letters; `None` for one that applications do not
/// get: about the connection, or `Proxy`, whose variable programs take for their own configuration.
fn variable_of(py: Python<'_>, name: &[u8]) -> Option<Py<PyString>> {
    let name = std::str::from_utf8(name).ok().filter(|name| !name.contains('_'))?;
    let text = match name {
        "transfer-encoding" | "proxy" => return None,
        "content-type" => "CONTENT_TYPE".to_owned(),
        "content-length" => "CONTENT_LENGTH".to_owned(),
        _ => format!("HTTP_{}", name.to_ascii_uppercase().replace('-', "_")),
    };
    // Not interned: some versions of Python keep that for good, whatever clients think up.
    Some(PyString::new(py, &text).unbind())
}

/// Joins a value with what is there of the same name, as CGI does.
fn join(
    environ: &Bound<'_, PyDict>,
    name: &Bound<'_, PyString>,
    value: &Bound<'_, PyString>,
) -> PyResult<()> {
    let py = environ.py();
    let is_cookie = *name == "HTTP_COOKIE";
    let separator = if is_cookie { intern!(py, "; ") } else { intern!(py, ", ") };
    let before = environ.get_item(name)?;
    let before = before.map_or_else(|| Ok(separator.clone().into_any()), |it| it.add(separator))?;
    environ.set_item(name, before.add(value)?)
}
