//! The path of one request, from its parsed head to its log line.
//!
//! `handle` never fails: every error becomes a response, by the one table in `respond`.

mod converse;
mod from_origin;
mod from_pool;

use std::borrow::Cow;

use ostler_conf::{AccessFormat, RouteAction, RouteConfig};
use ostler_policy::decimal::write_decimal;
use ostler_policy::forwarded;
use ostler_policy::http::RequestInvalid;
use ostler_policy::http::answer::{ClientBody, ToClient, write_field, write_status_line};
use ostler_policy::http::fields::Known;
use ostler_policy::http::head::{RequestHead, Version};
use ostler_policy::http::{framing, host, target};
use ostler_policy::keepalive::{self, Persistence};
use ostler_policy::route::{NoRoute, Route};
use ostler_segment::counter::Server as Counter;
use ostler_supervisor::message::ListenerRole;

use crate::body::{BodyLimits, RequestBody};
use crate::clock;
use crate::connection::{Client, Ending};
use crate::entry::Entry;
use crate::live::{LiveConfig, Origin};
use crate::reason::Reason;
use crate::respond::{self, RequestError, Telling};
use crate::shared::{Activity, Phase, Shared};
use crate::{directory, status};

/// A request while it is answered.
#[derive(Debug)]
pub(crate) struct Request<'r> {
    /// The configuration in force when it began; a reload during it changes nothing.
    pub(crate) live: &'r LiveConfig,
    pub(crate) head: RequestHead<'r>,
    pub(crate) host: &'r str,
    pub(crate) target: target::Target<'r>,
    pub(crate) framing: framing::Framing,
    pub(crate) body: RequestBody,
    pub(crate) client: forwarded::Client<'r>,
    pub(crate) persistence: Persistence,
}

impl Request<'_> {
    /// Whether the connection closes after a response that is written now.
    pub(crate) fn closes(&self) -> bool {
        self.persistence.closes() || !self.body.is_complete()
    }

    /// How the connection goes on after a complete response.
    pub(crate) fn ending(&self) -> Ending {
        match self.persistence {
            _ if !self.body.is_complete() => Ending::Linger,
            Persistence::Keep => Ending::Keep,
            Persistence::CloseForClient | Persistence::CloseDisabled => {
                Ending::Close(Counter::ClosedClient)
            }
            Persistence::CloseMaxRequests => Ending::Close(Counter::ClosedMaxRequests),
            Persistence::CloseDrain => Ending::Close(Counter::ClosedDrain),
        }
    }

    /// What a response without a body of unknown length tells the client.
    pub(crate) fn to_client<'d>(&self, body: ClientBody, date: &'d [u8]) -> ToClient<'d> {
        let closes = self.closes() || body == ClientBody::UntilClose;
        ToClient { body, version: self.head.version(), closes, date }
    }

    /// Whether the answer has no body because the request is `HEAD`.
    pub(crate) fn is_head(&self) -> bool {
        self.head.method() == "HEAD"
    }
}

/// Answers one request. `served` counts the requests of the connection, this one included.
pub(crate) async fn handle(
    client: &mut Client<'_>,
    entry: &mut Entry,
    head: RequestHead<'_>,
    served: u32,
) -> Ending {
    let shared = client.shared;
    let is_counted = client.listener.role == ListenerRole::Client;
    let _in_flight = Activity::begin(is_counted.then_some(&shared.gauges.in_flight));
    let _writing = Activity::begin(is_counted.then_some(&shared.gauges.writing));
    let live = client.listener.last().unwrap_or_else(|| shared.live.load_full());
    entry.begin(&shared.ids);
    let ending = match check(client, &live, head, served) {
        Ok(mut request) => {
            entry.note_client(&request.client);
            match answer(client, &mut request, entry).await {
                Ok(ending) => ending,
                Err(error) => fail(client, &request, entry, &error).await,
            }
        }
        Err(error) => {
            let closes = respond::closes(&error);
            entry.client = client.peer.name();
            tell(client, &live, Some(head), entry, (&error, closes)).await;
            Ending::Linger
        }
    };
    let line = [head.method(), " ", head.target(), " ", head.version().as_str()];
    record(client, &live, Some(head), line, entry);
    ending
}

