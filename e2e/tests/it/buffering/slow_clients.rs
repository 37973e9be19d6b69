//! Two hundred slow clients beside normal ones, on a pool of four threads.
//!
//! Goal: they change the p99 of normal requests by no more than 20 % or 5 ms. Method: five pairs
//! of measurements, one with and one without the slow clients, interleaved; their medians are
//! compared. Half of the slow clients send a byte a second, half of them read 1 KB a second of
//! 2 MiB. Each measurement takes a second, and 8 at full length.

use std::net::SocketAddr;
use std::time::Duration;

use ostler_e2e::client::request;
use ostler_e2e::promise::{length, note};
use ostler_e2e::{Client, Plan, Stack};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

const SLOW: usize = 100;
const PAIRS: usize = 5;
const NORMAL_CLIENTS: usize = 4;

const PLAN: &str = "
    timeouts.body-min-rate = '0B'
    limits.body-in-memory = '4KiB'
    pool.probe.threads = 4
";

#[tokio::test]
async fn slow_clients_do_not_slow_the_others() {
    check("auto").await;
}

#[tokio::test]
async fn slow_clients_do_not_slow_the_others_over_http() {
    check("http").await;
}

async fn check(link: &str) {
    let length = length(Duration::from_secs(1), Duration::from_secs(8));
    let plan = Plan::probe().with(PLAN).with(&format!("pool.probe.link = '{link}'"));
    let stack = plan.start().await;
    measure(stack.address(), Duration::from_millis(300)).await;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        alone.push(measure(stack.address(), length).await);
        let slow = SlowClients::start(&stack).await;
        beside.push(measure(stack.address(), length).await);
        slow.end(&stack).await;
    }
    let [alone, beside] = [alone, beside].map(median);
    let figures = format!("{link}: p99 {beside:?} beside slow clients, {alone:?} without");
    let most = alone.mul_f64(1.2).max(alone + Duration::from_millis(5));
    assert!(beside <= most, "{figures}");
    let promise = format!("200 slow clients beside normal ones, link {link}");
    note(&promise, "p99 of the normal ones up by at most 20 % or 5 ms", &figures);
}

/// Slow clients that go on until they are ended.
struct SlowClients(JoinSet<()>);

impl SlowClients {
    async fn start(stack: &Stack) -> Self {
        let mut tasks = JoinSet::new();
        for _ in 0..SLOW {
            tasks.spawn(upload(stack.address()));
            tasks.spawn(download(stack.address()));
        }
        let all = 2 * SLOW as u64;
        let is_open = |open: Option<u64>| open.is_some_and(|open| all <= open);
        // Each has begun, and the workers are through with the answers of those that read.
        stack
            .until(|status| {
                let busy = &status["pools"]["probe"]["busy"];
                is_open(status["connections"]["open"].as_u64()) && *busy == 0
            })
            .await;
        Self(tasks)
    }

    async fn end(mut self, stack: &Stack) {
        self.0.shutdown().await;
        stack.until(|status| status["connections"]["open"].as_u64() < Some(SLOW as u64)).await;
    }
}

/// Sends a byte a second of a body that is partly in the spool.
async fn upload(address: SocketAddr) {
    let mut client = Client::connect(address).await;
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n").await;
    client.send(vec![b'x'; 40_000]).await;
    let mut seconds = interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        client.send("x").await;
    }
}

/// Reads 1 KB a second of an answer of 2 MiB, with little room for what was not read.
async fn download(address: SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(request("GET", "/bytes/2097152").as_bytes()).await.unwrap();
    let mut seconds = interval(Duration::from_secs(1));
    let mut room = [0; 1000];
    loop {
        seconds.tick().await;
        stream.read_exact(&mut room).await.unwrap();
    }
}

/// The p99 of normal requests.
async fn measure(address: SocketAddr, length: Duration) -> Duration {
    let mut clients = JoinSet::new();
    let until = Instant::now() + length;
    for _ in 0..NORMAL_CLIENTS {
        clients.spawn(async move {
            let mut client = Client::connect(address).await;
            let mut times = Vec::new();
            while Instant::now() < until {
                let asked = Instant::now();
                assert_eq!(client.get("/sleep/2").await.verdict(), "200 -");
                times.push(asked.elapsed());
            }
            times
        });
    }
    let mut times: Vec<Duration> = clients.join_all().await.concat();
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
