//! What every thread of a pool is doing, asked for on demand: the document, and its rendering for a
//! terminal. The page is in `html`.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

use crate::moment::UnixTime;
use crate::units::{duration, printable};

/// The threads of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stacks {
    /// Name of the pool.
    pub pool: String,
    /// When they were asked.
    pub at: UnixTime,
    /// Every worker that has a process, also one that drains.
    pub workers: Vec<StacksWorker>,
}

/// The threads of a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StacksWorker {
    /// Place of the worker.
    pub slot: u32,
    /// Which worker in that slot.
    pub generation: u32,
    /// Its process.
    pub pid: u32,
    /// Where it is in its life: a word of [`WorkerState`](crate::WorkerState).
    pub state: String,
    /// Why it shows no stacks, where it does not.
    pub silence: Option<String>,
    /// Requests inside it, those past their time first, then the longest-running.
    pub busy: Vec<StacksBusy>,
    /// Threads that wait for a request.
    pub idle: u32,
    /// Threads that take no requests, the main thread among them.
    pub others: Vec<StacksThread>,
}

/// A request, with the thread that it is on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StacksBusy {
    /// Its id.
    pub id: String,
    /// Its method.
    pub method: String,
    /// Path and query, at most 192 bytes.
    pub target: String,
    /// Host as the client sent it.
    pub host: String,
    /// Address of the client.
    pub client: String,
    /// How long it has been in the application.
    pub running_ms: u64,
    /// It is past its time.
    pub stuck: bool,
    /// The number of its thread, where the worker says so.
    pub tid: Option<u32>,
    /// The name of its thread, where the worker shows its stack.
    pub name: Option<String>,
    /// The stack of its thread, the most recent call first; empty where the worker shows none.
    pub frames: Vec<String>,
}

/// A thread without a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StacksThread {
    /// Its number, where the worker knows it.
    pub tid: Option<u32>,
    /// Its name.
    pub name: String,
    /// Its stack, the most recent call first.
    pub frames: Vec<String>,
}

/// Returns it as one JSON document.
///
/// # Panics
///
/// Never: there is nothing in it that JSON has no word for.
pub fn stacks_json(stacks: &Stacks) -> String {
    serde_json::to_string(stacks).expect("texts and whole numbers only")
}

/// Returns it as lines of plain text; with `all` also the threads that take no requests.
///
/// # Panics
///
/// Never: writing to a `String` cannot fail.
pub fn stacks_text(stacks: &Stacks, all: bool) -> String {
    let mut out = String::with_capacity(4_096);
    write_text(&mut out, stacks, all).expect("writing to a String cannot fail");
    out
}

fn write_text(out: &mut String, stacks: &Stacks, all: bool) -> fmt::Result {
    let moment = stacks.at.date_and_clock();
    writeln!(out, "pool {} at {moment} UTC", printable(&stacks.pool))?;
    if stacks.workers.is_empty() {
        writeln!(out, "no worker has a process")?;
    }
    for worker in &stacks.workers {
        write_worker(out, worker, all)?;
    }
    Ok(())
}

fn write_worker(out: &mut String, worker: &StacksWorker, all: bool) -> fmt::Result {
    let StacksWorker { slot, generation, pid, state, .. } = worker;
    writeln!(out, "\nworker {slot}-{generation}  pid {pid}  {}", printable(state))?;
    if let Some(silence) = &worker.silence {
        writeln!(out, "  no stacks: {}", printable(silence))?;
    }
    for busy in &worker.busy {
        writeln!(out, "  {}", printable(&busy.heading()))?;
        write_frames(out, &busy.frames)?;
    }
    if worker.silence.is_none() {
        writeln!(out, "  {}", waiting(worker.idle))?;
    }
    let others = if all { &worker.others[..] } else { &[] };
    for thread in others {
        writeln!(out, "  {}", printable(&thread.heading()))?;
        write_frames(out, &thread.frames)?;
    }
    match worker.others.len() {
        0 => Ok(()),
        _ if all => Ok(()),
        1 => writeln!(out, "  1 other thread; --all shows it"),
        count => writeln!(out, "  {count} other threads; --all shows them"),
    }
}

