//! Whole configurations: what they come to, and what is said about wrong ones.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::{load, parse};
use crate::model::SECTIONS;
use crate::surroundings::Surroundings;
use crate::table::Fallback;
use crate::value::{ByteSize, ListenAddress};
use crate::{Config, Loaded, RouteAction};

mod includes;
mod mistakes;

const EVERY_KEY: &str = include_str!("every_key.toml");

/// What the contract with operators says, for a file that says only what it must.
const DEFAULTS: &str = include_str!("defaults.toml");

#[test]
fn defaults_are_those_of_the_contract_and_are_shown_as_such() {
    let text = "\
        [pool.web]\ncommand = [\"site\"]\n\
        [origin.cdn]\nservers = [\"https://a.example\"]\n\
        [origin.files]\ndirectory = \"/srv\"\n\
        [[site]]\n\
        [[site.route]]\npath = \"/static/\"\norigin = \"cdn\"\n\
        [[site.route]]\npath = \"/files/\"\norigin = \"files\"\n\
        [[site.route]]\npath = \"/old\"\nredirect = \"/new\"\n\
        [[site.route]]\npath = \"/\"\npool = \"web\"\n";
    let loaded = loaded(text);
    let effective = loaded.effective(true);
    assert!(effective == DEFAULTS, "load/defaults.toml differs from:\n{effective}");
    assert_eq!(parse_text(&loaded.config.to_toml()), loaded.config);
}

#[test]
fn an_empty_file_runs_one_listener_and_the_status_page() {
    let config = parse_text("");
    let listeners: Vec<(&str, String)> = config
        .listeners
        .iter()
        .map(|listener| (listener.name.as_str(), listener.address.to_string()))
        .collect();
    assert_eq!(listeners, [("127.0.0.1:8080", "127.0.0.1:8080".to_owned())]);
    let status = config.status.address.as_ref().map(ToString::to_string);
    assert_eq!(status.as_deref(), Some("127.0.0.1:9180"));
    assert_eq!(config.server.drain_timeout, Duration::from_secs(65));
    assert_eq!(loaded("").effective(false), "");
    assert_eq!(parse_text(&config.to_toml()), config);
}

#[test]
fn every_key_survives_printing() {
    let config = parse_text(EVERY_KEY);
    assert_eq!(parse_text(&config.to_toml()), config, "{}", config.to_toml());
    let effective = loaded(EVERY_KEY).effective(true);
    assert_eq!(parse_text(&effective), config, "{effective}");
}

/// Goal: whatever an operator is in the middle of typing, there is an answer. Method: every prefix
/// of a file with every key, the file without any one line, and with any one value replaced.
#[test]
fn no_damage_to_a_file_goes_unanswered() {
    let check = |text: &str| match parse(text, Path::new("a.toml"), &surroundings()) {
        Ok(config) => assert_eq!(parse_text(&config.to_toml()), config, "text:\n{text}"),
        Err(errors) => assert!(errors.0.iter().all(|error| 0 < error.line), "text:\n{text}"),
    };
    for end in 0..EVERY_KEY.len() {
        check(&EVERY_KEY[..end]);
    }
    let lines: Vec<&str> = EVERY_KEY.lines().collect();
    for index in 0..lines.len() {
        let key = lines[index].split(" = ").next().unwrap_or_default();
        let with = |line: &str| [&lines[..index], &[line], &lines[index + 1..]].concat().join("\n");
        check(&with(""));
        for value in ["", "''", "0", "-1", "1.5", "true", "[]", "['']", "[[]]", "{}", "{ a = 1 }"] {
            check(&with(&format!("{key} = {value}")));
        }
    }
}

