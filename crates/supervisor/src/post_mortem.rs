//! What a worker was doing when it got stuck, was killed or crashed: written down while it can
//! still be read, and kept when the process is gone.
//!
//! A record is one event of the error log, and goes to the proxy process for the status page.
//! Everything in it is bounded: what a worker can write, its segment, its output and the names of
//! its threads, is cut to size and escaped where it is shown.

mod costs;
mod threads;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use ostler_segment::{Costs, Figures, RowState, Segment, SummarySnapshot};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use crate::message::{ToProxy, WorkerId};
use crate::output::Tail;
use crate::proxy::{Proxy, memory_file};
use crate::stacks::ThreadStack;
use crate::start::unix_ms;

/// Records kept of a pool: as many as an operator reads through.
const KEPT: usize = 16;

/// Requests of a record, those that are stuck first; and threads, where requests name none.
const MAX_REQUESTS: usize = 64;

/// Bytes of each long field of the event.
const MAX_FIELD: usize = 8 * 1024;

/// Calls of a thread: the most recent ones say what it does, those below them what asked for it.
const MAX_FRAMES: usize = 32;

/// Bytes of all calls of a record.
const MAX_STACKS: usize = 16 * 1024;

/// When a record was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// The proxy process reported stuck threads; nothing was done about them yet.
    Stuck,
    /// Its time to end was over, with requests inside it.
    Killed,
    /// It ended by itself, with requests inside it.
    Crashed,
}

/// What a worker was doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostMortem {
    /// When this was written down, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// What happened.
    pub moment: Moment,
    /// The worker.
    pub id: WorkerId,
    /// Its process.
    pub pid: u32,
    /// How it ended, where it has.
    pub exit: Option<String>,
    /// The requests inside it, at most 64, those past their time first.
    pub requests: Vec<HeldRequest>,
    /// How many more there were.
    pub requests_left_out: u32,
    /// Its threads, at most 64, where its requests do not say which one they are on.
    pub threads: Vec<ThreadTrace>,
    /// The last lines it printed: at most 20, and 4 KiB.
    pub output: Vec<String>,
    /// Resident memory of its process group when that was looked at last; `None`: it never was.
    pub rss_bytes: Option<u64>,
    /// Processor time of its process group by then, in microseconds.
    pub cpu_us: Option<u64>,
}

/// A request inside a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRequest {
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
    /// How long it had been in the application.
    pub age_ms: u64,
    /// Whether it was past its time.
    pub is_stuck: bool,
    /// Processor time it had used, in microseconds, where its worker tells.
    pub cpu_us: Option<u64>,
    /// What the application had reported of it.
    #[serde(with = "costs")]
    pub costs: Costs,
    /// The thread it is on, if the worker says so and the thread is there.
    pub thread: Option<ThreadTrace>,
}

/// A thread, as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadTrace {
    /// Its number.
    pub tid: u32,
    /// Its name.
    pub name: String,
    /// Its state, as `ps` shows it: `S` sleeps, `R` runs, `D` waits for a device.
    pub state: String,
    /// The place in the kernel where it waits.
    pub wait_channel: Option<String>,
    /// Number and arguments of the system call it is in, or `running`.
    pub system_call: Option<String>,
    /// Its stack in the kernel, where the kernel shows that: the innermost frame first.
    pub stack: Vec<String>,
    /// Its stack in the application, where the worker shows that: the most recent call first.
    pub frames: Vec<String>,
}

impl PostMortem {
    /// Writes down what a living worker is doing.
    pub(crate) fn of_living(moment: Moment, (id, pid): (&WorkerId, Pid), held: Held) -> Self {
        let mut record = Self::new(moment, (id, pid), held);
        let mut is_known = true;
        for (request, tid) in record.0.requests.iter_mut().zip(record.1) {
            request.thread = tid.and_then(|tid| threads::trace(pid, tid));
            is_known &= request.thread.is_some();
        }
        if !is_known {
            record.0.threads = threads::all(pid, MAX_REQUESTS);
        }
        record.0
    }

    /// Writes down what was inside a worker that ended.
    pub(crate) fn of_crashed(worker: (&WorkerId, Pid), held: Held, exit: String) -> Self {
        let (record, _threads) = Self::new(Moment::Crashed, worker, held);
        Self { exit: Some(exit), ..record }
    }

    fn new(moment: Moment, (id, pid): (&WorkerId, Pid), held: Held) -> (Self, Vec<Option<u32>>) {
        let (requests, tids) = held.requests.into_iter().unzip();
        let record = Self {
            at_unix_ms: unix_ms(),
            moment,
            id: id.clone(),
            pid: pid.as_raw_pid().unsigned_abs(),
            exit: None,
            requests,
            requests_left_out: held.left_out,
            threads: Vec::new(),
            output: held.output,
            rss_bytes: held.figures.map(|figures| figures.rss_bytes),
            cpu_us: held.figures.map(|figures| figures.cpu_us()),
        };
        (record, tids)
    }

