//! Workers, the proxy and the configuration are replaced under load, and no request fails.
//!
//! Goal: whatever is replaced, every request is answered with 200. Method: a handler of 20 ms at
//! four fifths of the pool's capacity over kept connections, by `oha` at full length; meanwhile
//! the same thing happens again and again, to workers of each kind.

use std::fs::File;
use std::time::{Duration, SystemTime};

use ostler_e2e::promise::{is_soak, length, note};
use ostler_e2e::stack::number;
use ostler_e2e::{Load, Oha, Stack, Workers};
use tokio::time::Instant;

/// 4 processes with 2 threads each.
const THREADS: u32 = 8;
/// Four fifths of what they can do with a handler of 20 ms, in requests a second.
const RATE: u32 = THREADS * 50 * 4 / 5;

const POOL: &str = "pool.probe = { processes = 4, threads = 2 }";

/// Requests at four fifths of the capacity.
enum Traffic {
    /// At a fixed rate, as operators test.
    Oha(Oha),
    /// From clients that each wait for their answer.
    Clients(Load),
}

impl Traffic {
    fn start(stack: &Stack, lasts: Duration) -> Self {
        let (address, path) = (stack.address(), "/sleep/20");
        if is_soak() {
            Self::Oha(Oha::start((address, path), RATE, 4 * THREADS, lasts))
        } else {
            Self::Clients(Load::start(address, path, THREADS as usize * 4 / 5))
        }
    }

    /// Ends it. Fails unless every request was answered with 200; returns how many there were.
    async fn expect_all_answered(self) -> u64 {
        match self {
            Self::Oha(oha) => {
                let counted = oha.finish().await;
                assert_eq!(counted.failed(), 0, "{counted:#?}");
                counted.with_status(200)
            }
            Self::Clients(load) => {
                let tally = load.stop().await;
                tally.expect_all_answered();
                tally.count("200 -") as u64
            }
        }
    }
}

/// What happens to workers, as a test for each kind of them.
macro_rules! to_workers {
    ($($what:ident)*) => {$(
        mod $what {
            use ostler_e2e::Workers;

            #[tokio::test]
            async fn over_shared_memory() {
                super::$what(Workers::Auto).await;
            }

            #[tokio::test]
            async fn over_http() {
                super::$what(Workers::Http).await;
            }

            #[tokio::test]
            async fn in_python() {
                super::$what(Workers::Python).await;
            }
        }
    )*};
}

to_workers! {
    rolling_recycle touch_reload proxy_replacement max_requests max_age max_memory
    changed_environment
}

/// Lets it happen under load, again and again until time is up.
async fn check(workers: Workers, what: &str, config: &str, happens: impl AsyncFn(&mut Stack, u32)) {
    let lasts = length(Duration::from_secs(1), Duration::from_secs(20));
    let plan = workers.plan().with(POOL).with(config);
    let mut stack = plan.file("touched", "").start().await;
    // What happens for the last time, happens under load to its end.
    let traffic = Traffic::start(&stack, lasts + Duration::from_secs(3));
    let until = Instant::now() + lasts;
    let mut times = 0;
    while Instant::now() < until {
        times += 1;
        happens(&mut stack, times).await;
    }
    let answered = traffic.expect_all_answered().await;
    stack.until_pool("probe", |pool| pool["busy"] == 0 && pool["ready"] == 4).await;
    stack.stop().await.expect_no_errors_logged();
    let measured = format!("0 of {answered}, {times} times");
    note(&format!("{what}, {workers}"), "0 failed requests", &measured);
}

async fn rolling_recycle(workers: Workers) {
    check(workers, "every worker is recycled", "", async |stack, _| {
        assert_eq!(stack.command(&["recycle", "probe"]).await.code, Some(0));
    })
    .await;
}

async fn touch_reload(workers: Workers) {
    let config = "pool.probe.reload-on-change = ['${STACK_DIR}/touched']";
    check(workers, "a file is touched", config, async |stack, times| {
        let file = File::options().append(true).open(stack.folder().join("touched")).unwrap();
        file.set_modified(SystemTime::now()).unwrap();
        until_recycled(stack, "reload-on-change", 4 * times).await;
    })
    .await;
}

async fn proxy_replacement(workers: Workers) {
    check(workers, "the proxy is replaced", "", async |stack, _| {
        assert_eq!(stack.command(&["recycle", "--proxy"]).await.code, Some(0));
    })
    .await;
}

async fn max_requests(workers: Workers) {
    let config = "pool.probe.max-requests = 50";
    check(workers, "max-requests = 50", config, async |stack, times| {
        until_recycled(stack, "max-requests", times).await;
    })
    .await;
}

async fn max_age(workers: Workers) {
    check(workers, "max-age = 2 s", "pool.probe.max-age = '2s'", async |stack, times| {
        until_recycled(stack, "max-age", times).await;
    })
    .await;
}

async fn max_memory(workers: Workers) {
    // An interpreter begins with ten more; what it may leak is the same.
    let limit = if workers == Workers::Python { "32MiB" } else { "24MiB" };
    let config =
        format!("pool.probe = {{ max-memory = '{limit}', environment.PROBE_LEAK = '200000' }}");
    check(workers, "a handler leaks up to max-memory", &config, async |stack, times| {
        until_recycled(stack, "max-memory", times).await;
    })
    .await;
}

async fn changed_environment(workers: Workers) {
    check(workers, "a reload changes the environment", "", async |stack, times| {
        stack.reload(&format!("pool.probe.environment.TIMES = '{times}'")).await;
    })
    .await;
}

async fn until_recycled(stack: &Stack, reason: &str, times: u32) {
    let is_done = |pool: &serde_json::Value| times <= number(&pool["recycles_total"][reason]);
    stack.until_pool("probe", is_done).await;
}
