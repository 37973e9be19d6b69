//! A blocking handler on fixed threads.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use http::StatusCode;
use ostler_app::{ListenAddress, Request, RequestExt, Response, ResponseBody, Worker};

use crate::client::{Client, PATIENCE, Running, expect};

#[test]
fn runs_at_most_as_many_handlers_as_there_are_threads_and_always_on_these() {
    let (entered_sender, entered) = mpsc::channel();
    let (gate, opened) = gate();
    let running = Running::start(move |worker| {
        let inside = AtomicUsize::new(0);
        worker.with_threads(2).with_concurrency(8).threads(move |_: Request| {
            let now_inside = inside.fetch_add(1, Ordering::SeqCst) + 1;
            let name = std::thread::current().name().unwrap_or("?").to_owned();
            entered_sender.send((now_inside, name)).unwrap();
            opened.wait();
            inside.fetch_sub(1, Ordering::SeqCst);
            Response::new(ResponseBody::from("done"))
        })
    });

    let mut clients: Vec<Client> = (0..6).map(|_| running.get("/")).collect();
    let mut seen = vec![expect(&entered), expect(&entered)];
    for _ in 0..4 {
        gate.send(()).unwrap();
        seen.push(expect(&entered));
    }
    gate.send(()).unwrap();
    gate.send(()).unwrap();
    for client in &mut clients {
        assert_eq!(client.answer().text(), "done");
    }

    assert_eq!(seen.iter().map(|(inside, _)| *inside).max(), Some(2));
    let names: BTreeSet<&str> = seen.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["ostler-0", "ostler-1"]));
}

#[test]
fn an_idle_connection_holds_no_thread() {
    let running = Running::start(|worker| worker.threads(hello));
    let mut silent: Vec<Client> = (0..8).map(|_| running.connect()).collect();
    let mut dribbling = running.connect();
    dribbling.send("GET / HTTP/1.1\r\nhost:");

    let mut kept = running.get("/");
    assert_eq!(kept.answer().text(), "hello");
    assert_eq!(running.get("/").answer().text(), "hello");

    for client in silent.iter_mut().chain([&mut kept]) {
        client.get("/");
        assert_eq!(client.answer().text(), "hello");
    }
    dribbling.send(" test\r\n\r\n");
    assert_eq!(dribbling.answer().text(), "hello");
}

#[test]
fn a_panic_is_answered_with_500_and_costs_no_thread() {
    let running = Running::start(|worker| {
        worker.threads(|request: Request| match request.uri().path() {
            "/panic" => panic!("on purpose"),
            _ => hello(request),
        })
    });
    for _ in 0..3 {
        let mut client = running.get("/panic");
        let answer = client.answer();
        assert_eq!((answer.status, answer.text()), (500, "500 Internal Server Error\n"));
        client.get("/");
        assert_eq!(client.answer().text(), "hello");
    }
}

#[test]
fn draining_finishes_what_runs_and_closes_what_is_idle_at_once() {
    let (entered_sender, entered) = mpsc::channel();
    let (gate, opened) = gate();
    let running = Running::start(move |worker| {
        worker.with_threads(2).threads(move |request: Request| {
            if request.uri().path() == "/slow" {
                entered_sender.send(()).unwrap();
                opened.wait();
            }
            hello(request)
        })
    });
    let mut fresh = running.connect();
    let mut idle = running.get("/");
    idle.answer();
    let mut busy = running.get("/slow");
    expect(&entered);

    running.stopper().stop();
    idle.expect_end();
    fresh.expect_end();
    assert!(!running.is_listening());

    gate.send(()).unwrap();
    let answer = busy.answer();
    assert_eq!(answer.text(), "hello");
    assert!(answer.has("connection: close"), "{answer:?}");
    busy.expect_end();
    running.stop();
}

