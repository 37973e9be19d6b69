//! A client that says exactly what it is told, and a worker that runs in this process.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use ostler_app::{ListenAddress, RunError, Stopper, Worker};
use tempfile::TempDir;

/// Longest wait for anything that has to happen: only a failing test takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A worker on a UNIX socket in this process. It drains when dropped.
pub(crate) struct Running {
    address: ListenAddress,
    stopper: Stopper,
    thread: Option<JoinHandle<Result<(), RunError>>>,
    _folder: TempDir,
}

impl Running {
    /// Starts a worker on a socket of its own with whatever `run` does.
    pub(crate) fn start(run: impl FnOnce(Worker) -> Result<(), RunError> + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worker.sock");
        let worker = Worker::listen(&format!("unix:{}", path.display())).unwrap();
        let (address, stopper) = (worker.address().clone(), worker.stopper());
        let thread = Some(std::thread::spawn(move || run(worker)));
        Self { address, stopper, thread, _folder: folder }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(&self.address)
    }

    /// Opens a connection, sends a GET and leaves its answer to come.
    pub(crate) fn get(&self, path: &str) -> Client {
        let mut client = self.connect();
        client.get(path);
        client
    }

    pub(crate) fn is_listening(&self) -> bool {
        let ListenAddress::Unix(path) = &self.address else { return false };
        UnixStream::connect(path).is_ok()
    }

    pub(crate) fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Tells it to drain and waits until it has.
    pub(crate) fn stop(mut self) {
        self.stopper.stop();
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take()
            && !std::thread::panicking()
        {
            thread.join().unwrap().unwrap();
        }
    }
}

/// Waits for the next message, or fails the test.
#[track_caller]
pub(crate) fn expect<T>(messages: &mpsc::Receiver<T>) -> T {
    messages.recv_timeout(PATIENCE).unwrap()
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// One connection to a worker.
pub(crate) struct Client(BufReader<Stream>);

/// A response, with its body put together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Field lines in lower case.
    pub(crate) fields: Vec<String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn has(&self, field: &str) -> bool {
        self.fields.iter().any(|line| line == field)
    }
}

impl Client {
    pub(crate) fn connect(address: &ListenAddress) -> Self {
        let stream = match address {
            ListenAddress::Tcp(address) => {
                let stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                Stream::Tcp(stream)
            }
            ListenAddress::Unix(path) => {
                let stream = UnixStream::connect(path).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                Stream::Unix(stream)
            }
        };
        Self(BufReader::new(stream))
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    pub(crate) fn get(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"));
    }

    /// Closes this side of the connection: nothing more is sent.
    pub(crate) fn half_close(&mut self) {
        match self.0.get_mut() {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write).unwrap(),
        }
    }

    /// Whether the other side has neither sent nor closed anything.
    pub(crate) fn is_silent(&mut self) -> bool {
        let Stream::Unix(stream) = self.0.get_mut() else { return false };
        stream.set_nonblocking(true).unwrap();
        let found = stream.read(&mut [0]).map_err(|error| error.kind());
        stream.set_nonblocking(false).unwrap();
        found == Err(io::ErrorKind::WouldBlock)
    }

    /// Reads a whole response. The error is that it broke off.
    pub(crate) fn try_answer(&mut self) -> io::Result<Answer> {
        let status_line = self.line()?;
        let status = status_line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            fields.push(line.to_ascii_lowercase());
        }
        let mut answer = Answer { status, fields, body: Vec::new() };
        let length = answer.fields.iter().find_map(|line| line.strip_prefix("content-length: "));
        if let Some(length) = length {
            let length: usize = length.parse().unwrap();
            answer.body = self.bytes(length)?;
        } else if answer.has("transfer-encoding: chunked") {
            while let Some(chunk) = self.chunk()? {
                answer.body.extend(chunk);
            }
        }
        Ok(answer)
    }

    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        self.try_answer().unwrap()
    }

    /// Reads a response head as it is, up to its empty line.
    pub(crate) fn skip_head(&mut self) {
        while !self.line().unwrap().is_empty() {}
    }

    /// Reads one chunk; None at the last one.
    pub(crate) fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let size = usize::from_str_radix(&self.line()?, 16).unwrap();
        let chunk = self.bytes(size)?;
        assert_eq!(self.line()?, "");
        Ok((0 < size).then_some(chunk))
    }

    /// Waits until the other side closes, with nothing more said.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"");
    }

    fn bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buffer),
            Self::Unix(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
