//! A real browser: chromedriver on a port of its own, and the Chromium that it starts.

use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::DEADLINE;
use crate::binary::new_mark;
use crate::process::{self, MARK};

/// What chromedriver says in front of its port.
const STARTED: &str = "started successfully on port ";

/// A running chromedriver. Dropping it ends it and every browser that it started.
#[derive(Debug)]
pub struct Driver {
    mark: String,
    port: u16,
    /// Where the browsers keep what they would leave behind.
    _folder: TempDir,
    _child: Child,
}

impl Driver {
    /// Starts it, and waits until it listens.
    pub async fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mark = new_mark();
        let mut child = Command::new("chromedriver")
            .arg("--port=0")
            .env(MARK, &mark)
            .env("TMPDIR", folder.path())
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts; Debian's packages are chromium and chromium-driver");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let port = timeout(DEADLINE, async {
            loop {
                let line = lines.next_line().await.expect("it is text");
                let line = line.expect("chromedriver says on which port it listens");
                if let Some((_, port)) = line.split_once(STARTED) {
                    return port.trim_end_matches('.').parse().expect("a port");
                }
            }
        });
        let port = port.await.expect("chromedriver starts in time");
        Self { mark, port, _folder: folder, _child: child }
    }

    /// Where it takes commands.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let left = process::kill_marked(&self.mark);
        if !std::thread::panicking() {
            assert!(left.is_empty(), "cannot be killed: {left:#?}");
        }
    }
}
