//! Sends the same request again and again on one connection, and reads the answers.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};

/// How long an answer may take; callgrind makes everything some fifty times slower.
const PATIENCE: Duration = Duration::from_secs(20);

/// One kept connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).context("cannot connect")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, received: Vec::new() })
    }

    /// Sends a request so many times, each when the one before is answered. The last status.
    pub(crate) fn repeat(&mut self, request: &[u8], times: usize) -> anyhow::Result<u16> {
        let mut status = 0;
        for _ in 0..times {
            self.stream.write_all(request)?;
            status = self.answer()?;
        }
        Ok(status)
    }

    fn answer(&mut self) -> anyhow::Result<u16> {
        self.received.clear();
        let (status, length) = loop {
            if let Some(head) = head(&self.received)? {
                break head;
            }
            self.read()?;
        };
        while self.received.len() < length {
            self.read()?;
        }
        Ok(status)
    }

    fn read(&mut self) -> anyhow::Result<()> {
        let mut room = [0; 16 * 1024];
        let count = self.stream.read(&mut room).context("no answer")?;
        if count == 0 {
            bail!("the proxy closed the connection");
        }
        self.received.extend_from_slice(room.get(..count).unwrap_or_default());
        Ok(())
    }
}

/// Status and length of an answer, once its head is there. Answers without a length are not
/// understood: none of the counted ones is.
fn head(bytes: &[u8]) -> anyhow::Result<Option<(u16, usize)>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = bytes.windows(END.len()).position(|window| window == END) else {
        return Ok(None);
    };
    let head = std::str::from_utf8(bytes.get(..end).unwrap_or_default())?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, length) = lengths.next().context("an answer without a length")?;
    Ok(Some((status, end + END.len() + length.trim().parse::<usize>()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_length_says() {
        assert_eq!(head(b"HTTP/1.1 200 OK\r\nContent-Le").unwrap(), None);
        let bytes = b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhe";
        assert_eq!(head(bytes).unwrap(), Some((404, 50)));
        assert!(head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
