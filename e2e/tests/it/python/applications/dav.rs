//! `WsgiDAV`, judged by litmus: the test suite of such servers.

use std::fs;

use ostler_e2e::program::{self, installed};
use ostler_e2e::python;
use tokio::process::Command;

/// The parts of litmus, with how many tests of each there are: 104 in all.
const PARTS: [(&str, u32); 5] =
    [("basic", 16), ("copymove", 13), ("props", 30), ("locks", 41), ("http", 4)];

#[tokio::test]
async fn wsgidav_passes_every_test_of_litmus() {
    let plan = python::subject("dav.py").file("dav/there", "");
    let plan = plan.with("pool.web.environment.SUBJECT_FOLDER = '${STACK_DIR}/dav'");
    let stack = plan.start().await;
    let notes = stack.folder().join("notes");
    fs::create_dir(&notes).unwrap();
    let mut litmus = Command::new(installed("litmus", "litmus"));
    // It leaves a trace of each part in the folder that it runs in.
    litmus.current_dir(notes).arg("-k").arg(format!("http://{}/", stack.address()));
    let ended = program::run(litmus).await;
    for (part, count) in PARTS {
        let all = format!("`{part}': of {count} tests run: {count} passed, 0 failed.");
        assert!(ended.stdout.contains(&all), "{part}:\n{}", ended.stdout);
    }
    assert_eq!(ended.code, Some(0), "{ended:?}");
    stack.stop().await.expect_no_errors_logged();
}
