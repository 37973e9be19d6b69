//! The operator's side of the control socket.

use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use ostler_status::{Snapshot, Stacks, TextStyle, UnixTime};
use rustix::event::{PollFd, PollFlags, Timespec};
use serde_json::Value;
use tokio::net::UnixStream;

use crate::cli::ExitStatus;

/// From the answer that everything has ended to the end of the supervisor itself.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a status document may take: longer than the supervisor waits for it itself.
const DOCUMENT_TIMEOUT: Duration = Duration::from_secs(15);

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// Nobody listens on the socket.
    #[error("no supervisor answers on {}; is ostler running?", path.display())]
    NoAnswer { path: PathBuf },
    /// The socket may not be used.
    #[error("cannot connect to {}: {source}", path.display())]
    Connect { path: PathBuf, source: io::Error },
    /// The supervisor ended in the middle.
    #[error("the supervisor did not answer: {0}")]
    Broken(String),
    /// The configuration was not put in force, its workers do not get ready, or a pool that was
    /// named is not in it.
    #[error("{0}")]
    Config(String),
    /// The supervisor says no.
    #[error("{0}")]
    Refused(String),
}

impl AskError {
    /// How the command ends.
    pub(crate) fn exit_status(&self) -> ExitStatus {
        match self {
            Self::Config(_) => ExitStatus::Config,
            Self::NoAnswer { .. } | Self::Connect { .. } | Self::Broken(_) | Self::Refused(_) => {
                ExitStatus::System
            }
        }
    }
}

/// Has the configuration put in force.
pub(crate) fn reload(socket: &Path, force: bool) -> Result<String, AskError> {
    let body = serde_json::json!({ "force": force }).to_string();
    let (answer, _supervisor) = run(ask(socket, Method::POST, "/reload", body))?;
    let version = parse(&answer)?.get("version").and_then(Value::as_u64).unwrap_or_default();
    Ok(format!("reloaded: configuration {version} is in force"))
}

/// Has the proxy process replaced.
pub(crate) fn recycle_proxy(socket: &Path) -> Result<String, AskError> {
    let body = serde_json::json!({ "proxy": true }).to_string();
    let (answer, _supervisor) = run(ask(socket, Method::POST, "/recycle", body))?;
    let number = parse(&answer)?.get("proxy").and_then(Value::as_u64).unwrap_or_default();
    Ok(format!("recycled: proxy process {number} serves"))
}

/// Has every worker of a pool replaced.
pub(crate) fn recycle(socket: &Path, pool: &str) -> Result<String, AskError> {
    let body = serde_json::json!({ "pool": pool }).to_string();
    let (_answer, _supervisor) = run(ask(socket, Method::POST, "/recycle", body))?;
    Ok(format!("recycled: every worker of pool {pool:?} is replaced"))
}

/// How stacks are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StacksForm {
    /// The document.
    Json,
    /// Lines, also of threads that take no requests.
    All,
    /// Lines of threads that take requests.
    Text,
}

/// Returns what the threads of a pool are doing.
pub(crate) fn stacks(socket: &Path, pool: &str, form: StacksForm) -> Result<String, AskError> {
    let pool: String = form_urlencoded::byte_serialize(pool.as_bytes()).collect();
    let text = run(document(socket, &format!("/stacks?pool={pool}")))?;
    if form == StacksForm::Json {
        return Ok(escaped(&text));
    }
    let stacks: Stacks = serde_json::from_str(&text)
        .map_err(|error| AskError::Broken(format!("{error} in what it says")))?;
    Ok(ostler_status::stacks_text(&stacks, form == StacksForm::All))
}

/// Has everything ended, and waits for the end of the supervisor itself.
pub(crate) fn stop(socket: &Path, now: bool) -> Result<String, AskError> {
    let body = serde_json::json!({ "now": now }).to_string();
    let (_answer, supervisor) = run(ask(socket, Method::POST, "/stop", body))?;
    if let Some(supervisor) = supervisor {
        wait_for_exit(&supervisor);
    }
    Ok("stopped".to_owned())
}

/// In which form a snapshot is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// All of it.
    Json,
    /// The fields of `mod_status`.
    Auto,
    /// One screen.
    Text,
}

impl Form {
    /// What was typed.
    pub(crate) fn of(json: bool, auto: bool) -> Self {
        match (json, auto) {
            (_, true) => Self::Auto,
            (true, false) => Self::Json,
            (false, false) => Self::Text,
        }
    }
}

/// Returns one snapshot, of now or of a moment of the past.
pub(crate) fn status(socket: &Path, form: Form, at: Option<UnixTime>) -> Result<String, AskError> {
    let word = match form {
        Form::Auto => "auto",
        // The screen is made here, where it is known what the terminal can show.
        Form::Json | Form::Text => "json",
    };
    let document = run(document(socket, &query(word, at)))?;
    match form {
        Form::Json => return Ok(escaped(&document)),
        Form::Auto => return Ok(document),
        Form::Text => {}
    }
    let snapshot: Snapshot = serde_json::from_str(&document)
        .map_err(|error| AskError::Broken(format!("not a snapshot: {error}")))?;
    let wants_colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let style = if wants_colour && io::stdout().is_terminal() {
        TextStyle::Coloured
    } else {
        TextStyle::Plain
    };
    Ok(ostler_status::text_in(&snapshot, style))
}

