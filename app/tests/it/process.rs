//! A worker as a process of its own: what it inherits, what it reports, how it is told to end.
//!
//! It is the example `probe`, which is built with these tests.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use ostler_app::ListenAddress;
use rustix::process::{Pid, Signal, kill_process};

use crate::client::{Client, PATIENCE};

#[test]
fn a_worker_takes_the_socket_it_inherits_reports_readiness_and_drains_on_term() {
    for mode in ["threads", "service"] {
        let folder = tempfile::tempdir().unwrap();
        let mut worker = Process::start(folder.path(), mode);

        let mut client = worker.connect();
        client.get("/whoami");
        let expected = format!("pid={} pool=web slot=1 generation=7\n", worker.child.id());
        assert_eq!(client.answer().text(), expected);

        worker.terminate();
        client.expect_end();
        assert!(worker.child.wait().unwrap().success(), "{mode}");
    }
}

#[test]
fn a_worker_drains_when_its_control_socket_says_so() {
    for mode in ["threads", "service"] {
        let folder = tempfile::tempdir().unwrap();
        let mut worker = Process::start(folder.path(), mode);
        let mut client = worker.connect();
        client.get("/");
        assert_eq!(client.answer().status, 200, "{mode}");

        worker.control.write_all(b"drain\n").unwrap();
        client.expect_end();
        assert!(worker.child.wait().unwrap().success(), "{mode}");
    }
}

#[test]
fn the_probe_does_what_its_paths_say_in_both_modes() {
    for mode in ["threads", "service"] {
        let folder = tempfile::tempdir().unwrap();
        let mut worker = Process::start(folder.path(), mode);
        let mut client = worker.connect();
        for (path, status, length) in [
            ("/", 200, 66),
            ("/sleep/1", 200, 66),
            ("/sleep/long", 200, 66),
            ("/bytes/100000", 200, 100_000),
            ("/stream/3/1", 200, 60),
            ("/stream/2/0", 200, 40),
            ("/status/404", 404, 14),
            ("/panic", 500, 26),
        ] {
            client.get(path);
            let answer = client.answer();
            assert_eq!((answer.status, answer.body.len()), (status, length), "{mode} {path}");
        }
        for status in [204, 304] {
            client.get(&format!("/status/{status}"));
            assert_eq!(client.answer().status, status, "{mode}");
        }
        client.send("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nhay");
        let answer = client.answer();
        assert_eq!(answer.text(), "hay", "{mode}");
        assert!(answer.has("content-type: application/octet-stream"), "{answer:?}");
        client.send("GET /head?a=b HTTP/1.1\r\nhost: a\r\nX-Note: hay\r\n\r\n");
        let expected = "GET /head?a=b HTTP/1.1\nhost: a\nx-note: hay\n";
        assert_eq!(client.answer().text(), expected, "{mode}");

        client.get("/abort");
        client.expect_end();
        assert!(!worker.child.wait().unwrap().success(), "{mode}");
    }
}

#[test]
fn an_environment_that_is_no_worker_s_is_refused_with_a_word_on_what_is_missing() {
    for (name, value, expected) in [
        ("OSTLER_POOL", "web", "no listening socket for this process"),
        ("OSTLER_THREADS", "many", "OSTLER_THREADS"),
        ("OSTLER_LISTEN", "8000", "OSTLER_LISTEN"),
    ] {
        let output = probe("threads").env(name, value).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(expected), "{name}: {text}");
    }
}

#[test]
fn started_by_hand_a_worker_says_where_it_listens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("by-hand.sock");
    let notify = bind_notify(folder.path());
    let mut child = probe("service")
        .env("OSTLER_LISTEN", format!("unix:{}", path.display()))
        .env("NOTIFY_SOCKET", folder.path().join("notify.sock"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    expect_ready(&notify);

    let mut client = Client::connect(&ListenAddress::Unix(path.clone()));
    client.get("/");
    assert_eq!(client.answer().body.len(), 66);

    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    let expected = format!("listening on unix:{} with 4 threads", path.display());
    assert!(text.contains(&expected), "{text}");
}

#[test]
fn a_log_that_nobody_reads_costs_no_thread() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, unread) = std::io::pipe().unwrap();
    drop(reader);
    let worker = Process::start_with(folder.path(), "threads", Stdio::from(unread));
    // More than there are threads.
    for _ in 0..3 {
        let mut client = worker.connect();
        client.get("/panic");
        assert_eq!(client.answer().status, 500);
    }
}

/// A probe that was started as Ostler starts a worker.
struct Process {
    child: Child,
    socket: PathBuf,
    control: UnixStream,
}

impl Process {
    /// Starts it and waits until it is ready.
    fn start(folder: &Path, mode: &str) -> Self {
        Self::start_with(folder, mode, Stdio::inherit())
    }

    fn start_with(folder: &Path, mode: &str, stderr: Stdio) -> Self {
        let socket = folder.join("worker.sock");
        let listener = OwnedFd::from(UnixListener::bind(&socket).unwrap());
        let notify = bind_notify(folder);
        let (control, theirs) = UnixStream::pair().unwrap();
        // The shell becomes the worker, so that LISTEN_PID is right.
        let mut command = Command::new("sh");
        command
            .args(["-c", "LISTEN_PID=$$ exec \"$0\""])
            .arg(probe(mode).get_program())
            .stderr(stderr)
            .env("PROBE_MODE", mode)
            .env("LISTEN_FDS", "1")
            .env("NOTIFY_SOCKET", folder.join("notify.sock"))
            .envs([("OSTLER_POOL", "web"), ("OSTLER_SLOT", "1"), ("OSTLER_GENERATION", "7")])
            .envs([("OSTLER_THREADS", "2"), ("OSTLER_CONCURRENCY", "4"), ("OSTLER_CONTROL", "4")])
            .fd_mappings(vec![
                FdMapping { parent_fd: listener, child_fd: 3 },
                FdMapping { parent_fd: theirs.into(), child_fd: 4 },
            ])
            .unwrap();
        let child = command.spawn().unwrap();
        expect_ready(&notify);
        Self { child, socket, control }
    }

    fn connect(&self) -> Client {
        Client::connect(&ListenAddress::Unix(self.socket.clone()))
    }

    fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended: then there is nothing to kill.
        drop(self.child.kill());
        self.child.wait().unwrap();
    }
}

fn probe(mode: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().with_file_name("examples").join("probe");
    let mut command = Command::new(program);
    command.env("PROBE_MODE", mode);
    command
}

fn bind_notify(folder: &Path) -> UnixDatagram {
    let notify = UnixDatagram::bind(folder.join("notify.sock")).unwrap();
    notify.set_read_timeout(Some(PATIENCE)).unwrap();
    notify
}

#[track_caller]
fn expect_ready(notify: &UnixDatagram) {
    let mut message = [0; 100];
    let length = notify.recv(&mut message).unwrap();
    assert_eq!(&message[..length], b"READY=1\n");
}
