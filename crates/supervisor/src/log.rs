//! The error log: one line an event, `TIMESTAMP LEVEL event key=value …`.
//!
//! The message of a `tracing` event is its name, so `info!(name, "listener_bound")`. A value with
//! spaces, quotes or control characters is quoted, so that no worker can forge a line. The proxy
//! process logs to its standard error in the same form; the supervisor writes those lines on
//! unchanged, so that one process owns the file and can reopen it.
//!
//! Logging never waits: a thread writes (`writer`), and [`finish`] waits for it at the end.

mod writer;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use ostler_conf::{ErrorLogConfig, Level, LogPath};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Registry, reload};

use self::writer::{Origin, Target, Writer as LineWriter};

/// Mode of a log file that is created: logs may hold what visitors would not want read.
const MODE: u32 = 0o640;

static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    writer: LineWriter,
    level: reload::Handle<LevelFilter, Registry>,
}

/// Starts logging to standard error, at level `info`. Later calls do nothing.
pub fn start() {
    if LOG.get().is_some() {
        return;
    }
    let writer = match LineWriter::start(Box::new(io::stderr()), dropped_line) {
        Ok(writer) => writer,
        Err(error) => {
            // Without a thread there is no log, and nobody else to tell.
            drop(writeln!(io::stderr(), "ostler: nothing is logged: {error}"));
            return;
        }
    };
    let (level, handle) = reload::Layer::new(LevelFilter::INFO);
    if LOG.set(Log { writer, level: handle }).is_err() {
        return;
    }
    let layer = tracing_subscriber::fmt::layer().event_format(Plain).with_writer(ToWriter);
    let installed =
        tracing::subscriber::set_global_default(Registry::default().with(level).with(layer));
    debug_assert!(installed.is_ok(), "only `start` installs a subscriber");
}

/// Waits until every line is written, but no longer than `limit`.
pub fn finish(limit: Duration) {
    if let Some(log) = LOG.get() {
        log.writer.finish(limit);
    }
}

/// Logs from `level` up.
pub fn set_level(level: Level) {
    let filter = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    if let Some(log) = LOG.get() {
        let changed = log.level.modify(|current| *current = filter);
        debug_assert!(changed.is_ok(), "the subscriber lives as long as the process");
    }
}

/// Follows the configuration: level and file. Opens the file anew, so this also reopens it.
///
/// # Errors
///
/// If the file cannot be opened; then everything stays as it is.
pub(crate) fn follow(config: &ErrorLogConfig) -> io::Result<()> {
    let target: Target = match &config.path {
        LogPath::Standard => Box::new(io::stderr()),
        LogPath::File(path) => Box::new(open(path)?),
    };
    set_level(config.level);
    if let Some(log) = LOG.get() {
        log.writer.switch(target);
    }
    Ok(())
}

/// Opens a log file for appending.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(MODE).open(path)
}

/// Writes a line that another process of ours has formatted already.
pub(crate) fn raw(line: &str) {
    let mut bytes = Vec::with_capacity(line.len() + 1);
    bytes.extend(line.bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte }));
    bytes.push(b'\n');
    write(bytes, Origin::Printed);
}

/// Writes a line that a worker printed, whatever the level: it is the application's log, and
/// which of its lines matter is not known here.
pub(crate) fn worker_output(pool: &str, slot: u32, stream: &str, line: &str) {
    let mut fields = String::new();
    for (name, value) in [("pool", pool), ("slot", &slot.to_string()), ("stream", stream)] {
        push_field(&mut fields, name, value);
    }
    push_field(&mut fields, "line", line);
    let now = jiff::Timestamp::now();
    write(format!("{now:.3} INFO worker_output{fields}\n").into_bytes(), Origin::Printed);
}

fn dropped_line(count: u64) -> Vec<u8> {
    let now = jiff::Timestamp::now();
    format!("{now:.3} WARN log_lines_dropped count={count}\n").into_bytes()
}

fn write(line: Vec<u8>, origin: Origin) {
    if let Some(log) = LOG.get() {
        log.writer.write(line, origin);
    }
}

struct ToWriter;

impl MakeWriter<'_> for ToWriter {
    type Writer = OneLine;

    fn make_writer(&self) -> Self::Writer {
        OneLine
    }
}

/// Takes an event, which the layer writes in one piece.
struct OneLine;

impl Write for OneLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write(bytes.to_vec(), Origin::Own);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut parts = Parts::default();
        event.record(&mut parts);
        let now = jiff::Timestamp::now();
        let level = event.metadata().level();
        writeln!(writer, "{now:.3} {level} {}{}", parts.name, parts.fields)
    }
}

/// The name of an event, and its fields as ` key=value …`.
#[derive(Default)]
struct Parts {
    name: String,
    fields: String,
}

impl Parts {
    fn add(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.name);
        } else {
            push_field(&mut self.fields, field.name(), value);
        }
    }
}

impl Visit for Parts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

/// Adds ` name=value`.
fn push_field(text: &mut String, name: &str, value: &str) {
    text.push(' ');
    text.push_str(name);
    text.push('=');
    push_value(text, value);
}

/// Adds a value, in quotes where it could not be told from what follows.
fn push_value(text: &mut String, value: &str) {
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '"' && c != '=';
    if !value.is_empty() && value.chars().all(is_plain) {
        text.push_str(value);
        return;
    }
    text.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_where_they_need_it_and_never_break_the_line() {
        check("web", "web");
        check("127.0.0.1:80", "127.0.0.1:80");
        check("/srv/ä", "/srv/ä");
        check("", r#""""#);
        check("signal 9", r#""signal 9""#);
        check("a=b", r#""a=b""#);
        check("say \"hi\"", r#""say \"hi\"""#);
        check("a\nb\t\u{1b}[1m", r#""a\nb\t\u{1b}[1m""#);
    }

    #[track_caller]
    fn check(value: &str, expected: &str) {
        let mut text = String::new();
        push_value(&mut text, value);
        assert_eq!(text, expected);
    }
}
