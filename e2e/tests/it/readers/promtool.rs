//! What Prometheus itself says of the metrics, the alert rules and the dashboard: `promtool`, as
//! Debian ships it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ostler_e2e::program::{installed, run, run_on};
use ostler_e2e::{Load, Plan};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::ask;

#[tokio::test]
async fn promtool_has_nothing_to_say_against_the_metrics_under_load() {
    let stack = Plan::probe()
        .with("origin.cdn.servers = ['http://127.0.0.1:9']\npool.probe.processes = 2")
        .with("[[site]]\nroute = [{path='/', pool='probe'}, {path='/cdn/', origin='cdn'}]")
        .start()
        .await;
    let load = Load::start(stack.address(), "/", 4);
    let mut held = ask(&stack, "/sleep/1500").await;
    stack.get("/cdn/").await.expect_reason(502, "origin-connect");
    load.until_answered(200).await;
    let metrics = stack.get_status("/metrics").await;
    assert_eq!(metrics.status, 200);
    let ended = run_on(promtool(&["check", "metrics"]), &metrics.body).await;
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!((ended.code, said.as_str()), (Some(0), ""), "{}", metrics.text());
    load.stop().await.expect_all_answered();
    assert_eq!(held.response().await.status, 200);
}

#[tokio::test]
async fn promtool_takes_the_alert_rules_and_they_go_off_when_they_must() {
    let rules = project().join("docs/alerts.yml");
    let mut check = promtool(&["check", "rules", "--lint=all", "--lint-fatal"]);
    check.arg(rules);
    let ended = run(check).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("SUCCESS"), "{ended:?}");

    let mut test = promtool(&["test", "rules"]);
    test.arg(project().join("e2e/tests/alerts.test.yml"));
    let ended = run(test).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// Each query as a rule, since `promtool` reads rules and no dashboards.
#[tokio::test]
async fn every_query_of_the_dashboard_can_be_parsed() {
    let text = tokio::fs::read_to_string(project().join("docs/grafana.json")).await.unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let annotations = dashboard["annotations"]["list"].as_array().unwrap();
    let mut rules = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    let mut count = 0;
    for target in targets.chain(annotations) {
        let query = target["expr"].as_str().unwrap();
        let query = query.replace("$__rate_interval", "5m").replace(['$'], "");
        // A JSON string is a YAML string.
        let query = Value::from(query);
        writeln!(rules, "  - record: dashboard:query{count}\n    expr: {query}").unwrap();
        count += 1;
    }
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("rules.yml");
    tokio::fs::write(&file, rules).await.unwrap();
    let mut check = promtool(&["check", "rules"]);
    check.arg(file);
    let ended = run(check).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains(&format!("{count} rules found")), "{ended:?}");
}

fn promtool(arguments: &[&str]) -> Command {
    let mut command = Command::new(installed("promtool", "prometheus"));
    command.args(arguments);
    command
}

/// The project's folder.
fn project() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    folder.unwrap().to_owned()
}
