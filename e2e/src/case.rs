//! Case files: raw requests with the exact answers they must get.
//!
//! A file is a header, a line `---`, and the bytes to send:
//!
//! ```text
//! # Both framing fields in one request
//! rfc: 9112 §6.3
//! why: the two ends of the connection could disagree about where the body ends
//! expect: 400 bad-request close
//! ---
//! POST /echo HTTP/1.1\r\n
//! Host: a.example\r\n
//! Content-Length: 5\r\n
//! Transfer-Encoding: chunked\r\n
//! \r\n
//! 0\r\n
//! \r\n
//! ```
//!
//! Header lines: `# ` starts the title; then `rfc`, `why`, `choice` (why this answer among those
//! the RFC allows), `then: half-close` (end our side after the last byte), and one `expect` for
//! each answer, in order: `STATUS [REASON] close|keep`, or `silence` for a connection that is
//! closed without an answer. More about the answer above them say `expect-field: NAME: VALUE`,
//! `expect-some-field: NAME`, `expect-no-field: NAME`, `expect-body: …` (all of it),
//! `expect-body-has: …`, `expect-body-lacks: …` and `expect-no-body:` (none follows the head).
//!
//! Bytes: the ends of lines are not part of the data, `\r\n` is. Escapes are `\r`, `\n`, `\t`,
//! `\\`, `\xHH`, and `\{TEXT*COUNT}` for repetition. Another `---` waits for one more answer
//! before the rest is sent.

use std::fmt;

/// One case: what is sent, and what must come back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    /// What the case is about, in a few words.
    pub title: String,
    /// The section that decides the answer, such as `9112 §6.3`.
    pub rfc: String,
    /// What could go wrong with another answer.
    pub why: String,
    /// Why this answer, where the RFC allows several.
    pub choice: Option<String>,
    /// The bytes, in the pieces between which an answer is awaited.
    pub pieces: Vec<Vec<u8>>,
    /// Whether our side of the connection ends after the last byte.
    pub half_close: bool,
    /// The answers, in order; none means silence.
    pub expected: Vec<Expected>,
}

/// One answer that a case must get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The status code; 1xx is an interim answer.
    pub status: u16,
    /// The reason word, for an answer that the proxy made because something was wrong.
    pub reason: Option<String>,
    /// Whether the connection stays open for another request.
    pub keep: bool,
    /// More that must hold.
    pub checks: Vec<Check>,
}

/// Something that must hold for an answer, besides its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// A field has exactly this value.
    Field(String, String),
    /// A field is not there.
    NoField(String),
    /// A field is there, whatever its value.
    SomeField(String),
    /// No body follows, whatever the head says about one: the request was HEAD.
    NoBody,
    /// The whole body.
    Body(Vec<u8>),
    /// The body contains this.
    BodyHas(Vec<u8>),
    /// The body does not contain this, in any case of letters.
    BodyLacks(Vec<u8>),
}

