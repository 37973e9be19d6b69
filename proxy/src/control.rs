//! The control socket: HTTP with JSON over a UNIX socket of mode 0600.
//!
//! ```text
//! POST /reload  {"force": false}  200 {"version": 2}, or 409, 422, 500, 503 {"error": "…"}
//! POST /recycle {"proxy": true}   200 {"proxy": 2}, or 400, 409, 422, 500, 503 {"error": "…"}
//! POST /recycle {"pool": "web"}   200 {"recycled": "web"}, or 404, 422, 500, 503 {"error": "…"}
//! GET  /stacks?pool=web           200 what its threads are doing, or 404, 503 {"error": "…"}
//! POST /stop    {"now": false}    200 {"stopped": true}, when everything has ended
//! GET  /status                    what the status page answers; the query is passed on,
//!                                 `json` where there is none
//! ```
//!
//! Who can connect may do everything, so limits here are against accidents. An answer comes when
//! the thing is done, however long that takes.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ostler_supervisor::{Handle, RecycleError, ReloadError, StacksError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::stacks;

/// Connections at one time; more wait. Each is one command of an operator.
const MAX_CONNECTIONS: usize = 32;

/// From the first byte to the end of a request's head, and then to the end of its body.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest request body, in bytes: a JSON object with one field.
const MAX_BODY: usize = 4096;

/// Largest status answer, in bytes: a hundred thousand rows fit.
const MAX_STATUS: usize = 256 * 1024 * 1024;

/// How long the proxy process may take to answer a status request.
const STATUS_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after a connection that could not be accepted: the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Answer = Response<Full<Bytes>>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The server of the control socket.
#[derive(Debug)]
pub(crate) struct Control {
    listener: UnixListener,
    handle: Handle,
    connections: JoinSet<()>,
}

impl Control {
    /// Takes over the listening socket.
    pub(crate) fn new(
        listener: std::os::unix::net::UnixListener,
        handle: Handle,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        Ok(Self { listener, handle, connections: JoinSet::new() })
    }

