//! The wheel: what Ostler brings, as a package that is installed.

use std::path::Path;

use ostler_e2e::client::Client;
use ostler_e2e::program::Program;
use ostler_e2e::python;
use tokio::process::Command;

use crate::ring::sockets;

/// An application that tells where it was asked.
const APPLICATION: &str = "def application(environ, start_response):\n    \
                           start_response('200 OK', [])\n    \
                           return [environ['PATH_INFO'].encode()]\n";

/// Goal: an installed wheel is a worker, under Ostler and without it. Method: it is built, and
/// installed into an environment that has nothing else.
#[tokio::test]
async fn a_wheel_for_every_version_is_a_worker_as_a_command_and_by_hand() {
    let wheel = python::wheel();
    let name = wheel.file_name().unwrap().to_str().unwrap();
    assert!(name.contains("-cp39-abi3-"), "{name} is not for every version from 3.9 on");
    let folder = tempfile::tempdir().unwrap();
    let interpreter = python::environment_of(&wheel, &folder.path().join("venv"));
    serves_as_a_command(&interpreter).await;
    serves_by_hand(&interpreter, folder.path()).await;
}

async fn serves_as_a_command(interpreter: &Path) {
    let words = [interpreter.to_str().unwrap(), "-m", "ostler_python", "app:application"];
    let stack = python::command(&words).file("site/app.py", APPLICATION).start().await;
    let worker = stack.workers("web").await[0];
    let before = sockets(worker);
    assert_eq!(stack.get("/a").await.text(), "/a");
    assert_eq!(sockets(worker), before, "requests come through shared memory");
    let stacks = stack.command(&["stacks", "web"]).await;
    assert!(stacks.stdout.contains("2 threads wait for a request"), "{stacks:?}");
    stack.stop().await.expect_no_errors_logged();
}

async fn serves_by_hand(interpreter: &Path, folder: &Path) {
    std::fs::write(folder.join("app.py"), APPLICATION).unwrap();
    let mut command = Command::new(interpreter);
    command.args(["-m", "ostler_python", "app:application"]).current_dir(folder);
    command.env("OSTLER_LISTEN", "127.0.0.1:0");
    let program = Program::start(command);
    let line = program.logged(|line| line.contains("listening on ")).await;
    let (_, said) = line.split_once("listening on ").unwrap();
    let address = said.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(Client::connect(address).await.get("/b").await.text(), "/b");
}
