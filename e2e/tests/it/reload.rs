//! A reload: what it changes, what it leaves alone, and what is kept when it is refused.

use ostler_e2e::client::request;
use ostler_e2e::stack::{field, ostler_alone};
use ostler_e2e::{Client, Load, Stack};
use rustix::process::Signal;
use serde_json::Value;
use tokio::net::TcpStream;

#[tokio::test]
async fn a_reload_of_a_changed_pool_fails_no_request() {
    let mut stack = Stack::start("pool.probe.processes = 2").await;
    let before = stack.workers("probe").await;
    let load = Load::start(stack.address(), "/sleep/5", 8);
    for round in 1..=2 {
        load.until_answered(50).await;
        stack.reload(&format!("pool.probe.environment.ROUND = '{round}'")).await;
    }
    load.until_answered(50).await;
    load.stop().await.expect_all_answered();
    // The old ones have left, and each was replaced once for each reload.
    let pools = stack.until_pool("probe", |pool| workers(pool).len() == 2).await;
    let pool = &pools["probe"];
    assert!(workers(pool).iter().all(|worker| worker["generation"] == 3), "{pool:#}");
    assert_eq!(pool["recycles_total"]["config"], 4, "{pool:#}");
    let after = stack.workers("probe").await;
    assert!(before.iter().all(|pid| !after.contains(pid)), "{before:?} {after:?}");
    let status = stack.status().await;
    assert_eq!(status["server"]["config_version"], 3);
    stack.stop().await.expect_no_errors_logged();
}

#[tokio::test]
async fn a_reload_leaves_workers_alone_whose_pool_did_not_change() {
    let mut stack = Stack::start("").await;
    let before = stack.workers("probe").await;
    stack.reload("keepalive.max-requests = 1").await;
    let mut client = stack.connect().await;
    assert!(client.get("/").await.closes(), "the new configuration is in force");
    assert_eq!(stack.workers("probe").await, before);
}

#[tokio::test]
async fn a_broken_file_leaves_the_old_configuration_in_force() {
    let mut stack = Stack::start("").await;
    let before = stack.workers("probe").await;
    stack.write_raw_config("[server]\nthread = 1\n");
    let position = format!("{}:2:1: ", stack.folder().join("ostler.toml").display());

    // The command has to find the supervisor without the file, which it cannot read either.
    let socket = stack.folder().join("run/control.sock");
    let refused = ostler_alone(&["reload", "--socket", socket.to_str().unwrap()]).await;
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.stderr.contains(&position), "{refused:?}");
    let status = stack.until(|status| !status["server"]["config_error"].is_null()).await;
    let shown = status["server"]["config_error"].as_str().unwrap();
    assert!(shown.contains(&position), "{shown}");
    assert_eq!(status["server"]["config_version"], 1);
    assert_eq!(stack.get("/").await.status, 200);
    assert_eq!(stack.workers("probe").await, before);

    // Mended, it is put in force, and the error is gone.
    stack.reload("").await;
    stack.until(|status| status["server"]["config_error"].is_null()).await;
}

#[tokio::test]
async fn a_signal_reloads_and_a_broken_file_is_shown_until_it_is_mended() {
    let mut stack = Stack::start("").await;
    stack.write_raw_config("listener = 1\n");
    stack.signal(Signal::HUP);
    stack.until(|status| !status["server"]["config_error"].is_null()).await;
    assert_eq!(stack.get("/").await.status, 200);
    stack.write_config("keepalive.max-requests = 1");
    stack.signal(Signal::HUP);
    let is_mended = |server: &Value| {
        server["config_error"].is_null() && 1 < server["config_version"].as_u64().unwrap()
    };
    stack.until(|status| is_mended(&status["server"])).await;
    assert!(stack.get("/").await.closes(), "the mended file is in force");
}

#[tokio::test]
async fn a_reload_whose_workers_do_not_get_ready_leaves_the_old_ones() {
    let mut stack = Stack::start("").await;
    let before = stack.workers("probe").await;
    let load = Load::start(stack.address(), "/sleep/5", 4);
    for never_ready in [
        "pool.probe = { command = ['sleep', '1000'], start-timeout = '300ms' }",
        "pool.probe = { command = ['false'], start-timeout = '1s' }",
        "pool.probe = { command = ['/nonexistent/program'], start-timeout = '1s' }",
    ] {
        stack.write_config(never_ready);
        let refused = stack.command(&["reload"]).await;
        assert_eq!(refused.code, Some(78), "{never_ready}: {refused:?}");
        let status = stack.until(|status| status["server"]["config_error"].is_string()).await;
        assert_eq!(status["server"]["config_version"], 1, "{never_ready}");
        let pools = stack.until_pool("probe", |pool| workers(pool).len() == 1).await;
        assert_eq!(pools["probe"]["state"], "ok");
        load.until_answered(10).await;
    }
    load.stop().await.expect_all_answered();
    assert_eq!(stack.workers("probe").await, before);
    let left = stack.processes();
    assert!(!left.iter().any(|process| process.command.contains("sleep 1000")), "{left:?}");
}

#[tokio::test]
async fn a_reload_opens_new_listeners_and_closes_those_that_are_gone() {
    let mut stack = Stack::start(
        "[[listener]]
         name = 'public'
         address = '127.0.0.1:0'
         [[listener]]
         name = 'leaving'
         address = '127.0.0.3:0'",
    )
    .await;
    let (public, leaving) = (stack.address(), stack.listener("leaving"));
    let mut held = Client::connect(leaving).await;
    held.send(request("GET", "/sleep/300")).await;
    let mut idle = Client::connect(leaving).await;
    assert_eq!(idle.get("/").await.status, 200);
    let mut kept = stack.connect().await;
    kept.get("/").await;
    stack.until_pool("probe", |pool| pool["busy"] == 1).await;

    stack
        .reload(
            "[[listener]]
             name = 'public'
             address = '127.0.0.1:0'
             [[listener]]
             name = 'coming'
             address = '127.0.0.4:0'",
        )
        .await;
    let response = held.response().await;
    assert_eq!(response.status, 200, "{response:?}");
    assert!(response.closes(), "{response:?}");
    idle.closed().await;
    let refused = TcpStream::connect(leaving).await;
    assert!(refused.is_err(), "{refused:?}");
    let mut coming = Client::connect(stack.listener("coming")).await;
    assert_eq!(coming.get("/").await.status, 200);
    assert_eq!(stack.address(), public, "the one that stayed was not bound anew");
    assert_eq!(kept.get("/").await.status, 200, "nor were its connections closed");
}

#[tokio::test]
async fn a_reload_that_takes_every_listener_away_needs_force() {
    let mut stack = Stack::start("").await;
    let before = stack.address();
    stack.write_config("listener = [{ name = 'public', address = '127.0.0.5:0' }]");
    let refused = stack.command(&["reload"]).await;
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.stderr.contains("--force"), "{refused:?}");
    assert_eq!(stack.get("/").await.status, 200);
    let forced = stack.command(&["reload", "--force"]).await;
    assert_eq!(forced.code, Some(0), "{forced:?}");
    assert!(TcpStream::connect(before).await.is_err(), "the old one is closed");
    stack.logged(|line| field(line, "address").is_some_and(|a| a.starts_with("127.0.0.5:"))).await;
    assert_eq!(stack.get("/").await.status, 200);
}

fn workers(pool: &Value) -> &Vec<Value> {
    pool["workers"].as_array().expect("a pool has workers")
}
