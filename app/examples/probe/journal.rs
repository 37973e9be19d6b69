//! The application's own word on what it ran: a line for each request, in the file that
//! `PROBE_JOURNAL` names. Tests compare it with what clients were told.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::OnceLock;

use http::HeaderValue;
use http::request::Parts;

static JOURNAL: OnceLock<Option<File>> = OnceLock::new();

/// Writes the id of a request that begins to run. One write a line: it is whole, or not there.
pub(crate) fn note(head: &Parts) {
    let journal = JOURNAL.get_or_init(|| {
        let path = std::env::var_os("PROBE_JOURNAL")?;
        OpenOptions::new().append(true).create(true).open(path).ok()
    });
    if let Some(mut journal) = journal.as_ref() {
        let id = head.headers.get("x-request-id").map(HeaderValue::as_bytes).unwrap_or_default();
        let line = [id, b"\n"].concat();
        // A journal that cannot be written shows in the test that reads it.
        let _missing = journal.write_all(&line);
    }
}
