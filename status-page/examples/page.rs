//! Renders the status page of a server in trouble, and says how long that takes.
//!
//! `cargo run --release -p ostler-status --example page -- FOLDER` writes the pages there, to be
//! looked at in a browser: as it is, of the past, and with a thousand busy rows.
#![expect(clippy::print_stdout, reason = "it is run to be read")]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use ostler_status::{HtmlOptions, Pool, Snapshot, Thread, UnixTime, html};

#[path = "../tests/it/sample.rs"]
mod sample;

/// Renderings of which the shortest counts.
const TIMES: u32 = 20;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| ".".to_owned()));
    let past = HtmlOptions { at: Some(UnixTime::from_ms(1_767_237_945_000)), ..<_>::default() };
    let sample = sample::snapshot();
    for (name, snapshot, options) in [
        ("trouble", sample.clone(), HtmlOptions::default()),
        ("past", sample.clone(), past),
        ("well", Snapshot::default(), HtmlOptions::default()),
        ("30-rows", with_rows(&sample, 2, 15), HtmlOptions::default()),
        ("1000-rows", with_rows(&sample, 10, 100), HtmlOptions::default()),
    ] {
        let trends = sample::trends();
        let page = html(&snapshot, Some(&trends), &options);
        let shortest = (0..TIMES).map(|_| {
            #[expect(clippy::disallowed_methods, reason = "what it takes is what is asked")]
            let start = Instant::now();
            black_box(html(black_box(&snapshot), Some(&trends), &options));
            start.elapsed()
        });
        let shortest = shortest.min().unwrap_or_default();
        println!("{name}: {} KiB in {} µs", page.len() / 1_024, shortest.as_micros());
        std::fs::write(folder.join(name).with_extension("html"), page)?;
    }
    Ok(())
}

/// The sample with one pool, all of whose rows are busy.
fn with_rows(sample: &Snapshot, processes: u32, threads: u32) -> Snapshot {
    let mut snapshot = sample.clone();
    let web = &sample.pools["web"];
    let busy = &web.workers[1];
    let mut workers = Vec::new();
    for slot in 0..processes {
        let row = |thread: u32| Thread {
            thread,
            stuck: false,
            ..busy.threads[thread as usize % busy.threads.len()].clone()
        };
        let mut worker = busy.clone();
        (worker.slot, worker.threads) = (slot, (0..threads).map(row).collect());
        workers.push(worker);
    }
    let rows = u64::from(processes * threads);
    let pool = Pool {
        processes,
        threads,
        concurrency: threads,
        capacity: rows,
        busy: rows,
        workers,
        ..web.clone()
    };
    snapshot.pools.clear();
    snapshot.pools.insert("web".to_owned(), pool);
    snapshot
}
