//! Readiness of a worker: `READY=1` on a socket of its own (`sd_notify(3)`).
//!
//! The socket's file belongs to the worker's user and nobody else may write to it, so a message
//! comes from the worker or a descendant. Descriptors that come along are dropped by the kernel,
//! which answers `BARRIER=1`, too.

use std::io;
use std::path::Path;

use tokio::net::UnixDatagram;

use crate::identity::{self, Identity};

/// Largest message that is looked at, in bytes; what is longer is cut.
const MAX_MESSAGE: usize = 4096;

/// Makes the socket.
pub(crate) fn bind(path: &Path, worker: Option<&Identity>) -> io::Result<UnixDatagram> {
    let socket = identity::with_mode(0o600, || UnixDatagram::bind(path))?;
    identity::give(path, worker)?;
    Ok(socket)
}

/// Waits for `READY=1`.
pub(crate) async fn ready(socket: &UnixDatagram) -> io::Result<()> {
    let mut message = [0; MAX_MESSAGE];
    loop {
        let length = socket.recv(&mut message).await?;
        if says_ready(message.get(..length).unwrap_or_default()) {
            return Ok(());
        }
    }
}

fn says_ready(message: &[u8]) -> bool {
    message.split(|&byte| byte == b'\n').any(|line| line == b"READY=1")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_the_line_ready_1_says_ready() {
        check("READY=1", true);
        check("READY=1\n", true);
        check("STATUS=loading\nREADY=1\nMAINPID=7", true);
        check("READY=0", false);
        check("STATUS=READY=1", false);
        check("XREADY=1", false);
        check("", false);
    }

    #[tokio::test]
    async fn other_messages_are_waited_through() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.0.1");
        let socket = bind(&path, None).unwrap();
        let worker = UnixDatagram::unbound().unwrap();
        worker.send_to(b"STATUS=loading", &path).await.unwrap();
        worker.send_to(b"READY=1", &path).await.unwrap();
        ready(&socket).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[track_caller]
    fn check(message: &str, expected: bool) {
        assert_eq!(says_ready(message.as_bytes()), expected, "{message:?}");
    }
}
