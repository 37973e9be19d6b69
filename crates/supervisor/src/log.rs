//! The error log: one line an event, `TIMESTAMP LEVEL event key=value …`.
//!
//! The message of a `tracing` event is its name, so `info!(name, "listener_bound")`. A value with
//! spaces, quotes or control characters is quoted, so that no worker can forge a line. The proxy
//! process logs to its standard error in the same form; the supervisor writes those lines on
//! unchanged, so that one process owns the file and can reopen it.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use ostler_conf::{ErrorLogConfig, Level, LogPath};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Registry, reload};

/// Mode of a log file that is created: logs may hold what visitors would not want read.
const MODE: u32 = 0o640;

static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    target: Mutex<Target>,
    level: reload::Handle<LevelFilter, Registry>,
}

enum Target {
    StandardError,
    File { path: PathBuf, file: File },
}

/// Starts logging to standard error, at level `info`. Later calls do nothing.
pub fn start() {
    let (level, handle) = reload::Layer::new(LevelFilter::INFO);
    let log = Log { target: Mutex::new(Target::StandardError), level: handle };
    if LOG.set(log).is_err() {
        return;
    }
    let layer = tracing_subscriber::fmt::layer().event_format(Plain).with_writer(ToTarget);
    let installed =
        tracing::subscriber::set_global_default(Registry::default().with(level).with(layer));
    debug_assert!(installed.is_ok(), "only `start` installs a subscriber");
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
    let target = match &config.path {
        LogPath::Standard => Target::StandardError,
        LogPath::File(path) => Target::File { path: path.clone(), file: open(path)? },
    };
    set_level(config.level);
    if let Some(log) = LOG.get() {
        *log.lock() = target;
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
    write(&bytes);
}

/// Writes to the log. What fails is lost: there is nobody left to tell.
fn write(bytes: &[u8]) {
    let Some(log) = LOG.get() else { return };
    let lost = match &mut *log.lock() {
        Target::StandardError => io::stderr().lock().write_all(bytes),
        Target::File { file, .. } => file.write_all(bytes),
    };
    drop(lost);
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Target> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StandardError => f.write_str("standard error"),
            Self::File { path, .. } => path.fmt(f),
        }
    }
}

struct ToTarget;

impl<'a> MakeWriter<'a> for ToTarget {
    type Writer = ToTargetWriter;

    fn make_writer(&'a self) -> Self::Writer {
        ToTargetWriter
    }
}

struct ToTargetWriter;

impl Write for ToTargetWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write(bytes);
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
            self.fields.push(' ');
            self.fields.push_str(field.name());
            self.fields.push('=');
            push_value(&mut self.fields, value);
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
