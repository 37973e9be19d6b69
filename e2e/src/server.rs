//! A server of an origin: it answers what its test tells it to, and remembers what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// What a server does with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Sends this and waits for the next request.
    Keep(Vec<u8>),
    /// Sends this and closes the connection.
    Close(Vec<u8>),
    /// Sends nothing and keeps the connection open.
    Silence,
}

/// A running server. Dropping it closes its port and its connections.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    heads: Heads,
    _tasks: JoinSet<()>,
}

type Answer = Arc<dyn Fn(&str) -> Reply + Send + Sync>;

/// Request heads, in order of arrival.
type Heads = Arc<Mutex<Vec<String>>>;

impl Reply {
    /// A whole answer of status 200 with this text.
    pub fn text(text: &str) -> Self {
        let length = text.len();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
        Self::Keep(format!("{head}Content-Length: {length}\r\n\r\n{text}").into_bytes())
    }
}

impl Server {
    /// Serves HTTP; `answer` gets each request's head, and the body is skipped.
    pub async fn start(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(None, Arc::new(answer)).await
    }

    /// Serves HTTP over TLS.
    pub async fn start_tls(
        acceptor: TlsAcceptor,
        answer: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listen(Some(acceptor), Arc::new(answer)).await
    }

    /// Reserves a port where nobody listens, for a server that is down.
    pub async fn nobody() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("an address")
    }

    async fn listen(acceptor: Option<TlsAcceptor>, answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let heads = Heads::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, acceptor, answer, Arc::clone(&heads)));
        Self { address, heads, _tasks: tasks }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The heads of the requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    answer: Answer,
    heads: Heads,
) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, answer, heads) = (acceptor.clone(), Arc::clone(&answer), Arc::clone(&heads));
        connections.spawn(async move {
            match acceptor {
                None => serve(stream, answer, heads).await,
                // A client that refuses our certificate ends the handshake.
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, answer, heads).await;
                    }
                }
            }
        });
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: Answer, heads: Heads) {
    let mut buffer = Vec::new();
    while let Some(head) = read_head(&mut stream, &mut buffer).await {
        let reply = answer(&head);
        heads.lock().unwrap_or_else(PoisonError::into_inner).push(head);
        let (bytes, is_last) = match reply {
            Reply::Keep(bytes) => (bytes, false),
            Reply::Close(bytes) => (bytes, true),
            Reply::Silence => (Vec::new(), false),
        };
        if stream.write_all(&bytes).await.is_err() || is_last {
            break;
        }
    }
    // The other side may be gone already.
    drop(stream.shutdown().await);
}

/// Reads one request with its body; none at the end of the connection.
async fn read_head(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let length = body_length(&head);
            if end + 4 + length <= buffer.len() {
                buffer.drain(..end + 4 + length);
                return Some(head);
            }
        }
        match stream.read_buf(buffer).await {
            Ok(count) if 0 < count => {}
            Ok(_) | Err(_) => return None,
        }
    }
}

fn body_length(head: &str) -> usize {
    let lines = head.lines().map(str::to_ascii_lowercase);
    let mut lengths = lines.filter_map(|line| {
        line.strip_prefix("content-length:").and_then(|value| value.trim().parse().ok())
    });
    lengths.next().unwrap_or_default()
}