#[test]
fn a_handler_whose_client_left_runs_on_and_drain_waits_for_it() {
    let (entered_sender, entered) = mpsc::channel();
    let (gate, opened) = gate();
    let (done_sender, done) = mpsc::channel();
    let running = Running::start(move |worker| {
        worker.threads(move |request: Request| {
            entered_sender.send(()).unwrap();
            opened.wait();
            done_sender.send(()).unwrap();
            hello(request)
        })
    });
    let client = running.get("/");
    expect(&entered);
    drop(client);
    running.stopper().stop();
    gate.send(()).unwrap();
    running.stop();
    done.try_recv().unwrap();
}

/// The second request is on the one event loop after the first's end-of-file.
#[test]
fn a_client_that_closed_its_side_hears_of_the_end_when_the_handler_has_ended() {
    let (entered_sender, entered) = mpsc::channel();
    let (gate, opened) = gate();
    let running = Running::start(move |worker| {
        worker.with_threads(2).threads(move |request: Request| {
            if request.uri().path() == "/slow" {
                entered_sender.send(()).unwrap();
                opened.wait();
            }
            hello(request)
        })
    });
    let mut client = running.get("/slow");
    expect(&entered);
    client.half_close();
    assert_eq!(running.get("/").answer().text(), "hello");
    assert!(client.is_silent());

    gate.send(()).unwrap();
    assert_eq!(client.answer().text(), "hello");
    client.expect_end();
}

