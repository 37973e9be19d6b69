//! The response to one request, from the call of `start_response` to its last byte.
//!
//! ```text
//! Silent ── state ──► Stated ── first piece ──► Begun ── end ──► Over
//!                     │    ▲
//!                     └────┘ state with exc_info
//! ```
//!
//! The stage is taken out while bytes are on their way, because the interpreter lock is given up
//! then: another thread finds `Busy`.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use ostler_app::{BodyWriter, Reply};
use pyo3::prelude::*;

use crate::head::Head;
use crate::regular_file::RegularFile;

/// What a client gets from an application that failed, with status 500. No detail of it.
const FAILED: &[u8] = b"500 Internal Server Error\n";

/// Up to which length an end is written without giving the interpreter lock up: there is room for
/// it in the request's cell.
const SHORT_BYTES: usize = 64 * 1024;

/// Why a response was not written as the application wanted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("start_response was not called before the response's body")]
    NotStated,
    #[error("start_response was called a second time without exc_info")]
    StatedTwice,
    #[error("the head of the response is on its way already")]
    HeadSent,
    #[error("the request has ended, or another thread writes its response")]
    NotNow,
    #[error("the response's body is {missing} bytes shorter than its Content-Length")]
    TooShort { missing: u64 },
    #[error("the client has left")]
    Left,
    #[error("cannot read the file: {0}")]
    File(#[source] io::Error),
}

/// Whether more of a body is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    More,
    /// It is complete, or the client gets none.
    Nothing,
}

/// The response to one request.
#[derive(Clone)]
pub(crate) struct Answering(Arc<Mutex<Stage>>);

enum Stage {
    Silent(Asked),
    Stated(Asked, Head),
    Begun(Body),
    Busy,
    Over,
}

/// Where the response goes, and whether the request was HEAD.
struct Asked {
    reply: Reply,
    is_head: bool,
}

/// A body on its way.
struct Body {
    writer: BodyWriter,
    /// Whether the client gets it.
    is_sent: bool,
    /// How much is missing to the stated length.
    left: Option<u64>,
    /// How much the application gave beyond it.
    excess: u64,
}

impl Answering {
    pub(crate) fn new(reply: Reply, is_head: bool) -> Self {
        Self(Arc::new(Mutex::new(Stage::Silent(Asked { reply, is_head }))))
    }

    /// Notes the head. It is sent with the first piece of the body.
    pub(crate) fn state(&self, head: Head, has_exc_info: bool) -> Result<(), AnswerError> {
        match self.take() {
            Stage::Silent(asked) => self.put(Stage::Stated(asked, head)),
            Stage::Stated(asked, _) if has_exc_info => {
                self.put(Stage::Stated(asked, head));
            }
            stage @ Stage::Stated(..) => {
                self.put(stage);
                return Err(AnswerError::StatedTwice);
            }
            stage @ (Stage::Begun(_) | Stage::Busy | Stage::Over) => {
                self.put(stage);
                return Err(AnswerError::HeadSent);
            }
        }
        Ok(())
    }

    /// Sends a piece of the body, before it returns.
    pub(crate) fn write(&self, py: Python<'_>, piece: &Bytes) -> Result<Wanted, AnswerError> {
        let mut body = self.begin(None)?;
        let written = py.detach(|| body.write(piece));
        self.put(Stage::Begun(body));
        written
    }

    /// Sends the last piece of the body. The request runs on until it is [`over`](Self::over).
    pub(crate) fn end(&self, py: Python<'_>, last: &[u8]) -> Result<(), AnswerError> {
        let mut body = self.begin(Some(last.len() as u64))?;
        let ended =
            if last.len() <= SHORT_BYTES { body.end(last) } else { py.detach(|| body.end(last)) };
        self.put(Stage::Begun(body));
        ended
    }

    /// Sends a file, or the part of it that was stated, as the whole body.
    pub(crate) fn send_file(&self, py: Python<'_>, file: &RegularFile) -> Result<(), AnswerError> {
        let mut body = self.begin(Some(file.length()))?;
        let sent = py.detach(|| body.send_file(file));
        self.put(Stage::Begun(body));
        sent
    }

