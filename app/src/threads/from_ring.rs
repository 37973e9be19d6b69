//! One request over the ring link, on one thread: read, answered, and its cell given back.

use std::time::Instant;

use super::Arrived;
use super::turns::{Runner, Turns};
use crate::context::Context;
use crate::reply::Reply;
use crate::ring::{Answer, Reader, Received, Taken};

/// Answers a request that this thread took.
#[expect(clippy::disallowed_methods, reason = "what a handler takes is measured here")]
pub(super) fn run<H: Fn(Arrived, Reply)>(
    taken: Taken,
    turns: Option<(&Turns, &Runner)>,
    handler: &H,
) {
    let bell = taken.clone();
    let waited = if let Some((turns, runner)) = turns {
        turns.run(runner, || answer(taken, handler))
    } else {
        let begun = Instant::now();
        answer(taken, handler);
        begun.elapsed()
    };
    bell.note_handler(waited);
}

fn answer<H: Fn(Arrived, Reply)>(taken: Taken, handler: &H) {
    Context::of(&taken).run(|| {
        let mut answer = Answer::new(taken.clone());
        // One that the proxy broke off is nobody's concern.
        let Ok(Received { head, body, upload }) = Reader::new(taken).receive() else { return };
        answer.belongs_to(head.method() == b"HEAD", upload);
        handler(Arrived::Ring(head, body), Reply::in_cell(answer));
    });
}
