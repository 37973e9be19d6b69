//! `?auto` beside Apache's own `mod_status`: the same rows in the same order, under the same
//! conditions, and the same answers to what readers put into the query.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;

use ostler_e2e::program::{Program, installed};
use ostler_e2e::{Client, POLL, Response, Stack};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::interval;

/// Rows that older releases of httpd do not have: since 2.4.58 and 2.4.63.
const NEWER: [&str; 2] = ["GracefulWorkers", "ConnsAsyncWaitIO"];

/// Rows that depend on what has happened, each with the row that must not be 0 for it.
const CONDITIONAL: [(&str, &str); 4] = [
    ("ReqPerSec", "Uptime"),
    ("BytesPerSec", "Uptime"),
    ("BytesPerReq", "Total Accesses"),
    ("DurationPerReq", "Total Accesses"),
];

/// The rows whose sum decides about `CPULoad`.
const CPU: [&str; 4] = ["CPUUser", "CPUSystem", "CPUChildrenUser", "CPUChildrenSystem"];

/// Rows that are words; all others are numbers.
const WORDS: [&str; 7] = [
    "ServerVersion",
    "ServerMPM",
    "Server Built",
    "CurrentTime",
    "RestartTime",
    "ServerUptime",
    "Scoreboard",
];

#[tokio::test]
async fn auto_has_the_rows_of_mod_status_in_its_order() {
    let apache = Apache::start().await;
    let stack = Stack::start("").await;
    // Before the first request, and after some.
    for requests in [0, 3] {
        for _ in 0..requests {
            apache.get("/nothing").await;
            stack.get("/").await;
        }
        stack.until(|status| status["requests"]["total"] == requests).await;
        let theirs = Rows::of(&apache.get("/server-status?auto").await);
        let ours = Rows::of(&stack.get_status("/server-status?auto").await);
        theirs.hold_the_conditions();
        ours.hold_the_conditions();

        let end = ours.position("Scoreboard") + 1;
        let missing = |key: &&String| NEWER.contains(&key.as_str()) && !theirs.has(key);
        let shared: Vec<&String> = ours.keys[..end].iter().filter(|key| !missing(key)).collect();
        let conditional = |key: &String| {
            key == "CPULoad" || CONDITIONAL.iter().any(|(conditional, _)| conditional == key)
        };
        let fixed = |keys: Vec<&String>| -> Vec<String> {
            keys.into_iter().filter(|key| !conditional(key)).cloned().collect()
        };
        let until = theirs.position("Scoreboard") + 1;
        let of_apache: Vec<&String> = theirs.keys[..until].iter().collect();
        assert_eq!(fixed(shared), fixed(of_apache), "{requests} requests");
        let own = &ours.keys[end..];
        assert!(own.iter().all(|key| key.starts_with("Ostler")), "{own:?}");
    }
}

#[tokio::test]
async fn the_query_is_understood_as_mod_status_understands_it() {
    let apache = Apache::start().await;
    let stack = Stack::start("").await;
    for query in [
        "",
        "?auto",
        "?auto&refresh",
        "?auto&refresh=5",
        "?refresh=5&auto",
        "?refresh=7&notable&auto",
        "?notable",
        "?notable&refresh=3",
        "?refresh",
        "?refresh=0",
        "?refresh=-3",
        "?refresh=9seconds",
        "?refresh=5?auto",
        "?auto=1",
        "?AUTO",
    ] {
        let theirs = apache.get(&format!("/server-status{query}")).await;
        let ours = stack.get_status(&format!("/server-status{query}")).await;
        assert_eq!(form(&ours), form(&theirs), "{query}");
        let asked = theirs.field("refresh");
        if form(&ours).1 == "text/plain" {
            assert_eq!(ours.field("refresh"), asked, "{query}");
            continue;
        }
        // The page keeps itself fresh, without being loaded anew where scripts run.
        assert_eq!(ours.field("refresh"), None, "{query}");
        let seconds = asked.unwrap_or("5");
        let text = ours.text();
        assert!(text.contains(&format!("data-refresh=\"{seconds}\"")), "{query}");
        let element = format!("<noscript><meta http-equiv=\"refresh\" content=\"{seconds}\">");
        assert!(text.contains(&element), "{query}");
    }
}

