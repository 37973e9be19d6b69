//! Monitors that were made for httpd, unchanged: Prometheus's exporter, munin's plugins and
//! `apachetop`, as Debian ships them.

use std::collections::BTreeMap;
use std::path::Path;

use ostler_e2e::program::{Program, installed, run};
use ostler_e2e::stack::field;
use ostler_e2e::{Client, DEADLINE, POLL, Plan, Stack};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::{Instant, interval};

use crate::ask;

/// Requests that have ended when a monitor reads.
const ENDED: u64 = 7;

#[tokio::test]
async fn the_exporter_for_prometheus_reads_the_numbers_of_the_document() {
    let stack = plan().start().await;
    let _held = hold(&stack).await;
    let program = installed("prometheus-apache-exporter", "prometheus-apache-exporter");
    let mut command = Command::new(program);
    command.arg("--telemetry.address=127.0.0.1:0");
    command.arg(format!("--scrape_uri={}", uri(&stack)));
    let exporter = Program::start(command);
    let line = exporter.logged(|line| line.contains("msg=\"Listening on\"")).await;
    let address = field(&line, "address").unwrap().parse().unwrap();

    let (read, status) = at_one_moment(&stack, async || {
        let answer = Client::connect(address).await.get("/metrics").await;
        samples(&answer.text())
    })
    .await;
    let (requests, pool) = (&status["requests"], &status["pools"]["probe"]);
    let connections = &status["connections"];
    let expected = [
        ("apache_up", 1),
        ("apache_accesses_total", count(&requests["total"])),
        ("apache_sent_kilobytes_total", count(&requests["bytes_sent_total"]) / 1024),
        ("apache_duration_ms_total", count(&requests["duration_ms_total"])),
        ("apache_workers{state=\"busy\"}", count(&pool["busy"])),
        ("apache_workers{state=\"idle\"}", count(&pool["capacity"]) - count(&pool["busy"])),
        ("apache_scoreboard{state=\"reply\"}", count(&pool["busy"])),
        ("apache_scoreboard{state=\"idle\"}", count(&pool["capacity"]) - count(&pool["busy"])),
        ("apache_processes{state=\"all\"}", count(&pool["ready"])),
        ("apache_processes{state=\"stopping\"}", 0),
        ("apache_connections{state=\"total\"}", count(&connections["open"])),
        ("apache_connections{state=\"writing\"}", count(&connections["writing"])),
        ("apache_connections{state=\"keepalive\"}", count(&connections["idle"])),
        ("apache_generation{type=\"config\"}", count(&status["server"]["config_version"])),
    ];
    for (name, expected) in expected {
        assert_eq!(read.get(name), Some(&expected.to_string()), "{name}: {read:#?}");
    }
    // 2.4.63 as one number.
    assert_eq!(read["apache_version"], "2.04063");
}

#[tokio::test]
async fn the_plugins_of_munin_read_the_numbers_of_the_document() {
    let stack = plan().start().await;
    let _held = hold(&stack).await;
    let port = stack.status_address().port();
    for plugin in ["apache_accesses", "apache_processes", "apache_volume"] {
        let told = munin(&stack, plugin, "autoconf").await;
        assert_eq!(told.trim(), "yes", "{plugin}");
    }
    let (read, status) = at_one_moment(&stack, async || {
        let mut read = BTreeMap::new();
        for plugin in ["apache_accesses", "apache_processes", "apache_volume"] {
            let told = munin(&stack, plugin, "fetch").await;
            let pairs = told.lines().filter_map(|line| line.split_once(".value "));
            read.extend(pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())));
        }
        read
    })
    .await;
    let (requests, pool) = (&status["requests"], &status["pools"]["probe"]);
    let expected = [
        ("accesses", count(&requests["total"])),
        ("busy", count(&pool["busy"])),
        ("idle", count(&pool["capacity"]) - count(&pool["busy"])),
        ("free", 0),
        // It makes bytes of kilobytes.
        ("volume", count(&requests["bytes_sent_total"]) / 1024 * 1024),
    ];
    for (name, expected) in expected {
        let name = format!("{name}{port}");
        let value = read.get(&name).and_then(|value| value.parse::<f64>().ok());
        assert_eq!(value.map(|value| value.to_string()), Some(expected.to_string()), "{read:#?}");
    }
}

