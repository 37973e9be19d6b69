//! The error log of a stack: lines as they come, and what they say.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Lines of the error log, as far as they have come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<LogState>>);

#[derive(Debug, Default)]
struct LogState {
    lines: Vec<String>,
    is_ended: bool,
}

impl Log {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).lines.clone()
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_ended
    }
}

impl std::fmt::Display for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.lines().iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// The name of the event that a line of the error log is about.
pub fn event(line: &str) -> Option<&str> {
    line.split_ascii_whitespace().nth(2)
}

/// The value of `key=` in a line of the error log, up to the next space.
pub fn field<'line>(line: &'line str, key: &str) -> Option<&'line str> {
    let mut words = line.split_ascii_whitespace();
    words.find_map(|word| word.strip_prefix(key)?.strip_prefix('=')).map(|v| v.trim_matches('"'))
}

pub(crate) async fn collect(errors: impl AsyncRead + Unpin, log: Log) {
    let mut lines = BufReader::new(errors).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        log.0.lock().unwrap_or_else(PoisonError::into_inner).lines.push(line);
    }
    log.0.lock().unwrap_or_else(PoisonError::into_inner).is_ended = true;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_has_an_event_and_fields() {
        let line = "2026-01-01T00:00:00.000Z INFO listener_bound name=public address=\"[::1]:8\"";
        assert_eq!(event(line), Some("listener_bound"));
        assert_eq!(field(line, "name"), Some("public"));
        assert_eq!(field(line, "address"), Some("[::1]:8"));
        assert_eq!(field(line, "port"), None);
    }
}