/// Status and type of an answer.
fn form(response: &Response) -> (u16, String) {
    let media_type = response.field("content-type").unwrap_or_default();
    // The page is in UTF-8, httpd's is not.
    (response.status, media_type.split(';').next().unwrap_or_default().to_owned())
}

/// The rows of one text.
#[derive(Debug)]
struct Rows {
    keys: Vec<String>,
    values: BTreeMap<String, String>,
}

impl Rows {
    fn of(response: &Response) -> Self {
        assert_eq!(response.field("content-type"), Some("text/plain; charset=ISO-8859-1"));
        let text = response.text();
        let mut lines = text.lines();
        let name = lines.next().unwrap();
        assert!(!name.is_empty() && !name.contains(": "), "the first line is a name: {text}");
        let (mut keys, mut values) = (Vec::new(), BTreeMap::new());
        for line in lines {
            let (key, value) = line.split_once(':').unwrap_or_else(|| panic!("no key: {line}"));
            let value = value.trim_start();
            if !WORDS.contains(&key) && !key.ends_with("]Name") && !key.ends_with("]State") {
                assert!(value.parse::<f64>().is_ok(), "not a number: {line}");
            }
            keys.push(key.to_owned());
            values.insert(key.to_owned(), value.to_owned());
        }
        Self { keys, values }
    }

    fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    fn position(&self, key: &str) -> usize {
        self.keys.iter().position(|other| other == key).unwrap()
    }

    fn number(&self, key: &str) -> f64 {
        self.values[key].parse().unwrap()
    }

    /// Fails the test where a conditional row is there and should not be, or the reverse.
    fn hold_the_conditions(&self) {
        for (key, divisor) in CONDITIONAL {
            assert_eq!(self.has(key), 0.0 < self.number(divisor), "{key} with {divisor}: {self:?}");
        }
        let cpu: f64 = CPU.iter().map(|key| self.number(key)).sum();
        assert_eq!(self.has("CPULoad"), 0.0 < cpu && self.has("ReqPerSec"), "{self:?}");
    }
}

/// Debian's Apache with the event MPM and `mod_status`.
struct Apache {
    address: SocketAddr,
    _program: Program,
    _folder: TempDir,
}

impl Apache {
    async fn start() -> Self {
        let program = installed("apache2", "apache2-bin");
        // Its children run as another user.
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let port = free_port();
        let config = folder.path().join("httpd.conf");
        let at = folder.path().display();
        let modules = "/usr/lib/apache2/modules";
        let user = if rustix::process::geteuid().is_root() { "User www-data" } else { "" };
        let text = format!(
            "ServerRoot {at}\nServerName httpd.example\nPidFile {at}/pid\nErrorLog {at}/error.log\n\
             Mutex file:{at} default\nListen 127.0.0.1:{port}\n{user}\n\
             LoadModule mpm_event_module {modules}/mod_mpm_event.so\n\
             LoadModule authz_core_module {modules}/mod_authz_core.so\n\
             LoadModule status_module {modules}/mod_status.so\n\
             <Location /server-status>\nSetHandler server-status\n</Location>\n"
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new(program);
        command.arg("-f").arg(&config).arg("-DFOREGROUND");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let apache = Self { address, _program: Program::start(command), _folder: folder };
        let mut ticks = interval(POLL);
        while Client::try_connect(address).await.is_err() {
            ticks.tick().await;
        }
        apache
    }

    async fn get(&self, path: &str) -> Response {
        Client::connect(self.address).await.get(path).await
    }
}

/// A port that the kernel chose and nobody has. `Listen` takes no 0.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
