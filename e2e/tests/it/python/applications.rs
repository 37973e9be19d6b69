//! Applications and clients that are not ours, unmodified, and how many of their checks hold.

mod admin;
mod dav;
mod flask;
mod repository;

use ostler_e2e::{program, python};
use tokio::process::Command;

/// How many answers the client of httpbin looks at.
const OF_HTTPBIN: &str = "48 answers were right\n";

#[tokio::test]
async fn httpbin_answers_requests_as_it_should() {
    let plan = python::site("httpbin:app").file("site/ask.py", python::source("ask_httpbin.py"));
    let stack = plan.with("pool.web.threads = 4").start().await;
    let mut client = Command::new(python::environment().join("bin/python"));
    client.arg(stack.folder().join("site/ask.py")).arg(format!("http://{}", stack.address()));
    let ended = program::run(client).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), OF_HTTPBIN), "{}", ended.stderr);
    stack.stop().await.expect_no_errors_logged();
}
