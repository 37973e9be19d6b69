//! What the application answers to a path. The same for every way it is run.
//!
//! `/bytes/N` is N bytes; `/block/US` blocks its thread for so many microseconds and says in
//! `x-service-us` how long that really took; every other path is 66 bytes of text.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Response, StatusCode};

const HELLO: &[u8] = b"Hello from a worker of Ostler, sixty-six bytes and no more of it.\n";

/// Largest answer to `/bytes/N`: one that nobody asks for by mistake.
const BYTES_MAX: usize = 16 << 20;

const SERVICE_US: HeaderName = HeaderName::from_static("x-service-us");

/// An answer, whatever the type of body that carries it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    pub(crate) service: Option<Duration>,
}

/// The answer to a request for this path.
pub(crate) fn to(path: &str) -> Answer {
    let number = |start: &str| path.strip_prefix(start).and_then(|rest| rest.parse::<u64>().ok());
    if let Some(count) = number("/bytes/") {
        let count = usize::try_from(count).unwrap_or(BYTES_MAX).min(BYTES_MAX);
        Answer::ok(zeros(count))
    } else if let Some(us) = number("/block/") {
        Answer { service: Some(block(Duration::from_micros(us))), ..Answer::ok(hello()) }
    } else {
        Answer::ok(hello())
    }
}

/// The answer to a body of this length.
pub(crate) fn length(bytes: u64) -> Answer {
    Answer::ok(Bytes::from(format!("{bytes}\n")))
}

impl Answer {
    /// The answer when the body did not come.
    pub(crate) fn failed(reason: &str) -> Self {
        let body = Bytes::from(format!("{reason}\n"));
        Self { status: StatusCode::BAD_REQUEST, body, service: None }
    }

    fn ok(body: Bytes) -> Self {
        Self { status: StatusCode::OK, body, service: None }
    }

    /// The same as a response, with a body of the caller's type.
    pub(crate) fn into_response<B: From<Bytes>>(self) -> Response<B> {
        let mut response = Response::new(B::from(self.body));
        *response.status_mut() = self.status;
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, text);
        if let Some(service) = self.service {
            let us = u64::try_from(service.as_micros()).unwrap_or(u64::MAX);
            response.headers_mut().insert(SERVICE_US, HeaderValue::from(us));
        }
        response
    }
}

fn hello() -> Bytes {
    Bytes::from_static(HELLO)
}

/// So many bytes, without a copy for the sizes that are measured.
fn zeros(count: usize) -> Bytes {
    const ZEROS: &[u8] = &[b'0'; 128 << 10];
    if count <= ZEROS.len() {
        Bytes::from_static(ZEROS).slice(..count)
    } else {
        Bytes::from(vec![b'0'; count])
    }
}

#[expect(clippy::disallowed_methods, reason = "to block a thread is what this path is for")]
fn block(duration: Duration) -> Duration {
    let start = Instant::now();
    std::thread::sleep(duration);
    start.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_its_answer() {
        check("/", 66);
        check("/whatever/else", 66);
        check("/bytes/0", 0);
        check("/bytes/102400", 102_400);
        check("/bytes/200000", 200_000);
        check("/block/1", 66);
        assert!(to("/block/2000").service >= Some(Duration::from_millis(2)));
        assert_eq!(&length(65_536).body[..], b"65536\n");
    }

    #[track_caller]
    fn check(path: &str, length: usize) {
        assert_eq!(to(path).body.len(), length, "{path}");
    }
}
