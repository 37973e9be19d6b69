//! The status listener's pages: who may see them, and which is asked for.

mod past;
mod stacks;

use std::time::Duration;

use ostler_policy::forwarded::{self, Peer};
use ostler_policy::http::head::RequestHead;
use ostler_status::{HtmlOptions, InfoPart, Snapshot, Trends, UnixTime};
use ostler_supervisor::message::ListenerRole;

use crate::connection::{Client, Ending};
use crate::entry::Entry;
use crate::live::LiveConfig;
use crate::request::{Request, respond};
use crate::respond::RequestError;
use crate::shared::{Phase, Shared};
use crate::{info, snapshot};

/// One of the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    Status,
    Metrics,
    Info,
    Health,
}

/// The page a request asks for: on the status listener, and elsewhere where `status.sites` says.
pub(crate) fn page(role: ListenerRole, request: &Request<'_>) -> Option<Page> {
    let config = &request.live.config.status;
    if role != ListenerRole::Status && !config.sites {
        return None;
    }
    let path = std::str::from_utf8(&request.target.path).ok()?;
    let is = |configured: &str| path.trim_end_matches('/') == configured.trim_end_matches('/');
    if is(&config.path) {
        Some(Page::Status)
    } else if is(&config.metrics_path) {
        Some(Page::Metrics)
    } else if is(&config.info_path) {
        Some(Page::Info)
    } else if is(&config.health_path) {
        Some(Page::Health)
    } else {
        None
    }
}

/// Whether a client may see the pages, and the reason words of errors.
///
/// By the address of its connection or, where that is a trusted proxy, of the client behind it.
/// A request that claims to be forwarded, from a peer that is not trusted, is nobody's.
pub(crate) fn is_allowed(peer: Peer, live: &LiveConfig, head: Option<&RequestHead<'_>>) -> bool {
    let (allow, trusted) = (&live.config.status.allow, &live.config.proxies.trusted);
    let has_claims = head.is_some_and(forwarded::has_claims);
    match peer {
        Peer::Unix => allow.unix && !has_claims,
        Peer::Ip(address) if !has_claims => forwarded::contains(&allow.networks, address),
        Peer::Ip(_) if !forwarded::is_trusted(peer, trusted) => false,
        Peer::Ip(_) => head.is_some_and(|head| {
            let client = forwarded::client(peer, trusted, head, "");
            let address = client.address.parse();
            address.is_ok_and(|address| forwarded::contains(&allow.networks, address))
        }),
    }
}

/// Answers with a page.
pub(crate) async fn answer(
    client: &mut Client<'_>,
    request: &Request<'_>,
    entry: &mut Entry,
    page: Page,
) -> Result<Ending, RequestError> {
    if page == Page::Health {
        return health(client, request, entry).await;
    }
    if !is_allowed(client.peer, request.live, Some(&request.head)) {
        return Err(RequestError::Forbidden);
    }
    if !matches!(request.head.method(), "GET" | "HEAD") {
        return Err(RequestError::Method("GET, HEAD".to_owned()));
    }
    let before = processor_time();
    let options = Options::of(request);
    if let Some(pool) = options.stacks.as_ref().filter(|_| page == Page::Status) {
        return stacks::answer(client, request, entry, (pool, &options)).await;
    }
    let (media_type, body) = if page == Page::Info {
        info_page(client.shared, request)
    } else {
        let history = &client.shared.history;
        let (snapshot, trends) = match options.past.as_ref().filter(|_| page == Page::Status) {
            None => {
                let snapshot = snapshot::take(client.shared, request.live, request.host);
                let trends = options.is_html().then(|| history.trends(snapshot.taken()));
                (snapshot, trends)
            }
            Some(Asked::Overview) => return past::overview(client, request, entry).await,
            Some(Asked::Moment(at)) => match past::find(history, at, &options) {
                Ok((mut snapshot, trends)) => {
                    request.host.clone_into(&mut snapshot.machine.server_name);
                    (snapshot, trends)
                }
                Err(refusal) => return past::refuse(client, request, entry, &refusal).await,
            },
        };
        rendered(page, &snapshot, trends.as_ref(), &options)
    };
    let cost = cost_field(processor_time().saturating_sub(before));
    let refresh = options.html.refresh.map(|seconds| seconds.to_string());
    let mut fields: Vec<(&str, &[u8])> = vec![
        ("content-type", media_type.as_bytes()),
        ("cache-control", b"no-store"),
        ("x-content-type-options", b"nosniff"),
        ("content-security-policy", ostler_status::CONTENT_SECURITY_POLICY.as_bytes()),
        ("server-timing", cost.as_bytes()),
    ];
    // The page itself is kept fresh in place, or by an element of its own where there are no scripts.
    if let Some(seconds) = refresh.as_ref().filter(|_| page == Page::Status && !options.is_html()) {
        fields.push(("refresh", seconds.as_bytes()));
    }
    respond(client, request, entry, (200, "OK"), &fields, body.as_bytes()).await
}

