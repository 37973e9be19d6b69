//! What to start: configuration merged over a base that a test never has to repeat.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use toml::Table;

use crate::Stack;
use crate::binary::{Ended, example, new_mark, run};

/// What every stack has: private places, and ports that the kernel chooses.
const BASE: &str = r#"
    server = { threads = 2, runtime-dir = "${STACK_DIR}/run", drain-timeout = "10s" }
    listener = [{ name = "public", address = "127.0.0.1:0" }]
    status = { address = "127.0.0.1:0", history-size = "2MiB" }
    log.access.path = "${STACK_DIR}/access.log"
    log.error = { path = "-", level = "debug" }
"#;

/// One process of the probe example behind every path.
const PROBE: &str = r#"
    [pool.probe]
    command = ["probe"]
    environment = { PROBE_MODE = "threads" }
    processes = 1
    threads = 2
    stop-timeout = "1s"
    [[site]]
    route = [{ path = "/", pool = "probe" }]
"#;

/// The programs that a pool's `command` may name without a path.
const PROGRAMS: [&str; 4] = ["probe", "hello-service", "hello-threads", "arena"];

/// What to start: configuration, and the files it speaks of.
#[derive(Clone, Debug)]
pub struct Plan {
    table: Table,
    files: Vec<(String, Vec<u8>)>,
    /// More variables for the supervisor.
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) is_ready_awaited: bool,
    /// What a shell does before it becomes the supervisor.
    pub(crate) before: Option<String>,
}

impl Plan {
    /// Starts from listeners, status and logs alone: no pool, no site.
    pub fn bare() -> Self {
        Self {
            table: parse(BASE),
            files: Vec::new(),
            environment: Vec::new(),
            is_ready_awaited: true,
            before: None,
        }
    }

    /// Starts from one process of the probe with two threads that answers every path.
    pub fn probe() -> Self {
        Self::bare().with(PROBE)
    }

    /// Lays configuration over this one: tables are merged, everything else replaced.
    ///
    /// `${STACK_DIR}` stands for the folder of the stack.
    #[must_use]
    pub fn with(mut self, text: &str) -> Self {
        merge(&mut self.table, parse(text));
        self
    }

    /// Adds a file to the folder of the stack.
    #[must_use]
    pub fn file(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), bytes.into()));
        self
    }

    /// Starts the supervisor with this variable in its environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Has a shell run this before it becomes the supervisor.
    #[must_use]
    pub fn after(mut self, script: &str) -> Self {
        self.before = Some(script.to_owned());
        self
    }

    /// Returns from `start` as soon as the listeners are bound, ready or not.
    #[must_use]
    pub fn unready(mut self) -> Self {
        self.is_ready_awaited = false;
        self
    }

    /// Runs it, and waits until it is ready.
    pub async fn start(self) -> Stack {
        Stack::run(self).await
    }

    /// Runs `ostler COMMAND… -c FILE` on this configuration without starting anything.
    pub async fn command(self, arguments: &[&str]) -> Ended {
        let folder = TempDir::new().expect("a temporary folder");
        self.write_files(folder.path());
        run(&new_mark(), folder.path(), arguments).await
    }

    pub(crate) fn write_files(&self, folder: &Path) {
        for (path, bytes) in &self.files {
            let path = folder.join(path);
            let parent = path.parent().expect("it is in the folder");
            fs::create_dir_all(parent).expect("a folder");
            fs::write(&path, bytes).expect("a file");
        }
        let config = folder.join("ostler.toml");
        let is_given = self.files.iter().any(|(path, _)| path == "ostler.toml");
        if !is_given {
            fs::write(config, self.text()).expect("a configuration file");
        }
    }

    /// The configuration with real programs, and with identities when this is root.
    fn text(&self) -> String {
        let mut table = self.table.clone();
        let user = || toml::Value::String("root".to_owned());
        let is_root = rustix::process::geteuid().is_root();
        if is_root && let Some(server) = table.get_mut("server").and_then(|t| t.as_table_mut()) {
            server.entry("user").or_insert_with(user);
        }
        let pools = table.get_mut("pool").and_then(|pools| pools.as_table_mut());
        for (_, pool) in pools.into_iter().flatten() {
            let pool = pool.as_table_mut().expect("a pool is a table");
            if is_root {
                pool.entry("user").or_insert_with(user);
            }
            let command = pool.get_mut("command").and_then(|command| command.get_mut(0));
            if let Some(toml::Value::String(program)) = command
                && PROGRAMS.contains(&program.as_str())
            {
                *program = example(program).display().to_string();
            }
        }
        toml::to_string(&table).expect("a table can be written")
    }
}

fn parse(text: &str) -> Table {
    text.parse().unwrap_or_else(|error| panic!("{error}\nin\n{text}"))
}

fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(base)), toml::Value::Table(over)) => merge(base, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_merged_and_everything_else_is_replaced() {
        let mut table = parse("a = { b = 1, c = [1, 2] }\nd = 1");
        merge(&mut table, parse("a.c = [3]\na.e = 2\nd = { f = 1 }"));
        assert_eq!(table, parse("a = { b = 1, c = [3], e = 2 }\nd = { f = 1 }"));
    }
}
