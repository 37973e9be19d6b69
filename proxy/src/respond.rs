//! Every error a request can end in, and what the client is told. The only such table.
//!
//! The body names no internal detail: the status, a sentence, and the request id that the log
//! line has too.

use std::time::Duration;

use ostler_policy::http::RequestInvalid;
use ostler_policy::http::answer::{ClientBody, ToClient, write_field, write_status_line};
use ostler_policy::http::head::{RequestHead, Version};

use crate::body::BodyError;
use crate::clock;
use crate::exchange::ExchangeError;
use crate::pool::NotAdmitted;
use crate::reason::Reason;

/// Why a request did not get what its route promised.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// The head breaks RFC 9110, RFC 9112 or a limit.
    #[error(transparent)]
    Invalid(RequestInvalid),
    /// The client closed in the middle of a head.
    #[error("the client closed in the middle of a head")]
    Cut,
    /// The head was not complete within `timeouts.head`.
    #[error("the head was not complete in time")]
    HeadTimeout,
    /// The body could not be received.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The client may not do this.
    #[error("the client's address is not allowed")]
    Forbidden,
    /// No site has the host, or no route of it the path.
    #[error("no route")]
    NoRoute,
    /// The path is there, the method is not. Holds the value for `Allow`.
    #[error("the method is not allowed; {0} are")]
    Method(String),
    /// No such file.
    #[error("no such file")]
    NoFile,
    /// No part of the file is in the range. Holds the size of the file.
    #[error("the range is outside the file")]
    Range(u64),
    /// The request was not admitted to its pool.
    #[error("not admitted: {0:?}")]
    NotAdmitted(NotAdmitted),
    /// No connection to any worker.
    #[error("no worker can be reached")]
    WorkerUnreachable(#[source] std::io::Error),
    /// The worker's process died with the request inside it.
    #[error("the worker exited")]
    WorkerExited,
    /// The worker closed the connection without an answer.
    #[error("the worker gave no answer")]
    WorkerClosed(#[source] ExchangeError),
    /// The worker's answer cannot be passed on.
    #[error("the worker's answer is invalid")]
    WorkerBadResponse(#[source] ExchangeError),
    /// The worker did not answer within `request-timeout`.
    #[error("the worker did not answer in time")]
    RequestTimeout,
    /// No server of the origin accepts connections.
    #[error("no server of the origin can be reached")]
    OriginConnect,
    /// The origin broke off, or its answer cannot be passed on.
    #[error("the origin gave no valid answer")]
    OriginBroken,
    /// The origin did not answer within `response-timeout`.
    #[error("the origin did not answer in time")]
    OriginTimeout,
    /// The proxy lacks something to go on, such as descriptors.
    #[error("a resource is exhausted")]
    NoResources(#[source] std::io::Error),
    /// Our fault.
    #[error("{0}")]
    Internal(&'static str),
}

/// A status with its phrase and its reason.
pub(crate) type Verdict = (u16, &'static str, Reason);

/// What the client is told.
pub(crate) fn verdict(error: &RequestError) -> Verdict {
    match error {
        RequestError::Invalid(invalid) => invalid_verdict(*invalid),
        RequestError::Cut | RequestError::Body(BodyError::Malformed(_)) => {
            (400, "Bad Request", Reason::BadRequest)
        }
        RequestError::HeadTimeout => (408, "Request Timeout", Reason::HeadTimeout),
        RequestError::Body(BodyError::Timeout) => (408, "Request Timeout", Reason::BodyTimeout),
        RequestError::Body(BodyError::TooLarge) => (413, "Content Too Large", Reason::BodyTooLarge),
        RequestError::Body(BodyError::Left(_))
        | RequestError::NotAdmitted(NotAdmitted::ClientLeft) => {
            (499, "Client Left", Reason::ClientLeft)
        }
        RequestError::Forbidden => (403, "Forbidden", Reason::Forbidden),
        RequestError::NoRoute => (404, "Not Found", Reason::NoRoute),
        RequestError::NoFile => (404, "Not Found", Reason::NoFile),
        RequestError::Method(_) => (405, "Method Not Allowed", Reason::Method),
        RequestError::Range(_) => (416, "Range Not Satisfiable", Reason::Range),
        RequestError::NotAdmitted(NotAdmitted::QueueFull(_)) => {
            (503, "Service Unavailable", Reason::QueueFull)
        }
        RequestError::NotAdmitted(NotAdmitted::QueueTimeout(_)) => {
            (503, "Service Unavailable", Reason::QueueTimeout)
        }
        RequestError::NotAdmitted(NotAdmitted::PredictedWait(_)) => {
            (503, "Service Unavailable", Reason::PredictedWait)
        }
        RequestError::NotAdmitted(NotAdmitted::PoolNotReady) => {
            (503, "Service Unavailable", Reason::PoolNotReady)
        }
        RequestError::NoResources(_) | RequestError::Body(BodyError::Spool(_)) => {
            (503, "Service Unavailable", Reason::NoResources)
        }
        RequestError::WorkerExited => (502, "Bad Gateway", Reason::WorkerExited),
        RequestError::WorkerUnreachable(_) | RequestError::WorkerClosed(_) => {
            (502, "Bad Gateway", Reason::WorkerClosed)
        }
        RequestError::WorkerBadResponse(_) => (502, "Bad Gateway", Reason::WorkerBadResponse),
        RequestError::OriginConnect => (502, "Bad Gateway", Reason::OriginConnect),
        RequestError::OriginBroken => (502, "Bad Gateway", Reason::OriginBroken),
        RequestError::RequestTimeout => (504, "Gateway Timeout", Reason::RequestTimeout),
        RequestError::OriginTimeout => (504, "Gateway Timeout", Reason::OriginTimeout),
        RequestError::Internal(_) => (500, "Internal Server Error", Reason::Internal),
    }
}

fn invalid_verdict(invalid: RequestInvalid) -> Verdict {
    match invalid {
        RequestInvalid::Malformed(_) => (400, "Bad Request", Reason::BadRequest),
        RequestInvalid::HeadTooLarge => {
            (431, "Request Header Fields Too Large", Reason::HeadTooLarge)
        }
        RequestInvalid::TargetTooLong => (414, "URI Too Long", Reason::TargetTooLong),
        RequestInvalid::NotImplemented(_) => (501, "Not Implemented", Reason::NotImplemented),
        RequestInvalid::Version => (505, "HTTP Version Not Supported", Reason::Version),
        RequestInvalid::BodyTooLarge => (413, "Content Too Large", Reason::BodyTooLarge),
    }
}

/// Whether where the next request begins is unknown after this error.
pub(crate) fn closes(error: &RequestError) -> bool {
    matches!(
        error,
        RequestError::Invalid(_)
            | RequestError::Cut
            | RequestError::HeadTimeout
            | RequestError::Body(_)
    )
}

/// Seconds until a request that was shed may be tried again: whole ones, at least 1. Where the
/// queue predicts nothing, that is a guess.
fn retry_after_s(error: &RequestError) -> u64 {
    let predicted = if let RequestError::NotAdmitted(
        NotAdmitted::QueueFull(after)
        | NotAdmitted::QueueTimeout(after)
        | NotAdmitted::PredictedWait(after),
    ) = error
    {
        *after
    } else {
        Duration::ZERO
    };
    predicted.saturating_add(Duration::from_nanos(999_999_999)).as_secs().max(1)
}

/// How an error is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Telling<'r> {
    /// The request, if there is one.
    pub(crate) head: Option<RequestHead<'r>>,
    /// The id in its log line.
    pub(crate) id: &'r str,
    /// Whether the client may know the reason word.
    pub(crate) shows_reason: bool,
    /// Whether the connection closes afterwards.
    pub(crate) closes: bool,
}

/// Appends the whole response for an error.
pub(crate) fn write_error(out: &mut Vec<u8>, error: &RequestError, telling: &Telling<'_>) {
    let (status, phrase, reason) = verdict(error);
    let accept = telling.head.and_then(|head| head.value("accept"));
    let wants_json = accept.is_some_and(prefers_json);
    let body = body(status, phrase, telling.id, wants_json);
    write_status_line(out, status, phrase.as_bytes());
    let media_type: &[u8] =
        if wants_json { b"application/json" } else { b"text/html; charset=utf-8" };
    write_field(out, b"content-type", media_type);
    write_field(out, b"content-length", body.len().to_string().as_bytes());
    write_field(out, b"x-request-id", telling.id.as_bytes());
    if telling.shows_reason {
        write_field(out, b"x-ostler-reason", reason.word().as_bytes());
    }
    if let RequestError::Method(allow) = error {
        write_field(out, b"allow", allow.as_bytes());
    }
    if let RequestError::Range(size) = error {
        write_field(out, b"content-range", format!("bytes */{size}").as_bytes());
    }
    if status == 503 {
        write_field(out, b"retry-after", retry_after_s(error).to_string().as_bytes());
    }
    write_field(out, b"date", &clock::http_date());
    let version = telling.head.map_or(Version::Http11, |head| head.version());
    let to_client =
        ToClient { body: ClientBody::AsStated, version, closes: telling.closes, date: b"" };
    to_client.write_framing(out);
    out.extend_from_slice(b"\r\n");
    if telling.head.is_none_or(|head| head.method() != "HEAD") {
        out.extend_from_slice(body.as_bytes());
    }
}

fn body(status: u16, phrase: &str, id: &str, wants_json: bool) -> String {
    if wants_json {
        format!("{{\"status\":{status},\"error\":\"{phrase}\",\"request_id\":\"{id}\"}}\n")
    } else {
        format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <title>{status} {phrase}</title></head><body><h1>{status} {phrase}</h1>\
             <p>Request id: <code>{id}</code></p></body></html>\n"
        )
    }
}

/// Whether a client names JSON and does not name HTML.
fn prefers_json(accept: &[u8]) -> bool {
    let names = |wanted: &[u8]| memchr::memmem::find(accept, wanted).is_some();
    names(b"application/json") && !names(b"text/html")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_and_the_cause_stay_inside() {
        let error = RequestError::WorkerUnreachable(std::io::Error::other("/run/secret.sock"));
        let telling = Telling { head: None, id: "42", shows_reason: false, closes: true };
        let mut out = Vec::new();
        write_error(&mut out, &error, &telling);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{text}");
        assert!(!text.contains("secret") && !text.contains("worker-closed"), "{text}");
        assert!(text.contains("connection: close\r\n") && text.contains("<code>42</code>"));
    }

    #[test]
    fn a_shed_request_is_told_when_to_come_back() {
        let shed = |after| NotAdmitted::PredictedWait(Duration::from_millis(after));
        for (after, expected) in [(0, 1), (999, 1), (1_001, 2), (7_000, 7)] {
            assert_eq!(retry_after_s(&RequestError::NotAdmitted(shed(after))), expected);
        }
        let error = RequestError::NotAdmitted(NotAdmitted::QueueFull(Duration::from_millis(1_500)));
        let telling = Telling { head: None, id: "42", shows_reason: true, closes: false };
        let mut out = Vec::new();
        write_error(&mut out, &error, &telling);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("retry-after: 2\r\n"), "{text}");
        assert!(text.contains("x-ostler-reason: queue-full\r\n"), "{text}");
    }

    #[test]
    fn json_is_for_clients_that_ask_for_it() {
        assert!(prefers_json(b"application/json"));
        assert!(!prefers_json(b"text/html, application/json"));
        assert!(!prefers_json(b"*/*"));
        assert!(body(404, "Not Found", "1", true).starts_with("{\"status\":404,"));
    }
}
