//! One request over the ring link, on one thread: read, answered, and its cell given back.

use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use hyper::body::Body as _;

use super::{call, write_body};
use crate::context::Context;
use crate::failure::RequestLine;
use crate::response::{BodyWriter, Source};
use crate::ring::{Answer, Reader, Received, Taken};
use crate::{Body, Request, Response};

/// What is copied at once of a request's body that is the answer.
const PIECE_BYTES: usize = 32 * 1024;

/// Answers a request that this thread took.
#[expect(clippy::disallowed_methods, reason = "what a handler takes is measured here")]
pub(super) fn run<H: Fn(Request) -> Response>(taken: Taken, handler: &H) {
    let begun = Instant::now();
    let bell = taken.clone();
    Context::of(&taken).run(|| answer(taken, handler));
    bell.note_handler(begun.elapsed());
}

fn answer<H: Fn(Request) -> Response>(taken: Taken, handler: &H) {
    let mut answer = Answer::new(taken.clone());
    // One that the proxy broke off is nobody's concern.
    let Ok(Received { request, upload }) = Reader::new(taken).receive() else { return };
    answer.belongs_to(&request, upload);
    let line = RequestLine::of(&request);
    let (head, body) = call(request, &line, handler).into_parts();
    let length = match &body.0 {
        Source::Complete(bytes) => Some(bytes.len() as u64),
        Source::Request(body) => body.size_hint().exact(),
        Source::Produced(_) => None,
    };
    let has_body = answer.has_body(&head);
    let head = answer.head(&head, length);
    if answer.write_all(&head, !has_body).is_err() || !has_body {
        return;
    }
    let written = catch_unwind(AssertUnwindSafe(|| match body.0 {
        Source::Complete(bytes) => answer.write_all(&bytes, true),
        Source::Request(body) => copy(body, &mut answer),
        Source::Produced(produce) => {
            answer.flush();
            write_body(produce, BodyWriter::into_ring(answer), &line);
            Ok(())
        }
    }));
    match written {
        // What is dropped before its end is broken off.
        Ok(Ok(())) => {}
        Ok(Err(error)) => line.report_broken_off(&error),
        Err(panic) => line.report_panic(&*panic),
    }
}

fn copy(mut body: Body, answer: &mut Answer) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = body.read(&mut piece)?;
        answer.write_all(piece.get(..count).unwrap_or_default(), count == 0)?;
        answer.flush();
        if count == 0 {
            return Ok(());
        }
    }
}
