//! The status page as people meet it: in Chromium, on a desktop and on a phone.
//!
//! What a page must be is measured by `checks.js` in the page itself; pictures of it, for people,
//! are left in `target/screenshots`.

use std::fs;
use std::net::SocketAddr;

use fantoccini::elements::Element;
use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use ostler_e2e::Driver;
use ostler_e2e::stack::target_folder;
use ostler_e2e::wait::until;
use serde_json::{Value, json};

#[path = "../../../status-page/tests/it/sample.rs"]
mod sample;

mod faults;
mod layout;
mod past;
mod updates;

/// What a page is judged by: `findings()` and `problems()`.
const CHECKS: &str = include_str!("browser/checks.js");

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Eyes {
    width: u32,
    height: u32,
    is_dark: bool,
    has_scripts: bool,
}

pub(crate) const DESKTOP: Eyes =
    Eyes { width: 1280, height: 800, is_dark: false, has_scripts: true };
const PHONE: Eyes = Eyes { width: 390, height: 844, ..DESKTOP };

/// A page in a browser of its own.
pub(crate) struct Page {
    pub(crate) client: Client,
    _driver: Driver,
}

impl Page {
    /// Opens a status page.
    async fn open(address: SocketAddr, query: &str, eyes: Eyes) -> Self {
        Self::at(&format!("http://{address}/server-status{query}"), eyes).await
    }

    /// Opens any page.
    pub(crate) async fn at(url: &str, eyes: Eyes) -> Self {
        let driver = Driver::start().await;
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities(eyes));
        let client = builder.connect(&driver.url()).await.unwrap();
        client.goto(url).await.unwrap();
        Self { client, _driver: driver }
    }

    /// Runs a script in the page, after the checks.
    async fn run(&self, script: &str) -> Value {
        self.client.execute(&format!("{CHECKS}\n{script}"), Vec::new()).await.unwrap()
    }

    /// Waits until a script gives what is wanted; returns that.
    #[track_caller]
    fn until(&self, script: &str, wanted: impl Fn(&Value) -> bool) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        until(caller, || self.run(script), wanted)
    }

    /// Waits until a finding is to be seen without scrolling that has all of these words.
    #[track_caller]
    fn until_found(&self, words: &[&str]) -> impl Future<Output = String> {
        let find = move |value: &Value| {
            let findings = value.as_array().into_iter().flatten().filter_map(Value::as_str);
            let mut findings = findings.map(ToOwned::to_owned);
            findings.find(|finding| words.iter().all(|word| finding.contains(word)))
        };
        let found = self.until("return findings();", move |value| find(value).is_some());
        async move { find(&found.await).expect("it was there") }
    }

    pub(crate) async fn find(&self, css: &str) -> Element {
        self.client.find(Locator::Css(css)).await.unwrap()
    }

    /// Leaves a picture for people.
    pub(crate) async fn picture(&self, name: &str) {
        let folder = target_folder().join("screenshots");
        fs::create_dir_all(&folder).unwrap();
        let picture = self.client.screenshot().await.unwrap();
        fs::write(folder.join(name).with_extension("png"), picture).unwrap();
    }

    /// Ends the browser in good order.
    pub(crate) async fn close(self) {
        self.client.close().await.unwrap();
    }
}

fn capabilities(eyes: Eyes) -> Capabilities {
    let Eyes { width, height, is_dark, has_scripts } = eyes;
    let scheme = format!("--blink-settings=preferredColorScheme={}", u8::from(!is_dark));
    let window = format!("--window-size={width},{height}");
    let mut arguments =
        vec!["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", &scheme, &window];
    if rustix::process::geteuid().is_root() {
        arguments.push("--no-sandbox");
    }
    let is_phone = width < 600;
    let device = json!({ "width": width, "height": height, "pixelRatio": 1, "mobile": is_phone,
                         "touch": is_phone });
    let content = if has_scripts { 1 } else { 2 };
    let options = json!({
        "args": arguments,
        "prefs": { "profile.managed_default_content_settings.javascript": content },
        "mobileEmulation": { "deviceMetrics": device },
    });
    Capabilities::from_iter([("goog:chromeOptions".to_owned(), options)])
}
