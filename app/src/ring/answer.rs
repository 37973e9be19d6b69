//! The answer of a cell. Whatever becomes of the handler, the cell goes back to the proxy: with
//! the answer complete, or broken off.

use std::io;
use std::task::{Context, Poll};

use ostler_segment::WriteEnd;

use super::{Taken, Upload};
use crate::response_head::ResponseHead;

/// Writes an answer, and gives the cell back when it is dropped.
#[derive(Debug)]
pub(crate) struct Answer {
    taken: Taken,
    end: WriteEnd,
    is_to_head: bool,
    /// What is taken away from the application before the cell is given back.
    upload: Option<Upload>,
}

impl Answer {
    pub(crate) fn new(taken: Taken) -> Self {
        Self { taken, end: WriteEnd::default(), is_to_head: false, upload: None }
    }

    /// Notes what of the request matters for its answer.
    pub(crate) fn belongs_to(&mut self, is_head: bool, upload: Option<Upload>) {
        self.is_to_head = is_head;
        self.upload = upload;
    }

    /// Whether the answer has a body (RFC 9110 §6.4.1).
    pub(crate) fn has_body(&self, head: &ResponseHead) -> bool {
        !self.is_to_head && head.may_have_body()
    }

    /// The bytes of a head, for an answer with a body of `length` bytes.
    pub(crate) fn head(&self, head: ResponseHead, length: Option<u64>) -> Vec<u8> {
        head.finish(length, self.is_to_head)
    }

    /// Writes what there is room for, and returns how much that was.
    pub(crate) fn write(&mut self, bytes: &[u8], is_last: bool) -> usize {
        self.taken.cell().write(&mut self.end, bytes, is_last)
    }

    /// Lets the proxy look at what was written.
    pub(crate) fn flush(&self) {
        self.taken.tell_proxy();
    }

    /// Writes all, on a thread, as the client takes it. The proxy is told only where there was
    /// no room: [`Answer::flush`] tells it of the rest.
    ///
    /// # Errors
    ///
    /// The client has left.
    pub(crate) fn write_all(&mut self, bytes: &[u8], is_last: bool) -> io::Result<()> {
        let mut rest = bytes;
        loop {
            if self.taken.is_left() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let taken = self.write(rest, is_last);
            rest = rest.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(());
            }
            self.flush();
            let ticket = self.taken.ticket;
            let cell = self.taken.cell();
            cell.sleep_until(|cell| cell.is_left(ticket) || cell.has_room(&self.end));
        }
    }

    /// Writes all, in a task, taking what is written from the front of `bytes`.
    pub(crate) fn poll_write_all(
        &mut self,
        context: &Context<'_>,
        bytes: &mut &[u8],
        is_last: bool,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.taken.is_left() {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let taken = self.write(bytes, is_last);
            *bytes = bytes.get(taken..).unwrap_or_default();
            if bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.flush();
            if !self.taken.wait_answering(context, |cell| cell.has_room(&self.end)) {
                return Poll::Pending;
            }
        }
    }

    /// The request that is answered.
    pub(crate) fn taken(&self) -> &Taken {
        &self.taken
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(upload) = &self.upload {
            upload.revoke();
        }
        // What is complete stays complete.
        self.taken.cell().abort(&mut self.end);
        self.taken.finish();
        self.taken.tell_proxy();
    }
}