    /// Serves until dropped.
    pub(crate) async fn serve(&mut self) -> Infallible {
        loop {
            while self.connections.try_join_next().is_some() {}
            if self.connections.len() == MAX_CONNECTIONS {
                self.connections.join_next().await;
            }
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    self.connections.spawn(converse(stream, self.handle.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "control_not_accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Waits until answers that are under way are written, but no longer than `limit`.
    pub(crate) async fn finish(mut self, limit: Duration) {
        drop(self.listener);
        let all = async { while self.connections.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::debug!(connections = self.connections.len(), "control_cut_short");
        }
    }
}

/// One request a connection: a command that waits must not hold up another one behind it.
async fn converse(stream: UnixStream, handle: Handle) {
    let answer_one = service_fn(|request| {
        let handle = handle.clone();
        async move { Ok::<_, Infallible>(answer(request, &handle).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_TIMEOUT)
        .keep_alive(false)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), answer_one)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "control_connection_failed");
    }
}

async fn answer(request: Request<Incoming>, handle: &Handle) -> Answer {
    let done = match (request.method(), request.uri().path()) {
        (&Method::POST, "/reload") => reload(request, handle).await,
        (&Method::POST, "/recycle") => recycle(request, handle).await,
        (&Method::GET, "/stacks") => stacks(request.uri().query(), handle).await,
        (&Method::POST, "/stop") => stop(request, handle).await,
        (&Method::GET, "/status") => status(request.uri().query(), handle).await,
        (_, "/reload" | "/recycle" | "/stacks" | "/stop" | "/status") => {
            Err((StatusCode::METHOD_NOT_ALLOWED, "another method is meant here".to_owned()))
        }
        _ => {
            let known = "there are /reload, /recycle, /stacks, /stop and /status";
            Err((StatusCode::NOT_FOUND, known.to_owned()))
        }
    };
    done.unwrap_or_else(|(status, error)| json(status, &serde_json::json!({ "error": error })))
}

/// Why a request failed, and what is said about it.
type Failure = (StatusCode, String);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ReloadRequest {
    force: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct StopRequest {
    now: bool,
}

async fn reload(request: Request<Incoming>, handle: &Handle) -> Result<Answer, Failure> {
    let ReloadRequest { force } = read(request).await?;
    match handle.reload(force).await {
        Ok(version) => Ok(json(StatusCode::OK, &serde_json::json!({ "version": version }))),
        Err(error) => Err((reload_status(&error), error.to_string())),
    }
}

fn reload_status(error: &ReloadError) -> StatusCode {
    match error {
        ReloadError::Config(_) => StatusCode::UNPROCESSABLE_ENTITY,
        ReloadError::System(_) => StatusCode::INTERNAL_SERVER_ERROR,
        ReloadError::Busy | ReloadError::Superseded => StatusCode::CONFLICT,
        ReloadError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RecycleRequest {
    pool: Option<String>,
    proxy: bool,
}

async fn recycle(request: Request<Incoming>, handle: &Handle) -> Result<Answer, Failure> {
    match read(request).await? {
        RecycleRequest { pool: Some(pool), proxy: false } => recycle_pool(pool, handle).await,
        RecycleRequest { pool: None, proxy: true } => match handle.replace_proxy().await {
            Ok(number) => Ok(json(StatusCode::OK, &serde_json::json!({ "proxy": number }))),
            Err(error) => Err((reload_status(&error), error.to_string())),
        },
        RecycleRequest { .. } => {
            let wanted = "\"pool\" must name a pool, or \"proxy\" be true";
            Err((StatusCode::BAD_REQUEST, wanted.to_owned()))
        }
    }
}

async fn recycle_pool(pool: String, handle: &Handle) -> Result<Answer, Failure> {
    match handle.recycle(pool.clone()).await {
        Ok(()) => Ok(json(StatusCode::OK, &serde_json::json!({ "recycled": pool }))),
        Err(error) => Err((recycle_status(&error), error.to_string())),
    }
}

fn recycle_status(error: &RecycleError) -> StatusCode {
    match error {
        RecycleError::UnknownPool { .. } => StatusCode::NOT_FOUND,
        RecycleError::NotReady(_) => StatusCode::UNPROCESSABLE_ENTITY,
        RecycleError::Interrupted => StatusCode::INTERNAL_SERVER_ERROR,
        RecycleError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn stacks(query: Option<&str>, handle: &Handle) -> Result<Answer, Failure> {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let Some((_, pool)) = pairs.find(|(name, _)| name == "pool") else {
        return Err((StatusCode::BAD_REQUEST, "\"pool\" must name a pool".to_owned()));
    };
    match handle.stacks(pool.into_owned()).await {
        Ok(found) => {
            let document = ostler_status::stacks_json(&stacks::shown(found));
            Ok(json_text(StatusCode::OK, document))
        }
        Err(error @ StacksError::UnknownPool { .. }) => {
            Err((StatusCode::NOT_FOUND, error.to_string()))
        }
        Err(error @ StacksError::Stopping) => {
            Err((StatusCode::SERVICE_UNAVAILABLE, error.to_string()))
        }
    }
}

async fn stop(request: Request<Incoming>, handle: &Handle) -> Result<Answer, Failure> {
    let StopRequest { now } = read(request).await?;
    handle.stop(now).await;
    Ok(json(StatusCode::OK, &serde_json::json!({ "stopped": true })))
}

/// Reads a JSON body; none at all means the defaults.
async fn read<T: DeserializeOwned + Default>(request: Request<Incoming>) -> Result<T, Failure> {
    let body = Limited::new(request.into_body(), MAX_BODY).collect();
    let bytes = match tokio::time::timeout(READ_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return Err((StatusCode::BAD_REQUEST, error.to_string())),
        Err(_elapsed) => return Err((StatusCode::REQUEST_TIMEOUT, "body too slow".to_owned())),
    };
    if bytes.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&bytes).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))
}

/// Passes a status request on to the proxy process.
async fn status(query: Option<&str>, handle: &Handle) -> Result<Answer, Failure> {
    let path = handle.published().borrow().status_path.clone();
    let target = format!("{path}?{}", query.unwrap_or("json"));
    let asked = ask_proxy(handle.status_socket(), &target);
    match tokio::time::timeout(STATUS_TIMEOUT, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            Err((StatusCode::BAD_GATEWAY, format!("the proxy process does not answer: {error}")))
        }
        Err(_elapsed) => {
            Err((StatusCode::GATEWAY_TIMEOUT, "the proxy process does not answer".to_owned()))
        }
    }
}

async fn ask_proxy(socket: &Path, target: &str) -> Result<Answer, BoxError> {
    let stream = TokioIo::new(UnixStream::connect(socket).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    let request = Request::get(target)
        .header(http::header::HOST, "localhost")
        .header(http::header::CONNECTION, "close")
        .body(Full::<Bytes>::default())?;
    let exchange = async move {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let bytes = Limited::new(body, MAX_STATUS).collect().await?.to_bytes();
        Ok::<_, BoxError>((head, bytes))
    };
    // How the connection ends is in the outcome of the exchange, too.
    let (_connection, exchange) = tokio::join!(connection, exchange);
    let (head, bytes) = exchange?;
    let mut answer = Response::builder().status(head.status);
    if let Some(kind) = head.headers.get(http::header::CONTENT_TYPE) {
        answer = answer.header(http::header::CONTENT_TYPE, kind);
    }
    Ok(answer.body(Full::new(bytes))?)
}

fn json(status: StatusCode, value: &serde_json::Value) -> Answer {
    json_text(status, format!("{value}\n"))
}

fn json_text(status: StatusCode, document: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(document)));
    *answer.status_mut() = status;
    let kind = http::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    answer
}
