//! The answer to a request on a thread, on its way over either link.
//!
//! A request that nobody answers is broken off: over the ring its cell goes back unanswered, on a
//! connection the client gets 500.

use std::io::{self, Read};

use bytes::Bytes;
use http::response;
use hyper::body::Body as _;
use tokio::sync::oneshot;

use crate::body::Body;
use crate::context::Context;
use crate::response::{BodyWriter, Outgoing};
use crate::response_head::ResponseHead;
use crate::ring::Answer;

/// What is copied at once of a request's body that is the answer.
const PIECE_BYTES: usize = 32 * 1024;

/// Where the answer to a request goes.
#[derive(Debug)]
pub struct Reply(Way);

#[derive(Debug)]
enum Way {
    /// To the event loop, for a connection, with what the request is known to have cost.
    Connection(oneshot::Sender<http::Response<Outgoing>>, Context),
    /// Into its cell.
    Ring(Answer),
}

impl Reply {
    /// The answer to a request on a connection, with a head that tells what `context` gathers.
    pub(crate) fn on_connection(
        sender: oneshot::Sender<http::Response<Outgoing>>,
        context: Context,
    ) -> Self {
        Self(Way::Connection(sender, context))
    }

    /// The answer of a cell.
    pub(crate) fn in_cell(answer: Answer) -> Self {
        Self(Way::Ring(answer))
    }

    /// Sends an answer with all of its body. One that nobody waits for any more is dropped.
    pub fn complete(self, head: response::Parts, body: Bytes) {
        match self.0 {
            Way::Connection(sender, context) => {
                send(sender, &context, head, Outgoing::Complete(body));
            }
            Way::Ring(_) => {
                let mut writer = self.start(head, Some(body.len() as u64));
                // Whoever waited for it has left, or gets no body.
                drop(writer.end(&body));
            }
        }
    }

    /// Begins an answer: its head goes out with the first piece of its body.
    ///
    /// `length` is that of the body, where it is known and the head may not say it. The writer has
    /// to be ended, finished or aborted; the request runs until the writer is dropped.
    pub fn start(self, head: response::Parts, length: Option<u64>) -> BodyWriter {
        match self.0 {
            Way::Connection(sender, context) => {
                let (writer, pieces) = Outgoing::pieces();
                send(sender, &context, head, pieces);
                writer
            }
            Way::Ring(answer) => begin(answer, ResponseHead::of_parts(&head), length),
        }
    }

    /// Begins an answer likewise, with a head that was made piece by piece.
    pub fn begin(self, head: ResponseHead, length: Option<u64>) -> BodyWriter {
        match self.0 {
            Way::Connection(..) => self.start(head.into_parts(length), length),
            Way::Ring(answer) => begin(answer, head, length),
        }
    }

    /// Sends a request's body as the body of an answer.
    ///
    /// # Errors
    ///
    /// The body did not come to its end, or nobody took it.
    pub(crate) fn send_back(self, head: response::Parts, mut body: Body) -> io::Result<()> {
        if let Way::Connection(sender, context) = self.0 {
            send(sender, &context, head, Outgoing::Request(body));
            return Ok(());
        }
        let length = body.size_hint().exact();
        let mut writer = self.start(head, length);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let count = body.read(&mut piece)?;
            if count == 0 {
                return writer.finish();
            }
            writer.write_piece(Bytes::copy_from_slice(piece.get(..count).unwrap_or_default()))?;
        }
    }
}

/// Begins the answer of a cell.
fn begin(mut answer: Answer, head: ResponseHead, length: Option<u64>) -> BodyWriter {
    let has_body = answer.has_body(&head);
    let head = answer.head(head, length);
    if answer.write_all(&head, !has_body).is_ok() && has_body {
        BodyWriter::into_ring(answer)
    } else {
        answer.flush();
        BodyWriter::of_nothing(answer)
    }
}

/// Hands an answer to the event loop. If the connection is gone, so is whoever wanted it.
fn send(
    sender: oneshot::Sender<http::Response<Outgoing>>,
    context: &Context,
    mut head: response::Parts,
    body: Outgoing,
) {
    context.write_to(&mut head.headers);
    drop(sender.send(http::Response::from_parts(head, body)));
}
