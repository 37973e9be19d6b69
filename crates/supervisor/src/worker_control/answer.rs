//! Answers of a worker: `stacks ID LENGTH`, a newline, and so many bytes of JSON.
//!
//! A worker may say anything. Its answers are bounded before they are read, and what is kept of
//! them is cut to size and holds nothing that steers a terminal.

use std::io;

use serde::Deserialize;
use tokio::net::UnixStream;

use super::NoStacks;
use crate::stacks::ThreadStack;

/// Bytes of JSON in an answer.
const MAX_ANSWER: usize = 1024 * 1024;

/// Bytes of the line before it: two numbers of 20 digits, and a word.
const MAX_HEAD: usize = 64;

/// Bytes that are read at once.
const PIECE: usize = 64 * 1024;

/// Calls that are kept of a thread: as many as Python shows of one.
const MAX_FRAMES: usize = 100;

/// Bytes of a text that are kept.
const MAX_TEXT: usize = 512;

/// What has come so far of an answer.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    read: Vec<u8>,
}

impl Inbox {
    /// Waits for the answer to question `id`. Nothing is lost when the future is dropped.
    pub(super) async fn receive(
        &mut self,
        stream: &UnixStream,
        id: u64,
    ) -> Result<Vec<u8>, NoStacks> {
        loop {
            let (start, end) = match extent(&self.read, id)? {
                Extent::Known { start, end } if end <= self.read.len() => {
                    let rest = self.read.split_off(end);
                    let mut answer = std::mem::replace(&mut self.read, rest);
                    answer.drain(..start);
                    return Ok(answer);
                }
                Extent::Known { start, end } => (start, end),
                Extent::Unknown => (0, MAX_HEAD),
            };
            debug_assert!(self.read.len() < end && end <= start + MAX_ANSWER.max(MAX_HEAD));
            stream.readable().await.map_err(|_broken| NoStacks::Closed)?;
            let mut piece = vec![0; PIECE.min(end - self.read.len())];
            match stream.try_read(&mut piece) {
                Ok(0) => return Err(NoStacks::Closed),
                Ok(count) => self.read.extend_from_slice(piece.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_broken) => return Err(NoStacks::Closed),
            }
        }
    }
}

/// Where the JSON of an answer is in what has come.
#[derive(Debug, PartialEq, Eq)]
enum Extent {
    /// The line before it has not come yet.
    Unknown,
    Known {
        start: usize,
        end: usize,
    },
}

fn extent(read: &[u8], id: u64) -> Result<Extent, NoStacks> {
    let head = read.get(..MAX_HEAD).unwrap_or(read);
    let Some(length) = head.iter().position(|&byte| byte == b'\n') else {
        let is_whole = MAX_HEAD <= read.len();
        return if is_whole { Err(garbled("a line without an end")) } else { Ok(Extent::Unknown) };
    };
    let line = head.get(..length).and_then(|line| std::str::from_utf8(line).ok());
    let numbers = line.and_then(|line| line.strip_prefix("stacks ")?.split_once(' '));
    let Some((named, length_of_json)) = numbers else {
        return Err(garbled("a line that is not `stacks ID LENGTH`"));
    };
    if named.parse() != Ok(id) {
        return Err(garbled("an answer to no question"));
    }
    let start = length + 1;
    match length_of_json.parse::<usize>() {
        Ok(bytes) if bytes <= MAX_ANSWER => Ok(Extent::Known { start, end: start + bytes }),
        Ok(_) => Err(garbled("more than 1 MiB")),
        Err(_not_a_number) => Err(garbled("a length that is no number")),
    }
}

fn garbled(why: &str) -> NoStacks {
    NoStacks::Garbled(why.to_owned())
}

#[derive(Deserialize)]
struct Document {
    threads: Vec<Thread>,
}

#[derive(Deserialize)]
struct Thread {
    tid: Option<u32>,
    name: String,
    frames: Vec<String>,
}

/// Reads the JSON of an answer.
pub(super) fn decode(document: &[u8]) -> Result<Vec<ThreadStack>, NoStacks> {
    let document: Document =
        serde_json::from_slice(document).map_err(|error| garbled(&error.to_string()))?;
    let kept = |thread: Thread| ThreadStack {
        tid: thread.tid,
        name: clean(&thread.name),
        frames: thread.frames.iter().take(MAX_FRAMES).map(|frame| clean(frame)).collect(),
    };
    Ok(document.threads.into_iter().map(kept).collect())
}

/// The beginning of a text, without control characters.
fn clean(text: &str) -> String {
    let kept = text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default();
    kept.chars().filter(|character| !character.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_before_an_answer_says_how_long_it_is() {
        let known = |start, end| Ok(Extent::Known { start, end });
        let err = |why| Err(garbled(why));
        check("", &Ok(Extent::Unknown));
        check("stacks 7", &Ok(Extent::Unknown));
        check("stacks 7 14\n", &known(12, 26));
        check("stacks 7 0\nand more", &known(11, 11));
        check("stacks 7 1048576\n", &known(17, 17 + 1_048_576));
        check("stacks 7 1048577\n", &err("more than 1 MiB"));
        check("stacks 7 -1\n", &err("a length that is no number"));
        check("stacks 7 99999999999999999999999\n", &err("a length that is no number"));
        check("stacks 8 14\n", &err("an answer to no question"));
        check("stacks 7\n", &err("a line that is not `stacks ID LENGTH`"));
        check("\n", &err("a line that is not `stacks ID LENGTH`"));
        check("HTTP/1.1 200 OK\r\n", &err("a line that is not `stacks ID LENGTH`"));
        check(&"x".repeat(MAX_HEAD), &err("a line without an end"));
    }

    #[track_caller]
    fn check(read: &str, expected: &Result<Extent, NoStacks>) {
        assert_eq!(&extent(read.as_bytes(), 7), expected, "{read:?}");
    }

    #[test]
    fn what_is_kept_of_an_answer_is_cut_and_steers_no_terminal() {
        let frames: Vec<String> = (0..200).map(|_| "a\u{1b}[2J\u{9b}b\n".repeat(200)).collect();
        let text = serde_json::json!({ "threads": [
            { "tid": 7, "name": "ostler-0\u{7}", "frames": frames, "more": [1] },
            { "tid": null, "name": "", "frames": [] },
        ]});
        let threads = decode(text.to_string().as_bytes()).unwrap();
        assert_eq!((threads[0].tid, threads[0].name.as_str()), (Some(7), "ostler-0"));
        assert_eq!(threads[0].frames.len(), MAX_FRAMES);
        let frame = &threads[0].frames[0];
        assert!(frame.starts_with("a[2Jb") && frame.len() <= MAX_TEXT, "{frame}");
        assert_eq!(threads[1], ThreadStack { tid: None, name: String::new(), frames: vec![] });
    }

    #[test]
    fn what_is_no_answer_is_said_so() {
        let deep = "[".repeat(100_000);
        for text in ["", "{}", "[]", r#"{"threads":[{"tid":-1,"name":"","frames":[]}]}"#, &deep] {
            assert!(matches!(decode(text.as_bytes()), Err(NoStacks::Garbled(_))), "{text:.40}");
        }
    }
}