#[test]
fn a_large_body_comes_piece_by_piece_and_a_small_one_at_once() {
    let running = Running::start(|worker| {
        worker.threads(|mut request: Request| {
            let length = request.body().length();
            let mut sum = 0_u64;
            let mut buffer = [0; 1000];
            loop {
                let count = request.body_mut().read(&mut buffer).unwrap();
                if count == 0 {
                    break;
                }
                sum += buffer[..count].iter().map(|&byte| u64::from(byte)).sum::<u64>();
            }
            Response::new(ResponseBody::from(format!("{length:?} {sum}")))
        })
    });
    let mut client = running.connect();
    for size in [0, 5, 64 * 1024, 64 * 1024 + 1, 3_000_000] {
        client.send(format!("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {size}\r\n\r\n"));
        client.send(vec![1; size]);
        assert_eq!(client.answer().text(), format!("Some({size}) {size}"));
    }
    client.send("POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send("3\r\n\x01\x01\x01\r\n2\r\n\x01\x01\r\n0\r\n\r\n");
    assert_eq!(client.answer().text(), "None 5");
}

#[test]
fn a_request_body_is_sent_back_as_it_comes() {
    let running = Running::start(|worker| {
        worker.threads(|request: Request| Response::new(ResponseBody::from(request.into_body())))
    });
    let mut client = running.connect();
    client.send("POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhay\r\n");
    client.skip_head();
    assert_eq!(client.chunk().unwrap().as_deref(), Some(&b"hay"[..]));
    client.send("4\r\noats\r\n0\r\n\r\n");
    assert_eq!(client.chunk().unwrap().as_deref(), Some(&b"oats"[..]));
    assert_eq!(client.chunk().unwrap(), None);
}

#[test]
fn what_is_flushed_is_sent_while_the_handler_still_writes() {
    let (gate, opened) = gate();
    let opened = Arc::new(opened);
    let running = Running::start(move |worker| {
        worker.threads(move |_: Request| {
            let opened = Arc::clone(&opened);
            Response::new(ResponseBody::from_writer(move |body| {
                for number in 0..3 {
                    writeln!(body, "row {number}")?;
                    body.flush()?;
                    opened.wait();
                }
                Ok(())
            }))
        })
    });
    let mut client = running.get("/");
    client.skip_head();
    for number in 0..3 {
        let row = format!("row {number}\n").into_bytes();
        assert_eq!(client.chunk().unwrap(), Some(row));
        gate.send(()).unwrap();
    }
    assert_eq!(client.chunk().unwrap(), None);
}

#[test]
fn bodies_are_made_from_pieces_readers_and_writers() {
    let running = Running::start(|worker| {
        worker.threads(|request: Request| {
            Response::new(match request.uri().path() {
                "/pieces" => ResponseBody::from_pieces(["hay ", "", "and ", "oats"]),
                "/reader" => ResponseBody::from_reader(io::repeat(b'x').take(100_000)),
                "/writer" => ResponseBody::from_writer(|body| body.write_all(&vec![b'x'; 100_000])),
                _ => ResponseBody::empty(),
            })
        })
    });
    assert_eq!(running.get("/pieces").answer().text(), "hay and oats");
    assert_eq!(running.get("/reader").answer().body, vec![b'x'; 100_000]);
    assert_eq!(running.get("/writer").answer().body, vec![b'x'; 100_000]);
    let empty = running.get("/").answer();
    assert!(empty.has("content-length: 0"), "{empty:?}");
}

#[test]
fn writing_to_a_client_that_left_fails() {
    let (ended_sender, ended) = mpsc::channel();
    let running = Running::start(move |worker| {
        worker.threads(move |_: Request| {
            let ended_sender = ended_sender.clone();
            Response::new(ResponseBody::from_writer(move |body| {
                let error = loop {
                    if let Err(error) = body.write_all(&[b'x'; 10_000]) {
                        break error;
                    }
                };
                ended_sender.send(error.kind()).unwrap();
                Err(error)
            }))
        })
    });
    let mut client = running.get("/");
    client.skip_head();
    drop(client);
    assert_eq!(expect(&ended), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_response_that_is_broken_off_does_not_look_complete() {
    let running = Running::start(|worker| {
        worker.threads(|request: Request| {
            let path = request.uri().path().to_owned();
            Response::new(ResponseBody::from_writer(move |body| {
                body.write_all(b"half of it")?;
                match path.as_str() {
                    "/error" => Err(io::Error::other("on purpose")),
                    "/panic" => panic!("on purpose"),
                    _ => Ok(()),
                }
            }))
        })
    });
    assert_eq!(running.get("/").answer().text(), "half of it");
    for path in ["/error", "/panic"] {
        let error = running.get(path).try_answer().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{path}");
    }
    assert_eq!(running.get("/").answer().text(), "half of it");
}

#[test]
fn a_head_as_large_as_a_proxy_lets_through_is_taken() {
    let running = Running::start(|worker| {
        worker.threads(|request: Request| {
            Response::new(ResponseBody::from(request.headers().len().to_string()))
        })
    });
    let mut client = running.connect();
    client.send("GET / HTTP/1.1\r\nhost: test\r\n");
    for number in 0..300 {
        client.send(format!("x-{number}: {number}\r\n"));
    }
    client.send("\r\n");
    assert_eq!(client.answer().text(), "301");
}

#[test]
fn over_tcp_the_peer_is_the_client_unless_a_proxy_says_otherwise() {
    let worker = Worker::listen("127.0.0.1:0").unwrap();
    let (address, stopper) = (worker.address().clone(), worker.stopper());
    assert!(matches!(&address, ListenAddress::Tcp(address) if address.port() != 0));
    let thread = std::thread::spawn(move || {
        worker.threads(|request: Request| {
            let client = request.client_address().map(|address| address.to_string());
            let mut response = Response::new(ResponseBody::from(client.unwrap_or_default()));
            *response.status_mut() = StatusCode::ACCEPTED;
            response
        })
    });
    let mut client = Client::connect(&address);
    client.get("/");
    let answer = client.answer();
    assert_eq!((answer.status, answer.text()), (202, "127.0.0.1"));
    client.send("GET / HTTP/1.1\r\nhost: test\r\nx-forwarded-for: 192.0.2.7\r\n\r\n");
    assert_eq!(client.answer().text(), "192.0.2.7");
    stopper.stop();
    thread.join().unwrap().unwrap();
}

fn hello(_: Request) -> Response {
    Response::new(ResponseBody::from("hello"))
}

/// Handlers wait at a gate; each message lets one through.
struct Opened(Mutex<mpsc::Receiver<()>>);

impl Opened {
    fn wait(&self) {
        self.0.lock().unwrap().recv_timeout(PATIENCE).unwrap();
    }
}

fn gate() -> (mpsc::Sender<()>, Opened) {
    let (sender, receiver) = mpsc::channel();
    (sender, Opened(Mutex::new(receiver)))
}
