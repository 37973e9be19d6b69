//! Applications that cannot be imported: what is said, where, and what happens when they are
//! mended.

use std::fs;

use ostler_e2e::stack::{event, example};
use ostler_e2e::{Plan, python};
use serde_json::Value;

/// An application that serves.
const GOOD: &str = "def application(environ, start_response):\n    \
                    start_response('200 OK', [])\n    return [b'mended']\n";

/// A pool that runs a module, which is in the folder `site` of the stack.
fn plan(module: &str) -> Plan {
    python::site("app:application").file("site/app.py", module)
}

/// Goal: who deploys a mistake sees which, wherever they look, and mending it is all there is to
/// do. Method: a module that another one of the application fails in, at a depth of a framework.
#[tokio::test]
async fn an_application_that_cannot_be_imported_says_why_everywhere_until_it_is_mended() {
    const DEPTH: usize = 20;
    // Two functions in turn: frames that repeat are left out by Python itself.
    let deep = format!(
        "def down(left):\n    if left == 0:\n        raise RuntimeError('no database here')\n    \
         further(left)\n\ndef further(left):\n    down(left - 1)\n\ndown({DEPTH})\n"
    );
    let stack = plan("import helper").file("site/helper.py", deep).unready().start().await;
    let is_told = |pool: &Value| {
        pool["last_exit"]["stderr"].as_array().is_some_and(|lines| !lines.is_empty())
    };
    let pools = stack.until_pool("web", is_told).await;
    let pool = &pools["web"];
    assert_eq!((&pool["ready"], &pool["last_exit"]["status"]), (&0.into(), &1.into()));
    let told = pool["last_exit"]["stderr"].as_array().unwrap().iter();
    let told: Vec<&str> = told.map(|line| line.as_str().unwrap()).collect();
    assert_eq!(told[0], "Traceback (most recent call last):");
    let first = format!("  File \"{}/site/app.py\", line 1, in <module>", stack.folder().display());
    assert_eq!(told[1], first);
    assert_eq!(told.last(), Some(&"RuntimeError: no database here"));
    assert!(2 * 2 * DEPTH < told.len(), "every frame: {told:#?}");

    let text = stack.command(&["status"]).await.stdout;
    for line in &told {
        assert!(text.contains(&format!("    | {line}")), "{line} is not in {text}");
    }
    assert!(text.contains("Its last words: \"RuntimeError: no database here\""), "{text}");
    let page = stack.get_status("/server-status").await.text();
    let (_, shown) = page.split_once("<h3>Last exit</h3>").unwrap();
    let shown = shown.split_once("<pre>").unwrap().1.split_once("</pre>").unwrap().0;
    assert!(shown.starts_with(told[0]), "{shown}");
    assert!(shown.contains("site/app.py&quot;, line 1, in &lt;module&gt;"), "{shown}");
    assert!(shown.trim_end().ends_with("RuntimeError: no database here"), "{shown}");
    let logged = stack.logged(|line| event(line) == Some("worker_exited")).await;
    assert!(logged.contains("no database here") && logged.len() < 2048, "{logged}");

    fs::write(stack.folder().join("site/app.py"), GOOD).unwrap();
    stack.until_pool("web", |pool| pool["ready"] == 1).await;
    assert_eq!(stack.get("/").await.text(), "mended");
}

