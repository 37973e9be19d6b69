//! What operators and their programs read, and who may.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ostler_e2e::client::request;
use ostler_e2e::process;
use ostler_e2e::stack::{event, example, number, pids};
use ostler_e2e::{Client, DEADLINE, Load, POLL, Plan, Stack};
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::{Instant, interval, timeout};

/// Another address of this machine, which `status.allow` does not name by default.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 7));

/// A worker that does not look at what it is asked, except whether to wait before it answers.
const LENIENT: &str = r#"
import socket
import threading
import time

def answer(connection):
    head = connection.recv(65536)
    if b"/hold" in head:
        time.sleep(0.7)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    connection.close()

listener = socket.socket(fileno=3)
while True:
    threading.Thread(target=answer, args=(listener.accept()[0],)).start()
"#;

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

#[tokio::test]
async fn json_shows_who_runs_and_who_waits() {
    let stack = Stack::start("pool.probe.threads = 1\npool.probe.queue-length = 7").await;
    let mut held = ask(&stack, "/sleep/700?a=b").await;
    stack.until_pool("probe", |pool| pool["busy"] == 1).await;
    let mut queued = ask(&stack, "/head").await;
    let first = stack.until_pool("probe", |pool| pool["queued"] == 1).await;
    let status = stack
        .until(|status| {
            let row = &status["pools"]["probe"]["workers"][0]["threads"][0];
            row["request"]["running_ms"].as_u64() > Some(100)
        })
        .await;
    let pool = &status["pools"]["probe"];
    let request = &pool["workers"][0]["threads"][0]["request"];
    let keys = "client host id method protocol queued_ms running_ms site target";
    assert_eq!(sorted_keys(request), keys.split(' ').collect::<Vec<_>>());
    assert_eq!(request["method"], "GET");
    assert_eq!(request["target"], "/sleep/700?a=b");
    assert_eq!(request["client"], "127.0.0.1");
    assert_eq!(request["protocol"], "HTTP/1.1");
    assert!(request["running_ms"].as_u64().unwrap() < 5_000, "{request}");
    assert_eq!((&pool["busy"], &pool["queued"]), (&1.into(), &1.into()), "{pool:#}");
    assert_eq!((&pool["queue_length"], &pool["threads"]), (&7.into(), &1.into()), "{pool:#}");
    assert!(pool["queue_oldest_ms"].as_u64() >= first["probe"]["queue_oldest_ms"].as_u64());
    assert!(0 < pool["queue_oldest_ms"].as_u64().unwrap(), "{pool:#}");
    assert!(pool["full_since"].is_string(), "{pool:#}");
    assert_eq!(status["requests"]["in_flight"], 2);
    let connections = &status["connections"];
    assert_eq!((&connections["open"], &connections["writing"]), (&2.into(), &2.into()));
    let id = request["id"].as_str().unwrap().to_owned();
    assert_eq!(held.response().await.status, 200);
    let waited = queued.response().await.text();
    assert!(!waited.contains(&id), "each has its own id");
    let status = stack.until(|status| status["pools"]["probe"]["busy"] == 0).await;
    let pool = &status["pools"]["probe"];
    assert!(0.0 < pool["queue_wait_ms"]["max"].as_f64().unwrap(), "{pool:#}");
    assert!(700.0 <= pool["run_ms"]["max"].as_f64().unwrap(), "{pool:#}");
}