/// Why a case file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseError {
    /// The line, from 1; 0 when it is about the whole file.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for CaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl Case {
    /// Reads a case file.
    ///
    /// # Errors
    ///
    /// The first line that cannot be understood, or what is missing.
    pub fn parse(text: &str) -> Result<Self, CaseError> {
        let mut case = Self::default();
        let mut silence = false;
        let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
        for (number, line) in lines.by_ref() {
            if line == "---" {
                break;
            }
            silence |= case.header_line(line).map_err(|message| at(number, message))?;
        }
        let mut piece = Vec::new();
        for (number, line) in lines {
            if line == "---" {
                case.pieces.push(std::mem::take(&mut piece));
            } else {
                unescape(line, &mut piece).map_err(|message| at(number, message))?;
            }
        }
        case.pieces.push(piece);
        case.complete(silence).map_err(|message| at(0, message))?;
        Ok(case)
    }

    /// Takes in one line of the header; true when it was `expect: silence`.
    fn header_line(&mut self, line: &str) -> Result<bool, String> {
        if let Some(title) = line.strip_prefix("# ") {
            title.clone_into(&mut self.title);
            return Ok(false);
        }
        if line.is_empty() {
            return Ok(false);
        }
        let (key, value) = line.split_once(':').ok_or("neither `# title` nor `key: value`")?;
        let value = value.strip_prefix(' ').unwrap_or(value);
        match key {
            "rfc" => value.clone_into(&mut self.rfc),
            "why" => value.clone_into(&mut self.why),
            "choice" => self.choice = Some(value.to_owned()),
            "then" if value == "half-close" => self.half_close = true,
            "expect" if value == "silence" => return Ok(true),
            "expect" => self.expected.push(Expected::parse(value)?),
            _ => {
                let check = Check::parse(key, value)?;
                let last = self.expected.last_mut().ok_or("a check before the first `expect`")?;
                last.checks.push(check);
            }
        }
        Ok(false)
    }

    fn complete(&self, silence: bool) -> Result<(), String> {
        let missing = [
            (self.title.is_empty(), "no title"),
            (self.rfc.is_empty(), "no `rfc`"),
            (self.why.is_empty(), "no `why`"),
            (self.expected.is_empty() != silence, "needs either answers or `expect: silence`"),
            (
                self.pieces.len() > self.expected.len().max(1),
                "waits for more answers than expected",
            ),
        ];
        let closed_early = self.expected.iter().rev().skip(1).any(|answer| !answer.keep);
        match missing.iter().find(|(wrong, _)| *wrong) {
            Some((_, message)) => Err((*message).to_owned()),
            None if closed_early => Err("an answer after the one that closes".to_owned()),
            None => Ok(()),
        }
    }
}

impl Expected {
    fn parse(value: &str) -> Result<Self, String> {
        let words: Vec<&str> = value.split_ascii_whitespace().collect();
        let (status, reason, end) = match words[..] {
            [status, end] => (status, None, end),
            [status, reason, end] => (status, Some(reason.to_owned()), end),
            _ => return Err("`expect` is STATUS [REASON] close|keep".to_owned()),
        };
        let status = status.parse().map_err(|error| format!("status {status:?}: {error}"))?;
        let keep = match end {
            "keep" => true,
            "close" => false,
            _ => return Err(format!("{end:?} is neither `close` nor `keep`")),
        };
        Ok(Self { status, reason, keep, checks: Vec::new() })
    }
}

impl Check {
    fn parse(key: &str, value: &str) -> Result<Self, String> {
        let mut bytes = Vec::new();
        unescape(value, &mut bytes)?;
        match key {
            "expect-field" => {
                let (name, value) =
                    value.split_once(": ").ok_or("`expect-field` is NAME: VALUE")?;
                Ok(Self::Field(name.to_owned(), value.to_owned()))
            }
            "expect-some-field" => Ok(Self::SomeField(value.to_owned())),
            "expect-no-body" => Ok(Self::NoBody),
            "expect-no-field" => Ok(Self::NoField(value.to_owned())),
            "expect-body" => Ok(Self::Body(bytes)),
            "expect-body-has" => Ok(Self::BodyHas(bytes)),
            "expect-body-lacks" => Ok(Self::BodyLacks(bytes)),
            _ => Err(format!("unknown key {key:?}")),
        }
    }
}

fn at(line: usize, message: String) -> CaseError {
    CaseError { line, message }
}

