//! What an application's failure leads to: an answer for the client, a line for the operator.

use std::any::Any;
use std::io;

use http::{HeaderValue, Method, Uri};

use crate::report;

/// What a client gets from an application that failed, with status 500. No detail of it.
pub(crate) const FAILED: &str = "500 Internal Server Error\n";

/// Names a request on standard error. Made before the handler takes the request away.
pub(crate) struct RequestLine {
    method: Method,
    uri: Uri,
    id: Option<HeaderValue>,
}

impl RequestLine {
    /// Takes what names `request`: reference counts, no text.
    pub(crate) fn of<B>(request: &http::Request<B>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            id: request.headers().get("x-request-id").cloned(),
        }
    }

    /// Says which request a panic was in. The panic itself was printed by the panic hook.
    pub(crate) fn report_panic(&self, panic: &(dyn Any + Send)) {
        let text = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("a panic without a text");
        self.report(format_args!("panicked: {text}"));
    }

    /// Says that the handler broke its response off, unless the client had left before.
    pub(crate) fn report_broken_off(&self, error: &io::Error) {
        if error.kind() != io::ErrorKind::BrokenPipe {
            self.report(format_args!("response broken off: {error}"));
        }
    }

    /// Says what happened to the request.
    pub(crate) fn report(&self, what: std::fmt::Arguments<'_>) {
        let Self { method, uri, id } = self;
        let id = id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or("-");
        report(format_args!("{method} {uri} id={id} {what}"));
    }
}