    /// Adds what the worker says of its threads.
    pub(crate) fn with_stacks(mut self, stacks: &[ThreadStack]) -> Self {
        let mut room = MAX_STACKS;
        let of_requests = self.requests.iter_mut().filter_map(|held| held.thread.as_mut());
        for thread in of_requests.chain(&mut self.threads) {
            let Some(stack) = stacks.iter().find(|stack| stack.tid == Some(thread.tid)) else {
                continue;
            };
            let fits = |frame: &&String| {
                room = room.saturating_sub(frame.len());
                room != 0
            };
            thread.frames =
                stack.frames.iter().take(MAX_FRAMES).take_while(fits).cloned().collect();
        }
        self
    }

    /// Writes it to the error log, as one event.
    pub(crate) fn log(&self) {
        let WorkerId { pool, slot, generation } = &self.id;
        let event = match self.moment {
            Moment::Stuck => "worker_stuck",
            Moment::Killed => "worker_killed",
            Moment::Crashed => "worker_crashed",
        };
        let requests = joined(self.requests.iter().map(HeldRequest::line));
        let threads = some(joined(self.threads.iter().map(ThreadTrace::line)));
        let of_requests = self.requests.iter().filter_map(|held| held.thread.as_ref());
        let stacks = some(joined(of_requests.chain(&self.threads).filter_map(ThreadTrace::frames)));
        let output = some(joined(self.output.iter().cloned()));
        let (pid, exit, left_out) = (self.pid, self.exit.as_deref(), self.requests_left_out);
        let (rss_bytes, cpu_ms) = (self.rss_bytes, self.cpu_us.map(|us| us / 1_000));
        tracing::warn!(
            pool, slot, generation, pid, exit, rss_bytes, cpu_ms, requests, left_out, threads,
            stacks, output, "{event}"
        );
    }
}

impl HeldRequest {
    fn line(&self) -> String {
        let Self { id, method, target, host, client, age_ms, is_stuck, .. } = self;
        let mut line = format!(
            "id={id} {method} {target} host={host} client={client} age_ms={age_ms} stuck={is_stuck}"
        );
        let numbers = [
            ("cpu_ms", self.cpu_us.map(|us| us / 1_000)),
            ("db_queries", Some(self.costs.db_queries).filter(|&count| count != 0)),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                // A string grows.
                let _written = write!(line, " {name}={number}");
            }
        }
        if let Some(thread) = &self.thread {
            line.push(' ');
            line.push_str(&thread.line());
        }
        line
    }
}

impl ThreadTrace {
    /// Its stack in the application, in one line.
    fn frames(&self) -> Option<String> {
        let frames = some(self.frames.join(" < "))?;
        Some(format!("tid={} [{frames}]", self.tid))
    }

    fn line(&self) -> String {
        let mut line = format!("tid={} name={} state={}", self.tid, self.name, self.state);
        let stack = (!self.stack.is_empty()).then(|| self.stack.join(" < "));
        let parts = [
            ("wchan", self.wait_channel.as_ref()),
            ("syscall", self.system_call.as_ref()),
            ("stack", stack.as_ref()),
        ];
        for (name, value) in parts {
            if let Some(value) = value {
                // A string grows.
                let _written = write!(line, " {name}=[{value}]");
            }
        }
        line
    }
}