#[tokio::test]
async fn a_trial_import_tells_what_a_worker_would_say() {
    let good = plan(GOOD).command(&["check", "--import"]).await;
    assert_eq!((good.code, good.stderr.as_str()), (Some(0), ""), "{good:?}");
    assert!(good.stdout.trim_end().ends_with("/ostler.toml: ok"), "{good:?}");

    let traceback = "status 1\nTraceback (most recent call last):\n  File \"";
    check("import nowhere", "", &[traceback, "ModuleNotFoundError: No module named 'nowhere'"])
        .await;
    check("application =", "", &["SyntaxError: invalid syntax"]).await;
    check("app = 1", "", &["ImportError: app has no 'application'"]).await;
    check("application = 1", "", &["TypeError: 'application' of app is int, not callable"]).await;
    check("raise SystemExit", "", &["the application ended the process while it was imported"])
        .await;
    check("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "", &[": signal 11"]).await;
    // What it is given is what a worker is given.
    let own = "import os; raise Exception(os.environ['GREETING'], os.path.basename(os.getcwd()))";
    let keys = "environment.GREETING = 'good day'";
    check(own, keys, &["Exception: ('good day', 'site')"]).await;
    let hanging = "import os; print('waits for nobody'); os.read(os.pipe()[0], 1)";
    let keys = "start-timeout = '500ms'";
    check(hanging, keys, &["not done within start-timeout (500ms)", "waits for nobody"]).await;
}

/// Shows that an application is not imported, where that is told, and all of what is said.
async fn check(module: &str, keys: &str, expected: &[&str]) {
    let keys = if keys.is_empty() { String::new() } else { format!("pool.web.{keys}") };
    let ended = plan(module).with(&keys).command(&["check", "--import"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(78), ""), "{module}: {ended:?}");
    let (place, said) =
        ended.stderr.split_once(": pool \"web\": cannot import app:application: ").unwrap();
    let (_, position) = place.split_once("/ostler.toml:").unwrap();
    assert!(position.split(':').all(|number| number.parse::<u32>().is_ok()), "{place}");
    for words in expected {
        assert!(
            said.contains(words) || ended.stderr.contains(words),
            "{words:?}: {}",
            ended.stderr
        );
    }
    let is_listed = plan(module).with(&keys).command(&["check"]).await;
    assert_eq!(is_listed.code, Some(0), "without the import there is nothing wrong: {is_listed:?}");
}

#[tokio::test]
async fn what_a_python_pool_lacks_is_told_before_anything_is_started() {
    let check = async |keys: &str, expected: &str| {
        let ended = plan(GOOD).with(keys).command(&["check"]).await;
        assert_eq!(ended.code, Some(78), "{ended:?}");
        assert!(ended.stderr.contains(expected), "{expected:?}: {ended:?}");
    };
    let environment = python::environment();
    let folder = environment.display();
    let meant = format!("{folder} is a folder; did you mean \"{folder}/bin/python\"?");
    check(&format!("pool.web.python = '{folder}'"), &meant).await;
    check("pool.web.python = '/nowhere/python'", "there is no program /nowhere/python").await;
    check("pool.web.wsgi = '/nowhere/site.wsgi'", "`wsgi`: there is no /nowhere/site.wsgi").await;
    check("pool.web.preload = ['/nowhere/a.py']", "`preload`: there is no /nowhere/a.py").await;
}

/// Goal: an old interpreter is told of in words. Method: ours, which is told that it is old before
/// anything else runs.
#[tokio::test]
async fn an_interpreter_that_is_too_old_says_which_one_is_needed() {
    const OLD: &str =
        "import sys\nsys.version_info = (3, 8, 18, 'final', 0)\nsys.version = '3.8.18 (main)'\n";
    let keys = "pool.web.environment.PYTHONPATH = '${STACK_DIR}/old'";
    let plan = plan(GOOD).with(keys).file("old/sitecustomize.py", OLD);
    let ended = plan.command(&["check", "--import"]).await;
    let expected = "status 1\nPython 3.9 or newer is needed, this is 3.8.18\n";
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert!(ended.stderr.ends_with(expected), "{ended:?}");
}

/// The binary in a folder of its own, as who forgets to copy the module has it.
#[tokio::test]
async fn without_the_extension_module_nothing_starts_and_both_its_places_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let program = example("probe").parent().unwrap().with_file_name("ostler");
    fs::copy(program, bin.join("ostler")).unwrap();
    let file = folder.path().join("ostler.toml");
    fs::write(&file, "[pool.web]\nwsgi = 'site.wsgi'\n").unwrap();
    for command in [&["check"][..], &["run", "--allow-root"]] {
        let ended = tokio::process::Command::new(bin.join("ostler"))
            .args(command)
            .arg("-c")
            .arg(&file)
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(78), "{said}");
        let own = folder.path().display();
        for place in ["bin/libostler_python.so", "lib/ostler/libostler_python.so"] {
            assert!(said.contains(&format!("{own}/{place}")), "{said}");
        }
        assert!(said.contains("ostler.toml:2:8: "), "{said}");
    }
}
