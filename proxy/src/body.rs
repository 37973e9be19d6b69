//! A request's body as it comes from the client, with its limits.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ostler_policy::http::body::BodyDecoder;
use ostler_policy::http::chunked::ChunkError;
use ostler_policy::http::framing::Framing;

use crate::clock;
use crate::connection::{Client, Incoming};
use crate::deadline::Deadline;
use crate::pace::Pace;
use crate::spool::{Spool, SpoolError, SpoolFile};

/// What is read of a body at once: few enough for what many connections receive at the same time
/// to stay in the processor's cache until it is copied on.
const READ_BYTES: usize = 16 * 1024;

/// Why a body could not be received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// It is larger than the limit of its route.
    #[error("the body is larger than its limit")]
    TooLarge,
    /// Nothing came for `timeouts.body-idle`, or it came slower than `timeouts.body-min-rate`.
    #[error("the body came too slowly")]
    Timeout,
    /// Its chunked coding is malformed.
    #[error(transparent)]
    Malformed(#[from] ChunkError),
    /// What does not fit into memory cannot be kept.
    #[error("the body cannot be kept")]
    Spool(#[from] SpoolError),
    /// The client left.
    #[error("the client left")]
    Left(#[source] Option<io::Error>),
}

/// The limits of one body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    /// Bytes.
    pub(crate) size: u64,
    /// Between two reads.
    pub(crate) idle: Duration,
    /// Bytes a second, averaged; 0: no minimum.
    pub(crate) min_rate: u64,
}

/// The body of one request.
#[derive(Debug)]
pub(crate) struct RequestBody {
    decoder: BodyDecoder,
    limits: BodyLimits,
    /// Bytes of data received so far.
    pub(crate) received: u64,
    /// Whether the client waits for `100 Continue` before it sends anything.
    awaits_continue: bool,
    is_complete: bool,
    pace: Pace,
}

/// A body that was received, or its beginning.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) memory: Vec<u8>,
    /// What follows, if it was too large.
    pub(crate) file: Option<SpoolFile>,
}

impl Collected {
    /// Bytes.
    pub(crate) fn length(&self) -> u64 {
        self.memory.len() as u64 + self.file.as_ref().map_or(0, SpoolFile::length)
    }
}

impl RequestBody {
    /// The body of a request whose head was read. Its size is limited once the route is known.
    pub(crate) fn new(framing: Framing, limits: BodyLimits, awaits_continue: bool) -> Self {
        let decoder = BodyDecoder::new(framing);
        let is_complete = decoder.is_empty();
        Self { decoder, limits, received: 0, awaits_continue, is_complete, pace: Pace::default() }
    }

    /// Limits the size of the body.
    ///
    /// # Errors
    ///
    /// `TooLarge` when its stated length already is.
    pub(crate) fn limit(&mut self, size: u64) -> Result<(), BodyError> {
        self.limits.size = size;
        match self.decoder {
            BodyDecoder::Length(length) if size < length => Err(BodyError::TooLarge),
            BodyDecoder::Length(_) | BodyDecoder::Chunked(_) | BodyDecoder::UntilClose => Ok(()),
        }
    }

    /// Whether all of it was received.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Collects the body in memory until it is complete or `enough` bytes are there.
    ///
    /// # Errors
    ///
    /// What [`BodyError`] says.
    pub(crate) async fn collect(
        &mut self,
        client: &mut Client<'_>,
        enough: usize,
    ) -> Result<Vec<u8>, BodyError> {
        self.invite(client).await?;
        let mut collected = Vec::with_capacity(self.stated_bytes().min(enough));
        let mut incoming = client.split().0;
        while !self.is_complete && collected.len() < enough {
            self.read(&mut incoming, &mut collected).await?;
        }
        Ok(collected)
    }

    /// Receives the whole body: its beginning into memory, the rest into the spool.
    ///
    /// # Errors
    ///
    /// What [`BodyError`] says. A body whose stated length does not fit is refused before the
    /// client is told to send it.
    pub(crate) async fn receive_all(
        &mut self,
        client: &mut Client<'_>,
        in_memory: usize,
        spool: &Arc<Spool>,
    ) -> Result<Collected, BodyError> {
        let beyond = self.stated_bytes().saturating_sub(in_memory);
        spool.expect(beyond as u64)?;
        let memory = self.collect(client, in_memory).await?;
        let file = if self.is_complete { None } else { self.receive_into(client, spool).await? };
        Ok(Collected { memory, file })
    }