/// Joins what belongs into one field of an event.
fn joined(parts: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for part in parts {
        if !text.is_empty() {
            text.push_str(" | ");
        }
        text.push_str(&part);
    }
    if MAX_FIELD < text.len() {
        text.truncate(text.floor_char_boundary(MAX_FIELD));
        text.push_str("...");
    }
    text
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// What is inside a worker, read from its segment, with what it printed last.
#[derive(Debug)]
pub(crate) struct Held {
    /// Each with the thread it is on, as the worker says.
    requests: Vec<(HeldRequest, Option<u32>)>,
    left_out: u32,
    output: Vec<String>,
    figures: Option<Figures>,
}

impl Held {
    /// Reads it.
    pub(crate) fn read(segment: &Segment, output: &Tail) -> Self {
        let mut requests = held_requests(segment);
        let left_out = requests.len().saturating_sub(MAX_REQUESTS);
        requests.truncate(MAX_REQUESTS);
        let left_out = u32::try_from(left_out).unwrap_or(u32::MAX);
        Self { requests, left_out, output: output.lines(), figures: segment.figures() }
    }

    /// Returns whether no request is inside.
    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Takes what was printed since.
    pub(crate) fn with_output(self, output: &Tail) -> Self {
        Self { output: output.lines(), ..self }
    }
}

/// The requests inside a worker, each with the thread it is on, as the worker says: those past their
/// time first, then the longest-running.
pub(crate) fn held_requests(segment: &Segment) -> Vec<(HeldRequest, Option<u32>)> {
    let now = Duration::from_millis(unix_ms());
    let rows = segment.iter();
    let mut requests: Vec<_> = rows.filter_map(|row| request(&row.snapshot()?, now)).collect();
    requests.sort_by_key(|(held, _)| (!held.is_stuck, std::cmp::Reverse(held.age_ms)));
    requests
}

fn request(row: &ostler_segment::RowSnapshot, now: Duration) -> Option<(HeldRequest, Option<u32>)> {
    let request = row.request.as_ref()?;
    let started = Duration::from_micros(request.started_unix_us);
    let SummarySnapshot { id, method, target, host, client, .. } = request.summary.clone();
    let age_ms = u64::try_from(now.saturating_sub(started).as_millis()).unwrap_or(u64::MAX);
    let is_stuck = row.state == RowState::Stuck;
    let held = HeldRequest {
        id,
        method,
        target,
        host,
        client,
        age_ms,
        is_stuck,
        cpu_us: request.cpu_us,
        costs: request.costs,
        thread: None,
    };
    Some((held, Some(row.tid).filter(|&tid| tid != 0)))
}

/// The last records of each pool.
#[derive(Debug, Default)]
pub(crate) struct PostMortems {
    pools: BTreeMap<String, VecDeque<PostMortem>>,
}

impl PostMortems {
    /// Logs a record, keeps it, and shows it to the proxy process.
    pub(crate) fn add(&mut self, record: PostMortem, proxy: &mut Proxy) {
        record.log();
        let pool = record.id.pool.clone();
        let kept = self.pools.entry(pool.clone()).or_default();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(record);
        self.tell(&pool, proxy);
    }

    /// Tells the proxy process all records of a pool, if there are any.
    pub(crate) fn tell(&self, pool: &str, proxy: &mut Proxy) {
        let Some(kept) = self.pools.get(pool) else { return };
        let file = serde_json::to_string(kept).map_err(Into::into).and_then(|it| memory_file(&it));
        match file {
            Ok(file) => {
                proxy.tell(ToProxy::PostMortems { pool: pool.to_owned() }, vec![file]);
            }
            Err(error) => tracing::error!(pool, %error, "post_mortems_not_passed_on"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use ostler_segment::{Access, SegmentHead, Summary};

    use super::*;

    #[test]
    fn busy_rows_are_told_with_the_stuck_and_the_oldest_first() {
        let held = held(&[("young", 5, false), ("stuck", 3, true), ("old", 9, false)]);
        let ids: Vec<&str> = held.requests.iter().map(|(held, _)| held.id.as_str()).collect();
        assert_eq!(ids, ["stuck", "old", "young"]);
        assert!(held.requests.iter().all(|(held, _)| 3_000 <= held.age_ms), "{held:?}");
    }

    #[test]
    fn a_record_names_so_many_requests_and_counts_the_others() {
        let rows: Vec<(&str, u64, bool)> = (0..100).map(|_| ("r", 1, false)).collect();
        let record = crashed(held(&rows));
        assert_eq!((record.requests.len(), record.requests_left_out), (64, 36));
        assert!(joined(record.requests.iter().map(HeldRequest::line)).len() <= MAX_FIELD + 3);
    }

    #[test]
    fn a_pool_keeps_its_last_records() {
        let mut kept = PostMortems::default();
        let mut proxy = Proxy::new(crate::supervisor::now());
        for exit in 0..20 {
            kept.add(PostMortem { exit: Some(exit.to_string()), ..crashed(held(&[])) }, &mut proxy);
        }
        let exits: Vec<&str> =
            kept.pools["web"].iter().filter_map(|record| record.exit.as_deref()).collect();
        assert_eq!((exits.len(), exits[0], exits[15]), (16, "4", "19"));
    }

    #[test]
    fn a_living_process_is_told_with_its_threads() {
        let record = PostMortem::of_living(
            Moment::Stuck,
            (&id(), rustix::process::getpid()),
            held(&[("a", 1, true)]),
        );
        let own = rustix::thread::gettid().as_raw_pid().unsigned_abs();
        let this = record.threads.iter().find(|thread| thread.tid == own).unwrap();
        assert_eq!(this.state, "R", "{this:?}");
    }

    fn crashed(held: Held) -> PostMortem {
        PostMortem::of_crashed((&id(), rustix::process::getpid()), held, "signal 9".to_owned())
    }

    fn id() -> WorkerId {
        WorkerId { pool: "web".to_owned(), slot: 0, generation: 1 }
    }

    /// Rows with these ids, of this age in seconds, stuck or not; and one that is free.
    fn held(rows: &[(&str, u64, bool)]) -> Held {
        let count = u32::try_from(rows.len()).unwrap() + 1;
        let head =
            SegmentHead { pool: "web".to_owned(), slot: 0, generation: 1, rows: count, lanes: 0 };
        let file = Segment::create(&head).unwrap();
        let segment = Segment::map(file.as_fd(), Access::Write).unwrap();
        for (row, (id, age_s, is_stuck)) in segment.iter().zip(rows) {
            let ticket = row.claim(1).unwrap();
            assert!(row.describe(ticket, &Summary { id, ..Summary::default() }));
            assert!(row.start(ticket, 0, 0, (unix_ms() - age_s * 1_000) * 1_000));
            assert!(!is_stuck || row.mark_stuck(ticket));
        }
        Held::read(&segment, &Tail::default())
    }
}