/// Appends the bytes that an escaped line stands for.
fn unescape(line: &str, bytes: &mut Vec<u8>) -> Result<(), String> {
    let mut rest = line;
    while let Some((plain, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let kind = escape.chars().next().ok_or("a lone backslash at the end of the line")?;
        rest = &escape[kind.len_utf8()..];
        match kind {
            'r' => bytes.push(b'\r'),
            'n' => bytes.push(b'\n'),
            't' => bytes.push(b'\t'),
            '\\' => bytes.push(b'\\'),
            'x' => {
                let digits = rest.get(..2).ok_or("`\\x` needs two hexadecimal digits")?;
                let byte = u8::from_str_radix(digits, 16);
                bytes.push(byte.map_err(|error| format!("\\x{digits}: {error}"))?);
                rest = &rest[2..];
            }
            '{' => {
                let (inside, after) = rest.split_once('}').ok_or("`\\{` without `}`")?;
                let (text, count) = inside.rsplit_once('*').ok_or("`\\{TEXT*COUNT}` needs `*`")?;
                let count = count.parse().map_err(|error| format!("count {count:?}: {error}"))?;
                let mut once = Vec::new();
                unescape(text, &mut once)?;
                bytes.extend_from_slice(&once.repeat(count));
                rest = after;
            }
            _ => return Err(format!("unknown escape \\{kind}")),
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_file_gives_its_bytes_and_its_answers() {
        let text = "# Title\nrfc: 9112 §3\nwhy: because\nexpect: 100 keep\nexpect: 400 bad-request \
                    close\nexpect-field: allow: GET, HEAD\nexpect-body-has: a\\nb\nthen: \
                    half-close\n---\nGET / HTTP/1.1\\r\\n\n\\r\\n\n---\nbody\n";
        let case = Case::parse(text).unwrap();
        assert_eq!(case.title, "Title");
        assert_eq!(case.rfc, "9112 §3");
        assert_eq!(case.pieces, [b"GET / HTTP/1.1\r\n\r\n".to_vec(), b"body".to_vec()]);
        assert!(case.half_close);
        let interim = Expected { status: 100, reason: None, keep: true, checks: Vec::new() };
        let refused = Expected {
            status: 400,
            reason: Some("bad-request".to_owned()),
            keep: false,
            checks: vec![
                Check::Field("allow".to_owned(), "GET, HEAD".to_owned()),
                Check::BodyHas(b"a\nb".to_vec()),
            ],
        };
        assert_eq!(case.expected, [interim, refused]);
    }

    #[test]
    fn escapes_stand_for_bytes() {
        check(r"a\r\n\t\\b", Ok(b"a\r\n\t\\b"));
        check(r"\x00\xfFz", Ok(b"\x00\xffz"));
        check(r"<\{ab*3}>", Ok(b"<ababab>"));
        check(r"\{\r\n*2}", Ok(b"\r\n\r\n"));
        check(r"\{**2}", Ok(b"**"));
        check("  two spaces  ", Ok(b"  two spaces  "));
        check("é", Ok(&[0xc3, 0xa9]));
        check(r"\q", Err("unknown escape \\q"));
        check(r"\x0", Err("`\\x` needs two hexadecimal digits"));
        check(r"\{a*2", Err("`\\{` without `}`"));
        check("\\", Err("a lone backslash at the end of the line"));
    }

    #[test]
    fn a_case_file_that_says_too_little_is_refused() {
        refuse("rfc: 1\nwhy: w\nexpect: silence\n---\n", "line 0: no title");
        refuse("# t\nwhy: w\nexpect: silence\n---\n", "line 0: no `rfc`");
        refuse("# t\nrfc: 1\nexpect: silence\n---\n", "line 0: no `why`");
        refuse("# t\nrfc: 1\nwhy: w\n---\n", "line 0: needs either answers or `expect: silence`");
        refuse(
            "# t\nrfc: 1\nwhy: w\nexpect: 200 close\nexpect: 200 close\n---\n",
            "line 0: an answer after the one that closes",
        );
        refuse(
            "# t\nexpect: 400 bad-request\n",
            "line 2: \"bad-request\" is neither `close` nor `keep`",
        );
        refuse("# t\nexpected: 1\n", "line 2: unknown key \"expected\"");
        refuse("# t\nexpect-field: a: b\n", "line 2: a check before the first `expect`");
    }

    #[track_caller]
    fn check(line: &str, expected: Result<&[u8], &str>) {
        let mut bytes = Vec::new();
        let result = unescape(line, &mut bytes);
        match expected {
            Ok(expected) => assert_eq!((result, &bytes[..]), (Ok(()), expected), "{line:?}"),
            Err(message) => assert_eq!(result, Err(message.to_owned()), "{line:?}"),
        }
    }

    #[track_caller]
    fn refuse(text: &str, message: &str) {
        assert_eq!(Case::parse(text).unwrap_err().to_string(), message, "{text:?}");
    }
}