/// Answers what never became a request: its head is malformed, too large or late.
pub(crate) async fn refuse_head(client: &mut Client<'_>, line: &[u8], error: &RequestError) {
    let live = client.shared.live.load_full();
    let mut entry = Entry::new();
    entry.begin(&client.shared.ids);
    entry.client = client.peer.name();
    tell(client, &live, None, &mut entry, (error, true)).await;
    record(client, &live, None, [&String::from_utf8_lossy(line), "", "", "", ""], &entry);
}

/// Decides what the request says: host, target, framing, client, persistence.
fn check<'r>(
    client: &Client<'_>,
    live: &'r LiveConfig,
    head: RequestHead<'r>,
    served: u32,
) -> Result<Request<'r>, RequestError> {
    let named = host::host_field(&head)?;
    let target = target::checked(head.method(), head.target())?;
    let host = match target.authority {
        Some(authority) if !named.is_empty() && !authority.eq_ignore_ascii_case(named) => {
            return Err(RequestInvalid::Malformed("Host and target name different hosts").into());
        }
        Some(authority) => authority,
        None => named,
    };
    let framing = framing::request_framing(&head)?;
    let is_draining =
        *client.shared.phase.borrow() == Phase::Draining || client.listener.is_closed();
    let persistence = keepalive::decide(client.keepalive, &head, served, is_draining);
    let timeouts = &live.config.timeouts;
    let limits =
        BodyLimits { size: u64::MAX, idle: timeouts.body_idle, min_rate: timeouts.body_min_rate.0 };
    let awaits_continue = head.version() == Version::Http11
        && head.values(Known::Expect).any(|value| value.eq_ignore_ascii_case(b"100-continue"));
    let body = RequestBody::new(framing, limits, awaits_continue);
    let trusted = &live.config.proxies.trusted;
    let client = forwarded::client(client.peer, trusted, &head, host);
    Ok(Request { live, head, host, target, framing, body, client, persistence })
}

/// Finds who answers, and lets it.
async fn answer(
    client: &mut Client<'_>,
    request: &mut Request<'_>,
    entry: &mut Entry,
) -> Result<Ending, RequestError> {
    if let Some(page) = status::page(client.listener.role, request) {
        request.body.limit(request.live.config.limits.body_size.0)?;
        return status::answer(client, request, entry, page).await;
    }
    let live = request.live;
    let route = find_route(client, request)?;
    entry.site.clone_from(&route.site);
    entry.route = live.books(route).cloned();
    let config = &route.config;
    check_allowed(request, config)?;
    request.body.limit(config.body_size.0)?;
    match &config.action {
        RouteAction::Pool(name) => {
            let target = live.pools.get(name).ok_or(RequestError::Internal("unknown pool"))?;
            from_pool::answer(client, request, entry, (route.as_ref(), target)).await
        }
        RouteAction::Origin { name, strip_prefix } => {
            let origin = live.origins.get(name).ok_or(RequestError::Internal("unknown origin"))?;
            let whole = request.target.clone();
            let rest = strip(&whole, config, *strip_prefix);
            match origin {
                Origin::Directory(directory) => {
                    directory::answer(client, request, entry, (directory, &rest.path)).await
                }
                Origin::Servers(servers) => {
                    from_origin::answer(client, request, entry, (servers, &rest.target)).await
                }
            }
        }
        RouteAction::Redirect { location, status } => {
            redirect(client, request, entry, (config, location, *status)).await
        }
    }
}

fn find_route<'r>(
    client: &Client<'_>,
    request: &Request<'r>,
) -> Result<&'r std::sync::Arc<Route>, RequestError> {
    if client.listener.role == ListenerRole::Status {
        return Err(RequestError::NoRoute);
    }
    let routes = request.live.routes(&client.listener.name).ok_or(RequestError::NoRoute)?;
    let found = routes.find(request.host, &request.target.path, request.head.method());
    found.map_err(|missing| match missing {
        NoRoute::NotFound => RequestError::NoRoute,
        NoRoute::Method(allow) => RequestError::Method(allow),
    })
}

/// Holds the client's address against the networks of a route; none: everybody. A client whose
/// address is not known is in no network.
fn check_allowed(request: &Request<'_>, config: &RouteConfig) -> Result<(), RequestError> {
    let is_in = |address| forwarded::contains(&config.allow, address);
    if config.allow.is_empty() || request.client.address.parse().is_ok_and(is_in) {
        Ok(())
    } else {
        Err(RequestError::Forbidden)
    }
}

