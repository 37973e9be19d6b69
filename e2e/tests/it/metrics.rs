//! What is counted: the form of the metrics, and that no total ever goes back.

use std::collections::BTreeMap;
use std::time::Duration;

use ostler_e2e::process;
use ostler_e2e::stack::{event, number, pids};
use ostler_e2e::{Load, Stack};
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::Instant;

use crate::ask;

#[tokio::test]
async fn metrics_are_in_the_form_of_prometheus() {
    let stack = Stack::start("").await;
    stack.get("/").await;
    stack.until(|status| status["requests"]["total"] == 1).await;
    let metrics = stack.get_status("/metrics").await;
    assert!(metrics.field("content-type").unwrap().starts_with("text/plain; version="));
    let text = metrics.text();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        assert!(name.starts_with("ostler_") && value.parse::<f64>().is_ok(), "{line}");
    }
    assert!(text.lines().any(|line| line.starts_with("ostler_requests_total")), "{text}");
    assert!(text.contains("pool=\"probe\""), "{text}");
    assert!(text.contains("# TYPE ") && text.contains("# HELP "), "{text}");
}

#[tokio::test]
async fn metrics_parse_line_by_line_and_count_requests() {
    let stack = Stack::start("pool.probe.threads = 1\npool.probe.queue-length = 0").await;
    let before = metrics(&stack).await;
    let mut client = stack.connect().await;
    for path in ["/", "/status/404", "/head"] {
        client.get(path).await;
        // The thread is free a moment after its answer is there.
        stack.until_pool("probe", |pool| pool["busy"] == 0).await;
    }
    let mut held = ask(&stack, "/sleep/1000").await;
    stack.until_pool("probe", |pool| pool["busy"] == 1).await;
    client.get("/").await.expect_reason(503, "queue-full");
    stack
        .until(|status| status["requests"]["total"] == 4 && status["requests"]["in_flight"] == 1)
        .await;
    let during = metrics(&stack).await;
    assert_eq!(count(&during, "ostler_pool_busy{pool=\"probe\"}"), 1);
    assert_eq!(count(&during, "ostler_requests_in_flight"), 1);
    assert_eq!(held.response().await.status, 200);
    stack
        .until(|status| {
            let requests = &status["requests"];
            let is_counted = requests["total"] == 5 && requests["in_flight"] == 0;
            is_counted && status["pools"]["probe"]["busy"] == 0
        })
        .await;
    let after = metrics(&stack).await;
    let requests = |all: &BTreeMap<String, f64>| -> u64 {
        let names = all.keys().filter(|name| is_family(name, "ostler_requests_total"));
        names.map(|name| count(all, name)).sum()
    };
    assert_eq!(requests(&after) - requests(&before), 5);
    assert_eq!(count(&after, "ostler_pool_requests_total{pool=\"probe\"}"), 4);
    let shed = "ostler_pool_shed_total{pool=\"probe\",reason=\"queue-full\"}";
    assert_eq!(count(&after, shed), 1);
    assert_eq!(count(&after, "ostler_connections_accepted_total"), 2);
    for (name, value) in &before {
        if name.contains("_total") {
            assert!(*value <= after[name], "{name} went back from {value}");
        }
    }
}