#[tokio::test]
async fn auto_has_the_lines_of_mod_status_in_its_order() {
    let stack = Stack::start("pool.probe = { processes = 2, threads = 3 }").await;
    for _ in 0..3 {
        stack.get("/").await;
    }
    stack.until(|status| status["requests"]["total"] == 3).await;
    // Some lines are there only when at least a second has passed.
    stack.until(|status| 1.1 < status["server"]["uptime_s"].as_f64().unwrap()).await;
    let answer = stack.get_status("/server-status?auto").await;
    let text = answer.text();
    let mut lines = text.lines();
    let server_name = lines.next().unwrap();
    assert!(!server_name.is_empty() && !server_name.contains(':'), "{text}");
    let names: Vec<&str> = lines.map(|line| line.split_once(':').expect("NAME: VALUE").0).collect();
    let expected = [
        "ServerVersion",
        "ServerMPM",
        "Server Built",
        "CurrentTime",
        "RestartTime",
        "ParentServerConfigGeneration",
        "ParentServerMPMGeneration",
        "ServerUptimeSeconds",
        "ServerUptime",
        "Load1",
        "Load5",
        "Load15",
        "Total Accesses",
        "Total kBytes",
        "Total Duration",
        "CPUUser",
        "CPUSystem",
        "CPUChildrenUser",
        "CPUChildrenSystem",
        "CPULoad",
        "Uptime",
        "ReqPerSec",
        "BytesPerSec",
        "BytesPerReq",
        "DurationPerReq",
        "BusyWorkers",
        "GracefulWorkers",
        "IdleWorkers",
        "Processes",
        "Stopping",
        "ConnsTotal",
        "ConnsAsyncWaitIO",
        "ConnsAsyncWriting",
        "ConnsAsyncKeepAlive",
        "ConnsAsyncClosing",
        "Scoreboard",
    ];
    // A process that has used no measurable time has no CPULoad.
    let has_load = names.contains(&"CPULoad");
    let expected = expected.into_iter().filter(|name| has_load || *name != "CPULoad");
    let (standard, own) =
        names.split_at(names.iter().position(|n| *n == "Scoreboard").unwrap() + 1);
    assert_eq!(standard, expected.collect::<Vec<_>>(), "{text}");
    assert!(own.iter().all(|name| name.starts_with("Ostler")), "{own:?}");
    assert!(text.contains("\nServerVersion: Apache/2.4.63 (Ostler/"), "{text}");
    assert!(text.contains("\nTotal Accesses: 3\n"), "{text}");
    assert!(text.contains("\nScoreboard: ______\n"), "{text}");
}