/// What is left of a target behind the path of its route.
struct Rest<'t> {
    /// Decoded path, beginning with a slash.
    path: Cow<'t, [u8]>,
    /// Path and query as sent, beginning with a slash.
    target: Cow<'t, str>,
}

fn strip<'t>(target: &'t target::Target<'_>, config: &RouteConfig, strips: bool) -> Rest<'t> {
    let prefix = match &config.path {
        ostler_conf::RoutePath::Prefix(prefix) if strips => prefix.trim_end_matches('/'),
        ostler_conf::RoutePath::Prefix(_) | ostler_conf::RoutePath::Exact(_) => "",
    };
    let path = target.path.strip_prefix(prefix.as_bytes()).unwrap_or(&target.path);
    let path = if path.is_empty() { b"/" } else { path };
    // As sent where that begins with the prefix; a prefix that was sent encoded is left out by
    // sending the decoded path.
    let sent = match target.origin_form.strip_prefix(prefix) {
        Some(rest) if rest.starts_with('/') => Cow::Borrowed(rest),
        Some(rest) => Cow::Owned(["/", rest].concat()),
        None => Cow::Owned([&encode(path), target.query()].concat()),
    };
    Rest { path: Cow::Borrowed(path), target: sent }
}

const HEX: [char; 16] =
    ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];

