//! What is kept for clients has limits: in bytes, in time, and in who may read it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use ostler_e2e::client::request;
use ostler_e2e::stack::event;
use ostler_e2e::{Plan, stack};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

use super::{
    LARGE, LINKS, busy, chunked, noise, one_thread, spooled, stated, until_nothing_is_kept,
};
use super::{requests, with_route};
use crate::ask;

const ONE_MIB: &str = "spool.max-size = '1MiB'";

#[tokio::test]
async fn an_upload_that_does_not_fit_is_refused_before_it_is_sent() {
    let stack = one_thread("auto").with(ONE_MIB).start().await;
    let mut client = stack.connect().await;
    let fields = "Host: a\r\nContent-Length: 2000000\r\nExpect: 100-continue\r\n\r\n";
    client.send(format!("POST /echo HTTP/1.1\r\n{fields}")).await;
    let first = client.answers().read_any(false).await.unwrap();
    first.expect_reason(503, "no-resources");
    assert!(first.field("retry-after").is_some(), "{first:?}");
    assert!(first.closes(), "what follows may be the body");
    // One that fits is received.
    let body = noise(900_000);
    let mut client = stack.connect().await;
    client.send(stated("/echo", &body)).await;
    assert!(client.response().await.body == body);
    until_nothing_is_kept(&stack).await;
}

#[tokio::test]
async fn an_upload_of_unknown_length_is_refused_when_the_spool_is_full() {
    let stack = one_thread("auto").with(ONE_MIB).start().await;
    let mut client = stack.connect().await;
    client.send(chunked("/echo", &noise(1_500_000))).await;
    client.response().await.expect_reason(503, "no-resources");
    until_nothing_is_kept(&stack).await;
    assert_eq!(stack.get("/").await.status, 200);
    stack.logged(|line| event(line) == Some("spool_full")).await;
}

#[tokio::test]
async fn an_answer_waits_for_its_client_when_the_spool_is_full() {
    for link in LINKS {
        let stack = one_thread(link).with(ONE_MIB).start().await;
        let mut slow = ask(&stack, &format!("/bytes/{LARGE}")).await;
        let status = stack.until(|status| 900 << 10 < spooled(status)).await;
        assert!(spooled(&status) <= 1 << 20, "{link}: {status}");
        assert_eq!(busy(&status), 1, "{link}: the worker waits");
        let response = slow.response().await;
        assert_eq!(response.body.len(), LARGE, "{link}");
        until_nothing_is_kept(&stack).await;
    }
}

#[tokio::test]
async fn an_answer_is_kept_in_memory_alone_where_a_route_says_so() {
    for word in ["memory", "off"] {
        let stack = with_route("auto", &format!("response-buffering = '{word}'")).start().await;
        let mut slow = ask(&stack, &format!("/bytes/{LARGE}")).await;
        assert_eq!(slow.answers().head().await.unwrap().status, 200);
        let mut ticks = interval(ostler_e2e::POLL);
        for _ in 0..30 {
            ticks.tick().await;
            let status = stack.status().await;
            assert_eq!((spooled(&status), busy(&status)), (0, 1), "{word}: the worker waits");
        }
        let mut received = 0;
        while received < LARGE {
            received += slow.answers().some().await.unwrap().len();
        }
        until_nothing_is_kept(&stack).await;
        assert_eq!(requests(&stack.status().await), 1);
    }
}

#[tokio::test]
async fn a_reader_below_the_least_rate_is_cut_off() {
    let stack = one_thread("auto").with("timeouts.write-min-rate = '100MiB'").start().await;
    let begun = Instant::now();
    let mut slow = TcpStream::connect(stack.address()).await.unwrap();
    slow.write_all(request("GET", "/bytes/60000000").as_bytes()).await.unwrap();
    let mut reading = JoinSet::new();
    reading.spawn(async move {
        let (mut ticks, mut room) = (interval(Duration::from_millis(50)), vec![0; 64 << 10]);
        while let Ok(1..) = slow.read(&mut room).await {
            ticks.tick().await;
        }
    });
    stack.until(|status| status["requests"]["by_reason"]["client-left"] == 1).await;
    assert!(Duration::from_secs(10) <= begun.elapsed(), "{:?}", begun.elapsed());
    assert!(reading.try_join_next().is_none(), "it was still reading");
    until_nothing_is_kept(&stack).await;
}

#[tokio::test]
async fn a_spool_that_others_may_read_is_refused_at_start() {
    let folder = tempfile::TempDir::new().unwrap();
    let open = folder.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    let check = async |directory: &str, expected: &str| {
        let plan = Plan::probe().with(&format!("spool.directory = '{directory}'"));
        let ended = plan.command(&["run", "--allow-root"]).await;
        assert_eq!(ended.code, Some(78), "{ended:?}");
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    };
    let open = open.display().to_string();
    check(&open, &format!("[spool] directory {open}: its mode is 0755: make it 0700")).await;
    let missing = folder.path().join("missing").display().to_string();
    check(&missing, &format!("[spool] directory {missing}: it cannot be used")).await;
}

/// Goal: no descriptor and no byte of the spool is kept by anybody. Method: many bodies of both
/// directions at once, half of whose clients leave in their middle.
#[tokio::test]
async fn clients_that_leave_give_back_what_was_kept_for_them() {
    let stack = one_thread("auto").with("pool.probe.threads = 4").start().await;
    stack.get("/").await;
    let before = stack::number(&stack.status().await["server"]["proxy"]["fds"]);
    let body = noise(2 << 20);
    for leaves in [true, false, true, false, true, false] {
        let mut client = stack.connect().await;
        client.send(stated("/echo", &body)).await;
        if leaves {
            drop(client);
        } else {
            assert!(client.response().await.body == body);
        }
    }
    until_nothing_is_kept(&stack).await;
    stack.until(|s| stack::number(&s["server"]["proxy"]["fds"]) <= before + 4).await;
}
