//! The access log: one line a request.
//!
//! Lines are gathered on each event loop and written by a thread of their own, so that a slow
//! disk or a reader that has stopped never holds up a request. When that thread is too far
//! behind, lines are dropped and counted.

use std::cell::RefCell;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use ostler_conf::AccessFormat;
use ostler_policy::decimal::write_decimal;
use ostler_policy::http::head::RequestHead;
use ostler_segment::Costs;

use crate::clock;
use crate::entry::Entry;
use crate::pool::Blame;
use crate::reason::Reason;

/// Lines of one event loop that are handed over at once.
const GATHER_BYTES: usize = 32 * 1024;
/// Batches that may wait for the disk: 32 MiB of lines at the most.
const BATCHES: usize = 1024;
/// How long a line waits for others.
pub(crate) const FLUSH_EVERY: Duration = Duration::from_millis(200);

thread_local! {
    static GATHERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Where lines are handed over.
#[derive(Debug)]
pub(crate) struct AccessLog {
    writer: SyncSender<Batch>,
    /// Where lines go; standard output while there is none.
    file: Arc<ArcSwapOption<File>>,
    /// Batches dropped because the writer was behind.
    dropped: AtomicU64,
}

/// What the writer is given.
#[derive(Debug)]
enum Batch {
    Lines(Vec<u8>),
    /// Says when everything before was written.
    Flush(SyncSender<()>),
}

/// The parts of a line that are not in the entry.
#[derive(Debug)]
pub(crate) struct Line<'l> {
    /// The request line, in pieces.
    pub(crate) request: [&'l str; 5],
    pub(crate) head: Option<RequestHead<'l>>,
    /// Bytes sent.
    pub(crate) sent: u64,
}

impl AccessLog {
    /// Starts the writer; lines go to standard output until a file is given.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (writer, batches) = sync_channel(BATCHES);
        let file = Arc::new(ArcSwapOption::empty());
        let thread = std::thread::Builder::new().name("access-log".to_owned());
        let its_file = Arc::clone(&file);
        thread.spawn(move || write_all(&batches, &its_file))?;
        Ok(Self { writer, file, dropped: AtomicU64::new(0) })
    }

    /// Writes to another file from here on.
    pub(crate) fn set_file(&self, file: OwnedFd) {
        self.file.store(Some(Arc::new(File::from(file))));
    }

    /// Adds the line of a request that has ended.
    pub(crate) fn write(&self, format: AccessFormat, entry: &Entry, line: &Line<'_>) {
        let is_full = GATHERED.with_borrow_mut(|gathered| {
            append(gathered, format, entry, line);
            GATHER_BYTES <= gathered.len()
        });
        if is_full {
            self.hand_over();
        }
    }

    /// Hands over what this event loop has gathered.
    pub(crate) fn hand_over(&self) {
        let lines = GATHERED.take();
        if !lines.is_empty() && self.writer.try_send(Batch::Lines(lines)).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if dropped.is_power_of_two() {
                tracing::error!(dropped, "access_log_lines_dropped");
            }
        }
    }

    /// Waits until everything that was handed over is written.
    pub(crate) fn flush(&self) {
        let (written, is_written) = sync_channel(1);
        let is_asked = self.writer.try_send(Batch::Flush(written)).is_ok();
        if is_asked && is_written.recv_timeout(Duration::from_secs(5)).is_err() {
            tracing::error!("access_log_not_flushed");
        }
    }
}

/// The writer: ends when nobody can send any more.
fn write_all(batches: &Receiver<Batch>, file: &ArcSwapOption<File>) {
    while let Ok(batch) = batches.recv() {
        match batch {
            Batch::Flush(written) => drop(written.try_send(())),
            Batch::Lines(lines) => {
                let outcome = match &*file.load() {
                    Some(file) => (&**file).write_all(&lines),
                    None => std::io::stdout().lock().write_all(&lines),
                };
                if let Err(error) = outcome {
                    tracing::error!(%error, "access_log_write_failed");
                }
            }
        }
    }
}

