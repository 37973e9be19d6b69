//! What operators and their programs read of the state: the page, its other forms, and health.

use ostler_e2e::client::request;
use ostler_e2e::process;
use ostler_e2e::stack::{example, number};
use ostler_e2e::{Client, DEADLINE, POLL, Plan, Stack};
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::{Instant, interval, timeout};

use crate::ask;

/// A worker that does not look at what it is asked, except whether to wait before it answers.
const LENIENT: &str = concat!(
    r#"
import socket
import threading
import time

def answer(connection):
    head = connection.recv(65536)
    if b"/hold" in head:
"#,
    // What the worker does meanwhile is no matter, and no test waits by this.
    "        time.sleep(0.7)\n",
    r#"    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    connection.close()

listener = socket.socket(fileno=3)
while True:
    threading.Thread(target=answer, args=(listener.accept()[0],)).start()
"#
);

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
        .until(|status| {
            let (requests, pool) = (&status["requests"], &status["pools"]["probe"]);
            let is_counted = requests["total"] == 3 && requests["in_flight"] == 0;
            is_counted && status["connections"]["open"] == 0 && pool["busy"] == 0
        })
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
             left_total recycles_total recycles_pending retry_in_ms last_exit workers",
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
    let keys = "client costs cpu_ms host id method protocol queued_ms route running_ms site target";
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
    let pools = stack
        .until_pool("probe", |pool| {
            pool["busy"] == 0 && Some(700.0) <= pool["run_ms"]["max"].as_f64()
        })
        .await;
    let pool = &pools["probe"];
    assert!(0.0 < pool["queue_wait_ms"]["max"].as_f64().unwrap(), "{pool:#}");
    assert!(700.0 <= pool["run_ms"]["max"].as_f64().unwrap(), "{pool:#}");
}

#[tokio::test]
async fn auto_has_the_lines_of_mod_status_in_its_order() {
    let stack = Stack::start("pool.probe = { processes = 2, threads = 3 }").await;
    for _ in 0..3 {
        stack.get("/").await;
    }
    stack
        .until(|status| status["requests"]["total"] == 3 && status["pools"]["probe"]["busy"] == 0)
        .await;
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
        // Whatever runs is named by what it is, and nothing else may.
        let mut sources = policy.split("; ").flat_map(|directive| directive.split(' ').skip(1));
        assert!(
            sources.all(|source| {
                matches!(source, "'none'" | "'self'") || source.starts_with("'sha256-")
            }),
            "{policy}"
        );
    }
    assert_eq!(held.response().await.text(), "ok");
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

fn sorted_keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}
