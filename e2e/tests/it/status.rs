//! What operators and their programs read, and who may.

use std::net::{IpAddr, Ipv4Addr};

use ostler_e2e::client::request;
use ostler_e2e::stack::number;
use ostler_e2e::{Client, Plan, Stack};
use serde_json::Value;

/// Another address of this machine, which `status.allow` does not name by default.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 7));

#[tokio::test]
async fn json_has_the_shape_of_the_contract() {
    let stack = Plan::probe()
        .with("origin.cdn.servers = ['http://127.0.0.1:9']")
        .with("[[site]]\nroute = [{path='/', pool='probe'}, {path='/cdn/', origin='cdn'}]")
        .start()
        .await;
    stack.get("/").await;
    stack.get("/").await;
    stack.connect().await.get("/../").await.expect_reason(400, "bad-request");
    let status = stack
        .until(|status| status["requests"]["total"] == 3 && status["connections"]["open"] == 0)
        .await;
    for (object, keys) in [
        (
            "/server",
            "name version pid generation started uptime_s draining config_version config_loaded \
             config_error proxy",
        ),
        ("/server/proxy", "pid rss_bytes cpu_s fds fds_max spool_bytes"),
        ("/connections", "open reading writing idle upgraded max accepted_total closed_total"),
        ("/connections/closed_total", "client idle-timeout max-requests pressure drain error"),
        ("/requests", "total in_flight bytes_received_total bytes_sent_total by_status by_reason"),
        ("/requests/by_status", "1xx 2xx 3xx 4xx 5xx"),
        (
            "/pools/probe",
            "state degraded_since processes threads concurrency capacity ready busy stuck queued \
             queue_length queue_oldest_ms full_since window_s queue_wait_ms run_ms shed_total \
             left_total recycles_total recycles_pending last_exit workers",
        ),
        ("/pools/probe/queue_wait_ms", "p50 p99 max"),
        ("/pools/probe/shed_total", "queue-full queue-timeout predicted-wait pool-not-ready"),
        (
            "/pools/probe/workers/0",
            "slot generation pid state age_s rss_bytes cpu_s requests_total threads",
        ),
        ("/pools/probe/workers/0/threads/0", "thread tid state stuck requests_total cpu_s request"),
        (
            "/origins/cdn/servers/0",
            "url healthy since reason in_flight requests_total errors_total",
        ),
    ] {
        let found = status.pointer(object).unwrap_or_else(|| panic!("no {object}: {status:#}"));
        for key in keys.split_whitespace() {
            assert!(found.get(key).is_some(), "no {key} in {object}: {found:#}");
        }
    }
    assert_eq!(status["schema_version"], 1);
    assert_eq!(status["server"]["name"], "ostler");
    assert_eq!(number(&status["server"]["pid"]), stack.pid());
    assert_eq!(status["connections"]["accepted_total"], 3);
    assert_eq!(status["requests"]["by_status"]["2xx"], 2);
    assert_eq!(status["requests"]["by_status"]["4xx"], 1);
    assert_eq!(status["requests"]["by_reason"]["bad-request"], 1);
    let pool = &status["pools"]["probe"];
    assert_eq!((&pool["state"], &pool["capacity"]), (&"ok".into(), &2.into()));
    assert_eq!(pool["workers"][0]["state"], "ready");
    let by_thread: u64 = (0..2)
        .map(|row| pool["workers"][0]["threads"][row]["requests_total"].as_u64().unwrap())
        .sum();
    assert_eq!((by_thread, &pool["workers"][0]["requests_total"]), (2, &2.into()));
}

#[tokio::test]
async fn json_is_also_given_to_who_accepts_it() {
    let stack = Stack::start("").await;
    let mut client = Client::connect(stack.status_address()).await;
    let head = "GET /server-status HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n";
    client.send(head).await;
    assert_eq!(client.response().await.json()["schema_version"], 1);
}

#[tokio::test]
async fn auto_has_the_lines_that_monitors_of_httpd_read() {
    let stack = Stack::start("pool.probe.processes = 2").await;
    let mut held = stack.connect().await;
    held.send(request("GET", "/sleep/400")).await;
    stack.until_pool("probe", |pool| pool["busy"] == 1).await;
    let auto = stack.get_status("/server-status?auto").await;
    assert!(auto.field("content-type").unwrap().starts_with("text/plain"), "{auto:?}");
    let text = auto.text();
    let value = |key: &str| -> &str {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(name, _)| *name == key);
        found.unwrap_or_else(|| panic!("no {key}:\n{text}")).1.trim()
    };
    assert!(value("ServerVersion").starts_with("Apache/2.4.63 (Ostler/"), "{text}");
    assert_eq!(value("ServerMPM"), "event");
    assert_eq!((value("BusyWorkers"), value("IdleWorkers"), value("Processes")), ("1", "3", "2"));
    let mut letters: Vec<char> = value("Scoreboard").chars().collect();
    letters.sort_unstable();
    assert_eq!(letters, ['W', '_', '_', '_'], "{text}");
    for key in ["Total Accesses", "Total kBytes", "Uptime", "ConnsTotal", "ServerUptimeSeconds"] {
        assert!(value(key).parse::<u64>().is_ok(), "{key}: {text}");
    }
    assert_eq!(held.response().await.status, 200);
}

