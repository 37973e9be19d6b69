//! Every rendering of the sample, byte for byte, and what the page must never need.

use base64::Engine;
use ostler_status::{
    CONTENT_SECURITY_POLICY, DEFAULT_REFRESH_S, Event, HtmlOptions, Route, ShedTotal, Snapshot,
    TextStyle, auto, html, json, prometheus, text, text_in,
};

use crate::sample;

#[test]
fn auto_is_what_it_was() {
    insta::assert_snapshot!(auto(&sample::snapshot()));
}

#[test]
fn json_is_what_it_was() {
    let document: serde_json::Value = serde_json::from_str(&json(&sample::snapshot())).unwrap();
    let mut document = document;
    // 64 idle rows say nothing; another test counts them.
    document["pools"]["api"]["workers"][0]["threads"].as_array_mut().unwrap().drain(..64);
    insta::assert_snapshot!(serde_json::to_string_pretty(&document).unwrap());
}

#[test]
fn prometheus_is_what_it_was() {
    insta::assert_snapshot!(prometheus(&sample::snapshot()));
}

#[test]
fn the_terminal_screen_is_what_it_was() {
    insta::assert_snapshot!(text(&sample::snapshot()));
}

#[test]
fn a_usual_site_fits_a_terminal() {
    let mut snapshot = sample::snapshot();
    snapshot.origins.clear();
    snapshot.server.config_error = None;
    snapshot.pools.remove("api");
    snapshot.routes.clear();
    snapshot.events.clear();
    let pool = snapshot.pools.get_mut("web").unwrap();
    pool.workers.remove(0);
    (pool.recycles_pending, pool.stuck) = (Vec::new(), 0);
    (pool.full_since, pool.queue_full_since, pool.queued, pool.busy) = (None, None, 0, 5);
    let threads = pool.workers.iter_mut().flat_map(|worker| &mut worker.threads);
    threads.for_each(|thread| thread.stuck = false);
    pool.shed_total = ShedTotal::default();
    snapshot.requests.by_reason.clear();
    for name in ["/", "/leaderboard", "/problems"] {
        let mut route = Route { name: name.to_owned(), ..Route::default() };
        route.window.requests = 12_345;
        route.window.costs.db_queries = 99_999;
        snapshot.routes.push(route);
        let text = format!("{name} held most of pool web.");
        snapshot.events.push(Event { text, ..Event::default() });
    }
    let screen = text(&snapshot);
    assert!(screen.lines().count() <= 24, "{screen}");
    let findings = |line: &&str| !line.starts_with('!');
    let widest = screen.lines().filter(findings).map(|line| line.chars().count()).max();
    assert!(widest <= Some(80), "{screen}");
}

#[test]
fn colours_add_nothing_but_colours() {
    let snapshot = sample::snapshot();
    let coloured = text_in(&snapshot, TextStyle::Coloured);
    assert!(coloured.contains("\u{1b}[1;31m"), "{coloured:?}");
    let mut plain = String::new();
    let mut pieces = coloured.split('\u{1b}');
    plain.push_str(pieces.next().unwrap());
    plain.extend(pieces.map(|piece| piece.split_once('m').unwrap().1));
    assert_eq!(plain, text(&snapshot));
}

#[test]
fn the_content_of_the_page_is_what_it_was() {
    let page = html(&sample::snapshot(), Some(&sample::trends()), &HtmlOptions::default());
    insta::assert_snapshot!(body_of(&page));
    let page =
        html(&sample::snapshot(), None, &HtmlOptions { notable: true, ..HtmlOptions::default() });
    insta::assert_snapshot!("without_tables", body_of(&page));
}

#[test]
fn an_empty_server_renders_everywhere() {
    let empty = Snapshot::default();
    insta::assert_snapshot!("empty_auto", auto(&empty));
    insta::assert_snapshot!("empty_text", text(&empty));
    assert!(html(&empty, None, &HtmlOptions::default()).contains("No pool is configured."));
    assert!(prometheus(&empty).contains("ostler_requests_total{status=\"2xx\"} 0\n"));
}

#[test]
fn the_page_refreshes_itself_as_often_as_asked() {
    for (asked, expected) in [(None, DEFAULT_REFRESH_S), (Some(1), 1), (Some(0), 1)] {
        let options = HtmlOptions { refresh: asked, ..HtmlOptions::default() };
        let page = html(&sample::snapshot(), None, &options);
        assert!(page.contains(&format!("data-refresh=\"{expected}\"")), "{asked:?}");
        assert!(page.contains(&format!("http-equiv=\"refresh\" content=\"{expected}\"")));
    }
}

#[test]
fn a_page_of_the_past_says_so_and_stays_as_it_is() {
    let at = Some("2026-01-01T03:25:45Z".parse().unwrap());
    let page = html(&sample::snapshot(), None, &HtmlOptions { at, ..HtmlOptions::default() });
    assert!(page.contains("data-at=\"2026-01-01T03:25:45Z\""));
    assert!(!page.contains("http-equiv=\"refresh\""));
    let past = between(&page, "<nav class=\"past", "</nav>");
    assert!(past.contains("You see the past: 2026-01-01 03:25:45 UTC.") && past.contains("\"?\""));
    for moment in ["02:25:45", "03:24:45", "03:25:35", "03:25:55", "04:25:45"] {
        assert!(past.contains(&format!("href=\"?at=2026-01-01T{moment}Z\"")), "{past}");
    }
    assert!(
        past.contains("type=\"datetime-local\" name=\"at\"") && past.contains("type=\"range\"")
    );
}

#[test]
fn nothing_leads_into_a_past_that_is_not_kept() {
    let mut snapshot = sample::snapshot();
    snapshot.server.history = None;
    let page = html(&snapshot, None, &HtmlOptions::default());
    assert!(!page.contains("?at=") && !page.contains("class=\"past"));
}

#[test]
fn every_part_that_is_linked_to_is_there_once() {
    for notable in [false, true] {
        let options = HtmlOptions { notable, ..HtmlOptions::default() };
        let page = html(&sample::snapshot(), None, &options);
        let links: Vec<&str> =
            page.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert!(links.iter().any(|link| link.starts_with("row-web-0-2-2")), "{links:?}");
        for link in links {
            assert_eq!(page.matches(&format!(" id=\"{link}\"")).count(), 1, "{link}");
        }
    }
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let page = html(&sample::snapshot(), None, &HtmlOptions::default());
    for outside in ["<link", "<img", "src=", "@import", "url(", " style=\"", " onclick"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert_eq!(page.matches("<script").count(), 1);
    assert_eq!(page.matches("<style").count(), 1);
}

#[test]
fn the_policy_allows_exactly_the_style_and_the_script_of_the_page() {
    let page = html(&sample::snapshot(), None, &HtmlOptions::default());
    let expected = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; \
         connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        hash(between(&page, "<style>", "</style>")),
        hash(between(&page, "<script>", "</script>")),
    );
    assert_eq!(CONTENT_SECURITY_POLICY, expected);
}

fn hash(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(digest)
}

fn body_of(page: &str) -> &str {
    between(page, "<body>", "<script>")
}

fn between<'a>(page: &'a str, start: &str, end: &str) -> &'a str {
    page.split_once(start).unwrap().1.split_once(end).unwrap().0
}
