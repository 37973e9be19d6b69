//! `wsgi.input`: the body of a request, as a binary file that is read.
//!
//! A small body is there already, and a large one comes from the proxy as it is read, which has all
//! of it unless the route's `request-buffering` is off. Who seeks in a large one gets it into a file
//! first.

use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::sync::{Mutex, PoisonError};

use bytes::{Buf as _, Bytes};
use ostler_app::Body;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::fork::refuse_in_fork;

/// What is read at once of a body that was put into a file.
const FILE_BYTES: usize = 64 * 1024;

/// The body of one request.
#[pyclass(frozen, module = "ostler_python")]
pub(crate) struct Input(Mutex<State>);

/// What is left of a body.
enum State {
    Open(Source),
    /// A thread reads it.
    Busy,
}

enum Source {
    Memory(Cursor<Bytes>),
    /// How much was read of it.
    Coming(Pieces, u64),
    File(BufReader<std::fs::File>),
}

/// A body that comes, by the piece that was begun.
struct Pieces {
    begun: Bytes,
    body: Body,
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.begun.is_empty() {
            self.begun = self.body.next_piece()?;
        }
        Ok(&self.begun)
    }

    fn consume(&mut self, amount: usize) {
        self.begun.advance(amount);
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl Input {
    pub(crate) fn new(body: Body) -> Self {
        let source = match body.into_bytes() {
            Ok(bytes) => Source::Memory(Cursor::new(bytes)),
            Err(body) => Source::Coming(Pieces { begun: Bytes::new(), body }, 0),
        };
        Self(Mutex::new(State::Open(source)))
    }

    /// Does something with the source. Nobody has it meanwhile, as the interpreter lock is given up
    /// where that may take time.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Source) -> io::Result<T> + Send,
    ) -> PyResult<T> {
        refuse_in_fork()?;
        let State::Open(mut source) = self.replace(State::Busy) else {
            return Err(PyRuntimeError::new_err("another thread reads wsgi.input"));
        };
        let done = match source {
            Source::Memory(_) => work(&mut source),
            Source::Coming(..) | Source::File(_) => py.detach(|| work(&mut source)),
        };
        self.replace(State::Open(source));
        Ok(done?)
    }

    fn replace(&self, state: State) -> State {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *held, state)
    }
}

impl Source {
    fn reader(&mut self) -> &mut dyn BufRead {
        match self {
            Self::Memory(bytes) => bytes,
            Self::Coming(body, _) => body,
            Self::File(file) => file,
        }
    }

    fn read(&mut self, limit: Option<u64>) -> io::Result<Bytes> {
        let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        if let Self::Coming(pieces, count) = self
            && 0 < limit
            && limit <= pieces.fill_buf()?.len()
        {
            *count = count.saturating_add(limit as u64);
            return Ok(pieces.begun.split_to(limit));
        }
        let mut bytes = Vec::new();
        while bytes.len() < limit {
            let reader = self.reader();
            let found = reader.fill_buf()?;
            if found.is_empty() {
                break;
            }
            let part = found.get(..limit - bytes.len()).unwrap_or(found);
            bytes.extend_from_slice(part);
            let taken = part.len();
            reader.consume(taken);
        }
        self.count(&bytes);
        Ok(bytes.into())
    }

    fn read_line(&mut self, limit: Option<u64>) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader().take(limit.unwrap_or(u64::MAX)).read_until(b'\n', &mut bytes)?;
        self.count(&bytes);
        Ok(bytes)
    }

    fn count(&mut self, read: &[u8]) {
        if let Self::Coming(_, count) = self {
            *count = count.saturating_add(read.len() as u64);
        }
    }

    /// Whether one can still go to any place in it.
    fn is_seekable(&self) -> bool {
        !matches!(self, Self::Coming(_, 1..))
    }

    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        if let Self::Coming(body, 0) = self {
            let mut file = tempfile::tempfile()?;
            io::copy(body, &mut file)?;
            file.rewind()?;
            *self = Self::File(BufReader::with_capacity(FILE_BYTES, file));
        }
        match self {
            Self::Memory(bytes) => bytes.seek(to),
            Self::File(file) => file.seek(to),
            Self::Coming(_, at) if to == SeekFrom::Current(0) || to == SeekFrom::Start(*at) => {
                Ok(*at)
            }
            Self::Coming(..) => {
                let text = "a part of this large body was read already: seek before that";
                Err(io::Error::new(io::ErrorKind::Unsupported, text))
            }
        }
    }

    fn position(&mut self) -> io::Result<u64> {
        match self {
            Self::Memory(bytes) => Ok(bytes.position()),
            Self::Coming(_, at) => Ok(*at),
            Self::File(file) => file.stream_position(),
        }
    }
}

/// A size as Python's files take it: negative or `None` for all.
fn limit(size: Option<i64>) -> Option<u64> {
    size.and_then(|size| u64::try_from(size).ok())
}

#[pymethods]
impl Input {
    #[pyo3(signature = (size=None, /))]
    fn read<'py>(&self, py: Python<'py>, size: Option<i64>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.with(py, |source| source.read(limit(size)))?;
        Ok(PyBytes::new(py, &bytes))
    }

    #[pyo3(signature = (size=None, /))]
    fn readline<'py>(&self, py: Python<'py>, size: Option<i64>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.with(py, |source| source.read_line(limit(size)))?;
        Ok(PyBytes::new(py, &bytes))
    }

    #[pyo3(signature = (hint=None, /))]
    fn readlines<'py>(&self, py: Python<'py>, hint: Option<i64>) -> PyResult<Bound<'py, PyList>> {
        let hint = limit(hint).filter(|&hint| hint != 0).unwrap_or(u64::MAX);
        let lines = PyList::empty(py);
        let mut total = 0;
        while total < hint {
            let line = self.with(py, |source| source.read_line(None))?;
            if line.is_empty() {
                break;
            }
            total += line.len() as u64;
            lines.append(PyBytes::new(py, &line))?;
        }
        Ok(lines)
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let line = self.with(py, |source| source.read_line(None))?;
        Ok((!line.is_empty()).then(|| PyBytes::new(py, &line)))
    }

    #[expect(clippy::unused_self, reason = "Python calls it as a method")]
    fn readable(&self) -> bool {
        true
    }

    #[expect(clippy::unused_self, reason = "Python calls it as a method")]
    fn writable(&self) -> bool {
        false
    }

    fn seekable(&self, py: Python<'_>) -> PyResult<bool> {
        self.with(py, |source| Ok(source.is_seekable()))
    }

    #[pyo3(signature = (offset, whence=0, /))]
    fn seek(&self, py: Python<'_>, offset: i64, whence: i32) -> PyResult<u64> {
        let to = match (whence, u64::try_from(offset)) {
            (0, Ok(offset)) => SeekFrom::Start(offset),
            (1, _) => SeekFrom::Current(offset),
            (2, _) => SeekFrom::End(offset),
            (0, Err(_)) => return Err(PyValueError::new_err("negative seek position")),
            _ => return Err(PyValueError::new_err("whence must be 0, 1 or 2")),
        };
        self.with(py, |source| source.seek(to))
    }

    fn tell(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, Source::position)
    }

    /// The body is the request's: it ends with it.
    #[expect(clippy::unused_self, reason = "Python calls it as a method")]
    fn close(&self) {}
}
