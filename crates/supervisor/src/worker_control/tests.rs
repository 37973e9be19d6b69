//! A worker at the other end: one that answers, one that does not, and one that lies.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream as Theirs;
use std::path::Path;

use ostler_conf::Config;

use super::*;

#[tokio::test]
async fn a_worker_hears_that_it_has_to_drain() {
    let (control, mut theirs, _tasks) = start();
    control.drain();
    let mut heard = [0; 6];
    theirs.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"drain\n");
}

#[tokio::test]
async fn a_worker_that_reads_nothing_or_has_ended_holds_nobody_up() {
    let (control, theirs, _tasks) = start();
    (0..100_000).for_each(|_| control.drain());
    drop(theirs);
    control.drain();
    assert_eq!(control.asker().ask().await.unwrap_err(), NoStacks::Closed);
}

#[tokio::test]
async fn without_the_ring_link_there_is_none() {
    assert!(WorkerControl::create(&pool("http"), &mut Tasks::default()).unwrap().is_none());
}

#[tokio::test]
async fn all_who_ask_at_one_time_share_an_answer() {
    let (control, theirs, mut tasks) = start();
    let worker = std::thread::spawn(move || answer_all(theirs));
    let asker = control.asker();
    let (first, second, third) = tokio::join!(asker.ask(), asker.ask(), asker.ask());
    let names = [first, second, third].map(|answer| answer.unwrap()[0].name.clone());
    assert_eq!(names, ["1", "1", "1"]);
    assert_eq!(asker.ask().await.unwrap()[0].name, "2");
    drop((asker, control));
    tasks.finish(ANSWER_TIMEOUT).await;
    assert_eq!(worker.join().unwrap(), 2, "questions");
}

#[tokio::test]
async fn a_worker_that_does_not_answer_gets_one_question_and_is_heard_again_later() {
    let (control, mut theirs, mut tasks) = start_with(Duration::from_millis(5));
    let asker = control.asker();
    for _ in 0..100 {
        assert_eq!(asker.ask().await.unwrap_err(), NoStacks::Silent);
    }
    let mut heard = [0; 100];
    let count = theirs.read(&mut heard).unwrap();
    assert_eq!(&heard[..count], b"stacks 1\n");
    // It comes back: what it says of then is not taken for what is so.
    theirs.write_all(&answer(1)).unwrap();
    let worker = std::thread::spawn(move || answer_all(theirs));
    let mut heard = asker.ask().await;
    while heard == Err(NoStacks::Silent) {
        heard = asker.ask().await;
    }
    // The machine may be slow, and the answer to the second be a late one, too.
    assert_ne!(heard.unwrap()[0].name, "1");
    drop((asker, control));
    tasks.finish(ANSWER_TIMEOUT).await;
    assert!(1 <= worker.join().unwrap());
}

#[tokio::test]
async fn an_answer_in_pieces_is_put_together_and_a_lie_ends_the_conversation() {
    let (control, mut theirs, _tasks) = start();
    let asker = control.asker();
    let worker = std::thread::spawn(move || {
        expect(&mut theirs, "stacks 1\n");
        for byte in answer(1) {
            theirs.write_all(&[byte]).unwrap();
        }
        expect(&mut theirs, "stacks 2\n");
        theirs.write_all(b"stacks 3 5\n").unwrap();
        theirs
    });
    assert_eq!(asker.ask().await.unwrap()[0].name, "1");
    let garbled = NoStacks::Garbled("an answer to no question".to_owned());
    for _ in 0..2 {
        assert_eq!(asker.ask().await.unwrap_err(), garbled);
    }
    drop(worker.join().unwrap());
}

/// What a lying worker can make the supervisor keep is one answer.
#[tokio::test]
async fn a_flood_is_left_where_it_is() {
    let (control, mut theirs, _tasks) = start();
    theirs.set_nonblocking(true).unwrap();
    let mut flood = || {
        std::iter::repeat_with(|| theirs.write(&[b'x'; 4096]).ok())
            .take_while(Option::is_some)
            .count()
    };
    let before = flood();
    assert!(matches!(control.asker().ask().await, Err(NoStacks::Garbled(_))));
    let after = flood();
    assert!(after < before, "{after} of {before} were taken");
}

/// Answers every question until the supervisor is gone, and returns how many there were.
fn answer_all(mut theirs: Theirs) -> usize {
    let mut questions = 0;
    let mut line = Vec::new();
    let mut byte = [0];
    while theirs.read(&mut byte).unwrap() == 1 {
        line.push(byte[0]);
        if byte == *b"\n" {
            let line = String::from_utf8(std::mem::take(&mut line)).unwrap();
            let id = line.trim_end().strip_prefix("stacks ").unwrap().parse().unwrap();
            theirs.write_all(&answer(id)).unwrap();
            questions += 1;
        }
    }
    questions
}

/// An answer whose one thread is called as the question.
fn answer(id: u64) -> Vec<u8> {
    let json = format!(r#"{{"threads":[{{"tid":9,"name":"{id}","frames":["a"]}}]}}"#);
    format!("stacks {id} {}\n{json}", json.len()).into_bytes()
}

fn expect(theirs: &mut Theirs, line: &str) {
    let mut heard = vec![0; line.len()];
    theirs.read_exact(&mut heard).unwrap();
    assert_eq!(heard, line.as_bytes());
}

fn start() -> (WorkerControl, Theirs, Tasks) {
    start_with(ANSWER_TIMEOUT)
}

fn start_with(patience: Duration) -> (WorkerControl, Theirs, Tasks) {
    let mut tasks = Tasks::default();
    let (control, theirs) = WorkerControl::with_patience(patience, &mut tasks).unwrap();
    (control, theirs.into(), tasks)
}

fn pool(link: &str) -> PoolConfig {
    let text = format!("[pool.web]\ncommand = ['a']\nlink = '{link}'\n");
    let mut config = Config::parse(&text, Path::new("/etc/ostler.toml")).unwrap();
    config.pools.remove("web").unwrap()
}
