//! Bytes both ways through rings of one word: whole, in order, and nobody waits for ever.

use loom::sync::Arc;
use loom::thread;

use super::{Event, Memory, RING_BYTES, check};
use crate::stream::{Found, ReadEnd, WriteEnd};

/// More than a ring holds, so that it goes round and both sides have to wait.
const BYTES: usize = RING_BYTES + 4;

fn bytes() -> Vec<u8> {
    (1..).take(BYTES).collect()
}

/// A worker's thread reads what the proxy's event loop sends.
#[test]
fn a_request_longer_than_its_ring_arrives_whole() {
    check(2, || {
        let (memory, eventfd) = (Arc::new(Memory::new()), Arc::new(Event::new()));
        let worker = {
            let (memory, eventfd) = (Arc::clone(&memory), Arc::clone(&eventfd));
            thread::spawn(move || {
                let (mut end, mut out) = (ReadEnd::default(), Vec::new());
                loop {
                    let (found, proxy_waits) =
                        memory.cell().read(&mut end, BYTES, &mut out).unwrap();
                    if proxy_waits {
                        eventfd.set();
                    }
                    match found {
                        Found::End => return out,
                        Found::Bytes(_) => {}
                        Found::Nothing => memory.cell().sleep_until(|cell| cell.has_request(&end)),
                    }
                }
            })
        };
        let (cell, mut end, bytes) = (memory.cell(), WriteEnd::default(), bytes());
        let mut rest = bytes.as_slice();
        loop {
            let sent = cell.send(&mut end, rest, true);
            rest = &rest[sent..];
            assert!(!cell.wake_worker());
            if rest.is_empty() {
                break;
            }
            if !cell.wait_for_room(&end) {
                eventfd.wait();
            }
        }
        assert_eq!(worker.join().unwrap(), bytes);
    });
}

/// The proxy's event loop takes what a worker's thread answers.
#[test]
fn an_answer_longer_than_its_ring_arrives_whole() {
    check(2, || {
        let (memory, eventfd) = (Arc::new(Memory::new()), Arc::new(Event::new()));
        let worker = {
            let (memory, eventfd) = (Arc::clone(&memory), Arc::clone(&eventfd));
            thread::spawn(move || {
                let (mut end, bytes) = (WriteEnd::default(), bytes());
                let mut rest = bytes.as_slice();
                loop {
                    let written = memory.cell().write(&mut end, rest, true);
                    rest = &rest[written..];
                    eventfd.set();
                    if rest.is_empty() {
                        return;
                    }
                    memory.cell().sleep_until(|cell| cell.has_room(&end));
                }
            })
        };
        let (cell, mut end, mut out) = (memory.cell(), ReadEnd::default(), Vec::new());
        loop {
            match cell.receive(&mut end, BYTES, &mut out).unwrap() {
                Found::End => break,
                Found::Bytes(_) => assert!(!cell.wake_worker()),
                Found::Nothing => eventfd.wait(),
            }
        }
        worker.join().unwrap();
        assert_eq!(out, bytes());
    });
}