#[tokio::test]
async fn the_page_escapes_whatever_a_client_sends() {
    // Workers of our own refuse such a target; this one takes anything.
    let stack = Plan::bare()
        .file("lenient.py", LENIENT)
        .with(
            "[pool.lenient]
             command = ['python3', '${STACK_DIR}/lenient.py']
             ready = 'http'
             [[site]]
             route = [{ path = '/', pool = 'lenient' }]",
        )
        .start()
        .await;
    let target = "/hold/<script>x</script>&%3Cscript%3E?\"onload='y'";
    let mut held = ask(&stack, target).await;
    let status = stack.until(|status| status["pools"]["lenient"]["busy"] == 1).await;
    let workers = status["pools"]["lenient"]["workers"].as_array().unwrap();
    let mut rows = workers.iter().flat_map(|worker| worker["threads"].as_array().unwrap());
    assert!(rows.any(|row| row["request"]["target"] == target), "{status:#}");
    let escaped = "/hold/&lt;script&gt;x&lt;/script&gt;&amp;%3Cscript%3E?&quot;onload=&#39;y&#39;";
    for query in ["", "?notable", "?refresh=3"] {
        let page = stack.get_status(&format!("/server-status{query}")).await;
        let text = page.text();
        assert!(text.contains(escaped), "{query}: {text}");
        assert!(!text.contains("<script>x") && !text.contains("\"onload"), "{query}: {text}");
        assert_eq!(page.field("x-content-type-options"), Some("nosniff"));
        let policy = page.field("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert!(!policy.contains("unsafe-inline"), "{policy}");
    }
    assert_eq!(held.response().await.text(), "ok");
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
    let mut held = ask(&stack, "/sleep/300").await;
    stack.until_pool("probe", |pool| pool["busy"] == 1).await;
    client.get("/").await.expect_reason(503, "queue-full");
    stack.until(|status| status["requests"]["total"] == 4).await;
    let during = metrics(&stack).await;
    assert_eq!(count(&during, "ostler_pool_busy{pool=\"probe\"}"), 1);
    assert_eq!(count(&during, "ostler_requests_in_flight"), 1);
    assert_eq!(held.response().await.status, 200);
    stack.until(|status| status["requests"]["total"] == 5).await;
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
async fn a_lame_duck_serves_while_its_health_says_no() {
    let mut stack = Stack::start("server.shutdown-delay = '1500ms'").await;
    let status = stack.status_address();
    let mut client = stack.connect().await;
    assert_eq!(stack.get_status("/ostler-health").await.status, 200);
    stack.signal(Signal::TERM);
    let mut ticks = interval(POLL);
    let deadline = Instant::now() + DEADLINE;
    let mut health = Client::connect(status).await;
    while health.get("/ostler-health").await.status == 200 {
        assert!(Instant::now() < deadline, "health never says no");
        ticks.tick().await;
    }
    assert_eq!(health.get("/ostler-health").await.status, 503);
    assert_eq!(client.get("/").await.status, 200, "a kept connection");
    assert_eq!(stack.get("/").await.status, 200, "a new one");
    client.closed().await;
    assert_eq!(stack.ended().await.code(), Some(0), "{}", stack.log());
}

#[tokio::test]
async fn health_is_bad_until_a_dead_worker_is_replaced() {
    // The one that takes the place waits for somebody to open the other end of a pipe.
    let script = "[ $OSTLER_GENERATION = 1 ] || read line < $GATE; exec $PROBE";
    let stack = Plan::probe()
        .with(&format!("pool.probe.command = ['sh', '-c', '{script}']"))
        .with("pool.probe.environment.GATE = '${STACK_DIR}/gate'")
        .with(&format!("pool.probe.environment.PROBE = '{}'", example("probe").display()))
        .start()
        .await;
    let gate = stack.folder().join("gate");
    assert!(std::process::Command::new("mkfifo").arg(&gate).status().unwrap().success());
    let health = async || stack.get_status("/ostler-health").await.status;
    assert_eq!(health().await, 200);
    assert!(process::signal(stack.workers("probe").await[0], Signal::KILL));
    stack.until_pool("probe", |pool| pool["ready"] == 0).await;
    assert_eq!(health().await, 503);
    timeout(DEADLINE, tokio::fs::write(&gate, "\n")).await.expect("it waits").unwrap();
    let pools = stack.until_pool("probe", |pool| pool["ready"] == 1).await;
    assert_eq!(pools["probe"]["state"], "ok");
    assert_eq!(pools["probe"]["last_exit"]["exit"], "signal 9");
    assert_eq!(health().await, 200);
}

#[tokio::test]
async fn operators_are_answered_while_no_client_is() {
    let stack = Stack::start("server.max-connections = 2").await;
    let mut held = vec![ask(&stack, "/sleep/500").await, ask(&stack, "/sleep/500").await];
    stack.until_pool("probe", |pool| pool["busy"] == 2).await;
    let mut third = ask(&stack, "/head").await;
    for _ in 0..5 {
        let status = stack.status().await;
        let connections = &status["connections"];
        assert_eq!((&connections["open"], &connections["max"]), (&2.into(), &2.into()));
        assert_eq!(stack.get_status("/ostler-health").await.status, 200);
        assert_eq!(stack.get_status("/metrics").await.status, 200);
    }
    assert_eq!(stack.command(&["status"]).await.code, Some(0));
    assert!(!third.answers().has_begun());
    for client in &mut held {
        assert_eq!(client.response().await.status, 200);
    }
    assert_eq!(third.response().await.status, 200, "it waited for a place");
}

#[tokio::test]
async fn counters_do_not_go_back_when_the_proxy_is_killed() {
    let stack = Stack::start("pool.probe.processes = 2").await;
    let mut client = stack.connect().await;
    for path in ["/", "/status/404", "/bytes/100000", "/../"] {
        client.get(path).await;
    }
    client.closed().await;
    let before = stack.until(|status| status["connections"]["closed_total"]["error"] == 1).await;
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
    assert!(old.iter().all(|pid| !new.contains(pid)), "replaced: {old:?} {new:?}");
    let after = stack.status().await;
    assert_eq!(after["server"]["generation"], 2);
    assert_eq!(after["server"]["pid"], before["server"]["pid"]);
    assert_eq!(after["server"]["started"], before["server"]["started"]);
    for object in ["/connections", "/requests", "/pools/probe"] {
        goes_up(object, before.pointer(object).unwrap(), after.pointer(object).unwrap());
    }
    assert!(before["requests"]["total"].as_u64() < after["requests"]["total"].as_u64());
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

fn sorted_keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// Sends a GET on a connection of its own, and does not wait for the answer.
async fn ask(stack: &Stack, path: &str) -> Client {
    let mut client = stack.connect().await;
    client.send(request("GET", path)).await;
    client
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
            assert!(matches!(kind, "counter" | "gauge"), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            family = name;
        } else {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            assert!(is_family(name, family) && are_labels(&name[family.len()..]), "{line}");
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