/// It reads the access log and shows the last requests.
#[tokio::test]
async fn apachetop_counts_the_requests_of_the_access_log() {
    for format in ["combined", "extended"] {
        let stack = plan().with(&format!("log.access.format = '{format}'")).start().await;
        let top = Terminal::start(
            stack.folder(),
            &format!(
                "{} -d 1 -f {}",
                installed("apachetop", "apachetop").display(),
                stack.folder().join("access.log").display()
            ),
        )
        .await;
        // It begins at the end of the file.
        top.until(|screen| screen.contains("atop runtime")).await;
        let mut client = stack.connect().await;
        for path in ["/one", "/one", "/one", "/two", "/status/404"] {
            client.get(path).await;
        }
        let screen = top.until(|screen| has_words(screen, "All: 5 reqs")).await;
        assert!(has_words(&screen, "2xx: 4 (80.0%)"), "{format}:\n{screen}");
        assert!(has_words(&screen, "4xx: 1 (20.0%)"), "{format}:\n{screen}");
        let of_path = |path: &str| -> Option<String> {
            let line = screen.lines().find(|line| line.trim_end().ends_with(path))?;
            line.split_whitespace().next().map(str::to_owned)
        };
        assert_eq!(of_path("/one").as_deref(), Some("3"), "{format}:\n{screen}");
        assert_eq!(of_path("/two").as_deref(), Some("1"), "{format}:\n{screen}");
        assert_eq!(stack.status().await["requests"]["total"], 5);
    }
}

fn has_words(text: &str, words: &str) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<String>();
    plain(text).contains(&plain(words))
}

/// Two processes of two threads.
fn plan() -> Plan {
    Plan::probe().with("pool.probe.processes = 2")
}

/// Has requests served, and one held while an idle connection is open.
async fn hold(stack: &Stack) -> (Client, Client) {
    let mut idle = stack.connect().await;
    for _ in 0..ENDED {
        idle.get("/bytes/3000").await;
    }
    let held = ask(stack, "/sleep/3600000").await;
    stack
        .until(|status| {
            let (requests, pool) = (&status["requests"], &status["pools"]["probe"]);
            let is_at_rest = requests["total"] == ENDED && requests["in_flight"] == 1;
            is_at_rest && pool["busy"] == 1 && status["connections"]["idle"] == 1
        })
        .await;
    (held, idle)
}

/// What a monitor reads, and the document of the same moment: before it read and after it are
/// the same in all that is compared.
async fn at_one_moment<T>(stack: &Stack, read: impl AsyncFn() -> T) -> (T, Value) {
    loop {
        let before = stack.status().await;
        let read = read().await;
        let after = stack.status().await;
        let same = ["requests", "connections"].iter().all(|key| before[key] == after[key]);
        if same && before["pools"]["probe"]["busy"] == after["pools"]["probe"]["busy"] {
            return (read, after);
        }
    }
}

fn uri(stack: &Stack) -> String {
    format!("http://{}/server-status?auto", stack.status_address())
}

async fn munin(stack: &Stack, plugin: &str, word: &str) -> String {
    let mut command = Command::new(installed(plugin, "munin-plugins-core libwww-perl"));
    command
        .arg(word)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("MUNIN_LIBDIR", "/usr/share/munin")
        .env("url", uri(stack))
        .env("ports", stack.status_address().port().to_string());
    let ended = run(command).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.stdout
}

/// Samples of Prometheus's text that are whole numbers, by name and labels.
fn samples(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.rsplit_once(' '));
    let number =
        |value: &str| value.parse::<f64>().map_or_else(|_| value.to_owned(), |it| it.to_string());
    pairs.map(|(name, value)| (name.to_owned(), number(value))).collect()
}

#[track_caller]
fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("not a count: {value}"))
}

/// A program on a screen of 100 columns and 30 lines, which tmux keeps.
struct Terminal {
    socket: std::path::PathBuf,
}

impl Terminal {
    async fn start(folder: &Path, command: &str) -> Self {
        let terminal = Self { socket: folder.join("tmux") };
        terminal
            .tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", command])
            .await;
        terminal
    }

    async fn tmux(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(installed("tmux", "tmux"));
        command.arg("-S").arg(&self.socket).args(arguments).env("LC_ALL", "C.UTF-8");
        let ended = run(command).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stdout
    }

    /// Waits until the screen is as wanted; returns it.
    async fn until(&self, wanted: impl Fn(&str) -> bool) -> String {
        let mut ticks = interval(POLL);
        let deadline = Instant::now() + DEADLINE;
        loop {
            ticks.tick().await;
            let screen = self.tmux(&["capture-pane", "-p"]).await;
            if wanted(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "never on the screen:\n{screen}");
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let mut command = std::process::Command::new(installed("tmux", "tmux"));
        // Whoever has ended already need not be ended.
        drop(command.arg("-S").arg(&self.socket).arg("kill-server").status());
    }
}