fn append(out: &mut Vec<u8>, format: AccessFormat, entry: &Entry, line: &Line<'_>) {
    let field = |name: &str| line.head.and_then(|head| head.value(name)).unwrap_or(b"-");
    match format {
        AccessFormat::Json => return append_json(out, entry, line),
        AccessFormat::Common | AccessFormat::Combined | AccessFormat::Extended => {}
    }
    out.extend_from_slice(entry.client.as_bytes());
    out.extend_from_slice(b" - - [");
    append_clf_time(out);
    out.extend_from_slice(b"] \"");
    for piece in line.request {
        append_plain(out, piece.as_bytes());
    }
    out.extend_from_slice(b"\" ");
    write_decimal(out, entry.status.into());
    out.push(b' ');
    write_decimal(out, line.sent);
    if format != AccessFormat::Common {
        for name in ["referer", "user-agent"] {
            out.extend_from_slice(b" \"");
            append_plain(out, field(name));
            out.push(b'"');
        }
    }
    if format == AccessFormat::Extended {
        let reason = entry.reason.map_or("-", |reason| reason.word());
        let pool = if entry.pool.is_empty() { "-" } else { &entry.pool };
        let route = entry.route.as_ref().map_or("-", |route| &route.quoted);
        for part in [" reason=", reason, " pool=", pool, " route=", route, " queue="] {
            out.extend_from_slice(part.as_bytes());
        }
        append_seconds(out, entry.queued);
        out.extend_from_slice(b" run=");
        append_seconds(out, entry.ran);
        append_queries(out, &entry.costs);
        if let Some(held) = &entry.held {
            append_held(out, held);
        }
        out.extend_from_slice(b" id=");
        out.extend_from_slice(entry.id.as_bytes());
    }
    out.push(b'\n');
}

fn append_json(out: &mut Vec<u8>, entry: &Entry, line: &Line<'_>) {
    let field = |name: &str| {
        line.head.and_then(|head| head.value(name)).map(|value| String::from_utf8_lossy(value))
    };
    let line = serde_json::json!({
        "time": Timestamp::now().to_string(),
        "client": entry.client,
        "request": line.request.concat(),
        "host": field("host"),
        "status": entry.status,
        "bytes_sent": line.sent,
        "referer": field("referer"),
        "user_agent": field("user-agent"),
        "site": entry.site,
        "route": entry.route.as_ref().map(|route| &*route.name),
        "pool": entry.pool,
        "reason": entry.reason.map(Reason::word),
        "queue_s": entry.queued.as_secs_f64(),
        "run_s": entry.ran.as_secs_f64(),
        "db_queries": entry.costs.db_queries,
        "db_s": Duration::from_micros(entry.costs.db_us).as_secs_f64(),
        "held": entry.held.as_ref().map(ToString::to_string),
        "duration_s": clock::now().saturating_duration_since(entry.started).as_secs_f64(),
        "id": entry.id,
    });
    out.extend_from_slice(line.to_string().as_bytes());
    out.push(b'\n');
}

/// ` db=20/53ms`: database queries, and their time, where the application reported any.
fn append_queries(out: &mut Vec<u8>, costs: &Costs) {
    if costs.db_queries == 0 {
        return;
    }
    out.extend_from_slice(b" db=");
    write_decimal(out, costs.db_queries);
    out.push(b'/');
    write_decimal(out, costs.db_us.saturating_add(500) / 1_000);
    out.extend_from_slice(b"ms");
}