/// Encodes a decoded path again, everything but unreserved bytes and slashes (RFC 3986 §2.3).
fn encode(path: &[u8]) -> String {
    let mut encoded = String::with_capacity(path.len());
    for &byte in path {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.extend(['%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    encoded
}

/// Joins a location and the rest of a target with one slash, so that the rest can name neither
/// another host nor a user. Nothing is added where path and prefix are the same.
fn join(location: &str, prefix: &str, rest: &str) -> String {
    let (path, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
    let path = path.trim_start_matches(['/', '\\']);
    if path.is_empty() && !prefix.ends_with('/') {
        return [location, query].concat();
    }
    [location.trim_end_matches('/'), "/", path, query].concat()
}

/// Redirects: the rest of path and query is appended to the location.
async fn redirect(
    client: &mut Client<'_>,
    request: &Request<'_>,
    entry: &mut Entry,
    (config, location, status): (&RouteConfig, &str, u16),
) -> Result<Ending, RequestError> {
    let location = match &config.path {
        ostler_conf::RoutePath::Prefix(prefix) => {
            join(location, prefix, &strip(&request.target, config, true).target)
        }
        ostler_conf::RoutePath::Exact(_) => [location, request.target.query()].concat(),
    };
    let phrase = match status {
        301 => "Moved Permanently",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        _ => "Found",
    };
    let fields: [(&str, &[u8]); 1] = [("location", location.as_bytes())];
    respond(client, request, entry, (status, phrase), &fields, b"").await
}

/// Sends a whole response of our own.
pub(crate) async fn respond(
    client: &mut Client<'_>,
    request: &Request<'_>,
    entry: &mut Entry,
    (status, phrase): (u16, &str),
    fields: &[(&str, &[u8])],
    body: &[u8],
) -> Result<Ending, RequestError> {
    entry.status = status;
    let date = clock::http_date();
    let out = &mut client.out;
    write_status_line(out, status, phrase.as_bytes());
    for (name, value) in fields {
        write_field(out, name.as_bytes(), value);
    }
    if !matches!(status, 204 | 304) {
        out.extend_from_slice(b"content-length: ");
        write_decimal(out, body.len() as u64);
        out.extend_from_slice(b"\r\n");
    }
    write_field(out, b"date", &date);
    request.to_client(ClientBody::AsStated, &date).write_framing(out);
    out.extend_from_slice(b"\r\n");
    if !request.is_head() {
        out.extend_from_slice(body);
    }
    Ok(if client.flush().await.is_ok() { request.ending() } else { left(entry) })
}

/// Notes that the client left, or takes nothing, in the middle of an answer of our own.
pub(crate) fn left(entry: &mut Entry) -> Ending {
    entry.reason = Some(Reason::ClientLeft);
    Ending::Abort
}

/// Tells the client of an error, as long as it can be told.
async fn fail(
    client: &mut Client<'_>,
    request: &Request<'_>,
    entry: &mut Entry,
    error: &RequestError,
) -> Ending {
    let closes = respond::closes(error) || request.closes();
    let is_told = tell(client, request.live, Some(request.head), entry, (error, closes)).await;
    match (is_told, closes) {
        // What was sent of an answer, if anything, is not to look like all of it.
        (false, _) => Ending::Abort,
        (true, true) if respond::closes(error) || !request.body.is_complete() => Ending::Linger,
        (true, _) => request.ending(),
    }
}

/// Writes the response for an error. Returns whether the client can have got it.
async fn tell(
    client: &mut Client<'_>,
    live: &LiveConfig,
    head: Option<RequestHead<'_>>,
    entry: &mut Entry,
    (error, closes): (&RequestError, bool),
) -> bool {
    let (status, _, reason) = respond::verdict(error);
    entry.fail(status, reason);
    if status == 499 {
        return false;
    }
    // What clients get wrong is theirs; what is shed is in the counters.
    if matches!(status, 500 | 502 | 504) {
        log_failure(entry, error);
    }
    let shows_reason = status::is_allowed(client.peer, live, head.as_ref());
    let telling = Telling { head, id: &entry.id, shows_reason, closes };
    client.out.clear();
    respond::write_error(&mut client.out, error, &telling);
    client.flush().await.is_ok()
}

fn log_failure(entry: &Entry, error: &RequestError) {
    let causes = Causes(error).to_string();
    let reason = entry.reason.map_or("", |reason| reason.word());
    tracing::warn!(id = %entry.id, pool = %entry.pool, reason, error = %causes, "request_failed");
}

/// An error and its causes on one line.
struct Causes<'e>(&'e dyn std::error::Error);

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Counts the request and writes its log line. Requests of operators are not counted.
fn record(
    client: &Client<'_>,
    live: &LiveConfig,
    head: Option<RequestHead<'_>>,
    line: [&str; 5],
    entry: &Entry,
) {
    if client.listener.role == ListenerRole::Status {
        return;
    }
    count(client.shared, client, entry);
    let format: AccessFormat = live.config.log.access.format;
    client.shared.access_log.write(
        format,
        entry,
        &crate::access_log::Line { request: line, head, sent: client.sent },
    );
}

fn count(shared: &Shared, client: &Client<'_>, entry: &Entry) {
    let counters = &shared.counters;
    counters.add(Counter::RequestsTotal, 1);
    counters.add(Counter::BytesReceived, client.received);
    counters.add(Counter::BytesSent, client.sent);
    let ran = clock::now().saturating_duration_since(entry.started);
    let ran_us = u64::try_from(ran.as_micros()).unwrap_or(u64::MAX);
    counters.add(Counter::DurationUsTotal, ran_us);
    let class = match entry.status {
        ..200 => Counter::Status1xx,
        200..300 => Counter::Status2xx,
        300..400 => Counter::Status3xx,
        400..500 => Counter::Status4xx,
        500.. => Counter::Status5xx,
    };
    counters.add(class, 1);
    if let Some(reason) = entry.reason {
        counters.add(Counter::reason(reason.position()), 1);
    }
    if let Some(route) = &entry.route {
        route.count(entry, (client.received, client.sent));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_cannot_be_led_to_another_host() {
        check("/old", "https://x.example/new", "/a?b", "https://x.example/new/a?b");
        check("/old", "https://x.example/new", "/", "https://x.example/new");
        check("/old", "https://x.example/new", "/?b", "https://x.example/new?b");
        check("/static/", "https://x.example/static/", "/a.css", "https://x.example/static/a.css");
        check("/", "https://x.example", "/", "https://x.example/");
        check("/", "https://x.example", "/@evil.example", "https://x.example/@evil.example");
        check("/old/", "/", "//evil.example", "/evil.example");
        check("/old/", "/", "/\\evil.example", "/evil.example");
    }

    #[track_caller]
    fn check(prefix: &str, location: &str, rest: &str, expected: &str) {
        assert_eq!(join(location, prefix, rest), expected);
    }

    #[test]
    fn a_path_that_is_encoded_again_is_the_same_path() {
        assert_eq!(encode(b"/a b/%\xff~"), "/a%20b/%25%FF~");
    }
}
