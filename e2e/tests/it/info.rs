//! `/server-info`: what it says of configuration, routes, limits and features, and what it hides.

use ostler_e2e::stack::event;
use ostler_e2e::{Client, Plan, Stack};
use serde_json::Value;

const SECRET: &str = "hunter2";

#[tokio::test]
async fn values_have_their_sources_and_secrets_are_nowhere() {
    let stack = Plan::probe()
        .with("[pool.probe]\nenvironment = { PROBE_MODE = 'threads', DATABASE = '${SECRET_URL}' }")
        .with("[pool.probe]\nwarm-up = ['/?token=hunter2']")
        .environment("SECRET_URL", "postgres://u:hunter2@db/")
        .start()
        .await;
    let page = stack.get_status("/server-info").await;
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.field("content-security-policy").is_some_and(|it| it.contains("'none'")));
    let text = page.text();
    for expected in ["ostler.toml:", "PROBE_MODE", "DATABASE", "***", "default", "${SECRET_URL}"] {
        assert!(text.contains(expected), "no {expected}");
    }
    let json = stack.get_status("/server-info?json").await.json();
    let config = json["config"].as_str().unwrap();
    assert!(config.contains("warm-up = [\"/?token=***\"]"), "{config}");
    for shown in [text, json.to_string()] {
        assert!(!shown.contains(SECRET), "{shown}");
    }
}

#[tokio::test]
async fn each_part_can_be_had_alone() {
    let stack = Stack::start("").await;
    let parts = ["server", "list", "routes", "config"];
    for part in parts {
        let text = stack.get_status(&format!("/server-info?{part}")).await.text();
        for other in parts {
            let is_there = text.contains(&format!("<section class=\"card\" id=\"{other}\">"));
            assert_eq!(is_there, part == other, "{other} in ?{part}");
        }
    }
}

#[tokio::test]
async fn routes_are_in_the_order_in_which_they_are_tried() {
    let stack = Plan::probe()
        .with(
            "[[site]]\nroute = [{ path = '/', pool = 'probe' }, { path = '/api/', pool = 'probe', \
             methods = ['POST'], body-size = '1KiB', max-share = 0.5 }, \
             { path = '=/x', redirect = '/y' }]",
        )
        .start()
        .await;
    let json = stack.get_status("/server-info?json").await.json();
    let routes = json["routes"][0]["routes"].as_array().unwrap();
    let paths: Vec<&str> = routes.iter().filter_map(|route| route["path"].as_str()).collect();
    assert_eq!(paths, ["=/x", "/api/", "/"]);
    assert_eq!(routes[1]["methods"], serde_json::json!(["POST"]));
    assert_eq!(routes[1]["target"], "pool probe");
    let differs = serde_json::json!(["body-size 1KiB", "max-share 50 of 100"]);
    assert_eq!(routes[1]["differs"], differs);
}

#[tokio::test]
async fn a_limit_that_is_too_low_is_logged_and_shown_with_what_to_do() {
    let stack = Plan::probe()
        .with("[server]\nmax-connections = 5000")
        .after("ulimit -Sn 1024; ulimit -Hn 1024")
        .start()
        .await;
    let is_it = |line: &str| event(line) == Some("limit_low") && line.contains("descriptors");
    let line = stack.logged(is_it).await;
    assert!(line.contains("found=1024") && line.contains("LimitNOFILE"), "{line}");
    let json = stack.get_status("/server-info?json").await.json();
    let limits = json["limits"].as_array().unwrap();
    let low = limits.iter().find(|limit| limit["name"] == "descriptors").unwrap();
    assert_eq!((&low["is_low"], &low["found"]), (&Value::Bool(true), &Value::from(1024)));
    let page = stack.get_status("/server-info").await.text();
    assert!(page.contains("verdict warning") && page.contains("LimitNOFILE"), "{page}");
}

#[tokio::test]
async fn what_is_in_use_is_told_with_what_it_takes() {
    let stack = Stack::start("").await;
    let json = stack.get_status("/server-info?json").await.json();
    let features = json["features"].as_array().unwrap();
    let named = |part: &str| {
        let named = |it: &&Value| it["name"].as_str().is_some_and(|name| name.contains(part));
        features.iter().find(named).unwrap()
    };
    let segments = named("segments");
    assert_eq!(segments["is_active"], true);
    assert!(0 < segments["bytes"].as_u64().unwrap(), "{segments}");
    assert!(0 < named("counter pages")["bytes"].as_u64().unwrap());
    assert_eq!(named("health checks")["is_active"], false);
    let facts = json["server"].to_string();
    for fact in ["Commit", "rustc", "Linux", "event loops"] {
        assert!(facts.contains(fact), "no {fact} in {facts}");
    }
}

#[tokio::test]
async fn strangers_are_refused_and_a_reload_changes_the_text() {
    let mut stack = Stack::start("").await;
    let stranger = std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 7));
    for path in ["/server-info", "/server-info/", "/server-info?json", "/server-info?config"] {
        let mut client = Client::connect_from(stranger, stack.status_address()).await;
        let response = client.get(path).await;
        assert_eq!(response.status, 403, "{path}");
        assert!(!response.text().contains("ostler.toml"), "{path}");
    }
    stack.reload("[pool.probe]\nqueue-length = 77").await;
    let config = stack.get_status("/server-info?json").await.json()["config"].to_string();
    assert!(config.contains("queue-length = 77"), "{config}");
}