#[tokio::test]
async fn counters_do_not_go_back_when_the_proxy_is_killed() {
    let stack = Stack::start("pool.probe.processes = 2").await;
    let mut client = stack.connect().await;
    for path in ["/", "/status/404", "/bytes/100000", "/../"] {
        client.get(path).await;
    }
    client.closed().await;
    let before = stack
        .until(|status| {
            let requests = &status["requests"];
            let is_counted = requests["total"] == 4 && requests["in_flight"] == 0;
            is_counted && status["connections"]["closed_total"]["error"] == 1
        })
        .await;
    let _load = Load::start(stack.address(), "/", 2);

    assert!(process::signal(number(&before["server"]["proxy"]["pid"]), Signal::KILL));
    let killed = Instant::now();
    stack
        .logged(|line| event(line) == Some("proxy_started") && line.contains("incarnation=2"))
        .await;
    // Connections wait in the listeners meanwhile.
    assert_eq!(stack.get("/").await.status, 200);
    assert!(killed.elapsed() < Duration::from_secs(3), "{:?}", killed.elapsed());
    let after = stack.until_pool("probe", |pool| pool["ready"] == 2 && alive(pool) == 2).await;
    let old = pids(&before["pools"]["probe"]);
    let new = pids(&after["probe"]);
    assert_eq!(old, new, "workers go on");
    let total = |status: &Value| status["requests"]["total"].as_u64().unwrap();
    let after = stack.until(|status| total(&before) < total(status)).await;
    assert_eq!(after["server"]["generation"], 2);
    assert_eq!(after["server"]["pid"], before["server"]["pid"]);
    assert_eq!(after["server"]["started"], before["server"]["started"]);
    for object in ["/connections", "/requests", "/pools/probe"] {
        goes_up(object, before.pointer(object).unwrap(), after.pointer(object).unwrap());
    }
    assert!(total(&before) < total(&after));
    assert_eq!(after["requests"]["by_reason"]["bad-request"], 1);
}

/// Fails the test where a total, at any depth, is less than it was.
fn goes_up(path: &str, before: &Value, after: &Value) {
    let totals = before.as_object().unwrap().iter().filter(|(key, _)| {
        key.as_str() == "total" || key.ends_with("_total") || key.starts_with("by_")
    });
    for (key, before) in totals {
        let path = format!("{path}/{key}");
        let after = &after[key];
        if let Some(parts) = before.as_object() {
            for (part, before) in parts {
                assert!(before.as_u64() <= after[part].as_u64(), "{path}/{part} went back");
            }
        } else {
            assert!(before.as_u64() <= after.as_u64(), "{path}: {before} {after}");
        }
    }
}

fn alive(pool: &Value) -> usize {
    pool["workers"].as_array().map_or(0, Vec::len)
}

/// All samples of `/metrics`, by name and labels; fails the test where a line is not as it must.
async fn metrics(stack: &Stack) -> BTreeMap<String, f64> {
    let answer = stack.get_status("/metrics").await;
    assert_eq!(answer.status, 200);
    let text = answer.text();
    assert!(text.ends_with('\n'), "the last line ends");
    let (mut samples, mut helped, mut family) = (BTreeMap::new(), "", "");
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            helped = help.split_once(' ').expect("a name and a text").0;
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').expect("a name and a type");
            assert_eq!(name, helped, "{line}");
            assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            family = name;
        } else {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            let series = name.split('{').next().unwrap_or_default();
            let labels = &name[series.len()..];
            let part = series.strip_prefix(family).unwrap_or_else(|| panic!("{line}"));
            assert!(matches!(part, "" | "_bucket" | "_sum" | "_count"), "{line}");
            assert!(are_labels(labels), "{line}");
            let value: f64 = value.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(value.is_finite(), "{line}");
            assert_eq!(samples.insert(name.to_owned(), value), None, "twice: {line}");
        }
    }
    samples
}

/// The value of a sample that counts something.
fn count(samples: &BTreeMap<String, f64>, name: &str) -> u64 {
    let value = samples.get(name).unwrap_or_else(|| panic!("no {name}: {samples:#?}"));
    value.to_string().parse().expect("a whole number")
}

/// Whether a sample belongs to a family of metrics.
fn is_family(sample: &str, family: &str) -> bool {
    sample.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
}

/// Whether this is nothing, or `{name="value",…}`.
fn are_labels(text: &str) -> bool {
    if text.is_empty() {
        return true;
    }
    let inside = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    inside.is_some_and(|labels| {
        labels.split("\",").all(|label| {
            let (name, value) = label.split_once("=\"").unwrap_or_default();
            let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            !name.is_empty() && is_name && !value.trim_end_matches('"').contains('"')
        })
    })
}
