//! One request and its answer in a cell.
//!
//! The two directions are used side by side, like those of a socket. Nothing the worker writes is
//! trusted: its counters are checked where they are read (`ostler_segment`), and its bytes go
//! through the same machines as those of a socket.

use std::io;
use std::sync::Arc;
use std::task::Poll;

use ostler_segment::{Cell, CellState, CellTicket, Found, LeftAt, ReadEnd, WriteEnd};

use super::closed;
use super::lane::Lane;

/// What is received at once.
const RECEIVE_BYTES: usize = 128 * 1024;

/// One request over the ring link.
#[derive(Debug)]
pub(crate) struct RingExchange {
    place: Place,
    sending: WriteEnd,
    receiving: ReadEnd,
    /// Whether the worker may have seen the request.
    is_queued: bool,
    /// Whether the cell is the proxy's no more.
    is_closed: bool,
}

/// The cell of a request.
#[derive(Debug)]
struct Place {
    lane: Arc<Lane>,
    row: u32,
    ticket: CellTicket,
}

/// The direction of the request.
#[derive(Debug)]
pub(crate) struct RingSending<'e> {
    place: &'e Place,
    end: &'e mut WriteEnd,
    is_queued: &'e mut bool,
}

/// The direction of the answer.
#[derive(Debug)]
pub(crate) struct RingReceiving<'e> {
    place: &'e Place,
    end: &'e mut ReadEnd,
}

impl RingExchange {
    /// Prepares a free cell, if this is one.
    pub(super) fn open(lane: Arc<Lane>, row: u32, incarnation: u32) -> Option<Self> {
        let ticket =
            if lane.is_lost() { None } else { lane.cell(row)?.open(incarnation, lane.number) };
        let Some(ticket) = ticket else {
            tracing::debug!(row, "cell_not_free");
            return None;
        };
        lane.begin();
        let (sending, receiving) = (WriteEnd::default(), ReadEnd::default());
        let place = Place { lane, row, ticket };
        Some(Self { place, sending, receiving, is_queued: false, is_closed: false })
    }

    /// Both directions, to be used at the same time.
    pub(crate) fn split(&mut self) -> (RingReceiving<'_>, RingSending<'_>) {
        let receiving = RingReceiving { place: &self.place, end: &mut self.receiving };
        let sending = RingSending {
            place: &self.place,
            end: &mut self.sending,
            is_queued: &mut self.is_queued,
        };
        (receiving, sending)
    }

    /// Gives the cell back if the handler has ended. Otherwise the exchange is to be discarded.
    pub(crate) fn close(&mut self) -> bool {
        let is_done = self.place.state() == Some(CellState::Done);
        if is_done || !self.is_queued {
            self.place.close();
            self.is_closed = true;
        }
        self.is_closed
    }

    /// Takes a request back that the worker, which has died, had not looked at.
    pub(crate) fn take_back(&mut self) -> bool {
        let cell = self.place.cell();
        let is_untaken = self.place.lane.is_lost()
            && (!self.is_queued
                || cell.and_then(|cell| cell.leave(self.place.ticket)) == Some(LeftAt::Queue));
        self.is_closed |= is_untaken;
        is_untaken
    }

    /// Lets the worker know that nobody waits for the answer. Returns when the handler has ended.
    pub(crate) async fn discard(mut self) {
        if self.close() {
            return;
        }
        let place = &self.place;
        let left_at = place.cell().and_then(|cell| cell.leave(place.ticket));
        if left_at == Some(LeftAt::Worker) {
            place.wake_worker();
            std::future::poll_fn(|context| {
                place.lane.on_answer(place.row, context.waker());
                let is_running = place.state() == Some(CellState::Left);
                if is_running && !place.lane.is_lost() { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
        }
        if left_at != Some(LeftAt::Queue) {
            place.close();
        }
        self.is_closed = true;
    }
}

impl Drop for RingExchange {
    fn drop(&mut self) {
        if !self.is_closed
            && let Some(cell) = self.place.cell()
        {
            // Dropped where nobody could wait: no request will get this cell before the worker
            // has ended with it, so it stays out of use until then.
            if cell.leave(self.place.ticket) == Some(LeftAt::Worker) {
                self.place.wake_worker();
            }
        }
        self.place.lane.end();
    }
}

impl Place {
    fn cell(&self) -> Option<Cell<'_>> {
        self.lane.cell(self.row)
    }

    fn state(&self) -> Option<CellState> {
        self.cell()?.state(self.ticket)
    }

    fn close(&self) {
        if let Some(cell) = self.cell() {
            cell.close(self.ticket);
        }
    }

    fn wake_worker(&self) {
        if self.cell().is_some_and(|cell| cell.wake_worker()) {
            self.lane.add_news(self.row);
        }
    }

    /// Whether the worker may still do something with the cell.
    fn is_with_worker(&self) -> bool {
        let is_with_worker = matches!(self.state(), Some(CellState::Queued | CellState::Taken));
        is_with_worker && !self.lane.is_lost()
    }
}

impl RingSending<'_> {
    /// Sends a head and what follows it, so that the worker finds both when it looks.
    pub(crate) async fn send_both(&mut self, head: &[u8], body: &[u8], is_last: bool) -> bool {
        let Some(cell) = self.place.cell() else { return false };
        let taken = if *self.is_queued { 0 } else { cell.send(self.end, head, false) };
        let rest = head.get(taken..).unwrap_or_default();
        (rest.is_empty() || self.send(rest, false).await) && self.send(body, is_last).await
    }

    /// Sends a part of the request. Returns whether it was taken.
    pub(crate) async fn send(&mut self, bytes: &[u8], is_last: bool) -> bool {
        let mut rest = bytes;
        loop {
            let Some(cell) = self.place.cell() else { return false };
            let taken = cell.send(self.end, rest, is_last);
            rest = rest.get(taken..).unwrap_or_default();
            if *self.is_queued {
                self.place.wake_worker();
            } else {
                *self.is_queued = true;
                cell.queue(self.place.ticket);
                self.place.lane.enqueue(self.place.row);
            }
            if rest.is_empty() {
                return true;
            }
            let (place, end) = (self.place, &*self.end);
            let has_room = std::future::poll_fn(|context| {
                place.lane.on_room(place.row, context.waker());
                if !place.is_with_worker() {
                    return Poll::Ready(false);
                }
                if cell.wait_for_room(end) { Poll::Ready(true) } else { Poll::Pending }
            });
            if !has_room.await {
                return false;
            }
        }
    }
}

impl RingReceiving<'_> {
    /// Waits for more of the answer; 0 at its end.
    pub(crate) async fn read(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        // A worker that is always ahead must not keep the loop from its other connections.
        tokio::task::coop::consume_budget().await;
        let (place, end) = (self.place, &mut *self.end);
        std::future::poll_fn(|context| {
            place.lane.on_answer(place.row, context.waker());
            // Before the look: what a worker wrote before its end is there.
            let is_over = !place.is_with_worker();
            let cell = place.cell().ok_or_else(closed)?;
            match cell.receive(end, RECEIVE_BYTES, into).map_err(|_broken| closed())? {
                Found::Bytes(count) => {
                    place.wake_worker();
                    Poll::Ready(Ok(count))
                }
                Found::End => Poll::Ready(Ok(0)),
                Found::Nothing if is_over => Poll::Ready(Err(closed())),
                Found::Nothing => Poll::Pending,
            }
        })
        .await
    }
}
