//! A worker for tests: each path makes it do one thing that a proxy has to cope with.
//!
//! `PROBE_MODE=threads` runs it as a blocking handler, `PROBE_MODE=service` as a service.
//! What the paths do is listed at [`Probe`]. With `PROBE_LEAK=BYTES` each request leaks as many.

mod costs;
mod journal;
mod path;
mod ticks;

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Frame;
use ostler_app::{Body, Request, Response, ResponseBody};

use crate::path::{AtOnce, Probe};
use crate::ticks::Ticks;

const HELLO: &str = "Hello from a worker of Ostler, sixty-six bytes and no more of it.\n";

/// One piece of `/stream`.
const PIECE: &[u8] = b"a piece of a stream\n";

/// How long the answer of `/unread` is put off, so that it comes while its body is being read.
const UNREAD_PAUSE: Duration = Duration::from_millis(50);

/// Tasks of `/unread` that have ended.
static READ: AtomicU32 = AtomicU32::new(0);

/// Sleeps of a service that were dropped before they ended.
static CANCELLED: AtomicU32 = AtomicU32::new(0);

/// Counts itself when it is dropped, unless it was told not to.
struct Guard;

impl Guard {
    #[expect(clippy::mem_forget, reason = "there is nothing in it to be freed")]
    fn defuse(self) {
        std::mem::forget(self);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        CANCELLED.fetch_add(1, Ordering::Relaxed);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match std::env::var("PROBE_MODE").as_deref() {
        Ok("threads") => ostler_app::threads(answer)?,
        Ok("service") => ostler_app::service(tower::service_fn(answer_asynchronously))?,
        _ => return Err("PROBE_MODE has to be threads or service".into()),
    }
    Ok(())
}

/// Forgets memory, as a faulty application does.
fn leak_as_asked() {
    static BYTES: LazyLock<usize> = LazyLock::new(|| {
        std::env::var("PROBE_LEAK").ok().and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
    });
    Vec::leak(vec![b'x'; *BYTES]);
}

/// The blocking handler.
fn answer(request: Request) -> Response {
    let (head, body) = request.into_parts();
    journal::note(&head);
    leak_as_asked();
    let probe = Probe::of(head.uri.path());
    let body = match probe {
        Probe::Sleep(time) => {
            sleep(time);
            ResponseBody::from(HELLO)
        }
        Probe::Cost { count, pause } => {
            costs::report(count);
            sleep(pause);
            ResponseBody::from(HELLO)
        }
        Probe::Haunt(time) => {
            costs::haunt(time);
            ResponseBody::from(HELLO)
        }
        Probe::Burn(time) => {
            costs::burn(time);
            ResponseBody::from(HELLO)
        }
        Probe::Echo => ResponseBody::from(body),
        Probe::Unread => ResponseBody::from(HELLO),
        Probe::Broken => ResponseBody::from_writer(|_| {
            drop(panic_as_asked());
            Ok(())
        }),
        Probe::Stream { count, pause } => ResponseBody::from_writer(move |stream| {
            for _ in 0..count {
                sleep(pause);
                stream.write_all(PIECE)?;
                stream.flush()?;
            }
            Ok(())
        }),
        Probe::AtOnce(what) => ResponseBody::from(at_once(what, &head)),
    };
    finish(probe, body)
}

/// The service.
async fn answer_asynchronously(
    request: http::Request<Body>,
) -> Result<http::Response<UnsyncBoxBody<Bytes, io::Error>>, Infallible> {
    let (head, body) = request.into_parts();
    journal::note(&head);
    leak_as_asked();
    let probe = Probe::of(head.uri.path());
    let body = match probe {
        Probe::Sleep(time) => {
            let guard = Guard;
            tokio::time::sleep(time).await;
            guard.defuse();
            full(Bytes::from(HELLO))
        }
        Probe::Cost { count, pause } => {
            costs::report(count);
            tokio::time::sleep(pause).await;
            full(Bytes::from(HELLO))
        }
        Probe::Haunt(time) => {
            costs::haunt(time);
            full(Bytes::from(HELLO))
        }
        Probe::Burn(time) => {
            costs::burn(time);
            full(Bytes::from(HELLO))
        }
        Probe::Echo => body.boxed_unsync(),
        Probe::Unread => {
            read_apart(body);
            tokio::time::sleep(UNREAD_PAUSE).await;
            full(Bytes::from(HELLO))
        }
        Probe::Broken => {
            full(Bytes::from(HELLO)).map_frame(|_| Frame::data(panic_as_asked())).boxed_unsync()
        }
        Probe::Stream { count, pause } => Ticks::new(count, pause, PIECE).boxed_unsync(),
        Probe::AtOnce(what) => full(at_once(what, &head)),
    };
    Ok(finish(probe, body))
}

#[expect(clippy::disallowed_methods, reason = "a task that outlives its request is the point")]
fn read_apart(body: Body) {
    tokio::spawn(async move {
        // With an error, once its request has ended.
        drop(body.collect().await);
        READ.fetch_add(1, Ordering::Relaxed);
    });
}

/// What is answered the same way by a handler and by a service.
fn at_once(what: AtOnce, head: &Parts) -> Bytes {
    match what {
        AtOnce::Hello => HELLO.into(),
        AtOnce::Abort => std::process::abort(),
        AtOnce::Panic => panic_as_asked(),
        AtOnce::Bytes(count) => vec![b'x'; count].into(),
        AtOnce::Leak(count) => {
            // Written to, so that the memory is resident.
            Vec::leak(vec![b'x'; count]);
            HELLO.into()
        }
        AtOnce::Head => describe(head).into(),
        AtOnce::Status(StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) => Bytes::new(),
        AtOnce::Status(status) => format!("{status}\n").into(),
        AtOnce::Read => READ.load(Ordering::Relaxed).to_string().into(),
        AtOnce::Cancelled => CANCELLED.load(Ordering::Relaxed).to_string().into(),
        AtOnce::Whoami => who_am_i().into(),
    }
}

fn finish<B>(probe: Probe, body: B) -> http::Response<B> {
    let is_binary = matches!(probe, Probe::Echo | Probe::AtOnce(AtOnce::Bytes(_)));
    let kind = if is_binary { "application/octet-stream" } else { "text/plain; charset=utf-8" };
    let mut response = http::Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Probe::AtOnce(AtOnce::Status(status)) = probe {
        *response.status_mut() = status;
    }
    response
}

fn full(bytes: Bytes) -> UnsyncBoxBody<Bytes, io::Error> {
    Full::from(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// The request line, and each field in a line of its own.
fn describe(head: &Parts) -> String {
    let mut text = format!("{} {} {:?}\n", head.method, head.uri, head.version);
    for (name, value) in &head.headers {
        writeln!(text, "{name}: {}", value.as_bytes().escape_ascii()).expect("a string grows");
    }
    text
}

fn who_am_i() -> String {
    let variable = |name| std::env::var(name).unwrap_or_else(|_| "-".to_owned());
    let (pool, slot) = (variable("OSTLER_POOL"), variable("OSTLER_SLOT"));
    let generation = variable("OSTLER_GENERATION");
    format!("pid={} pool={pool} slot={slot} generation={generation}\n", std::process::id())
}

#[expect(clippy::panic, reason = "to panic is what this path is for")]
fn panic_as_asked() -> Bytes {
    panic!("asked to")
}

#[expect(clippy::disallowed_methods, reason = "to block a thread is what these paths are for")]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}