    /// Receives the rest of the body into a file, if anything is left of it.
    async fn receive_into(
        &mut self,
        client: &mut Client<'_>,
        spool: &Arc<Spool>,
    ) -> Result<Option<SpoolFile>, BodyError> {
        let mut incoming = client.split().0;
        let (mut file, mut piece) = (None, Vec::with_capacity(2 * READ_BYTES));
        while !self.is_complete {
            self.read(&mut incoming, &mut piece).await?;
            if READ_BYTES <= piece.len() || (self.is_complete && !piece.is_empty()) {
                let file: &mut SpoolFile = match &mut file {
                    Some(file) => file,
                    none => none.insert(spool.create()?),
                };
                file.append(&piece)?;
                piece.clear();
            }
        }
        Ok(file)
    }

    /// How much of it is still to come, if that is said; else 0.
    fn stated_bytes(&self) -> usize {
        match self.decoder {
            BodyDecoder::Length(left) => usize::try_from(left).unwrap_or(usize::MAX),
            BodyDecoder::Chunked(_) | BodyDecoder::UntilClose => 0,
        }
    }

    /// Tells a client that waits for it to send the body (RFC 9110 §10.1.1).
    ///
    /// # Errors
    ///
    /// When the client left.
    pub(crate) async fn invite(&mut self, client: &mut Client<'_>) -> Result<(), BodyError> {
        if std::mem::take(&mut self.awaits_continue) && client.input.is_empty() && !self.is_complete
        {
            client.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            client.flush().await.map_err(|error| BodyError::Left(Some(error)))?;
        }
        Ok(())
    }

    /// Appends what came next to `into`: at least one byte, unless the body is complete.
    ///
    /// # Errors
    ///
    /// What [`BodyError`] says.
    pub(crate) async fn read(
        &mut self,
        incoming: &mut Incoming<'_>,
        into: &mut Vec<u8>,
    ) -> Result<(), BodyError> {
        while !self.is_complete {
            let step = self.decoder.step(incoming.input)?;
            let data = incoming.input.get(step.consumed - step.data..step.consumed);
            into.extend_from_slice(data.unwrap_or_default());
            incoming.input.drain(..step.consumed);
            self.is_complete = step.is_end;
            self.received = self.received.saturating_add(step.data as u64);
            if self.limits.size < self.received {
                return Err(BodyError::TooLarge);
            }
            if 0 < step.data {
                return Ok(());
            }
            if !self.is_complete {
                self.receive(incoming).await?;
            }
        }
        Ok(())
    }

    async fn receive(&mut self, incoming: &mut Incoming<'_>) -> Result<(), BodyError> {
        let begun = clock::now();
        let at = begun + self.limits.idle;
        incoming.input.reserve(READ_BYTES);
        let read = incoming.transport.read(incoming.input);
        let timer = incoming.timer.get_or_insert_with(|| Deadline::new(at));
        match timer.run(at, read).await {
            Ok(Ok(0)) => Err(BodyError::Left(None)),
            Ok(Ok(count)) => {
                *incoming.received += count as u64;
                let waited = clock::now().saturating_duration_since(begun);
                let keeps = self.pace.keeps(waited, count as u64, self.limits.min_rate);
                if keeps { Ok(()) } else { Err(BodyError::Timeout) }
            }
            Ok(Err(error)) => Err(BodyError::Left(Some(error))),
            Err(_elapsed) => Err(BodyError::Timeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stated_length_beyond_the_limit_is_refused_before_anything_is_read() {
        let limits = BodyLimits { size: u64::MAX, idle: Duration::from_secs(20), min_rate: 0 };
        let mut body = RequestBody::new(Framing::Length(11), limits, false);
        assert!(body.limit(11).is_ok());
        assert!(matches!(body.limit(10), Err(BodyError::TooLarge)));
    }
}
