//! Every file of `cases/` gets exactly the answers that it states, raw over TCP.
//!
//! The follow-up request after a case that keeps its connection shows that both ends agree about
//! where the case ended. No case may get a second request through to the worker: what is meant
//! to be smuggled asks for `/smuggled`, which must never be served, and the pool must
//! have run exactly one request for each answer 200 that is expected of it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use ostler_e2e::case::{Case, Check, Expected};
use ostler_e2e::client::{ReadError, request};
use ostler_e2e::stack::number;
use ostler_e2e::{Client, Plan, Response};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const CONFIG: &str = r#"
    limits.body-size = "64KiB"
    [[site]]
    [[site.route]]
    path = "/"
    pool = "probe"
    [[site.route]]
    path = "/only-get"
    methods = ["GET", "HEAD"]
    pool = "probe"
    [[site.route]]
    path = "/moved/"
    redirect = "https://cdn.example/files/"
    [[site]]
    hosts = ["partial.example"]
    [[site.route]]
    path = "/head"
    pool = "probe"
"#;

/// Cases that run side by side.
const AT_ONCE: usize = 16;

/// Answers of these statuses come from the worker; all others the proxy makes itself.
const FROM_WORKER: [u16; 3] = [200, 204, 304];

#[tokio::test]
async fn every_case_gets_exactly_the_answer_its_file_states() {
    let cases = read_cases();
    let stack = Plan::probe().with(CONFIG).start().await;
    let mut run_by_worker = 0;
    for (_, case) in &cases {
        let from_worker = |expected: &&Expected| FROM_WORKER.contains(&expected.status);
        run_by_worker += case.expected.iter().filter(from_worker).count();
        run_by_worker += usize::from(keeps(case));
    }
    let failures = run_all(stack.address(), &cases).await;
    let failed = failures.len();
    assert!(failures.is_empty(), "{failed} of {}:\n{}", cases.len(), failures.join("\n"));
    let pool = stack.until_pool("probe", |pool| pool["busy"] == 0 && pool["queued"] == 0).await;
    let total = number(&pool["probe"]["workers"][0]["requests_total"]);
    assert_eq!(usize::try_from(total).unwrap(), run_by_worker, "requests that the worker ran");
    let access = stack.stop().await.access;
    // What was refused while its head was read is logged too, with its request line.
    let is_served = |line: &&str| line.contains("\"GET /smuggled") && !line.contains("\" 400 ");
    let smuggled: Vec<&str> = access.lines().filter(is_served).collect();
    assert!(smuggled.is_empty(), "{smuggled:#?}");
}

#[test]
fn there_are_cases_and_each_cites_its_section() {
    let cases = read_cases();
    assert!(100 <= cases.len(), "{}", cases.len());
    for (name, case) in cases {
        let section = case.rfc.split_once(" §");
        let is_cited = section.is_some_and(|(rfc, section)| {
            rfc.parse::<u16>().is_ok() && section.starts_with(|c: char| c.is_alphanumeric())
        });
        assert!(is_cited, "{name}: {:?} is not like `9112 §6.3`", case.rfc);
    }
}

fn read_cases() -> Vec<(String, Case)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let case = Case::parse(&fs::read_to_string(path).unwrap());
        (name.clone(), case.unwrap_or_else(|error| panic!("{name}: {error}")))
    };
    paths.iter().map(read).collect()
}

fn keeps(case: &Case) -> bool {
    case.expected.last().is_some_and(|expected| expected.keep)
}

/// Runs every case on a connection of its own; returns what failed.
async fn run_all(address: SocketAddr, cases: &[(String, Case)]) -> Vec<String> {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for (name, case) in cases.iter().cloned() {
        let turns = Arc::clone(&turns);
        running.spawn(async move {
            let _turn = turns.acquire().await.unwrap();
            let result = run(address, &case).await;
            result.err().map(|failure| format!("{name}: {}\n    {failure}", case.title))
        });
    }
    let mut failures: Vec<String> = running.join_all().await.into_iter().flatten().collect();
    failures.sort();
    failures
}

async fn run(address: SocketAddr, case: &Case) -> Result<(), String> {
    let mut client = Client::connect(address).await;
    let (last, earlier) = case.pieces.split_last().unwrap();
    let mut expected = case.expected.iter();
    for piece in earlier {
        send(&mut client, piece).await;
        check_next(&mut client, case, expected.next().unwrap()).await?;
    }
    send(&mut client, last).await;
    if case.half_close {
        client.half_close().await;
    }
    for expected in expected {
        check_next(&mut client, case, expected).await?;
    }
    if !keeps(case) {
        return client.answers().end().await.map_err(|error| format!("should be closed: {error}"));
    }
    client.send(request("GET", "/head?after")).await;
    let response = client.try_response("GET").await;
    match response.map_err(|error| format!("the next request: {error}"))? {
        response if response.text().starts_with("GET /head?after ") => Ok(()),
        response => {
            Err(format!("the next request got {}: {}", response.verdict(), response.text()))
        }
    }
}

/// Sends what the server takes; it may have refused the beginning already.
async fn send(client: &mut Client, bytes: &[u8]) {
    drop(client.try_send(bytes).await);
}

async fn check_next(client: &mut Client, case: &Case, expected: &Expected) -> Result<(), String> {
    let bodyless = expected.checks.contains(&Check::NoBody);
    let response = client.answers().read_any(bodyless).await.map_err(|error| match error {
        ReadError::Closed => "closed without an answer".to_owned(),
        ReadError::Truncated(_)
        | ReadError::Malformed(_)
        | ReadError::Broken(_)
        | ReadError::Deadline(_) => error.to_string(),
    })?;
    let reason = expected.reason.as_deref().unwrap_or("-");
    let wanted = format!("{} {reason}", expected.status);
    if response.verdict() != wanted {
        return Err(format!("expected {wanted}, got {}: {}", response.verdict(), response.text()));
    }
    // Whether our own end of the connection ends the other may be known too late to be said.
    if response.closes() == expected.keep && !case.half_close {
        return Err(format!("connection: {:?}", response.field("connection")));
    }
    expected.checks.iter().try_for_each(|check| holds(check, &response))
}

fn holds(check: &Check, response: &Response) -> Result<(), String> {
    let has = |wanted: &[u8]| contains(&response.body, wanted);
    let holds = match check {
        Check::Field(name, value) => response.field(name) == Some(value),
        Check::NoField(name) => response.field(name).is_none(),
        Check::SomeField(name) => response.field(name).is_some(),
        Check::Body(body) => response.body == *body,
        Check::BodyHas(part) => has(part),
        Check::BodyLacks(part) => {
            !contains(&response.body.to_ascii_lowercase(), &part.to_ascii_lowercase())
        }
        Check::NoBody => response.body.is_empty(),
    };
    if holds {
        Ok(())
    } else {
        Err(format!("{check:?} does not hold: {:?}\n{}", response.fields, response.text()))
    }
}

fn contains(whole: &[u8], part: &[u8]) -> bool {
    part.is_empty() || whole.windows(part.len()).any(|window| window == part)
}
