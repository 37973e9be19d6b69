//! A terminal with a program in it: what it shows, what is typed, and how it is left.

use std::io::{Read as _, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use tokio::time::{Instant, interval};

use crate::binary::built;
use crate::process::MARK;
use crate::wait::until;
use crate::{DEADLINE, POLL, Stack};

type Screen = Arc<Mutex<vt100::Parser>>;

/// Our side of a terminal.
struct Line {
    keys: Box<dyn Write + Send>,
    master: Box<dyn MasterPty + Send>,
}

/// A program of a stack in a terminal of its own.
pub struct Terminal {
    screen: Screen,
    /// Until it is hung up.
    line: Option<Line>,
    is_hung_up: Arc<AtomicBool>,
    child: Box<dyn Child + Send + Sync>,
    /// How the terminal was before the program ran, as its driver tells it.
    before: String,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Terminal").field("child", &self.child).finish_non_exhaustive()
    }
}

impl Terminal {
    /// Runs `ostler COMMAND… -c FILE` for a stack in a terminal of so many rows and columns.
    pub fn run(stack: &Stack, arguments: &[&str], (rows, cols): (u16, u16)) -> Self {
        let size = PtySize { rows, cols, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).expect("a terminal");
        let mut command = CommandBuilder::new(built("ostler"));
        command.args(arguments);
        command.args(["-c".as_ref(), stack.folder().join("ostler.toml").as_os_str()]);
        command.cwd(stack.folder());
        command.env(MARK, stack.mark());
        command.env("STACK_DIR", stack.folder());
        command.env("TERM", "xterm-256color");
        let before = driver(&*pair.master);
        let child = pair.slave.spawn_command(command).expect("the binary starts");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, cols, 0)));
        let output = pair.master.try_clone_reader().expect("a reader");
        let read = Arc::clone(&screen);
        let is_hung_up = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&is_hung_up);
        std::thread::spawn(move || follow(output, &read, &is_over));
        let keys = pair.master.take_writer().expect("a writer");
        let line = Some(Line { keys, master: pair.master });
        Self { screen, line, is_hung_up, child, before }
    }

    /// What is on the screen.
    pub fn text(&self) -> String {
        self.screen.lock().expect("not poisoned").screen().contents()
    }

    /// Types.
    pub fn send(&mut self, keys: &str) {
        let line = self.line.as_mut().expect("not hung up");
        line.keys.write_all(keys.as_bytes()).expect("typed");
        line.keys.flush().expect("typed");
    }

    /// Takes the terminal away. It is gone when the program has written once more.
    pub fn hang_up(&mut self) {
        self.is_hung_up.store(true, Ordering::Relaxed);
        self.line = None;
    }

    /// Makes the terminal larger or smaller.
    pub fn resize(&self, (rows, cols): (u16, u16)) {
        self.screen.lock().expect("not poisoned").screen_mut().set_size(rows, cols);
        let size = PtySize { rows, cols, pixel_width: 0, pixel_height: 0 };
        self.master().resize(size).expect("resized");
    }

    fn master(&self) -> &dyn MasterPty {
        &*self.line.as_ref().expect("not hung up").master
    }

    /// The process of the program.
    pub fn pid(&self) -> u32 {
        self.child.process_id().expect("it was started")
    }

    /// Waits until the screen is as wanted; returns it.
    #[track_caller]
    pub fn until(&self, wanted: impl Fn(&str) -> bool) -> impl Future<Output = String> {
        let caller = std::panic::Location::caller();
        until(caller, async || self.text(), move |text| wanted(text))
    }

    /// Waits for the end of the program; returns its exit code.
    pub async fn ended(&mut self) -> u32 {
        let (mut ticks, deadline) = (interval(POLL), Instant::now() + DEADLINE);
        loop {
            ticks.tick().await;
            if let Some(status) = self.child.try_wait().expect("waited") {
                return status.exit_code();
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.text());
        }
    }

    /// Waits until the terminal is as it was before: its driver, the first screen, the cursor.
    pub async fn expect_restored(&self) {
        let (mut ticks, deadline) = (interval(POLL), Instant::now() + DEADLINE);
        loop {
            ticks.tick().await;
            let (is_other, is_hidden) = {
                let screen = self.screen.lock().expect("not poisoned");
                (screen.screen().alternate_screen(), screen.screen().hide_cursor())
            };
            let now = driver(self.master());
            if !is_other && !is_hidden && now == self.before {
                return;
            }
            let what = format!("alternate screen {is_other}, cursor hidden {is_hidden}");
            assert!(Instant::now() < deadline, "{what}, {now}\nbefore {}", self.before);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and need not be.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn driver(master: &dyn MasterPty) -> String {
    format!("{:?}", master.get_termios())
}

fn follow(mut output: Box<dyn std::io::Read + Send>, screen: &Screen, is_over: &AtomicBool) {
    let mut buffer = [0; 4096];
    // The terminal ends with an error when the last program has closed it.
    while let Ok(count @ 1..) = output.read(&mut buffer) {
        screen.lock().expect("not poisoned").process(&buffer[..count]);
        if is_over.load(Ordering::Relaxed) {
            return;
        }
    }
}
