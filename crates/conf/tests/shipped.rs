//! What ships: every file in `conf/` is valid, and the reference is that of the code.

use std::path::{Path, PathBuf};

use ostler_conf::{Config, OriginKind, RouteAction};

#[test]
fn every_file_in_conf_is_valid_and_survives_printing() {
    let files = shipped_files();
    assert!(3 <= files.len(), "only {files:?}");
    for file in files {
        let loaded = Config::load(&file).unwrap_or_else(|errors| panic!("{errors}"));
        let printed = loaded.config.to_toml();
        let parsed = Config::parse(&printed, Path::new("/elsewhere/printed.toml"));
        assert_eq!(parsed, Ok(loaded.config.clone()), "{}", file.display());
        for show_defaults in [false, true] {
            let effective = loaded.effective(show_defaults);
            let parsed: Result<toml::Table, _> = effective.parse();
            assert!(parsed.is_ok(), "{}: {parsed:?}\n{effective}", file.display());
        }
    }
}

#[test]
fn the_demo_finds_its_files_from_any_directory() {
    let config = Config::load(&project().join("conf/demo.toml")).unwrap().config;
    let conf = std::path::absolute(project().join("conf")).unwrap();
    let arena = conf.join("../target/release/examples/arena");
    assert_eq!(config.pools["arena"].command, [arena.to_str().unwrap()]);
    let directory = conf.join("../app/examples/arena/static");
    assert_eq!(config.origins["static"].kind, OriginKind::Directory { directory });
    let origin = RouteAction::Origin { name: "static".to_owned(), strip_prefix: true };
    let actions: Vec<&RouteAction> =
        config.sites[0].routes.iter().map(|route| &route.action).collect();
    assert_eq!(actions, [&origin, &RouteAction::Pool("arena".to_owned())]);
}

#[test]
fn the_reference_is_that_of_the_code() {
    let file = project().join("docs/configuration.md");
    let reference = ostler_conf::reference();
    if std::env::var_os("OSTLER_UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(&file, &reference).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == reference,
        "docs/configuration.md is stale: `cargo xtask docs` writes it anew"
    );
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn shipped_files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(project().join("conf")).expect("conf/ is a folder");
    let paths = entries.map(|entry| entry.expect("conf/ can be listed").path());
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    files
}
