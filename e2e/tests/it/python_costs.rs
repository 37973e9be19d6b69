//! What is counted of the queries of a Python application: the tests beside the hooks, which are
//! written in Python, with the interpreter of this machine.

use std::path::Path;
use std::process::Command;

/// The application's databases are real: `sqlite3` of the interpreter, and what else is installed.
#[test]
fn queries_are_counted_and_nothing_else_changes() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../app/python/tests/test_cost.py");
    let mut python = Command::new("python3");
    let output = python.arg("-B").arg(tests).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("\nOK"), "{said}");
}