fn write_frames(out: &mut String, frames: &[String]) -> fmt::Result {
    frames.iter().try_for_each(|frame| writeln!(out, "      {}", printable(frame)))
}

/// As in `13 threads wait for a request`.
pub(crate) fn waiting(idle: u32) -> String {
    match idle {
        0 => "no thread waits for a request".to_owned(),
        1 => "1 thread waits for a request".to_owned(),
        _ => format!("{idle} threads wait for a request"),
    }
}

impl StacksBusy {
    /// As in `thread 4720 ostler-3: GET /slow for 3.2 s, stuck`.
    pub(crate) fn heading(&self) -> String {
        let tid = self.tid.map_or_else(|| "unknown".to_owned(), |tid| tid.to_string());
        let name = self.name.as_ref().map_or_else(String::new, |name| format!(" {name}"));
        let stuck = if self.stuck { ", stuck" } else { "" };
        let (method, target, age) = (&self.method, &self.target, duration(self.running_ms));
        format!("thread {tid}{name}: {method} {target} for {age}{stuck}")
    }
}

impl StacksThread {
    /// As in `thread 4711 main`.
    pub(crate) fn heading(&self) -> String {
        let tid = self.tid.map_or_else(String::new, |tid| format!(" {tid}"));
        format!("thread{tid} {}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_shows_who_does_what_and_who_says_nothing() {
        let expected = "\
pool web at 2026-01-31 14:03:12 UTC

worker 0-1  pid 4711  ready
  thread 4720 ostler-3: GET /slow?\\u{1b} for 3.2 s, stuck
      File \"views.py\", line 12 in slow
      File \"wsgi.py\", line 3 in __call__
  thread unknown: GET /other for 12 ms
  13 threads wait for a request
  2 other threads; --all shows them

worker 1-2  pid 4712  draining
  no stacks: it did not answer within 2s
";
        assert_eq!(stacks_text(&sample(), false), expected);
        let others = "  thread 4711 main\n      File \"a.py\", line 1 in wait\n  thread mailer\n";
        let all = stacks_text(&sample(), true);
        assert!(all.contains(others) && !all.contains("--all"), "{all}");
    }

    #[test]
    fn a_document_comes_back_as_it_was() {
        let read: Stacks = serde_json::from_str(&stacks_json(&sample())).unwrap();
        assert_eq!(read, sample());
    }

    fn sample() -> Stacks {
        let busy = StacksBusy {
            method: "GET".to_owned(),
            target: "/slow?\u{1b}".to_owned(),
            running_ms: 3_200,
            stuck: true,
            tid: Some(4720),
            name: Some("ostler-3".to_owned()),
            frames: frames(&[
                "File \"views.py\", line 12 in slow",
                "File \"wsgi.py\", line 3 in __call__",
            ]),
            ..StacksBusy::default()
        };
        let unknown = StacksBusy {
            method: "GET".to_owned(),
            target: "/other".to_owned(),
            running_ms: 12,
            ..StacksBusy::default()
        };
        let main = StacksThread {
            tid: Some(4711),
            name: "main".to_owned(),
            frames: frames(&["File \"a.py\", line 1 in wait"]),
        };
        let mailer = StacksThread { name: "mailer".to_owned(), ..StacksThread::default() };
        let talking = StacksWorker {
            generation: 1,
            pid: 4711,
            state: "ready".to_owned(),
            busy: vec![busy, unknown],
            idle: 13,
            others: vec![main, mailer],
            ..StacksWorker::default()
        };
        let silent = StacksWorker {
            slot: 1,
            generation: 2,
            pid: 4712,
            state: "draining".to_owned(),
            silence: Some("it did not answer within 2s".to_owned()),
            ..StacksWorker::default()
        };
        let at = "2026-01-31T14:03:12Z".parse().unwrap();
        Stacks { pool: "web".to_owned(), at, workers: vec![talking, silent] }
    }

    fn frames(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|&line| line.to_owned()).collect()
    }
}
