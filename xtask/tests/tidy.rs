//! The house style, as far as a program can check it.
//!
//! Every test reads the files of the working tree and names each place that breaks a rule. The
//! reasons for the rules are in CONTRIBUTING.md.
#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the project: its path within it, and its text.
struct Text {
    path: String,
    text: String,
}

impl Text {
    /// Whether its name ends so.
    fn is(&self, end: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|this| this == end)
    }

    /// Lines with their numbers from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Lines that are not comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// The line its test module starts at; past the end where it has none.
    fn tests_start(&self) -> usize {
        let mut previous = "";
        for (number, line) in self.lines() {
            if previous == "#[cfg(test)]" && line.starts_with("mod tests") {
                return number - 1;
            }
            previous = line;
        }
        self.text.lines().count() + 1
    }

    /// Whether all of it runs in tests only.
    fn is_test(&self) -> bool {
        self.path.starts_with("e2e/")
            || self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
    }

    /// Lines that run in tests only, comments left out.
    fn test_code(&self) -> impl Iterator<Item = (usize, &str)> {
        let start = if self.is_test() { 1 } else { self.tests_start() };
        self.code().filter(move |(number, _)| start <= *number)
    }
}

#[test]
fn files_and_test_modules_are_short() {
    let mut broken = Vec::new();
    for file in rust() {
        let total = file.text.lines().count();
        let production = file.tests_start() - 1;
        if production > 500 {
            broken.push(format!("{}: {production} lines, at most 500", file.path));
        }
        if total - production > 250 {
            let lines = total - production;
            broken.push(format!("{}: {lines} lines of tests, at most 250", file.path));
        }
    }
    none(&broken, "a long file holds more than one idea");
}

#[test]
fn modules_are_named_for_what_they_decide() {
    const FORBIDDEN: [&str; 10] = [
        "util", "utils", "common", "core", "misc", "helpers", "types", "imp", "manager", "handler",
    ];
    let mut broken = Vec::new();
    for file in rust() {
        let name = Path::new(&file.path).file_stem().unwrap().to_string_lossy();
        let inline = file.code().any(|(_, line)| {
            let line = line.trim_start().trim_start_matches("pub ");
            FORBIDDEN.iter().any(|name| line.starts_with(&format!("mod {name} ")))
        });
        if FORBIDDEN.contains(&&*name) || name == "mod" || inline {
            broken.push(file.path);
        }
    }
    none(&broken, "a module's name says what it decides or does");
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent = |file: &Text| !file.text.starts_with("//! ");
    let broken: Vec<_> = rust().into_iter().filter(silent).map(|file| file.path).collect();
    none(&broken, "a file starts with //!");
}

/// Which of this project's crates each may depend on, and which crates it may never name.
const MAY_DEPEND: [(&str, &[&str], &[&str]); 7] = [
    ("crates/conf", &[], &["tokio", "hyper", "tracing"]),
    ("crates/policy", &["ostler-conf"], &["tokio", "hyper", "tracing", "rustix", "nix"]),
    ("crates/segment", &[], &["tokio", "hyper", "tracing"]),
    ("crates/supervisor", &["ostler-conf", "ostler-policy", "ostler-segment"], &["hyper"]),
    ("status-page", &[], &["tokio", "hyper", "axum"]),
    ("app", &["ostler-segment"], &["rustls", "pyo3"]),
    ("app/python", &["ostler-app"], &["rustls", "tokio"]),
];

#[test]
fn crates_depend_only_on_what_the_architecture_allows() {
    let mut broken = Vec::new();
    for (folder, ours, never) in MAY_DEPEND {
        for name in dependencies(folder) {
            let is_ours = name.starts_with("ostler");
            let is_never = never.contains(&name.as_str()) || name.starts_with("pingora");
            if is_ours && !ours.contains(&name.as_str()) || is_never {
                broken.push(format!("{folder} depends on {name}"));
            }
        }
    }
    none(&broken, "see the code map in ARCHITECTURE.md");
}

#[test]
fn engines_are_named_in_their_places_only() {
    let pingora = ["proxy/src/origin"];
    let hyper = ["app/", "proxy/src/control", "load-tests/src/bin/load-worker/bare.rs"];
    let mut broken = Vec::new();
    for file in rust().iter().filter(|file| !file.is_test()) {
        for (number, line) in file.code() {
            let names = |start: &str| {
                line.split(|c: char| !c.is_alphanumeric() && c != '_')
                    .any(|word| word == start || word.starts_with(&format!("{start}_")))
            };
            let within = |places: &[&str]| places.iter().any(|place| file.path.starts_with(place));
            if names("pingora") && !within(&pingora) || names("hyper") && !within(&hyper) {
                broken.push(format!("{}:{number}: {}", file.path, line.trim()));
            }
        }
    }
    none(&broken, "an engine can be replaced only where one place knows it");
}

#[test]
fn at_most_five_functions_are_excused_from_the_length_limit() {
    let excuse = concat!("clippy::too_many", "_lines");
    let mut excused = Vec::new();
    for file in rust() {
        let lines = file.code().filter(|(_, line)| line.contains(excuse));
        excused.extend(lines.map(|(number, _)| format!("{}:{number}", file.path)));
    }
    assert!(excused.len() <= 5, "{} excuses, at most 5: {excused:#?}", excused.len());
}

#[test]
fn tests_wait_on_state_and_not_on_time() {
    let mut broken = Vec::new();
    for file in rust() {
        let lines: Vec<&str> = file.text.lines().collect();
        for (number, line) in file.test_code().filter(|(_, line)| calls(line, "sleep")) {
            // A reason is a comment on the line above.
            let above = number.checked_sub(2).map_or("", |index| lines[index]);
            if !above.trim_start().starts_with("//") {
                broken.push(format!("{}:{number}: {}", file.path, line.trim()));
            }
        }
    }
    none(&broken, "a test that sleeps is slow and still flaky; a reason goes on the line above");
}

