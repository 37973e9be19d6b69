//! The generator of idle connections: opens them, asks once on each, and then does nothing.
//!
//! A program of its own (`load-tests hold`), so that its memory and descriptors are its own. It
//! says `held` when all are open, and ends when its input does.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// Requests that are under way at once while connections are opened: fewer than any backlog.
const AT_ONCE: usize = 64;

/// What is to be held.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Plan {
    /// The server's address
    #[arg(long)]
    address: SocketAddr,
    /// The path that is asked for once
    #[arg(long)]
    path: String,
    /// How many connections
    #[arg(long)]
    connections: usize,
}

/// Opens all connections, and holds them until standard input ends.
pub(crate) fn run(plan: &Plan) -> Result<()> {
    let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", plan.path, plan.address);
    let mut held = Vec::with_capacity(plan.connections);
    while held.len() < plan.connections {
        let count = AT_ONCE.min(plan.connections - held.len());
        let first = held.len();
        for _ in 0..count {
            let stream = TcpStream::connect(plan.address);
            let mut stream = stream.with_context(|| format!("after {} connections", held.len()))?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(request.as_bytes())?;
            held.push(stream);
        }
        for stream in &mut held[first..] {
            let mut answer = [0; 1024];
            let count = stream.read(&mut answer)?;
            ensure!(answer[..count].starts_with(b"HTTP/1.1 200 "), "not answered with 200");
        }
    }
    writeln!(io::stdout(), "held")?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
