//! What the threads of a pool are doing, on demand: `?stacks=POOL`.

use ostler_status as status;

use super::Options;
use super::past::send;
use crate::connection::{Client, Ending};
use crate::entry::Entry;
use crate::request::{Request, respond};
use crate::respond::RequestError;

/// Answers with the stacks of a pool.
pub(super) async fn answer(
    client: &mut Client<'_>,
    request: &Request<'_>,
    entry: &mut Entry,
    (pool, options): (&str, &Options),
) -> Result<Ending, RequestError> {
    if !request.live.config.pools.contains_key(pool) {
        let told = format!("there is no pool {pool:?}");
        return refuse(client, request, entry, ((404, "Not Found"), &told, options)).await;
    }
    let stacks = match client.shared.stacks.ask(pool).await {
        Ok(stacks) => stacks,
        Err(error) => {
            let told = error.to_string();
            let status = (503, "Service Unavailable");
            return refuse(client, request, entry, (status, &told, options)).await;
        }
    };
    let (media_type, body) = if options.is_json {
        ("application/json", status::stacks_json(&stacks))
    } else if options.is_text {
        ("text/plain; charset=utf-8", status::stacks_text(&stacks, true))
    } else {
        ("text/html; charset=utf-8", status::stacks_html(&stacks))
    };
    let fields: [(&str, &[u8]); 4] = [
        ("content-type", media_type.as_bytes()),
        ("cache-control", b"no-store"),
        ("x-content-type-options", b"nosniff"),
        ("content-security-policy", status::CONTENT_SECURITY_POLICY.as_bytes()),
    ];
    respond(client, request, entry, (200, "OK"), &fields, body.as_bytes()).await
}

async fn refuse(
    client: &mut Client<'_>,
    request: &Request<'_>,
    entry: &mut Entry,
    (status, told, options): ((u16, &'static str), &str, &Options),
) -> Result<Ending, RequestError> {
    let (media_type, body) = if options.is_json {
        ("application/json", serde_json::json!({ "error": told }).to_string())
    } else {
        ("text/plain; charset=utf-8", format!("{told}.\n"))
    };
    send(client, request, entry, status, (media_type, &body)).await
}