    /// Gives the request back, and tells how many bytes there were beyond the stated length.
    pub(crate) fn over(&self) -> u64 {
        match self.replace(Stage::Over) {
            Stage::Begun(body) => body.excess,
            Stage::Silent(_) | Stage::Stated(..) | Stage::Busy | Stage::Over => 0,
        }
    }

    /// Answers for an application that failed: with 500, or with an end that does not look like one.
    pub(crate) fn fail(&self, py: Python<'_>) {
        match self.replace(Stage::Over) {
            Stage::Silent(asked) | Stage::Stated(asked, _) => {
                let mut writer = asked.reply.begin(Head::failed().head, Some(FAILED.len() as u64));
                // Whoever waited for it has left, or gets no body.
                drop(writer.end(FAILED));
            }
            Stage::Begun(body) => {
                py.detach(|| body.writer.abort(io::Error::other("the application failed")));
            }
            Stage::Busy | Stage::Over => {}
        }
    }

    /// Takes the body out, and states the head if that is still to be done.
    fn begin(&self, length: Option<u64>) -> Result<Body, AnswerError> {
        match self.take() {
            Stage::Begun(body) => Ok(body),
            Stage::Stated(asked, head) => {
                let Head { head, length: left } = head;
                let is_sent = !asked.is_head && head.may_have_body();
                let writer = asked.reply.begin(head, length.filter(|_| left.is_none()));
                Ok(Body { writer, is_sent, left, excess: 0 })
            }
            stage @ Stage::Silent(_) => {
                self.put(stage);
                Err(AnswerError::NotStated)
            }
            stage @ (Stage::Busy | Stage::Over) => {
                self.put(stage);
                Err(AnswerError::NotNow)
            }
        }
    }

    fn take(&self) -> Stage {
        self.replace(Stage::Busy)
    }

    /// Puts back what was taken out. Where the request has ended meanwhile, that breaks it off.
    fn put(&self, stage: Stage) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unwanted =
            if matches!(*held, Stage::Over) { stage } else { std::mem::replace(&mut *held, stage) };
        drop(held);
        drop(unwanted);
    }

    fn replace(&self, stage: Stage) -> Stage {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *held, stage)
    }
}

impl Body {
    fn write(&mut self, piece: &Bytes) -> Result<Wanted, AnswerError> {
        if !self.is_sent {
            return Ok(Wanted::Nothing);
        }
        let piece = piece.slice(..self.count(piece.len()));
        let written = if self.left == Some(0) {
            // What is complete need not wait for the application to say so.
            self.writer.end(&piece)
        } else {
            self.writer.write_piece(piece)
        };
        written.map_err(|_gone| AnswerError::Left)?;
        // Who goes on beyond the stated length might do so for ever.
        Ok(if 0 < self.excess { Wanted::Nothing } else { Wanted::More })
    }

    fn end(&mut self, last: &[u8]) -> Result<(), AnswerError> {
        if !self.is_sent {
            // A head without a body is complete already.
            return Ok(());
        }
        let last = last.get(..self.count(last.len())).unwrap_or_default();
        if let Some(missing) = self.left.filter(|&left| 0 < left) {
            return Err(AnswerError::TooShort { missing });
        }
        self.writer.end(last).map_err(|_gone| AnswerError::Left)
    }

    fn send_file(&mut self, file: &RegularFile) -> Result<(), AnswerError> {
        if !self.is_sent {
            return Ok(());
        }
        let wanted = self.left.unwrap_or(u64::MAX).min(file.length());
        let sent = file.send(wanted, &mut self.writer)?;
        self.left = self.left.map(|left| left.saturating_sub(sent));
        self.end(&[])
    }

    /// Counts a piece of so many bytes, and tells for how many of them there is room in the stated
    /// length.
    fn count(&mut self, length: usize) -> usize {
        let Some(left) = self.left else { return length };
        let given = length as u64;
        self.left = Some(left.saturating_sub(given));
        self.excess = self.excess.saturating_add(given.saturating_sub(left));
        usize::try_from(left).map_or(length, |left| left.min(length))
    }
}
