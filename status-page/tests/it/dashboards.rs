//! The dashboard and the alert rules in `docs/` against what is exported: no query names a
//! metric or a label that does not exist.

use std::collections::{BTreeMap, BTreeSet};

use ostler_status::{HtmlOptions, html, prometheus};
use serde_json::Value;

use crate::{costly, sample};

const DASHBOARD: &str = include_str!("../../../docs/grafana.json");
const ALERTS: &str = include_str!("../../../docs/alerts.yml");

#[test]
fn every_query_of_the_dashboard_is_about_what_is_exported() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut queries = Vec::new();
    collect(&dashboard, &mut queries);
    assert!(40 < queries.len(), "{queries:#?}");
    let exported = exported();
    for query in queries {
        holds(&query, &exported);
    }
}

#[test]
fn every_alert_is_about_what_is_exported() {
    let exported = exported();
    assert!(holds(ALERTS, &exported) >= 15);
}

#[test]
fn every_heading_that_an_alert_quotes_is_on_the_page() {
    let page = html(&sample::snapshot(), None, &HtmlOptions::default());
    let descriptions: Vec<String> = ALERTS
        .split("description: >-\n")
        .skip(1)
        .map(|rest| {
            let lines = rest.lines().take_while(|line| line.starts_with(&" ".repeat(12)));
            lines.map(str::trim).collect::<Vec<_>>().join(" ")
        })
        .collect();
    let quoted = descriptions.iter().flat_map(|text| text.split('"').skip(1).step_by(2));
    let quoted: BTreeSet<&str> = quoted.collect();
    assert!(8 <= quoted.len(), "{quoted:?}");
    for heading in quoted {
        let is_there =
            ["<h2>", "<h3>", "<dt>"].map(|tag| page.contains(&format!("{tag}{heading}</")));
        assert!(is_there.contains(&true), "{heading}");
    }
}

#[test]
fn the_dashboard_can_be_narrowed_to_pools_and_routes() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let variables: Vec<&str> = dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| variable["name"].as_str().unwrap())
        .collect();
    assert_eq!(variables, ["datasource", "pool", "route"]);
    let mut queries = Vec::new();
    collect(&dashboard, &mut queries);
    for query in queries.iter().filter(|query| query.contains('{')) {
        for (family, variable) in [("ostler_pool_", "$pool"), ("ostler_route_", "$route")] {
            let is_narrowed = query.contains(variable) || query.contains("label_values");
            let is_annotation = query.contains("reason=\"exit\"");
            assert!(!query.contains(family) || is_narrowed || is_annotation, "{query}");
        }
    }
}

/// Labels of every exported name.
fn exported() -> BTreeMap<String, BTreeSet<String>> {
    let text = prometheus(&costly::snapshot());
    let mut exported: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let series = line.rsplit_once(' ').unwrap().0;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        exported.entry(name.to_owned()).or_default().extend(label_names(labels));
    }
    exported
}

/// Names before `=`, `=~`, `!=` and `!~` and a quoted value.
fn label_names(selector: &str) -> Vec<String> {
    let outside = selector.split('"').step_by(2);
    let names = outside.map(|part| part.trim_matches(|c: char| !c.is_alphanumeric() && c != '_'));
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// All queries anywhere in the dashboard.
fn collect(value: &Value, queries: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let query = value.as_str().filter(|_| key == "expr" || key == "definition");
                queries.extend(query.map(str::to_owned));
                collect(value, queries);
            }
        }
        Value::Array(array) => array.iter().for_each(|value| collect(value, queries)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Fails the test where a name or a label does not exist; returns how many names there are.
fn holds(query: &str, exported: &BTreeMap<String, BTreeSet<String>>) -> usize {
    let starts: Vec<usize> = query.match_indices("ostler_").map(|(start, _)| start).collect();
    for &start in &starts {
        let rest = &query[start..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, rest) = rest.split_at(end.unwrap_or(rest.len()));
        assert!(exported.contains_key(name), "no {name}: {query}");
        let labels = &exported[name];
        let selector = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        for label in label_names(selector.map_or("", |(selector, _)| selector)) {
            assert!(labels.contains(&label), "{name} has no label {label}: {query}");
        }
    }
    starts.len()
}