#[test]
fn unsafe_code_lies_in_one_file() {
    let mut broken = Vec::new();
    for file in rust().iter().filter(|file| file.path != "crates/segment/src/map.rs") {
        for (number, line) in file.code() {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            if words.any(|word| word == concat!("uns", "afe")) && !file.path.starts_with("xtask/") {
                broken.push(format!("{}:{number}", file.path));
            }
        }
    }
    none(&broken, "what can break memory safety is read together, in crates/segment/src/map.rs");
}

#[test]
fn every_configuration_that_is_shown_is_valid() {
    let (mut broken, mut shown) = (Vec::new(), 0);
    for file in texts() {
        let examples = match file.path.split_once('/') {
            Some(("conf", _)) => vec![file.text.as_str()],
            _ if file.is("md") => blocks(&file.text, "```toml\n"),
            _ => Vec::new(),
        };
        for example in examples {
            shown += 1;
            let parsed = ostler_conf::Config::parse(example, &root().join(&file.path));
            broken.extend(parsed.err().map(|error| format!("{}:\n{error}", file.path)));
        }
    }
    assert!(8 < shown, "only {shown} configurations: a rule that reads nothing holds");
    none(&broken, "who copies an example expects it to work");
}

#[test]
fn what_is_left_to_do_names_its_issue() {
    let (todo, fixme, ignored) =
        (concat!("TO", "DO"), concat!("FIX", "ME"), concat!("#[", "ignore"));
    let mut broken = Vec::new();
    for file in texts() {
        for (number, line) in file.lines() {
            let unnumbered = line.contains(todo) && !line.contains(&format!("{todo}(#"));
            let unexplained = line.contains(ignored) && !line.contains("\"#");
            if unnumbered || unexplained || line.contains(fixme) {
                broken.push(format!("{}:{number}", file.path));
            }
        }
    }
    none(&broken, "write the issue's number in parentheses, #[ignore = \"#12: reason\"] for tests");
}

#[test]
fn links_between_documents_resolve() {
    let mut broken = Vec::new();
    for file in texts().into_iter().filter(|file| file.is("md")) {
        let folder = root().join(&file.path).parent().unwrap().to_owned();
        for (number, line) in file.lines() {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let path = target.split('#').next().unwrap();
                if !target.contains("://") && !path.is_empty() && !folder.join(path).exists() {
                    broken.push(format!("{}:{number}: {target}", file.path));
                }
            }
        }
    }
    none(&broken, "the link leads nowhere");
}

#[test]
fn text_is_clean() {
    let mut broken = Vec::new();
    for file in texts() {
        if !file.text.is_empty() && !file.text.ends_with('\n') {
            broken.push(format!("{}: no line feed at the end", file.path));
        }
        for (number, line) in file.text.split('\n').enumerate() {
            if line.ends_with([' ', '\t', '\r']) {
                broken.push(format!("{}:{}: white space at the end", file.path, number + 1));
            }
        }
    }
    none(&broken, "differences show what changed and nothing else");
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    let local = [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/tmp/", "specs")];
    let mut broken = Vec::new();
    for file in texts() {
        for (number, line) in file.lines() {
            if local.iter().any(|path| line.contains(path)) {
                broken.push(format!("{}:{number}: {}", file.path, line.trim()));
            }
        }
    }
    none(&broken, "a path that exists on one machine is wrong everywhere else");
}

/// Whether a line of code calls a function of this name.
fn calls(line: &str, name: &str) -> bool {
    line.match_indices(&format!("{name}(")).any(|(at, _)| {
        !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '/')
            && !line[..at].ends_with("fn ")
    })
}

/// What stands between `start` and the end of a code block.
fn blocks<'t>(text: &'t str, start: &str) -> Vec<&'t str> {
    text.split(start).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

/// The names of a crate's dependencies, those of its tests left out.
fn dependencies(folder: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    let tables = ["dependencies", "build-dependencies"];
    let tables = tables.iter().filter_map(|name| manifest.get(*name)?.as_table());
    tables.flat_map(|table| table.keys().cloned()).collect()
}

/// Every Rust file.
fn rust() -> Vec<Text> {
    texts().into_iter().filter(|file| file.is("rs")).collect()
}

/// Every text file that people write, sorted by path.
fn texts() -> Vec<Text> {
    const ENDS: [&str; 7] = ["rs", "toml", "md", "service", "socket", "css", "sql"];
    let mut paths = Vec::new();
    collect(root(), &mut paths);
    paths.retain(|path| ENDS.iter().any(|end| path.extension().is_some_and(|this| this == *end)));
    paths.sort();
    let read = |path: PathBuf| Text {
        text: fs::read_to_string(&path).unwrap(),
        path: path.strip_prefix(root()).unwrap().to_string_lossy().into_owned(),
    };
    let texts: Vec<_> = paths.into_iter().map(read).collect();
    assert!(50 < texts.len(), "found only {} files: a rule that reads nothing holds", texts.len());
    texts
}

/// Adds every file beneath a folder, build results and hidden folders of tools left out.
fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let skipped = name == ".git" || name == "target" || name == "node_modules";
        if path.is_dir() && !path.is_symlink() && !skipped {
            collect(&path, paths);
        } else if path.is_file() {
            paths.push(path);
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[track_caller]
fn none(broken: &[String], reason: &str) {
    assert!(broken.is_empty(), "{reason}:\n{}", broken.join("\n"));
}
