//! Threads of another process, as `/proc` shows them. What it does not show is left out: the
//! kernel's stack is for root, the system call for who may trace the process.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

use super::ThreadTrace;

/// Bytes read of any file: none that is wanted is longer.
const MAX_FILE: u64 = 4 * 1024;

/// Frames of a stack: the innermost say what is waited for.
const MAX_FRAMES: usize = 12;

/// Bytes of a text that is kept. A name has 15, a system call up to 150.
const MAX_TEXT: usize = 160;

/// One thread of a process; `None` if it has none of this number.
pub(super) fn trace(pid: Pid, tid: u32) -> Option<ThreadTrace> {
    trace_in(&folder(pid).join(tid.to_string()), tid)
}

/// The first threads of a process.
pub(super) fn all(pid: Pid, most: usize) -> Vec<ThreadTrace> {
    let Ok(entries) = fs::read_dir(folder(pid)) else { return Vec::new() };
    let tids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    tids.filter_map(|tid| trace(pid, tid)).take(most).collect()
}

fn folder(pid: Pid) -> PathBuf {
    PathBuf::from(format!("/proc/{}/task", pid.as_raw_pid()))
}

fn trace_in(folder: &Path, tid: u32) -> Option<ThreadTrace> {
    let (name, state) = name_and_state(&read(&folder.join("stat"))?)?;
    // "0" is said of a thread that does not wait, and to who may not know.
    let wait_channel = read(&folder.join("wchan")).filter(|channel| channel.trim() != "0");
    let stack = read(&folder.join("stack")).unwrap_or_default();
    let frame = |line: &str| cut(line.strip_prefix("[<0>] ").unwrap_or(line));
    Some(ThreadTrace {
        tid,
        name,
        state,
        wait_channel: wait_channel.map(|channel| cut(&channel)),
        system_call: read(&folder.join("syscall")).map(|call| cut(&call)),
        frames: Vec::new(),
        stack: stack.lines().take(MAX_FRAMES).map(frame).collect(),
    })
}

/// Takes them from `TID (NAME) STATE …`, where a name may have blanks and brackets.
fn name_and_state(stat: &str) -> Option<(String, String)> {
    let (before, after) = stat.rsplit_once(')')?;
    let name = before.split_once('(')?.1;
    Some((cut(name), cut(after.split_whitespace().next()?)))
}

fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Some(text).filter(|text| !text.trim().is_empty())
}

fn cut(text: &str) -> String {
    let text = text.trim();
    text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_anything_in_it() {
        check("7 (a) S 1 7", Some(("a", "S")));
        check("7 (a) S (b c)) R 1 7", Some(("a) S (b c)", "R")));
        check("7 () D 1", Some(("", "D")));
        check("7 a S", None);
        check("", None);
    }

    /// The files of a thread that waits, as root sees them.
    #[test]
    fn a_thread_is_told_by_what_its_files_say() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            ("stat", "7 (ostler-0) S 1 7 7"),
            ("wchan", "futex_wait_queue"),
            ("syscall", "202 0x7f0 0x80 0x0 0x0 0x0 0x0 0x7ff 0x7f1\n"),
            ("stack", "[<0>] futex_wait_queue+0x60/0x90\n[<0>] do_futex+0xa0/0x170\n"),
        ];
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let thread = trace_in(folder.path(), 7).unwrap();
        assert_eq!((thread.name.as_str(), thread.state.as_str()), ("ostler-0", "S"));
        assert_eq!(thread.wait_channel.unwrap(), "futex_wait_queue");
        assert!(thread.system_call.unwrap().starts_with("202 0x7f0"));
        assert_eq!(thread.stack, ["futex_wait_queue+0x60/0x90", "do_futex+0xa0/0x170"]);
        assert_eq!(trace_in(&folder.path().join("gone"), 8), None);
    }

    #[track_caller]
    fn check(stat: &str, expected: Option<(&str, &str)>) {
        let expected = expected.map(|(name, state)| (name.to_owned(), state.to_owned()));
        assert_eq!(name_and_state(stat), expected, "{stat}");
    }
}
