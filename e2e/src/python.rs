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

/// The application of one file of `e2e/python/`, such as `environ.py`, behind every path.
pub fn subject(file: &str) -> Plan {
    let source = source(file);
    let (module, _) = file.split_once('.').expect("a file of Python");
    site(&format!("{module}:application")).file(&format!("site/{file}"), source)
}

/// An application that the interpreter finds, behind every path.
pub fn site(wsgi: &str) -> Plan {
    let python = environment().join("bin/python");
    let keys = format!("pool.web = {{ wsgi = '{wsgi}', python = '{}' }}", python.display());
    Plan::bare().with(POOL).with(&keys)
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
