//! What it costs to look: processor time of the proxy for each form, at rest and under full load.
//!
//! At full length (`cargo xtask test --soak`) on the release build, with figures for
//! `docs/reliability.md`; otherwise on the smaller server alone, with limits for a debug build.

use std::time::Duration;

use ostler_e2e::oha::Oha;
use ostler_e2e::promise::{is_soak, note};
use ostler_e2e::{Client, Load, Plan, Stack};
use tokio::time::Instant;

const FORMS: [(&str, &str); 4] = [
    ("/metrics", "/metrics"),
    ("?json", "/server-status?json"),
    ("?auto", "/server-status?auto"),
    ("the page", "/server-status"),
];

/// Pools, processes of each, threads of each.
type Shape = (u32, u32, u32);

/// Looks of each form.
fn looks() -> u32 {
    if is_soak() { 200 } else { 20 }
}

/// Most processor time of one look. A debug build is many times slower.
fn cost_limit() -> Duration {
    Duration::from_millis(if is_soak() { 5 } else { 100 })
}

/// Longest time until the page is there at full load.
fn page_limit() -> Duration {
    Duration::from_millis(if is_soak() { 50 } else { 1_000 })
}

#[tokio::test]
async fn a_look_costs_little_at_rest_and_at_full_load() {
    let shapes: &[Shape] = if is_soak() { &[(1, 2, 15), (10, 4, 25)] } else { &[(1, 2, 15)] };
    for &shape in shapes {
        let stack = plan(shape).start().await;
        measure(&stack, shape, "at rest").await;
        let load = FullLoad::start(&stack).await;
        measure(&stack, shape, "at full load").await;
        drop(load);
    }
}

/// As many pools of the probe, of which the first answers every path.
fn plan((pools, processes, threads): Shape) -> Plan {
    let pool = |number| {
        format!(
            "[pool.p{number}]\ncommand = ['probe']\nenvironment = {{ PROBE_MODE = 'threads' }}\n\
             processes = {processes}\nthreads = {threads}\nstop-timeout = '1s'\n"
        )
    };
    let pools: String = (0..pools).map(pool).collect();
    Plan::bare().with(&pools).with("[[site]]\nroute = [{ path = '/', pool = 'p0' }]")
}

/// Closed loops that keep the proxy busy.
enum FullLoad {
    Oha { _load: Oha },
    Own { _load: Load },
}

impl FullLoad {
    async fn start(stack: &Stack) -> Self {
        if is_soak() {
            let url = (stack.address(), "/");
            // A rate that is never reached: each connection asks again as soon as it is answered.
            let load = Oha::start(url, 1_000_000, 64, Duration::from_mins(2));
            stack.until(|status| 10_000 < status["requests"]["total"].as_u64().unwrap()).await;
            return Self::Oha { _load: load };
        }
        let load = Load::start(stack.address(), "/", 4);
        load.until_answered(100).await;
        Self::Own { _load: load }
    }
}

/// Looks at every form again and again, and holds the mean against the limits.
async fn measure(stack: &Stack, (pools, processes, threads): Shape, when: &str) {
    let mut client = Client::connect(stack.status_address()).await;
    for (form, path) in FORMS {
        let (mut cost, mut longest) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..looks() {
            let asked = Instant::now();
            let answer = client.get(path).await;
            longest = longest.max(asked.elapsed());
            assert_eq!(answer.status, 200, "{path}");
            cost += told_cost(answer.field("server-timing").unwrap());
        }
        let cost = cost / looks();
        let shape = format!("{pools} × {processes} × {threads} threads");
        assert!(cost < cost_limit(), "{form}, {shape}, {when}: {cost:?}");
        note(
            &format!("a look at {form}, {shape}, {when}"),
            &format!("{} ms of processor time", cost_limit().as_millis()),
            &format!("{:.2} ms", cost.as_secs_f64() * 1_000.0),
        );
        if form == "the page" {
            assert!(longest < page_limit(), "{shape}, {when}: {longest:?}");
            note(
                &format!("the page is there, {shape}, {when}"),
                &format!("{} ms at the latest", page_limit().as_millis()),
                &format!("{:.1} ms at the latest", longest.as_secs_f64() * 1_000.0),
            );
        }
    }
}

/// The processor time that an answer says it has cost.
fn told_cost(field: &str) -> Duration {
    let ms = field.split(';').find_map(|part| part.strip_prefix("dur=")).unwrap();
    Duration::from_secs_f64(ms.parse::<f64>().unwrap() / 1_000.0)
}

/// What answers say of their cost is what the kernel has counted, as far as it counts that finely.
#[tokio::test]
async fn the_cost_that_answers_tell_is_most_of_what_the_kernel_counts() {
    let stack = plan((1, 2, 15)).start().await;
    let mut client = Client::connect(stack.status_address()).await;
    let used = async || {
        let status = stack.status().await;
        Duration::from_secs_f64(status["server"]["proxy"]["cpu_s"].as_f64().unwrap())
    };
    let (before, mut told) = (used().await, Duration::ZERO);
    // Until the kernel's clock, which ticks every 10 ms, has gone on far enough.
    let counted = loop {
        told += told_cost(client.get("/server-status").await.field("server-timing").unwrap());
        let counted = used().await.saturating_sub(before);
        if Duration::from_millis(400) <= counted {
            break counted;
        }
    };
    // The other half of the answers, those of `used`, tell their cost to nobody here.
    assert!(told < counted + Duration::from_millis(20), "{told:?} of {counted:?}");
    assert!(counted / 20 < told, "{told:?} of {counted:?}");
}