#[tokio::test]
async fn the_page_shows_pools_and_running_requests_without_scripts() {
    let stack = Stack::start("").await;
    let mut held = stack.connect().await;
    held.send(request("GET", "/sleep/400?a=b&lt;c")).await;
    // The target is passed on as it was sent, and must not become markup on the page.
    stack.until_pool("probe", |pool| pool["busy"] == 1).await;
    for path in ["/server-status", "/server-status/"] {
        let page = stack.get_status(path).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(page.field("content-type").unwrap().starts_with("text/html"), "{page:?}");
        let text = page.text();
        assert!(text.contains("probe") && text.contains("/sleep/400"), "{text}");
        assert!(text.contains("/sleep/400?a=b&amp;lt;c"), "escaped: {text}");
        assert!(!text.contains("src=\"http") && !text.contains("href=\"http"), "{text}");
    }
    assert_eq!(held.response().await.status, 200);
}

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
async fn health_is_bad_while_a_pool_has_no_ready_worker() {
    let plan =
        Plan::probe().with("pool.never = { command = ['sleep', '1000'], start-timeout = '60s' }");
    let stack = plan.unready().start().await;
    stack.until_pool("probe", |pool| pool["ready"] == 1).await;
    assert_eq!(stack.get_status("/ostler-health").await.status, 503);

    let healthy = Stack::start("").await;
    assert_eq!(healthy.get_status("/ostler-health").await.status, 200);
}

#[tokio::test]
async fn strangers_see_health_alone() {
    let stack = Stack::start("").await;
    for (path, status) in [
        ("/server-status", 403),
        ("/server-status?json", 403),
        ("/server-status?auto", 403),
        ("/server-status/", 403),
        ("/metrics", 403),
        ("/ostler-health", 200),
    ] {
        let mut client = Client::connect_from(STRANGER, stack.status_address()).await;
        let response = client.get(path).await;
        assert_eq!(response.status, status, "{path}");
        assert_eq!(response.field("x-ostler-reason"), None, "{path}");
        assert!(!response.text().contains("probe"), "{path}: {}", response.text());
    }
}

#[tokio::test]
async fn reasons_are_told_to_those_alone_who_may_see_the_page() {
    let stack = Stack::start("").await;
    let bad = "GET /../ HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut stranger = Client::connect_from(STRANGER, stack.address()).await;
    stranger.send(bad).await;
    let response = stranger.response().await;
    assert_eq!((response.status, response.field("x-ostler-reason")), (400, None));
    assert!(response.field("x-request-id").is_some(), "the id is for everyone: {response:?}");
    let mut operator = stack.connect().await;
    operator.send(bad).await;
    operator.response().await.expect_reason(400, "bad-request");
}

#[tokio::test]
async fn a_forwarded_request_from_an_untrusted_peer_is_not_let_in() {
    let stack = Stack::start("").await;
    for field in
        ["X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1", "X-Forwarded-Host: a.example"]
    {
        let mut client = Client::connect(stack.status_address()).await;
        let head = format!("GET /server-status HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
        client.send(head).await;
        assert_eq!(client.response().await.status, 403, "{field}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_about_its_client() {
    let stack = Stack::start("proxies.trusted = ['127.0.0.1/32']").await;
    for (client_address, status) in [("127.0.0.1", 200), ("192.0.2.7", 403)] {
        let mut client = Client::connect(stack.status_address()).await;
        let field = format!("X-Forwarded-For: {client_address}");
        client.send(format!("GET /server-status HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n")).await;
        assert_eq!(client.response().await.status, status, "{client_address}");
    }
    let mut client = stack.connect().await;
    client.send("GET /head HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n").await;
    let seen = client.response().await.text();
    assert!(seen.contains("x-forwarded-for: 192.0.2.7, 127.0.0.1\n"), "{seen}");
}

#[tokio::test]
async fn the_page_may_be_on_every_listener_before_any_route() {
    let stack = Stack::start("status.sites = true").await;
    assert_eq!(stack.get("/server-status?json").await.json()["schema_version"], 1);
    assert_eq!(stack.get("/ostler-health").await.status, 200);
    let mut stranger = Client::connect_from(STRANGER, stack.address()).await;
    assert_eq!(stranger.get("/server-status").await.status, 403);

    let private = Stack::start("").await;
    assert!(private.get("/server-status").await.text().starts_with("Hello"), "the pool answers");
}

#[tokio::test]
async fn the_access_log_tells_of_each_request() {
    let stack = Stack::start("").await;
    let mut client = stack.connect().await;
    client
        .send("GET /a?b HTTP/1.1\r\nHost: a\r\nUser-Agent: \"x\\\r\nReferer: \x09r\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status, 200);
    let id = {
        client.send("GET /../ HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.response().await.field("x-request-id").unwrap().to_owned()
    };
    drop(client);
    let access = stack.stop().await.access;
    let lines: Vec<&str> = access.lines().collect();
    assert_eq!(lines.len(), 2, "{access}");
    assert!(lines[0].starts_with("127.0.0.1 - - ["), "{access}");
    assert!(lines[0].contains("\"GET /a?b HTTP/1.1\" 200 "), "{access}");
    assert!(lines[0].contains(r#" "r" "\"x\\" "#), "quotes are escaped: {access}");
    assert!(lines[0].contains(" reason=- pool=probe "), "{access}");
    assert!(lines[1].contains("\" 400 ") && lines[1].contains(" reason=bad-request "), "{access}");
    assert!(lines[1].ends_with(&format!(" id={id}")), "{access}");
}

#[tokio::test]
async fn the_access_log_may_be_json() {
    let stack = Stack::start("log.access.format = 'json'").await;
    let mut client = stack.connect().await;
    client.get("/a\"b").await;
    client.get("/c").await;
    let access = stack.stop().await.access;
    let lines: Vec<Value> =
        access.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(lines.len(), 2, "{access}");
    assert!(lines[1].to_string().contains("/c"), "{access}");
}
