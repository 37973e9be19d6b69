//! Python applications from `e2e/python/`, and the virtual environment that they run in.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Plan;
use crate::binary::target_folder;

/// Debian's interpreter, whichever other one is first on the path.
const PYTHON: &str = "/usr/bin/python3";

/// What is installed, each at one release.
const REQUIREMENTS: &str = "requirements.txt";

/// One process with two threads behind every path.
const POOL: &str = "
    [pool.web]
    directory = '${STACK_DIR}/site'
    processes = 1
    threads = 2
    stop-timeout = '1s'
    [[site]]
    route = [{ path = '/', pool = 'web' }]
";

/// The same of the application that stands for the probe.
const PROBE: &str = "
    [pool.probe]
    wsgi = 'probe'
    directory = '${STACK_DIR}/site'
    processes = 1
    threads = 2
    stop-timeout = '1s'
    [[site]]
    route = [{ path = '/', pool = 'probe' }]
";

/// The application of one file of `e2e/python/`, such as `environ.py`, behind every path.
pub fn subject(file: &str) -> Plan {
    let source = source(file);
    let (module, _) = file.split_once('.').expect("a file of Python");
    site(&format!("{module}:application")).file(&format!("site/{file}"), source)
}

/// In the pool `probe`, what [`Plan::probe`] starts from, but Python's. It needs no package.
pub fn probe() -> Plan {
    let keys = format!("pool.probe.python = '{PYTHON}'");
    Plan::bare().with(PROBE).with(&keys).file("site/probe.py", source("probe.py"))
}

/// An application that the interpreter finds, behind every path.
pub fn site(wsgi: &str) -> Plan {
    let python = environment().join("bin/python");
    let keys = format!("pool.web = {{ wsgi = '{wsgi}', python = '{}' }}", python.display());
    Plan::bare().with(POOL).with(&keys)
}

/// Behind every path the application that a command runs, in the folder `site` of the stack.
pub fn command(words: &[&str]) -> Plan {
    Plan::bare().with(POOL).with(&format!("pool.web.command = {words:?}"))
}

/// The text of a file of `e2e/python/`.
pub fn source(file: &str) -> Vec<u8> {
    let path = folder().join(file);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The virtual environment with all the requirements in it, made by whichever test comes first.
pub fn environment() -> PathBuf {
    let folder = target_folder().join("e2e");
    fs::create_dir_all(&folder).expect("a folder");
    let lock = File::create(folder.join("python.lock")).expect("a lock");
    lock.lock().expect("locked");
    let path = folder.join("python");
    let complete = path.join("complete");
    let wanted = source(REQUIREMENTS);
    if fs::read(&complete).ok().as_ref() != Some(&wanted) {
        run(Command::new(PYTHON).args(["-m", "venv", "--clear"]).arg(&path));
        install(&path);
        fs::write(complete, wanted).expect("a file");
    }
    path
}

/// The wheel of what is built here, made by maturin.
pub fn wheel() -> PathBuf {
    let maturin = environment().join("bin/maturin");
    let folder = target_folder().join("e2e/wheel");
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("a folder of our own");
    }
    let manifest = folder_of_crate().join("Cargo.toml");
    let mut command = Command::new(maturin);
    command.args(["build", "--quiet", "--locked", "--profile", "dev", "--manifest-path"]);
    command.arg(manifest).arg("--out").arg(&folder);
    // maturin names an interpreter to the build of PyO3, so in the folder of other builds both
    // would be made anew each time.
    run(command.env("CARGO_TARGET_DIR", target_folder().join("e2e/wheel-build")));
    let mut found = fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("a file"));
    let wheel = found.next().expect("a wheel").path();
    assert!(found.next().is_none(), "one wheel for all interpreters");
    wheel
}

/// Makes a virtual environment of nothing but a wheel; returns its interpreter.
pub fn environment_of(wheel: &Path, path: &Path) -> PathBuf {
    run(Command::new(PYTHON).args(["-m", "venv", "--without-pip"]).arg(path));
    let interpreter = path.join("bin/python");
    let mut pip = Command::new(environment().join("bin/python"));
    pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "--python"]);
    run(pip.arg(&interpreter).args(["install", "--no-deps", "--no-index"]).arg(wheel));
    interpreter
}

fn folder_of_crate() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../app/python")
}

fn install(environment: &Path) {
    let options = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    let mut command = Command::new(environment.join("bin/python"));
    run(command.args(options).arg(folder().join(REQUIREMENTS)));
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python")
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    let advice = "needs Python 3 with its venv module (package python3-venv)";
    assert!(output.status.success(), "{advice}: {command:?}: {said}");
}
