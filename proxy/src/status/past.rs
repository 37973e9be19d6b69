//! The status page of a moment of the past.

use ostler_status as status;
use ostler_status::{Snapshot, Trends, UnixTime};
use serde::Serialize;

use super::Options;
use crate::connection::{Client, Ending};
use crate::entry::Entry;
use crate::history::{Gone, History, PastError};
use crate::request::{Request, respond};
use crate::respond::RequestError;

/// Why a moment is not shown.
pub(super) struct Refusal {
    status: (u16, &'static str),
    is_json: bool,
    told: Told,
}

/// What is said about it.
#[derive(Serialize)]
struct Told {
    error: String,
    from: Option<UnixTime>,
    until: Option<UnixTime>,
    /// The nearest moments that are kept.
    before: Option<UnixTime>,
    after: Option<UnixTime>,
}

/// Returns the state at a moment, and for the page the hour before it.
pub(super) fn find(
    history: &History,
    at: &str,
    options: &Options,
) -> Result<(Snapshot, Option<Trends>), Refusal> {
    let is_json = options.is_json && !options.is_auto && !options.is_text;
    let refusal = |status, error, gone: Gone| {
        let (from, until) = gone.kept.unzip();
        let told = Told { error, from, until, before: gone.before, after: gone.after };
        Refusal { status, is_json, told }
    };
    let Some(moment) = UnixTime::asked(at) else {
        let error = "at= takes a moment such as 2026-01-31T14:03:12Z, or seconds since 1970";
        return Err(refusal((400, "Bad Request"), error.to_owned(), Gone::default()));
    };
    let failed = |error| {
        tracing::error!(%error, "history_not_read");
        let error = "the history cannot be read; the log says why".to_owned();
        refusal((503, "Service Unavailable"), error, Gone::default())
    };
    let past = match history.at(moment) {
        Ok(past) => past,
        Err(PastError::Io(error)) => return Err(failed(error)),
        Err(PastError::Gone(gone)) => {
            let error = match gone.kept {
                None => "no history is kept: status.history-size is 0B, or the log says why",
                Some(_) => "nothing is kept of this moment",
            };
            return Err(refusal((404, "Not Found"), error.to_owned(), gone));
        }
    };
    let trends = options.is_html().then(|| history.trends_before(&past)).transpose();
    Ok((past.snapshot, trends.map_err(failed)?))
}

/// Says why a moment is not shown.
pub(super) async fn refuse(
    client: &mut Client<'_>,
    request: &Request<'_>,
    entry: &mut Entry,
    refusal: &Refusal,
) -> Result<Ending, RequestError> {
    let (media_type, body) = if refusal.is_json {
        ("application/json", serde_json::to_string(&refusal.told).unwrap_or_default())
    } else {
        ("text/plain; charset=utf-8", refusal.told.text())
    };
    send(client, request, entry, refusal.status, (media_type, &body)).await
}

/// Answers with what is kept of the past.
pub(super) async fn overview(
    client: &mut Client<'_>,
    request: &Request<'_>,
    entry: &mut Entry,
) -> Result<Ending, RequestError> {
    let body = status::overview_json(&client.shared.history.overview());
    send(client, request, entry, (200, "OK"), ("application/json", &body)).await
}

pub(super) async fn send(
    client: &mut Client<'_>,
    request: &Request<'_>,
    entry: &mut Entry,
    status: (u16, &str),
    (media_type, body): (&str, &str),
) -> Result<Ending, RequestError> {
    let fields: [(&str, &[u8]); 3] = [
        ("content-type", media_type.as_bytes()),
        ("cache-control", b"no-store"),
        ("x-content-type-options", b"nosniff"),
    ];
    respond(client, request, entry, status, &fields, body.as_bytes()).await
}

impl Told {
    fn text(&self) -> String {
        let moments = [
            ("Kept from:     ", self.from),
            ("Kept until:    ", self.until),
            ("Nearest before:", self.before),
            ("Nearest after: ", self.after),
        ];
        let known = moments.into_iter().filter_map(|(name, moment)| Some((name, moment?)));
        let lines: Vec<String> = known.map(|(name, moment)| format!("{name} {moment}\n")).collect();
        format!("{}.\n{}", self.error, lines.concat())
    }
}

/// Returns a value of a query without its escapes.
pub(super) fn decoded(value: &str) -> String {
    let pair = ["at=", value].concat();
    let mut pairs = form_urlencoded::parse(pair.as_bytes());
    pairs.next().map_or_else(String::new, |(_, value)| value.into_owned())
}