/// The same JSON document with nothing in it that steers a terminal: characters that JSON may hold as
/// they are, but a terminal obeys, are escaped. Outside of strings there are none.
fn escaped(document: &str) -> String {
    let mut escaped = String::with_capacity(document.len());
    for character in document.chars() {
        match character {
            '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {
                let code = format!("\\u{:04x}", u32::from(character));
                escaped.push_str(&code);
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

/// The target of a request for the status page in this form, of now or of a moment of the past.
pub(crate) fn query(word: &str, at: Option<UnixTime>) -> String {
    let at = at.map_or_else(String::new, |at| format!("&at={at}"));
    format!("/status?{word}{at}")
}

/// Returns what the status page says, within [`DOCUMENT_TIMEOUT`].
pub(crate) async fn document(socket: &Path, target: &str) -> Result<String, AskError> {
    let asked = ask(socket, Method::GET, target, String::new());
    match tokio::time::timeout(DOCUMENT_TIMEOUT, asked).await {
        Ok(answer) => answer.map(|(document, _supervisor)| document),
        Err(_elapsed) => Err(AskError::Broken(format!("nothing within {DOCUMENT_TIMEOUT:?}"))),
    }
}

/// Runs one command to its end.
fn run<T>(asking: impl Future<Output = Result<T, AskError>>) -> Result<T, AskError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| AskError::Broken(error.to_string()))?.block_on(asking)
}

/// Sends one request. Returns the answer, and the supervisor's process.
async fn ask(
    socket: &Path,
    method: Method,
    target: &str,
    body: String,
) -> Result<(String, Option<OwnedFd>), AskError> {
    let stream = connect(socket).await?;
    let supervisor = process_of(&stream);
    let (status, text) = exchange(stream, method, target, body)
        .await
        .map_err(|error| AskError::Broken(error.to_string()))?;
    if status.is_success() {
        return Ok((text, supervisor));
    }
    // The supervisor says JSON; what the proxy process says is passed on as it is.
    let document: Option<Value> = serde_json::from_str(&text).ok();
    let error = document.and_then(|it| Some(it.get("error")?.as_str()?.to_owned()));
    let error = error.unwrap_or_else(|| text.trim_end().to_owned());
    Err(match status {
        StatusCode::UNPROCESSABLE_ENTITY | StatusCode::NOT_FOUND => AskError::Config(error),
        _ => AskError::Refused(error),
    })
}

async fn connect(socket: &Path) -> Result<UnixStream, AskError> {
    let path = socket.to_owned();
    UnixStream::connect(socket).await.map_err(|source| {
        let nobody = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
        if nobody.contains(&source.kind()) {
            AskError::NoAnswer { path }
        } else {
            AskError::Connect { path, source }
        }
    })
}

async fn exchange(
    stream: UnixStream,
    method: Method,
    target: &str,
    body: String,
) -> Result<(StatusCode, String), Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header(http::header::HOST, "localhost")
        .body(Full::new(Bytes::from(body)))?;
    let answer = async move {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let bytes = body.collect().await?.to_bytes();
        Ok((head.status, String::from_utf8_lossy(&bytes).into_owned()))
    };
    // The connection ends when the answer is there; how it ends is in the answer, too.
    let (_connection, answer) = tokio::join!(connection, answer);
    answer
}

fn parse(text: &str) -> Result<Value, AskError> {
    serde_json::from_str(text).map_err(|error| AskError::Broken(format!("{error} in {text:?}")))
}

/// The process at the other end, where it can be told.
fn process_of(stream: &UnixStream) -> Option<OwnedFd> {
    let pid = stream.peer_cred().ok()?.pid()?;
    let pid = rustix::process::Pid::from_raw(pid)?;
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

fn wait_for_exit(process: &OwnedFd) {
    let timeout = Timespec::try_from(EXIT_TIMEOUT).ok();
    let mut poll = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
    if let Err(error) = rustix::event::poll(&mut poll, timeout.as_ref()) {
        tracing::debug!(%error, "exit_not_awaited");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_nobody_listens_on_is_told_with_its_path() {
        let error = reload(Path::new("/nonexistent/control.sock"), false).unwrap_err();
        let text = "no supervisor answers on /nonexistent/control.sock; is ostler running?";
        assert_eq!((error.to_string().as_str(), error.exit_status()), (text, ExitStatus::System));
    }

    #[test]
    fn a_printed_document_steers_no_terminal_and_stays_the_same() {
        let text = "a\u{9b}2J\u{7f}\u{85}\u{202e}\u{2066}\u{200f}\u{61c}\u{e9}\u{1f600}";
        let document = serde_json::json!({ "target": text }).to_string();
        let printed = escaped(&document);
        assert!(
            printed.contains("a\\u009b2J\\u007f\\u0085\\u202e\\u2066\\u200f\\u061c\u{e9}"),
            "{printed}"
        );
        let read: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(read["target"], text);
    }
}
