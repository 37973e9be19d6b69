//! The request of a cell, as it comes: its head, and what of its body is not there at once.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use ostler_segment::{Found, ReadEnd};

use super::Taken;
use crate::body::{Body, COMPLETE_BYTES};
use crate::request_head::RequestHead;

/// What is read at once of a long body.
const PIECE_BYTES: usize = 64 * 1024;

/// Reads a request.
#[derive(Debug)]
pub(crate) struct Reader {
    taken: Taken,
    end: ReadEnd,
}

/// A request whose head has come, and its body too if that is small.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) head: RequestHead,
    pub(crate) body: Body,
    /// What is still to come of the body.
    pub(crate) upload: Option<Upload>,
}

/// The rest of a request's body. Whoever still has it when the request ends gets errors.
#[derive(Clone, Debug)]
pub(crate) struct Upload(Arc<Mutex<Option<Reader>>>);

/// What was made of the bytes that have come.
enum Look {
    Enough { head: RequestHead, body: Bytes, is_whole: bool },
    TooLittle(Vec<u8>),
}

impl Reader {
    pub(crate) fn new(taken: Taken) -> Self {
        Self { taken, end: ReadEnd::default() }
    }

    /// Waits, on a thread, for the head of the request, and for its body if that is small.
    ///
    /// # Errors
    ///
    /// The proxy has broken the request off.
    pub(crate) fn receive(mut self) -> io::Result<Received> {
        let mut input = Vec::new();
        loop {
            if self.read(&mut input, usize::MAX)? == Found::Nothing {
                self.taken.cell().sleep_until(|cell| {
                    cell.is_left(self.taken.ticket) || cell.has_request(&self.end)
                });
                continue;
            }
            match self.look(input)? {
                Look::Enough { head, body, is_whole } => {
                    return Ok(self.received(head, body, is_whole));
                }
                Look::TooLittle(bytes) => input = bytes,
            }
        }
    }

    /// Waits likewise, in a task.
    ///
    /// # Errors
    ///
    /// The proxy has broken the request off.
    pub(crate) async fn receive_in_task(mut self) -> io::Result<Received> {
        let mut input = Vec::new();
        loop {
            std::future::poll_fn(|context| self.poll_read(context, &mut input, usize::MAX)).await?;
            match self.look(input)? {
                Look::Enough { head, body, is_whole } => {
                    return Ok(self.received(head, body, is_whole));
                }
                Look::TooLittle(bytes) => input = bytes,
            }
        }
    }

    fn look(&self, input: Vec<u8>) -> io::Result<Look> {
        let is_whole = self.taken.cell().is_request_read(&self.end);
        let bytes = Bytes::from(input);
        match RequestHead::parse(&bytes).map_err(io::Error::other)? {
            Some((head, length)) if is_whole || !is_small(&head) => {
                Ok(Look::Enough { head, body: bytes.slice(length..), is_whole })
            }
            Some(_) | None if is_whole => Err(io::ErrorKind::UnexpectedEof.into()),
            Some(_) | None => Ok(Look::TooLittle(bytes.into())),
        }
    }

    fn received(self, head: RequestHead, body: Bytes, is_whole: bool) -> Received {
        if is_whole {
            return Received { head, body: Body::from(body), upload: None };
        }
        let left = head.content_length().map(|length| length.saturating_sub(body.len() as u64));
        let upload = Upload(Arc::new(Mutex::new(Some(self))));
        let body = Body::uploaded(body, left, upload.clone());
        Received { head, body, upload: Some(upload) }
    }

    fn read(&mut self, out: &mut Vec<u8>, limit: usize) -> io::Result<Found> {
        let cell = self.taken.cell();
        if cell.is_left(self.taken.ticket) {
            return Err(left());
        }
        let read = cell.read(&mut self.end, limit, out);
        let (found, proxy_waits) = read.map_err(|_broken| left())?;
        if proxy_waits {
            self.taken.tell_proxy();
        }
        Ok(found)
    }

    /// Ready with anything but nothing.
    fn poll_read(
        &mut self,
        context: &Context<'_>,
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Poll<io::Result<Found>> {
        loop {
            match self.read(out, limit)? {
                Found::Nothing => {
                    if !self.taken.wait_reading(context, |cell| cell.has_request(&self.end)) {
                        return Poll::Pending;
                    }
                }
                found @ (Found::Bytes(_) | Found::End) => return Poll::Ready(Ok(found)),
            }
        }
    }
}

impl Upload {
    /// Waits, on a thread, for a piece of the body; empty at its end.
    ///
    /// # Errors
    ///
    /// The client left, or the request has ended.
    pub(crate) fn read(&self) -> io::Result<Bytes> {
        let mut piece = Vec::new();
        loop {
            let taken = {
                let mut reader = self.reader();
                let reader = reader.as_mut().ok_or_else(left)?;
                match reader.read(&mut piece, PIECE_BYTES)? {
                    Found::Nothing => reader.taken.clone(),
                    Found::Bytes(_) | Found::End => return Ok(piece.into()),
                }
            };
            taken.cell().sleep_until(|cell| {
                let reader = self.reader();
                let has_request = |reader: &Reader| cell.has_request(&reader.end);
                cell.is_left(taken.ticket) || reader.as_ref().is_none_or(has_request)
            });
        }
    }

    /// Polls for a piece of the body; empty at its end.
    pub(crate) fn poll_piece(&self, context: &Context<'_>) -> Poll<io::Result<Bytes>> {
        if self.reader().as_ref().is_some_and(|reader| reader.taken.may_block()) {
            // Nobody tells tasks in a worker of blocking handlers.
            return Poll::Ready(self.read());
        }
        let mut piece = Vec::new();
        let mut reader = self.reader();
        let reader = reader.as_mut().ok_or_else(left)?;
        ready!(reader.poll_read(context, &mut piece, PIECE_BYTES))?;
        Poll::Ready(Ok(piece.into()))
    }

    /// Takes the body away from whoever has it: its cell is about to be used again.
    pub(crate) fn revoke(&self) {
        if let Some(reader) = self.reader().take() {
            reader.taken.cell().rouse();
            reader.taken.wake_tasks();
        }
    }

    fn reader(&self) -> MutexGuard<'_, Option<Reader>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a body is complete before the application is called.
fn is_small(head: &RequestHead) -> bool {
    head.content_length().is_some_and(|length| length <= COMPLETE_BYTES)
}

pub(super) fn left() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the client has left")
}
