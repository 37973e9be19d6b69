//! The status listener's pages: who may see them, and which is asked for.

use ostler_policy::forwarded::{self, Peer};
use ostler_policy::http::head::RequestHead;
use ostler_status::{HtmlOptions, InfoPart};
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
    if page == Page::Info {
        let (media_type, body) = info_page(client.shared, request);
        return respond_with(client, request, entry, media_type, &body).await;
    }
    let snapshot = snapshot::take(client.shared, request.live, request.host);
    let options = Options::of(request);
    let (media_type, body) = if page == Page::Metrics {
        ("text/plain; version=0.0.4; charset=utf-8", ostler_status::prometheus(&snapshot))
    } else if options.is_auto {
        ("text/plain; charset=ISO-8859-1", ostler_status::auto(&snapshot))
    } else if options.is_text {
        ("text/plain; charset=utf-8", ostler_status::text(&snapshot))
    } else if options.is_json {
        ("application/json", ostler_status::json(&snapshot))
    } else {
        ("text/html; charset=utf-8", ostler_status::html(&snapshot, None, &options.html))
    };
    respond_with(client, request, entry, media_type, &body).await
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

async fn respond_with(
    client: &mut Client<'_>,
    request: &Request<'_>,
    entry: &mut Entry,
    media_type: &str,
    body: &str,
) -> Result<Ending, RequestError> {
    let fields: [(&str, &[u8]); 4] = [
        ("content-type", media_type.as_bytes()),
        ("cache-control", b"no-store"),
        ("x-content-type-options", b"nosniff"),
        ("content-security-policy", ostler_status::CONTENT_SECURITY_POLICY.as_bytes()),
    ];
    respond(client, request, entry, (200, "OK"), &fields, body.as_bytes()).await
}

/// What the query of the status page asks for.
struct Options {
    is_auto: bool,
    is_json: bool,
    /// One screen for a terminal: what `ostler status` prints.
    is_text: bool,
    html: HtmlOptions,
}

impl Options {
    fn of(request: &Request<'_>) -> Self {
        let query = request.target.query();
        let mut words = query.trim_start_matches('?').split(['&', ';']);
        let is_json = accepts_json(request);
        let html = HtmlOptions::default();
        let mut options = Self { is_auto: false, is_json, is_text: false, html };
        words.by_ref().for_each(|word| {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match name {
                "auto" => options.is_auto = true,
                "json" => options.is_json = true,
                "text" => options.is_text = true,
                "notable" => options.html.notable = true,
                // Without a number, mod_status refreshes every second.
                "refresh" => options.html.refresh = Some(value.parse().unwrap_or(1).max(1)),
                _ => {}
            }
        });
        options
    }
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
