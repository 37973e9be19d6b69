//! A tower service on runtime threads.

use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use axum::Router;
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::Full;
use ostler_app::Body;
use tokio::sync::Semaphore;

use crate::client::{Client, Running, expect};

#[test]
fn keeps_to_its_concurrency_whatever_arrives() {
    let (entered_sender, entered) = mpsc::channel();
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let running = Running::start(move |worker| {
        let inside = Arc::new(AtomicUsize::new(0));
        let service = tower::service_fn(move |_: http::Request<Body>| {
            let (inside, opened) = (Arc::clone(&inside), Arc::clone(&opened));
            let entered_sender = entered_sender.clone();
            async move {
                entered_sender.send(inside.fetch_add(1, Ordering::SeqCst) + 1).unwrap();
                opened.acquire().await.unwrap().forget();
                inside.fetch_sub(1, Ordering::SeqCst);
                Ok::<_, Infallible>(text("done"))
            }
        });
        worker.with_threads(2).with_concurrency(3).service(service)
    });

    let mut clients: Vec<Client> = (0..8).map(|_| running.get("/")).collect();
    let mut seen: Vec<usize> = (0..3).map(|_| expect(&entered)).collect();
    for _ in 0..5 {
        gate.add_permits(1);
        seen.push(expect(&entered));
    }
    gate.add_permits(3);
    for client in &mut clients {
        assert_eq!(client.answer().text(), "done");
    }
    assert_eq!(seen.iter().max(), Some(&3));
}

#[test]
fn a_router_is_a_worker_with_bodies_both_ways() {
    let running = Running::start(|worker| {
        let router = Router::new()
            .route("/hello", get(async || "hello"))
            .route("/length", post(async |text: String| text.len().to_string()));
        worker.service(router)
    });
    let mut client = running.get("/hello");
    assert_eq!(client.answer().text(), "hello");
    for size in [3, 1_000_000] {
        client.send(format!("POST /length HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n"));
        client.send(vec![b'x'; size]);
        assert_eq!(client.answer().text(), size.to_string());
    }
    client.get("/nothing");
    assert_eq!(client.answer().status, 404);
}

#[test]
fn a_client_that_leaves_cancels_its_request_and_frees_its_place() {
    let (entered_sender, entered) = mpsc::channel();
    let (dropped_sender, dropped) = mpsc::channel();
    let running = Running::start(move |worker| {
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let entered_sender = entered_sender.clone();
            let dropped_sender = dropped_sender.clone();
            async move {
                if request.uri().path() == "/hang" {
                    let _told = TellWhenDropped(dropped_sender);
                    entered_sender.send(()).unwrap();
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(text("hello"))
            }
        });
        worker.with_concurrency(1).service(service)
    });

    // Also when the service never reads the body, as long as that is small.
    for request in [
        "GET /hang HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST /hang HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nhay",
    ] {
        let mut client = running.connect();
        client.send(request);
        expect(&entered);
        drop(client);
        expect(&dropped);
    }
    assert_eq!(running.get("/").answer().text(), "hello");
}

#[test]
fn errors_and_panics_are_answered_with_500() {
    let running = Running::start(|worker| {
        worker.service(tower::service_fn(async |request: http::Request<Body>| {
            match request.uri().path() {
                "/panic" => panic!("on purpose"),
                "/error" => Err(io::Error::other("on purpose")),
                _ => Ok(text("hello")),
            }
        }))
    });
    for path in ["/panic", "/error"] {
        let mut client = running.get(path);
        let answer = client.answer();
        assert_eq!((answer.status, answer.text()), (500, "500 Internal Server Error\n"), "{path}");
        client.get("/");
        assert_eq!(client.answer().text(), "hello");
    }
}

#[test]
fn draining_finishes_what_runs_and_closes_what_is_idle_at_once() {
    let (entered_sender, entered) = mpsc::channel();
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let running = Running::start(move |worker| {
        let slow = async move || {
            entered_sender.send(()).unwrap();
            opened.acquire().await.unwrap().forget();
            "slow"
        };
        worker
            .with_concurrency(4)
            .service(Router::new().route("/", get(async || "hello")).route("/slow", get(slow)))
    });
    let mut idle = running.get("/");
    idle.answer();
    let mut busy = running.get("/slow");
    expect(&entered);

    running.stopper().stop();
    idle.expect_end();
    assert!(!running.is_listening());
    gate.add_permits(1);
    assert_eq!(busy.answer().text(), "slow");
    running.stop();
}

fn text(text: &'static str) -> http::Response<Full<Bytes>> {
    http::Response::new(Full::from(text))
}

struct TellWhenDropped(mpsc::Sender<()>);

impl Drop for TellWhenDropped {
    fn drop(&mut self) {
        self.0.send(()).unwrap();
    }
}
