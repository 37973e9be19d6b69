//! Conditional requests and ranges (RFC 9110 §13, §14), decided from a file's size and time.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

use ostler_policy::http::fields::members;
use ostler_policy::http::head::RequestHead;

/// What identifies one version of a file.
#[derive(Clone, Debug)]
pub(super) struct Validators {
    pub(super) etag: String,
    pub(super) last_modified: String,
    modified: SystemTime,
}

/// What a request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Whole,
    Range { start: u64, length: u64 },
    NotModified,
    Failed,
    Unsatisfiable,
}

impl Validators {
    /// A strong entity tag of inode, size and time to the nanosecond; changing a file in place
    /// twice within the clock's resolution is the only change it misses.
    pub(super) fn of(metadata: &Metadata) -> Self {
        let etag = format!(
            "\"{:x}-{:x}-{:x}{:08x}\"",
            metadata.ino(),
            metadata.size(),
            metadata.mtime(),
            metadata.mtime_nsec()
        );
        let seconds = u64::try_from(metadata.mtime()).unwrap_or(0);
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        Self { etag, last_modified: httpdate::fmt_http_date(modified), modified }
    }

    /// Evaluates the conditions in the order of RFC 9110 §13.2.2.
    pub(super) fn decide(&self, head: &RequestHead<'_>, size: u64) -> Outcome {
        if let Some(tags) = head.value("if-match") {
            if !self.matches(tags, true) {
                return Outcome::Failed;
            }
        } else if let Some(date) = date(head, "if-unmodified-since")
            && date < self.modified
        {
            return Outcome::Failed;
        }
        if let Some(tags) = head.value("if-none-match") {
            if self.matches(tags, false) {
                return Outcome::NotModified;
            }
        } else if let Some(date) = date(head, "if-modified-since")
            && self.modified <= date
        {
            return Outcome::NotModified;
        }
        match head.value("range") {
            Some(range) if head.method() == "GET" && self.range_applies(head) => {
                parse_range(range, size)
            }
            _ => Outcome::Whole,
        }
    }

    /// `If-Range`: the range counts only for the version that the client has (§13.1.5).
    fn range_applies(&self, head: &RequestHead<'_>) -> bool {
        match head.value("if-range") {
            None => true,
            Some(tag) if tag.starts_with(b"\"") => tag == self.etag.as_bytes(),
            Some(_) => date(head, "if-range") == Some(self.modified),
        }
    }

    /// Whether a list of entity tags names this version. A weak tag never matches strongly.
    fn matches(&self, tags: &[u8], is_strong: bool) -> bool {
        tags == b"*"
            || members(tags).any(|tag| {
                let tag = if is_strong { tag } else { tag.strip_prefix(b"W/").unwrap_or(tag) };
                tag == self.etag.as_bytes()
            })
    }
}

fn date(head: &RequestHead<'_>, name: &str) -> Option<SystemTime> {
    let text = std::str::from_utf8(head.value(name)?).ok()?;
    httpdate::parse_http_date(text).ok()
}

/// Reads one range of bytes. Several, another unit or a malformed one are ignored, which §14.2
/// allows: the client gets the whole.
fn parse_range(range: &[u8], size: u64) -> Outcome {
    let one = || {
        let text = std::str::from_utf8(range).ok()?;
        let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
        Some((number(first.trim_start())?, number(last.trim_end())?))
    };
    match one() {
        Some((Some(first), _)) if size <= first => Outcome::Unsatisfiable,
        Some((Some(first), Some(last))) if first <= last => {
            let end = last.saturating_add(1).min(size);
            Outcome::Range { start: first, length: end - first }
        }
        Some((Some(first), None)) => Outcome::Range { start: first, length: size - first },
        Some((None, Some(0))) => Outcome::Unsatisfiable,
        Some((None, Some(_))) if size == 0 => Outcome::Unsatisfiable,
        Some((None, Some(suffix))) => {
            let length = suffix.min(size);
            Outcome::Range { start: size - length, length }
        }
        Some((Some(_), Some(_)) | (None, None)) | None => Outcome::Whole,
    }
}

/// Digits, or nothing; anything else is malformed.
#[expect(clippy::option_option, reason = "malformed, absent and present are three things")]
fn number(digits: &str) -> Option<Option<u64>> {
    if digits.is_empty() {
        return Some(None);
    }
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| Some(digits.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use ostler_policy::http::head::{HeadIndex, HeadLimits};

    use super::*;

    const LIMITS: HeadLimits = HeadLimits { head_bytes: 8192, fields: 50, target_bytes: 100 };

    fn decide(fields: &str) -> Outcome {
        let validators = Validators {
            etag: "\"abc\"".to_owned(),
            last_modified: String::new(),
            modified: SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777),
        };
        let bytes = format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n");
        let mut index = HeadIndex::default();
        index.parse(bytes.as_bytes(), &LIMITS).unwrap();
        validators.decide(&index.head(bytes.as_bytes()), 100)
    }

    #[test]
    fn conditions_are_evaluated_as_rfc_9110_orders_them() {
        use Outcome::{Failed, NotModified, Whole};
        let same = "Sun, 06 Nov 1994 08:49:37 GMT";
        let later = "Sun, 06 Nov 1994 08:49:38 GMT";
        let earlier = "Sun, 06 Nov 1994 08:49:36 GMT";
        let check = |fields: &str, expected| assert_eq!(decide(fields), expected, "{fields}");
        check("a: b", Whole);
        check("if-none-match: \"abc\"", NotModified);
        check("if-none-match: \"x\", W/\"abc\"", NotModified);
        check("if-none-match: *", NotModified);
        check("if-none-match: \"x\"", Whole);
        check(&format!("if-none-match: \"x\"\r\nif-modified-since: {later}"), Whole);
        check(&format!("if-modified-since: {same}"), NotModified);
        check(&format!("if-modified-since: {earlier}"), Whole);
        check("if-modified-since: yesterday", Whole);
        check("if-match: \"abc\"", Whole);
        check("if-match: W/\"abc\"", Failed);
        check("if-match: \"x\"", Failed);
        check(&format!("if-unmodified-since: {earlier}"), Failed);
        check(&format!("if-unmodified-since: {same}"), Whole);
    }

    #[test]
    fn one_range_is_served_and_the_rest_ignored() {
        use Outcome::{Range, Unsatisfiable, Whole};
        let check = |range: &str, expected| {
            assert_eq!(decide(&format!("range: {range}")), expected, "{range}");
        };
        check("bytes=0-9", Range { start: 0, length: 10 });
        check("bytes=90-", Range { start: 90, length: 10 });
        check("bytes=-10", Range { start: 90, length: 10 });
        check("bytes=-1000", Range { start: 0, length: 100 });
        check("bytes=50-1000", Range { start: 50, length: 50 });
        check("bytes=0-18446744073709551615", Range { start: 0, length: 100 });
        check("bytes=0-99999999999999999999", Range { start: 0, length: 100 });
        check("bytes=99999999999999999999-5", Unsatisfiable);
        check("bytes=100-", Unsatisfiable);
        check("bytes=-0", Unsatisfiable);
        check("bytes=9-1", Whole);
        check("bytes=0-1,5-6", Whole);
        check("bytes=-", Whole);
        check("bytes=a-b", Whole);
        check("lines=0-1", Whole);
        check("bytes=0-1\r\nif-range: \"abc\"", Range { start: 0, length: 2 });
        check("bytes=0-1\r\nif-range: \"x\"", Whole);
    }
}
