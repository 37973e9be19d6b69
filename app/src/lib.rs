//! The library that Rust workers of Ostler are written with.
//!
//! A worker is one process of a pool. It takes requests as HTTP/1.1 from a listening socket that
//! it inherits, and the pool's configuration says how many requests it runs at once. This crate
//! does all that lies between this contract and an application: it finds the socket, reports that
//! the worker is ready, runs the application, and drains when it is told to end.
//!
//! - [`threads`] runs a blocking handler on a fixed number of threads, as `mod_wsgi` does.
//! - [`service`] runs an asynchronous [`tower::Service`], such as an `axum::Router`.
//! - [`cost`] tells operators what a request costs: database queries, calls to other services.
//! - [`Worker`] is what both are made of, for tests and for sockets of one's own.
//! - [`Worker::lend_threads`] is for threads that are not made here, such as those of an
//!   interpreter.
//!
//! Started by hand, without Ostler, a worker listens on `OSTLER_LISTEN` (`127.0.0.1:8000` unless
//! set, or `unix:PATH`) with `OSTLER_THREADS` threads (4 unless set).
//!
//! What it deliberately does not do: limit time or size. The proxy in front does.

mod body;
mod connection;
mod context;
mod control;
mod environment;
mod failure;
mod listen;
mod reply;
mod request;
mod request_head;
mod response;
mod response_head;
mod ring;
mod service;
mod threads;
mod worker;

use std::error::Error;
use std::io::{self, Write as _};

pub use crate::body::Body;
pub use crate::context::{Context, cost};
pub use crate::environment::EnvironmentError;
pub use crate::listen::{AddressError, ListenAddress};
pub use crate::reply::Reply;
pub use crate::request::RequestExt;
pub use crate::request_head::RequestHead;
pub use crate::response::{BodyWriter, ResponseBody};
pub use crate::response_head::{HeadRefused, ResponseHead};
pub use crate::ring::RingError;
pub use crate::threads::{EventLoop, StuckRequest, ThreadQueue};
pub use crate::worker::{RunError, Stopper, Worker};

/// A request as a blocking handler gets it. Its body is a [`std::io::Read`].
pub type Request = http::Request<Body>;

/// A response as a blocking handler gives it.
pub type Response = http::Response<ResponseBody>;

/// Any error, where only its text matters.
type AnyError = Box<dyn Error + Send + Sync>;

/// Runs a blocking handler as a worker, on exactly `OSTLER_THREADS` threads, until drained.
///
/// A thread runs one request at a time. It gets a request when its head has come and its body
/// too, if that is small; no thread waits on an idle connection. A panic in the handler is
/// answered with 500 and does not cost the thread.
///
/// When the client leaves, a handler that runs is not disturbed; its answer is dropped. The
/// connection stays open until it has ended, which is how the proxy knows that its thread is free.
///
/// ```no_run
/// use ostler_app::{Request, RequestExt, Response, ResponseBody};
///
/// fn main() -> Result<(), ostler_app::RunError> {
///     ostler_app::threads(|request: Request| {
///         let id = request.request_id().unwrap_or("none").to_owned();
///         Response::new(ResponseBody::from(format!("{} {id}\n", request.uri())))
///     })
/// }
/// ```
///
/// The same in a test, on a socket of one's own:
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
/// use ostler_app::{ListenAddress, Request, Response, ResponseBody, Worker};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let worker = Worker::listen("127.0.0.1:0")?.with_threads(2);
/// let ListenAddress::Tcp(address) = worker.address().clone() else { unreachable!() };
/// let stopper = worker.stopper();
/// let running = std::thread::spawn(move || {
///     worker.threads(|request: Request| {
///         Response::new(ResponseBody::from(format!("you asked for {}", request.uri().path())))
///     })
/// });
///
/// let mut client = TcpStream::connect(address)?;
/// client.write_all(b"GET /hay HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer)?;
/// assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
/// assert!(answer.ends_with("\r\n\r\nyou asked for /hay"));
///
/// stopper.stop();
/// running.join().expect("the worker does not panic")?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// When the environment is not a worker's, when a socket or a thread cannot be had, or when
/// readiness cannot be reported. Nothing was served then.
pub fn threads<H>(handler: H) -> Result<(), RunError>
where
    H: Fn(Request) -> Response + Sync,
{
    Worker::from_env()?.threads(handler)
}

/// Runs a [`tower::Service`] as a worker, on `OSTLER_THREADS` runtime threads with at most
/// `OSTLER_CONCURRENCY` requests in flight, until drained.
///
/// A request is in flight until the last byte of its response is written. Each one gets a clone
/// of the service. An error or a panic of the service is answered with 500.
///
/// When the client leaves, the service's future (or its response body) is dropped: the request
/// is cancelled at its next `.await`. This is noticed once the request body has been read; a body
/// of up to 64 KiB whose length is known is read before the service is called.
///
/// ```no_run
/// use axum::{Router, routing::get};
///
/// fn main() -> Result<(), ostler_app::RunError> {
///     ostler_app::service(Router::new().route("/", get(async || "Hello from a service.\n")))
/// }
/// ```
///
/// The same in a test, on a socket of one's own:
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
/// use axum::{Router, routing::get};
/// use ostler_app::{ListenAddress, Worker};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let worker = Worker::listen("127.0.0.1:0")?.with_concurrency(100);
/// let ListenAddress::Tcp(address) = worker.address().clone() else { unreachable!() };
/// let stopper = worker.stopper();
/// let router = Router::new().route("/hay", get(async || "there is hay"));
/// let running = std::thread::spawn(move || worker.service(router));
///
/// let mut client = TcpStream::connect(address)?;
/// client.write_all(b"GET /hay HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer)?;
/// assert!(answer.ends_with("\r\n\r\nthere is hay"));
///
/// stopper.stop();
/// running.join().expect("the worker does not panic")?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// As for [`threads`].
pub fn service<S, B>(service: S) -> Result<(), RunError>
where
    S: tower::Service<http::Request<Body>, Response = http::Response<B>>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<AnyError>,
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<AnyError>,
{
    Worker::from_env()?.service(service)
}

/// Writes one line to where a worker logs: its standard error.
///
/// What cannot be written is lost: a log that nobody reads must not cost a thread.
fn report(line: std::fmt::Arguments<'_>) {
    drop(writeln!(io::stderr(), "ostler-app: {line}"));
}
