//! Several files.

use tempfile::TempDir;

use super::load_in;

#[test]
fn tables_merge_and_arrays_of_tables_are_joined() {
    let files = [
        (
            "a.toml",
            "include = ['sites/*.toml', 'pools.toml']\n[server]\nthreads = 2\n[[site]]\nhosts = ['a']\n[[site.route]]\npath = '/'\npool = 'x'\n",
        ),
        ("pools.toml", "[server]\nwatch = true\n[pool.x]\ncommand = ['./x']\n"),
        (
            "sites/b.toml",
            "include = ['../pool-y.toml']\n[[site]]\nhosts = ['b']\n[[site.route]]\npath = '/'\npool = 'y'\n",
        ),
        ("sites/c.toml", "[[site]]\nhosts = ['c']\n[[site.route]]\npath = '/'\npool = 'x'\n"),
        ("sites/note.txt", "not TOML"),
        ("pool-y.toml", "[pool.y]\ncommand = ['./y']\n"),
    ];
    let directory = write(&files);
    let loaded = load_in(directory.path()).unwrap();
    let config = &loaded.config;
    assert_eq!((config.server.threads, config.server.watch), (2, true));
    assert_eq!(config.pools.keys().collect::<Vec<_>>(), ["x", "y"]);
    let hosts: Vec<String> = config.sites.iter().map(|site| site.hosts[0].to_string()).collect();
    assert_eq!(hosts, ["a", "b", "c"]);
    let names: Vec<&str> =
        loaded.files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["a.toml", "b.toml", "pool-y.toml", "c.toml", "pools.toml"]);
    let pool_y = format!("{}/sites/../pool-y.toml:2", directory.path().display());
    assert!(loaded.effective(false).contains(&pool_y), "{}", loaded.effective(false));
}

#[test]
fn mistakes_across_files_are_told_with_their_places() {
    check(
        "a key set twice",
        &[
            (
                "a.toml",
                "include = ['b.toml']\n[server]\nthreads = 2\n[log]\nerror.level = 'info'\n",
            ),
            ("b.toml", "[server]\n  threads = 3\n[log.error]\nlevel = 'warn'\n"),
        ],
        "b.toml:2:3: `server.threads` is already set at a.toml:3:1\n\
         b.toml:4:1: `log.error.level` is already set at a.toml:5:7",
    );
    check(
        "a literal name of nothing",
        &[("a.toml", "include = ['b.toml', 'c*.toml']\n")],
        "a.toml:1:12: `include`: b.toml cannot be read: No such file or directory (os error 2)",
    );
    check(
        "mistakes in two files",
        &[
            ("a.toml", "include = ['b.toml']\n[server]\nthread = 2\n"),
            ("b.toml", "[pool.web]\nthreads = '5s'\n"),
        ],
        "a.toml:3:1: unknown key `thread` in [server]; did you mean `threads`?\n\
         b.toml:1:1: [pool.web] needs a `command` or `wsgi`\n\
         b.toml:2:11: `threads`: expected a whole number, found the string \"5s\"",
    );
    check(
        "a circle",
        &[("a.toml", "include = ['b.toml']\n"), ("b.toml", "include = ['a.toml']\n")],
        "b.toml:1:12: `include`: a.toml is included already",
    );
    check(
        "wrong types",
        &[("a.toml", "include = 'b.toml'\n")],
        "a.toml:1:11: `include`: expected an array, found the string \"b.toml\"",
    );
    check(
        "wrong types inside",
        &[("a.toml", "include = [1]\n")],
        "a.toml:1:12: `include`: expected a string, found the number 1",
    );
    check("no file", &[], "a.toml: cannot be read: No such file or directory (os error 2)");
    check(
        "the same host in two files",
        &[
            (
                "a.toml",
                "include = ['b.toml']\n[[site]]\nhosts = ['x']\nroute = [{ path = '/', redirect = '/a' }]\n",
            ),
            ("b.toml", "[[site]]\nhosts = ['y', 'X']\nroute = [{ path = '/', redirect = '/a' }]\n"),
        ],
        "b.toml:2:15: `hosts`: \"x\" belongs to the site at a.toml:3:10",
    );
}

#[test]
fn includes_are_at_most_eight_deep() {
    let chain = |length: usize| {
        let file = |index: usize| {
            let name = if index == 0 { "a.toml".to_owned() } else { format!("{index}.toml") };
            let text = if index == length {
                String::new()
            } else {
                format!("include = ['{}.toml']", index + 1)
            };
            (name, text)
        };
        let files: Vec<(String, String)> = (0..=length).map(file).collect();
        let files: Vec<(&str, &str)> =
            files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        load_in(write(&files).path()).map(|loaded| loaded.files.len())
    };
    assert_eq!(chain(8), Ok(9));
    assert_eq!(chain(9), Err("8.toml:1:11: `include`: more than 8 deep".to_owned()));
}

#[track_caller]
fn check(what: &str, files: &[(&str, &str)], expected: &str) {
    let directory = write(files);
    match load_in(directory.path()) {
        Ok(_) => panic!("{what}: accepted"),
        Err(errors) => assert_eq!(errors, expected, "{what}"),
    }
}

fn write(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    directory
}
