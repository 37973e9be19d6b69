//! A repository of git behind dulwich, which the real git clones, fetches from and pushes to.

use std::fs;
use std::path::Path;

use ostler_e2e::program::{self, installed};
use ostler_e2e::stack::Ended;
use ostler_e2e::{Stack, python};
use tokio::process::Command;

/// More than git keeps before it sends in chunks, and more than is kept in memory.
const LARGE: usize = 3 << 20;

#[tokio::test]
async fn git_clones_and_pushes_in_chunks() {
    let stack = start().await;
    let folder = stack.folder();
    let url = format!("http://{}/project.git", stack.address());
    git(folder, &["clone", &url, "first"]).await;
    let first = folder.join("first");
    fs::write(first.join("large"), random_bytes(LARGE)).unwrap();
    commit(&first, "a large file").await;
    // What a push has more of than this is sent in chunks.
    git(&first, &["-c", "http.postBuffer=65536", "push", "origin", "HEAD:main"]).await;
    let pushed = stack.until_logged_access("/git-receive-pack HTTP").await;
    assert!(pushed.contains(" 200 "), "{pushed}");

    git(folder, &["clone", "-b", "main", &url, "second"]).await;
    let second = folder.join("second");
    let same = fs::read(second.join("large")).unwrap() == fs::read(first.join("large")).unwrap();
    assert!(same, "what was cloned is what was pushed");
    fs::write(second.join("small"), "small\n").unwrap();
    commit(&second, "a small file").await;
    git(&second, &["push", "origin", "main"]).await;
    git(&first, &["pull", "--ff-only", "origin", "main"]).await;
    assert_eq!(fs::read_to_string(first.join("small")).unwrap(), "small\n");
    git(folder, &["-C", "project.git", "fsck", "--full", "--strict"]).await;
    stack.stop().await.expect_no_errors_logged();
}

/// Serves an empty repository.
async fn start() -> Stack {
    let folder = tempfile::TempDir::new().unwrap();
    let bare = folder.path().join("project.git");
    git(folder.path(), &["init", "--bare", "-b", "main", bare.to_str().unwrap()]).await;
    let mut plan = python::subject("repository.py")
        .with("pool.web.environment.SUBJECT_FOLDER = '${STACK_DIR}/project.git'")
        .with("limits.body-size = '64MiB'");
    for name in ["HEAD", "config"] {
        plan = plan.file(&format!("project.git/{name}"), fs::read(bare.join(name)).unwrap());
    }
    for name in ["objects/info", "objects/pack", "refs/heads", "refs/tags"] {
        // A folder needs a file to be there, and git passes over this one.
        plan = plan.file(&format!("project.git/{name}/.keep"), "");
    }
    plan.start().await
}

async fn commit(folder: &Path, message: &str) {
    git(folder, &["add", "."]).await;
    git(folder, &["commit", "--quiet", "-m", message]).await;
}

/// Runs git with nothing of this machine's settings; fails the test unless that works.
async fn git(folder: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(installed("git", "git"));
    command.current_dir(folder).args(arguments).env_clear().env("HOME", folder);
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Test");
        command.env(format!("GIT_{who}_EMAIL"), "test@e2e.example");
    }
    let ended = program::run(command).await;
    assert_eq!(ended.code, Some(0), "git {arguments:?}: {}", ended.stderr);
    ended
}

/// Bytes that cannot be compressed.
fn random_bytes(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u8::try_from(state & 0xff).expect("eight bits")
    };
    (0..count).map(|_| next()).collect()
}
