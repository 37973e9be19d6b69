//! Hostile texts in every place of a snapshot, in every rendering.

use std::collections::BTreeMap;

use ostler_status::{
    HeldRequest, HtmlOptions, PostMortem, Snapshot, ThreadTrace, auto, html, json, prometheus, text,
};

use crate::sample;

const HOSTILE: &str =
    "\"><script>alert(1)</script>' onload=\"x\" &amp;\r\n\u{1b}[2J\u{0}\u{202e}\\";

#[test]
fn the_page_has_no_markup_but_its_own() {
    for notable in [false, true] {
        let options = HtmlOptions { notable, ..HtmlOptions::default() };
        let (trends, mut hostile_trends) = (sample::trends(), sample::trends());
        hostile_trends.pools = renamed_after(&hostile_trends.pools, "1");
        let page = html(&hostile(), Some(&hostile_trends), &options);
        let clean = html(&sample::snapshot(), Some(&trends), &options);
        assert_eq!(tags(&page), tags(&clean));
        assert!(page.contains("&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&#39; onload"));
        assert!(!page.contains(['\u{1b}', '\u{0}', '\u{202e}', '\r']));
    }
}

#[test]
fn the_terminal_gets_no_control_characters_but_line_ends() {
    let (screen, clean) = (text(&hostile()), text(&sample::snapshot()));
    assert!(screen.chars().all(|character| character == '\n' || !character.is_control()));
    assert!(!screen.contains('\u{202e}'));
    assert_eq!(screen.lines().count(), clean.lines().count());
}

#[test]
fn no_text_can_add_a_line_to_what_monitors_read() {
    let (hostile, clean) = (hostile(), sample::snapshot());
    assert_eq!(auto(&hostile).lines().count(), auto(&clean).lines().count());
    assert_eq!(prometheus(&hostile).lines().count(), prometheus(&clean).lines().count());
    let document: serde_json::Value = serde_json::from_str(&json(&hostile)).unwrap();
    assert_eq!(document["server"]["config_error"], HOSTILE);
}

/// The tags of a page with their attributes' names, without the attributes' values.
fn tags(page: &str) -> Vec<String> {
    let mut tags = Vec::new();
    for piece in page.split('<').skip(1) {
        let tag = piece.split_once('>').unwrap().0;
        let names = tag.split('"').step_by(2).map(str::trim);
        tags.push(names.collect::<Vec<_>>().join(" "));
    }
    tags
}

/// The sample with every text replaced.
fn hostile() -> Snapshot {
    let mut snapshot = sample::snapshot();
    snapshot.server.version = HOSTILE.into();
    snapshot.server.config_error = Some(HOSTILE.into());
    snapshot.machine.server_name = HOSTILE.into();
    snapshot.machine.built = HOSTILE.into();
    snapshot.requests.by_reason = renamed(&snapshot.requests.by_reason);
    snapshot.pools = renamed(&snapshot.pools);
    snapshot.origins = renamed(&snapshot.origins);
    for pool in snapshot.pools.values_mut() {
        for route in pool.blame.iter_mut().flat_map(|blame| &mut blame.routes) {
            route.route = HOSTILE.into();
        }
        pool.recycles_total = renamed(&pool.recycles_total);
        for pending in &mut pool.recycles_pending {
            pending.reason = HOSTILE.into();
        }
        if let Some(exit) = &mut pool.last_exit {
            exit.exit = HOSTILE.into();
            exit.stderr = vec![HOSTILE.into()];
        }
        for record in &mut pool.post_mortems {
            hostile_record(record);
        }
        let threads = pool.workers.iter_mut().flat_map(|worker| &mut worker.threads);
        for request in threads.filter_map(|thread| thread.request.as_mut()) {
            for field in [
                &mut request.id,
                &mut request.method,
                &mut request.target,
                &mut request.host,
                &mut request.site,
                &mut request.client,
                &mut request.protocol,
                &mut request.route,
            ] {
                *field = HOSTILE.into();
            }
            // The page shows the site where it differs from the host.
            request.site.push('2');
        }
    }
    for (index, route) in snapshot.routes.iter_mut().enumerate() {
        route.name = format!("{HOSTILE}{index}");
        // The pool that was called `web`, so that the findings are about the same things.
        route.pool = route.pool.as_ref().map(|_| format!("{HOSTILE}1"));
        route.origin = route.origin.as_ref().map(|_| HOSTILE.into());
        if let Some(last) = &mut route.over_budget {
            for field in [&mut last.id, &mut last.method, &mut last.target] {
                *field = HOSTILE.into();
            }
        }
    }
    for event in &mut snapshot.events {
        event.subject = event.subject.as_ref().map(|_| format!("{HOSTILE}1"));
        // The reason decides what is advised.
        event.text = format!("{HOSTILE} max-memory");
    }
    for origin in snapshot.origins.values_mut() {
        for (index, server) in origin.servers.iter_mut().enumerate() {
            server.url = format!("{HOSTILE}{index}");
            server.reason = server.reason.as_ref().map(|_| HOSTILE.into());
        }
    }
    snapshot
}

fn hostile_record(record: &mut PostMortem) {
    let hostile = || HOSTILE.to_owned();
    let thread = ThreadTrace {
        tid: 1,
        name: hostile(),
        state: hostile(),
        wait_channel: Some(hostile()),
        system_call: Some(hostile()),
        stack: vec![hostile()],
        frames: vec![hostile()],
    };
    for held in &mut record.requests {
        *held = HeldRequest {
            id: hostile(),
            method: hostile(),
            target: hostile(),
            host: hostile(),
            client: hostile(),
            thread: Some(thread.clone()),
            ..held.clone()
        };
    }
    record.exit = Some(hostile());
    record.threads = vec![thread];
    record.output = vec![hostile()];
}

/// The only value, under the hostile name with this end.
fn renamed_after<V: Clone>(map: &BTreeMap<String, V>, end: &str) -> BTreeMap<String, V> {
    map.values().map(|value| (format!("{HOSTILE}{end}"), value.clone())).collect()
}

/// The same values, in the same order, under hostile names.
fn renamed<V: Clone>(map: &BTreeMap<String, V>) -> BTreeMap<String, V> {
    map.values()
        .enumerate()
        .map(|(index, value)| (format!("{HOSTILE}{index}"), value.clone()))
        .collect()
}