#[test]
fn the_file_with_every_key_has_every_key() {
    let mut head = String::new();
    let mut present: BTreeSet<(String, String)> = BTreeSet::new();
    for line in EVERY_KEY.lines() {
        if line.starts_with('[') {
            let named = |head: &str, kind: &str| {
                let rest = head.strip_prefix(kind)?.trim_end_matches(']');
                let table = rest.split_once('.').map(|(_, table)| format!(".{table}"));
                Some(format!("{kind}NAME{}]", table.unwrap_or_default()))
            };
            let line = line.to_owned();
            head = named(&line, "[pool.").or_else(|| named(&line, "[origin.")).unwrap_or(line);
        } else if let Some((key, _)) = line.split_once(" = ") {
            present.insert((head.clone(), key.to_owned()));
        }
    }
    for key in ["path", "format"] {
        present.insert(("[log.access]".to_owned(), key.to_owned()));
    }
    for key in ["path", "interval", "timeout", "failures"] {
        present.insert(("[pool.NAME.health]".to_owned(), key.to_owned()));
    }
    for section in SECTIONS {
        for key in (section.keys)().into_iter().filter(|key| key.default != Fallback::Table) {
            let pair = (section.head.to_owned(), key.name);
            assert!(present.contains(&pair), "{pair:?} is not in every_key.toml");
        }
    }
}

#[test]
fn values_that_depend_on_others_are_resolved() {
    let config = parse_text(
        "[limits]\nbody-size = \"1MiB\"\n\
         [pool.a]\ncommand = [\"a\"]\nthreads = 3\nrequest-timeout = \"90s\"\nready = \"http\"\n\
         [pool.b]\ncommand = [\"b\"]\nrequest-timeout = \"0s\"\n\
         [[site]]\n[[site.route]]\npath = \"/\"\npool = \"a\"\n\
         [[site.route]]\npath = \"/b\"\npool = \"b\"\n",
    );
    let (a, b) = (&config.pools["a"], &config.pools["b"]);
    assert_eq!((a.concurrency, a.drain_timeout), (3, Duration::from_secs(90)));
    assert_eq!(a.warm_up, ["/"]);
    assert_eq!((b.request_timeout, b.drain_timeout), (None, Duration::from_mins(1)));
    assert_eq!(config.server.drain_timeout, Duration::from_secs(95));
    let routes = &config.sites[0].routes;
    assert_eq!(routes[0].body_size, ByteSize::mib(1));
    assert_eq!(routes[0].request_timeout, Some(Duration::from_secs(90)));
    assert_eq!(routes[1].request_timeout, None);
    assert_eq!(routes[1].action, RouteAction::Pool("b".to_owned()));
}

#[test]
fn a_listener_overrides_single_keys_of_keepalive() {
    let text = "[keepalive]\nidle-timeout = \"5s\"\n\
                [[listener]]\naddress = \"127.0.0.1:1\"\nkeepalive = { max-requests = 3 }\n\
                [[listener]]\naddress = \"127.0.0.1:2\"\n";
    let loaded = loaded(text);
    let keepalive: Vec<(bool, u64, u32)> = loaded
        .config
        .listeners
        .iter()
        .map(|listener| &listener.keepalive)
        .map(|keepalive| {
            (keepalive.enabled, keepalive.idle_timeout.as_secs(), keepalive.max_requests)
        })
        .collect();
    assert_eq!(keepalive, [(true, 5, 3), (true, 5, 0)]);
    let effective = loaded.effective(false);
    let inherited = "[listener.keepalive]\nidle-timeout = \"5s\"  # a.toml:2\nmax-requests = 3     # a.toml:5\n";
    assert!(effective.contains(inherited), "{effective}");
}

#[test]
fn paths_are_relative_to_the_file_and_commands_only_with_a_slash() {
    let config = Config::parse(EVERY_KEY, Path::new("/etc/o/a.toml")).unwrap();
    assert_eq!(config.server.runtime_dir, Path::new("/etc/o/run"));
    assert_eq!(config.pools["web"].command[0], "/etc/o/bin/site");
    assert_eq!(config.listeners[1].address, ListenAddress::Unix("/etc/o/http.sock".into()));
    let plain = "[pool.web]\ncommand = [\"python3\", \"bin/x\"]\n";
    let config = Config::parse(plain, Path::new("/etc/o/a.toml")).unwrap();
    assert_eq!(config.pools["web"].command, ["python3", "bin/x"]);
}