/// The form of a snapshot that is asked for, with its media type.
fn rendered(
    page: Page,
    snapshot: &Snapshot,
    trends: Option<&Trends>,
    options: &Options,
) -> (&'static str, String) {
    if page == Page::Metrics {
        ("text/plain; version=0.0.4; charset=utf-8", ostler_status::prometheus(snapshot))
    } else if options.is_auto {
        ("text/plain; charset=ISO-8859-1", ostler_status::auto(snapshot))
    } else if options.is_text {
        ("text/plain; charset=utf-8", ostler_status::text(snapshot))
    } else if options.is_json {
        ("application/json", ostler_status::json(snapshot))
    } else {
        ("text/html; charset=utf-8", ostler_status::html(snapshot, trends, &options.html))
    }
}

/// `/server-info`: all of it, or the parts that the query names.
fn info_page(shared: &Shared, request: &Request<'_>) -> (&'static str, String) {
    let info = info::take(shared, request.live);
    let query = request.target.query();
    let words: Vec<&str> = query.trim_start_matches('?').split(['&', ';']).collect();
    if words.contains(&"json") || accepts_json(request) {
        return ("application/json", ostler_status::info_json(&info));
    }
    let mut parts = InfoPart::ALL.to_vec();
    parts.retain(|part| words.contains(&part.word()));
    let parts = if parts.is_empty() { &InfoPart::ALL[..] } else { &parts[..] };
    ("text/html; charset=utf-8", ostler_status::info_html(&info, parts))
}

fn accepts_json(request: &Request<'_>) -> bool {
    let accepts = request.head.value("accept").unwrap_or_default();
    memchr::memmem::find(accepts, b"application/json").is_some()
}

/// Processor time of this thread. Nothing else runs on it between two calls without an `await`.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Tells what a page has cost the proxy, in the form of Server Timing (a draft of the W3C).
fn cost_field(cost: Duration) -> String {
    format!("cpu;desc=\"processor time of this page\";dur={:.3}", cost.as_secs_f64() * 1_000.0)
}

/// What is asked of the past.
enum Asked {
    /// What is kept of it.
    Overview,
    /// The state at a moment, as it was written.
    Moment(String),
}

/// What the query of the status page asks for.
struct Options {
    is_auto: bool,
    is_json: bool,
    /// One screen for a terminal: what `ostler status` prints.
    is_text: bool,
    past: Option<Asked>,
    /// The pool whose stacks are asked for.
    stacks: Option<String>,
    html: HtmlOptions,
}

impl Options {
    fn of(request: &Request<'_>) -> Self {
        let query = request.target.query();
        // Datadog's reader adds a second question mark.
        let mut words = query.split(['?', '&', ';']);
        let is_json = accepts_json(request);
        let (past, html) = (None, HtmlOptions::default());
        let (is_auto, is_text, stacks) = (false, false, None);
        let mut options = Self { is_auto, is_json, is_text, past, stacks, html };
        words.by_ref().for_each(|word| {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match name {
                "auto" => options.is_auto = true,
                "json" => options.is_json = true,
                "text" => options.is_text = true,
                "stacks" => options.stacks = Some(past::decoded(value)),
                "history" => options.past = Some(Asked::Overview),
                "at" => {
                    let at = past::decoded(value);
                    options.html.at = UnixTime::asked(&at);
                    options.past = Some(Asked::Moment(at));
                }
                "notable" => options.html.notable = true,
                "refresh" => options.html.refresh = Some(refresh_s(value)),
                _ => {}
            }
        });
        options
    }

    /// Whether the page itself is asked for.
    fn is_html(&self) -> bool {
        !(self.is_auto || self.is_json || self.is_text)
    }
}

/// Seconds between two refreshes, read as `mod_status` does: the digits at the start of the
/// value, and 10 where there is no number, or 0.
fn refresh_s(value: &str) -> u32 {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let seconds = value.get(..digits).and_then(|digits| digits.parse().ok());
    seconds.filter(|&seconds| 0 < seconds).unwrap_or(10)
}

/// 200 while every pool has a worker that serves and no end is planned; open to everybody.
async fn health(
    client: &mut Client<'_>,
    request: &Request<'_>,
    entry: &mut Entry,
) -> Result<Ending, RequestError> {
    let fields: [(&str, &[u8]); 2] =
        [("content-type", b"text/plain; charset=utf-8"), ("cache-control", b"no-store")];
    let (status, body) = match illness(client.shared, request.live) {
        None => ((200, "OK"), "ok\n"),
        Some(illness) => ((503, "Service Unavailable"), illness),
    };
    respond(client, request, entry, status, &fields, body.as_bytes()).await
}

fn illness(shared: &Shared, live: &LiveConfig) -> Option<&'static str> {
    if *shared.phase.borrow() != Phase::Serving {
        return Some("shutting down\n");
    }
    let is_ill = live.pools.values().any(|target| !target.pool.is_serving());
    is_ill.then_some("a pool has no ready worker\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refresh_is_read_as_mod_status_reads_it() {
        let cases = [("", 10), ("5", 5), ("0", 10), ("-3", 10), ("7abc", 7), ("%35", 10)];
        for (value, expected) in cases {
            assert_eq!(refresh_s(value), expected, "{value:?}");
        }
    }
}
