//! Commands of Python workers, and what is said of a system that lacks something.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ostler_conf::Config;

use super::*;

#[test]
fn every_key_is_an_option_of_the_command() {
    let pool = pool(
        "wsgi = 'site.py:app'\npython = '/v/bin/python'\npython-path = ['/a', 'b']\n\
         mount = '/app'\nswitch-interval = '1ms'\ninterrupt-timeout = '5s'\n\
         preload = ['/warm.py']\ncost = ['db']",
    );
    let words = words(&pool, Path::new("/lib/x.so"), options(&pool), pool.wsgi.as_ref().unwrap());
    let expected = [
        "/v/bin/python",
        "-X",
        "utf8",
        "-c",
        BOOTSTRAP,
        "/lib/x.so",
        "--python-path",
        "/a",
        "--python-path",
        "/etc/b",
        "--mount",
        "/app",
        "--switch-interval",
        "0.001",
        "--interrupt-timeout",
        "5",
        "--preload",
        "/warm.py",
        "--cost",
        "db",
        "/etc/site.py:app",
    ];
    assert_eq!(words, expected);
    assert!(options(&self::pool("wsgi = 'site'")).is_empty());
}

#[test]
fn the_module_is_beside_the_program_or_in_its_lib_even_when_that_was_replaced() {
    for program in ["/usr/local/bin/ostler", "/usr/local/bin/ostler (deleted)"] {
        let expected =
            ["/usr/local/bin/libostler_python.so", "/usr/local/lib/ostler/libostler_python.so"];
        assert_eq!(library_places(Path::new(program)), expected.map(PathBuf::from));
    }
}

#[test]
fn an_interpreter_that_cannot_start_is_named_with_the_one_that_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("venv/bin")).unwrap();
    fs::create_dir(path("empty")).unwrap();
    fs::write(path("plain"), "").unwrap();
    fs::write(path("venv/bin/python"), "").unwrap();
    fs::set_permissions(path("venv/bin/python"), fs::Permissions::from_mode(0o755)).unwrap();
    let check = |python: &Path, expected: Result<(), String>| {
        let pool = pool(&format!("wsgi = 'site'\npython = '{}'", python.display()));
        assert_eq!(check_interpreter(&pool), expected, "{python:?}");
    };
    let error = |text: &str| {
        Err(format!("`python`: {}", text.replace('~', &folder.path().display().to_string())))
    };
    check(&path("venv/bin/python"), Ok(()));
    check(&path("venv"), error("~/venv is a folder; did you mean \"~/venv/bin/python\"?"));
    check(&path("empty"), error("~/empty is a folder; name the interpreter in it"));
    check(&path("plain"), error("~/plain is not a program: its mode lets nobody execute it"));
    check(&path("none"), error("there is no program ~/none"));
    let unknown = "there is no program \"no-such-python\" in any folder of PATH";
    check(Path::new("no-such-python"), error(unknown));
    let found = pool(&format!(
        "wsgi = 'site'\npython = 'python'\nenvironment.PATH = '{}'",
        path("venv/bin").display()
    ));
    assert_eq!(check_interpreter(&found), Ok(()));
}

fn pool(keys: &str) -> PoolConfig {
    let text = format!("[pool.web]\n{keys}\n");
    let mut config = Config::parse(&text, Path::new("/etc/ostler.toml")).unwrap();
    config.pools.remove("web").unwrap()
}
