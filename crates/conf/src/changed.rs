//! Which keys two configurations differ in. Names alone: a value may be a secret.

use std::collections::BTreeSet;

use crate::model::Config;
use crate::table::{Encoded, Fallback, Section};

impl Config {
    /// Returns the keys and tables that differ from another configuration, such as
    /// `pool.web.threads`, or `pool.api` where there is none in one of the two.
    ///
    /// Those whose value may follow from others come last. Keys of `[[site]]` and the like go
    /// without a number, each once; where elements came or went, the table is named.
    pub fn changed_since(&self, before: &Self) -> Vec<String> {
        let mut changes = Changes::default();
        changes.compare_sections("", &before.encode(), &self.encode());
        changes.plain.into_iter().chain(changes.derived).collect()
    }
}

#[derive(Debug, Default)]
struct Changes {
    plain: Vec<String>,
    derived: Vec<String>,
    seen: BTreeSet<String>,
}

impl Changes {
    fn compare_sections(&mut self, path: &str, before: &Section, after: &Section) {
        for item in &after.0 {
            let earlier = before.0.iter().find(|earlier| earlier.key == item.key);
            let earlier = earlier.map_or(&Encoded::Absent, |earlier| &earlier.encoded);
            self.compare(&below(path, &item.key), item.default, (earlier, &item.encoded));
        }
        for item in &before.0 {
            if after.0.iter().all(|later| later.key != item.key) {
                let pair = (&item.encoded, &Encoded::Absent);
                self.compare(&below(path, &item.key), item.default, pair);
            }
        }
    }

    fn compare(&mut self, path: &str, default: Fallback, pair: (&Encoded, &Encoded)) {
        match pair {
            (Encoded::Absent, Encoded::Absent) => {}
            (Encoded::Value(before), Encoded::Value(after)) if before == after => {}
            (Encoded::Table(before), Encoded::Table(after)) => {
                self.compare_sections(path, before, after);
            }
            (Encoded::Tables(before), Encoded::Tables(after)) if before.len() == after.len() => {
                for (before, after) in before.iter().zip(after) {
                    self.compare_sections(path, before, after);
                }
            }
            (Encoded::Named(before), Encoded::Named(after)) => {
                self.compare_named(path, before, after);
            }
            _ => self.add(path, default),
        }
    }

    fn compare_named(
        &mut self,
        path: &str,
        before: &[(String, Section)],
        after: &[(String, Section)],
    ) {
        for (name, section) in after {
            let path = below(path, name);
            match before.iter().find(|(earlier, _)| earlier == name) {
                Some((_, earlier)) => self.compare_sections(&path, earlier, section),
                None => self.add(&path, Fallback::Table),
            }
        }
        for (name, _) in before {
            if after.iter().all(|(later, _)| later != name) {
                self.add(&below(path, name), Fallback::Table);
            }
        }
    }

    fn add(&mut self, path: &str, default: Fallback) {
        if self.seen.insert(path.to_owned()) {
            let is_derived = matches!(default, Fallback::Computed(_));
            let list = if is_derived { &mut self.derived } else { &mut self.plain };
            list.push(path.to_owned());
        }
    }
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn keys_are_named_and_derived_ones_come_last() {
        check("", "", &[]);
        check(&pool("threads = 3"), &pool("threads = 3"), &[]);
        check("log.access.path = '/a'", "log.access.path = '/b'", &["log.access.path"]);
        let (before, after) = (pool("request-timeout = '9s'"), pool("request-timeout = '8s'"));
        let derived =
            ["pool.web.request-timeout", "server.drain-timeout", "pool.web.drain-timeout"];
        check(&before, &after, &derived);
        check(&pool("user = 'a'"), &pool(""), &["pool.web.user"]);
        let secret = pool("environment = { KEY = 'hunter2' }");
        check(&pool(""), &secret, &["pool.web.environment"]);
    }

    #[test]
    fn tables_that_come_or_go_are_named_as_a_whole() {
        let other = "[pool.api]\ncommand = ['b']\n";
        check(&pool(""), &format!("{}{other}", pool("")), &["pool.api"]);
        check(&format!("{}{other}", pool("")), &pool(""), &["pool.api"]);
        let site = |path: &str| {
            let routes = format!("{{ path = '/', pool = 'web' }}, {path}");
            format!("{}[[site]]\nroute = [{routes}]\n", pool(""))
        };
        let (none, one) = (site(""), site("{ path = '/x', pool = 'web' }"));
        check(&none, &one, &["site.route"]);
        check(&one, &one.replace("/x", "/y"), &["site.route.path"]);
    }

    #[track_caller]
    fn check(before: &str, after: &str, expected: &[&str]) {
        let parse = |text: &str| Config::parse(text, Path::new("/etc/test.toml")).unwrap();
        assert_eq!(parse(after).changed_since(&parse(before)), expected);
    }

    fn pool(text: &str) -> String {
        format!("[pool.web]\ncommand = ['a']\n{text}\n")
    }
}