#[test]
fn a_python_pool_is_watched_and_resolved_by_its_script_and_shows_no_command() {
    let config = Config::parse(EVERY_KEY, Path::new("/etc/o/a.toml")).unwrap();
    let python = &config.pools["python"];
    let application = python.wsgi.as_ref().unwrap();
    assert_eq!(application.argument(), "/etc/o/bin/site.wsgi:site.app");
    assert_eq!(python.reload_on_change, [Path::new("/etc/o/bin/site.wsgi")]);
    assert_eq!(python.python, "/etc/o/venv/bin/python");
    assert_eq!(python.mount.as_str(), "/app");
    let effective = loaded("[pool.web]\nwsgi = 'site.wsgi:app'\n").effective(true);
    let lines: Vec<String> = effective
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for line in [
        "wsgi = \"site.wsgi:app\" # a.toml:2",
        "python = \"python3\" # default",
        "# switch-interval is not set",
        "reload-on-change = [] # default: none, or the script where wsgi is one",
    ] {
        assert!(lines.iter().any(|found| found == line), "{line:?} is not in\n{effective}");
    }
    assert!(!effective.contains("command ="), "{effective}");
}

#[test]
fn what_only_the_system_knows_is_told_where_the_key_stands() {
    let loaded = loaded("\n[pool.web]\nthreads = 1\nwsgi = 'site'\n");
    let check = |key: &str, expected: &str| {
        let error = loaded.pool_error("web", key, "no".to_owned());
        assert_eq!(error.to_string(), expected);
    };
    check("wsgi", "a.toml:4:8: no");
    check("python", "a.toml:2:1: no");
}

#[test]
fn the_environment_is_put_into_strings() {
    let text = "[pool.web]\ncommand = [\"${HOME_OF_SITE}/bin\", \"$${slot}\"]\n";
    assert_eq!(parse_text(text).pools["web"].command, ["/srv/site/bin", "${slot}"]);
}

#[test]
fn the_effective_configuration_says_where_each_value_was_set() {
    let effective = loaded("# x\n[timeouts]\nhead = \"1s\"\n\n[pool.web]\ncommand = ['a']\n");
    let expected = "[timeouts]\nhead = \"1s\"  # a.toml:3\n\n\
                    [pool.web]\ncommand = [\"a\"]  # a.toml:6\n";
    assert_eq!(effective.effective(false), expected);
}

#[test]
fn the_runtime_directory_is_private_to_the_user() {
    let check = |uid: u32, xdg: Option<&str>, expected: &str| {
        let variables: BTreeMap<String, String> =
            xdg.map(|path| ("XDG_RUNTIME_DIR".to_owned(), path.to_owned())).into_iter().collect();
        let surroundings = Surroundings { variables, uid, ..surroundings() };
        assert_eq!(surroundings.runtime_dir(), Path::new(expected));
    };
    check(0, Some("/run/user/0"), "/run/ostler");
    check(7, Some("/run/user/7"), "/run/user/7/ostler");
    check(7, Some("relative"), "/tmp/ostler-7");
    check(7, None, "/tmp/ostler-7");
}

fn surroundings() -> Surroundings {
    let variables = [("XDG_RUNTIME_DIR", "/run/user/7"), ("HOME_OF_SITE", "/srv/site")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    Surroundings { variables: variables.into(), cpus: 8, uid: 7, temporary: "/tmp".into() }
}

/// `text` as if it stood in `a.toml`.
#[track_caller]
fn parse_text(text: &str) -> Config {
    parse(text, Path::new("a.toml"), &surroundings()).unwrap_or_else(|errors| panic!("{errors}"))
}

#[track_caller]
fn loaded(text: &str) -> Loaded {
    super::read(text.to_owned(), Path::new("a.toml"), &surroundings())
        .unwrap_or_else(|errors| panic!("{errors}"))
}

/// What is said about `text` in `a.toml`.
#[track_caller]
fn errors(text: &str) -> String {
    match parse(text, Path::new("a.toml"), &surroundings()) {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(errors) => errors.to_string(),
    }
}

/// What comes of the files in `directory`, or what is said about them, without the directory.
fn load_in(directory: &Path) -> Result<Loaded, String> {
    load(&directory.join("a.toml"), &surroundings())
        .map_err(|errors| errors.to_string().replace(&format!("{}/", directory.display()), ""))
}
