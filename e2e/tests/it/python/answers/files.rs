//! `wsgi.file_wrapper`: files that are sent by their descriptor, and such as have none.

use ostler_e2e::client::request;
use ostler_e2e::python::source;

use super::start;
use crate::python::numbers;

#[tokio::test]
async fn files_are_sent_from_where_they_stand() {
    let stack = start().await;
    let whole = numbers(100_000);
    let memory = "0123456789".repeat(10_000);
    let mut client = stack.connect().await;
    for (path, expected) in [
        ("/file", &whole[..]),
        ("/file/offset", &whole[100_000..]),
        ("/file/part", &whole[7..50_007]),
        ("/file/size", &whole[..]),
        ("/file/memory", &memory[..]),
    ] {
        let answer = client.get(path).await;
        assert!(answer.text() == expected, "{path}: {}", answer.verdict());
        client.send(request("HEAD", path)).await;
        let head = client.try_response("HEAD").await.unwrap();
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
    }
    stack.stop().await.expect_no_errors_logged();
}

#[tokio::test]
async fn a_file_is_closed_when_it_is_sent() {
    let stack = start().await;
    let worker = stack.workers("web").await[0];
    let mut client = stack.connect().await;
    for path in ["/file", "/file/part"] {
        assert_eq!(client.get(path).await.status, 200);
        stack.until_pool("web", |pool| pool["busy"] == 0).await;
        let open = std::fs::read_dir(format!("/proc/{worker}/fd")).unwrap();
        let targets = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        let held = targets.filter(|target| *target == stack.folder().join("data")).count();
        assert_eq!(held, 0, "{path}");
    }
}

#[tokio::test]
async fn a_wrapper_that_changes_what_it_reads_is_asked_for_it() {
    let stack = start().await;
    let swapped = source("answers.py").iter().map(|&byte| swapcase(byte)).collect::<Vec<_>>();
    let answer = stack.get("/file/swapped").await;
    assert!(answer.body == swapped, "{}", answer.verdict());
    stack.stop().await.expect_no_errors_logged();
}

fn swapcase(byte: u8) -> u8 {
    if byte.is_ascii_lowercase() { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() }
}