/// ` held="…"`: who held the rows while the request waited. All that could end it early is in
/// names of routes, which are visible ASCII.
fn append_held(out: &mut Vec<u8>, held: &Blame) {
    out.extend_from_slice(b" held=\"");
    let text = held.to_string().replace('\\', "\\\\").replace('"', "\\\"");
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Seconds with six decimals.
fn append_seconds(out: &mut Vec<u8>, duration: Duration) {
    let rounded = duration.saturating_add(Duration::from_nanos(500));
    write_decimal(out, rounded.as_secs());
    // The digits of a million and something are a one and what is wanted.
    let digits = out.len();
    write_decimal(out, 1_000_000 + u64::from(rounded.subsec_micros()));
    if let Some(first) = out.get_mut(digits) {
        *first = b'.';
    }
}

/// `23/Nov/2026:13:02:11 +0000`, formatted once a second on each thread.
fn append_clf_time(out: &mut Vec<u8>) {
    thread_local! {
        static CACHED: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let second = clock::unix_now().as_secs();
    CACHED.with_borrow_mut(|(cached, text)| {
        if *cached != second {
            let time = Timestamp::from_second(i64::try_from(second).unwrap_or_default());
            let time = time.unwrap_or_default();
            *text = time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string();
            *cached = second;
        }
        out.extend_from_slice(text.as_bytes());
    });
}

/// Escapes as httpd does: nothing a client sends can end the field or the line.
fn append_plain(out: &mut Vec<u8>, text: &[u8]) {
    let is_plain = |byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    // Looks at all of it, without an end in between, so that it is many bytes at a time.
    if text.iter().fold(true, |plain, &byte| plain & is_plain(byte)) {
        out.extend_from_slice(text);
        return;
    }
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            byte => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: AccessFormat) -> String {
        let mut entry = Entry::new();
        entry.id = "42".to_owned();
        entry.client = "192.0.2.1".to_owned();
        entry.pool = "web".to_owned();
        entry.queued = Duration::from_millis(5);
        entry.fail(503, Reason::QueueFull);
        let line = Line { request: ["GET", " ", "/\"a\n", " ", "HTTP/1.1"], head: None, sent: 7 };
        let mut out = Vec::new();
        append(&mut out, format, &entry, &line);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_a_client_sends_can_forge_a_line() {
        let line = written(AccessFormat::Common);
        assert!(line.ends_with("] \"GET /\\\"a\\x0a HTTP/1.1\" 503 7\n"), "{line}");
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn the_extended_format_says_why_and_where() {
        let line = written(AccessFormat::Extended);
        let end =
            "\"-\" \"-\" reason=queue-full pool=web route=- queue=0.005000 run=0.000000 id=42\n";
        assert!(line.ends_with(end), "{line}");
    }

    #[test]
    fn queries_are_told_where_there_were_some() {
        let mut out = Vec::new();
        append_queries(&mut out, &Costs::default());
        append_queries(&mut out, &Costs { db_queries: 20, db_us: 53_500, ..Costs::default() });
        assert_eq!(String::from_utf8(out).unwrap(), " db=20/54ms");
    }

    #[test]
    fn who_held_the_rows_cannot_end_its_field() {
        let held = Blame::of_route("/a\"b\\c", (3, Duration::from_secs(6)), 4);
        let mut out = Vec::new();
        append_held(&mut out, &held);
        let line = String::from_utf8(out).unwrap();
        assert_eq!(line, r#" held="3 of 4 threads: 3 × /a\"b\\c (median age 6 s)""#);
    }

    #[test]
    fn seconds_have_six_decimals_and_are_rounded() {
        for (nanos, expected) in [
            (0, "0.000000"),
            (1_499, "0.000001"),
            (1_500, "0.000002"),
            (999_999_500, "1.000000"),
            (61_000_020_000, "61.000020"),
        ] {
            let mut out = Vec::new();
            append_seconds(&mut out, Duration::from_nanos(nanos));
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn json_lines_parse() {
        let line: serde_json::Value = serde_json::from_str(&written(AccessFormat::Json)).unwrap();
        assert_eq!(line["reason"], "queue-full");
        assert_eq!(line["request"], "GET /\"a\n HTTP/1.1");
    }
}
