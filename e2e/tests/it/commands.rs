//! What an operator types, and what is said when it cannot be done.

use std::time::Duration;

use ostler_e2e::stack::{number, ostler_alone};
use ostler_e2e::{Plan, Stack};
use rustix::process::{Signal, geteuid};
use serde_json::Value;
use tokio::time::Instant;

use crate::ask;

#[tokio::test]
async fn health_is_lame_for_the_shutdown_delay_while_requests_are_served() {
    let mut stack = Stack::start("server.shutdown-delay = '1s'").await;
    let mut client = stack.connect().await;
    assert_eq!(stack.get_status("/ostler-health").await.status, 200);
    let told = Instant::now();
    stack.signal(Signal::TERM);
    stack.until(|status| status["server"]["draining"] == true).await;
    assert_eq!(stack.get_status("/ostler-health").await.status, 503);
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(stack.get("/").await.status, 200, "new connections are accepted still");
    assert_eq!(stack.ended().await.code(), Some(0), "{}", stack.log());
    assert!(Duration::from_millis(950) < told.elapsed(), "{:?}", told.elapsed());
}

#[tokio::test]
async fn a_request_that_outlasts_the_drain_is_cut_off() {
    let mut stack = Stack::start("server.drain-timeout = '500ms'").await;
    let mut running = ask(&stack, "/sleep/30000").await;
    stack.until_pool("probe", |pool| pool["busy"] == 1).await;
    let told = Instant::now();
    stack.signal(Signal::TERM);
    stack.ended().await;
    assert!(told.elapsed() < Duration::from_secs(4), "{:?}", told.elapsed());
    assert_eq!(stack.processes(), []);
    let answer = running.try_response("GET").await;
    assert!(answer.is_err_and(|error| error.to_string().contains("clos")), "it is cut off");
}

#[tokio::test]
async fn an_idle_stack_stops_cleanly_at_once() {
    let stack = Stack::start("").await;
    let mut idle = stack.connect().await;
    idle.get("/").await;
    let told = Instant::now();
    let ended = stack.stop().await;
    ended.expect_no_errors_logged();
    assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
    for event in ["proxy_exited", "worker_exited"] {
        let line = ended.stderr.lines().find(|line| line.contains(event)).unwrap();
        assert!(line.contains("exit=\"status 0\""), "nobody had to be killed: {line}");
    }
}

#[tokio::test]
async fn a_reload_that_removes_every_pool_needs_force() {
    let stack = Stack::start("").await;
    let text = std::fs::read_to_string(stack.folder().join("ostler.toml")).unwrap();
    let mut table: toml::Table = text.parse().unwrap();
    table.remove("pool");
    table.remove("site");
    stack.write_raw_config(&toml::to_string(&table).unwrap());
    let refused = stack.command(&["reload"]).await;
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
    assert_eq!(stack.get("/").await.status, 200);
    let forced = stack.command(&["reload", "--force"]).await;
    assert_eq!(forced.code, Some(0), "{forced:?}");
    stack.get("/").await.expect_reason(404, "no-route");
    stack.until(|status| status["pools"].as_object().is_some_and(serde_json::Map::is_empty)).await;
}

#[tokio::test]
async fn check_accepts_what_runs() {
    let ended = Plan::probe().command(&["check"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let ended = Plan::bare().file("ostler.toml", "").command(&["check"]).await;
    assert_eq!(ended.code, Some(0), "an empty file: {ended:?}");
}

#[tokio::test]
async fn what_is_not_built_is_an_unknown_key_of_the_configuration() {
    for text in [
        "[[site]]\nroute = [{ path = \"/\", redirect = \"/\", compress = true }]\n",
        "[[listener]]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n",
        "[origin.a]\nservers = [\"http://a.example\"]\ncache = { size = \"1MiB\" }\n",
    ] {
        let ended = Plan::bare().file("ostler.toml", text).command(&["check"]).await;
        assert_eq!(ended.code, Some(78), "{text}: {ended:?}");
        let said = ended.stdout + &ended.stderr;
        assert!(said.contains("unknown"), "{text}: {said}");
    }
}

#[tokio::test]
async fn the_status_command_shows_what_the_page_shows() {
    let stack = Stack::start("").await;
    let json = stack.command(&["status", "--json"]).await;
    assert_eq!(json.code, Some(0), "{json:?}");
    let status: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(number(&status["server"]["pid"]), stack.pid());
    assert_eq!(status["pools"]["probe"]["ready"], 1);
    let auto = stack.command(&["status", "--auto"]).await;
    assert!(auto.stdout.lines().any(|line| line == "Scoreboard: __"), "{}", auto.stdout);
    let text = stack.command(&["status"]).await;
    assert_eq!(text.code, Some(0), "{text:?}");
    assert!(text.stdout.contains("probe"), "{}", text.stdout);
}

#[tokio::test]
async fn commands_without_a_running_supervisor_say_so() {
    for command in ["status", "reload", "stop"] {
        let ended = Plan::probe().command(&[command]).await;
        assert_eq!(ended.code, Some(71), "{command}: {ended:?}");
        assert!(ended.stderr.contains("control.sock"), "{command}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn the_control_socket_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let stack = Stack::start("").await;
    let socket = stack.folder().join("run/control.sock");
    let mode = std::fs::metadata(socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn an_address_in_use_ends_the_start() {
    let stack = Stack::start("").await;
    let taken = format!("[[listener]]\naddress = '{}'", stack.address());
    let ended = Plan::probe().with(&taken).command(&["run", "--allow-root"]).await;
    assert_eq!(ended.code, Some(71), "{ended:?}");
    assert!(ended.stderr.contains(&stack.address().to_string()), "{}", ended.stderr);
    assert_eq!(stack.get("/").await.status, 200);
}

#[tokio::test]
async fn a_missing_file_is_a_configuration_error() {
    for command in ["run", "check", "config"] {
        let ended = ostler_alone(&[command, "-c", "/nonexistent/ostler.toml"]).await;
        assert_eq!(ended.code, Some(78), "{command}: {ended:?}");
        assert!(ended.stderr.contains("/nonexistent/ostler.toml"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn nothing_runs_as_root_unless_that_is_asked_for() {
    if !geteuid().is_root() {
        return;
    }
    let text = "server.runtime-dir = 'run'\nserver.user = 'root'\n[[listener]]\n\
                address = '127.0.0.1:0'\n[status]\naddress = ''\n[pool.a]\ncommand = ['true']\n";
    let refused = Plan::bare().file("ostler.toml", text).command(&["run"]).await;
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.stderr.contains("user"), "{}", refused.stderr);
}
