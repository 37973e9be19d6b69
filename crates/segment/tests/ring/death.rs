//! A worker's process is killed in every state of a cell, and the proxy knows what became of it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};

use ostler_segment::{CellState, Found, LeftAt, ReadEnd, StreamBroken, WriteEnd};

use super::{cell, create, map};

/// How far the worker gets. Each does all that is above it as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Started,
    Dequeued,
    Taken,
    ReadHalf,
    ReadAll,
    WroteHalf,
    WroteAll,
    Finished,
}

const STEPS: [Step; 8] = [
    Step::Started,
    Step::Dequeued,
    Step::Taken,
    Step::ReadHalf,
    Step::ReadAll,
    Step::WroteHalf,
    Step::WroteAll,
    Step::Finished,
];

const REQUEST: &[u8] = b"a request";
const ANSWER: &[u8] = b"an answer";
const HALF: usize = 4;

const SEGMENT: &str = "RING_TEST_SEGMENT";
const STEP: &str = "RING_TEST_STEP";
const ARRIVED: &str = "the worker is there";

#[test]
fn whatever_a_worker_was_doing_when_it_was_killed_the_proxy_knows_the_outcome() {
    for step in STEPS {
        let fd = create();
        let proxy = map(&fd);
        let cell = cell(&proxy, 0);
        let ticket = cell.open(1, 0).unwrap();
        cell.send(&mut WriteEnd::default(), REQUEST, true);
        assert!(cell.queue(ticket));
        proxy.enqueue(0);
        kill_worker_after(&fd, step);

        let (mut answer, mut end) = (Vec::new(), ReadEnd::default());
        while let Ok(Found::Bytes(_)) = cell.receive(&mut end, 99, &mut answer) {}
        let is_complete = cell.receive(&mut end, 99, &mut answer) == Ok(Found::End);
        let (state, left_at, written) = match step {
            // Not read by anyone: it may be tried on another worker.
            Step::Started | Step::Dequeued => (CellState::Queued, LeftAt::Queue, 0),
            Step::Taken | Step::ReadHalf | Step::ReadAll => (CellState::Taken, LeftAt::Worker, 0),
            Step::WroteHalf => (CellState::Taken, LeftAt::Worker, HALF),
            Step::WroteAll => (CellState::Taken, LeftAt::Worker, ANSWER.len()),
            Step::Finished => (CellState::Done, LeftAt::End, ANSWER.len()),
        };
        assert_eq!(cell.state(ticket), Some(state), "{step:?}");
        assert_eq!(answer, &ANSWER[..written], "{step:?}");
        assert_eq!(is_complete, Step::WroteAll <= step, "{step:?}");
        assert_eq!(cell.leave(ticket), Some(left_at), "{step:?}");

        if left_at == LeftAt::Queue {
            assert_eq!(cell.take(), None, "{step:?}: what was taken back is not there");
        } else {
            let again = cell.leave(ticket);
            assert_eq!(again, Some(left_at), "{step:?}: what is left stays so");
            assert_eq!(cell.open(1, 0), None, "{step:?}: the cell is in use");
            cell.close(ticket);
        }
        let next = cell.open(1, 0).unwrap();
        assert_ne!(next, ticket, "{step:?}");
        let found = cell.receive(&mut ReadEnd::default(), 99, &mut Vec::new());
        assert_eq!(found, Ok(Found::Nothing), "{step:?}: nothing is left of the answer");
    }
}

#[test]
fn an_answer_that_was_broken_off_is_not_complete() {
    let fd = create();
    let (proxy, worker) = (map(&fd), map(&fd));
    let ticket = cell(&proxy, 0).open(1, 0).unwrap();
    assert!(cell(&proxy, 0).queue(ticket));
    assert_eq!(cell(&worker, 0).take(), Some(ticket));
    let mut writing = WriteEnd::default();
    cell(&worker, 0).write(&mut writing, ANSWER, false);
    cell(&worker, 0).abort(&mut writing);
    assert!(cell(&worker, 0).finish(ticket));
    let (mut answer, mut end) = (Vec::new(), ReadEnd::default());
    let found = cell(&proxy, 0).receive(&mut end, 99, &mut answer);
    assert_eq!((found, answer.as_slice()), (Ok(Found::Bytes(ANSWER.len())), ANSWER));
    assert_eq!(cell(&proxy, 0).receive(&mut end, 99, &mut answer), Err(StreamBroken));
}

/// Runs [`worker`] in a process of its own, and kills it once it is there.
fn kill_worker_after(fd: &OwnedFd, step: Step) {
    let segment = format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd());
    let mut child: Child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "death::worker", "--nocapture", "--test-threads=1"])
        .env(SEGMENT, segment)
        .env(STEP, STEPS.iter().position(|&other| other == step).unwrap().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let is_there = lines.any(|line| line.unwrap().contains(ARRIVED));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_there, "{step:?}: the worker did not get there");
}

/// The worker of the others, where the environment says how far it gets.
#[test]
fn worker() {
    let Ok(step) = std::env::var(STEP) else { return };
    let step: usize = step.parse().unwrap();
    let path = std::env::var(SEGMENT).unwrap();
    let segment = File::options().read(true).write(true).open(path).unwrap();
    let fd = OwnedFd::from(segment);
    let segment = map(&fd);
    let cell = cell(&segment, 0);
    let (mut reading, mut writing) = (ReadEnd::default(), WriteEnd::default());
    let (mut taken, mut request) = (None, Vec::new());
    for step in &STEPS[..=step] {
        match step {
            Step::Started => {}
            Step::Dequeued => assert_eq!(segment.dequeue(0), Some(0)),
            Step::Taken => taken = cell.take(),
            Step::ReadHalf => {
                cell.read(&mut reading, HALF, &mut request).unwrap();
            }
            Step::ReadAll => {
                cell.read(&mut reading, 99, &mut request).unwrap();
                assert_eq!(request, REQUEST);
                assert!(cell.is_request_read(&reading));
            }
            Step::WroteHalf => assert_eq!(cell.write(&mut writing, &ANSWER[..HALF], false), HALF),
            Step::WroteAll => {
                assert_eq!(cell.write(&mut writing, &ANSWER[HALF..], true), ANSWER.len() - HALF);
            }
            Step::Finished => assert!(cell.finish(taken.unwrap())),
        }
    }
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{ARRIVED}").unwrap();
    stdout.flush().unwrap();
    // Until it is killed.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}
