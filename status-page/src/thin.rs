//! What of a snapshot is kept in the history: a second costs little, and its page still tells who
//! held the rows.
//!
//! Short requests come and go within a second, so that those of one moment say nothing; digits
//! that nobody reads are noise that does not compress. What is left out has its default.

use std::cmp::Ordering;
use std::time::Duration;

use crate::scoreboard;
use crate::snapshot::{Histogram, Percentiles, Pool, Snapshot, Thread, Worker};

/// A request that has run this long is kept.
const MIN_RUNNING_MS: u64 = 500;

/// Most requests kept of all pools together, the longest first; those that are stuck are extra.
const MAX_REQUESTS: usize = 16;

/// Most stuck requests kept of all pools together.
const MAX_STUCK: usize = 64;

/// Post-mortems kept of a pool, the latest ones.
const MAX_POST_MORTEMS: usize = 2;

/// Long waits kept of a pool, the latest ones.
const MAX_BLAME: usize = 3;

/// Memory is kept in steps of this many bytes.
const MEMORY_STEP: u64 = 256 * 1024;

impl Snapshot {
    /// Takes out what is not kept in the history.
    ///
    /// Counters of rows and histograms are left out; those of workers, pools and routes are kept.
    pub fn thin(&mut self) {
        scoreboard::keep_listed(self);
        let mut budget = Budget::of(self);
        self.server.history = None;
        self.thin_start();
        let proxy = &mut self.server.proxy;
        proxy.cpu_s = proxy.cpu_s.map(hundredths);
        proxy.rss_bytes = proxy.rss_bytes.map(in_steps);
        self.machine.load = self.machine.load.map(|load| load.map(hundredths));
        for seconds in [
            &mut self.machine.cpu_user_s,
            &mut self.machine.cpu_system_s,
            &mut self.machine.cpu_children_user_s,
            &mut self.machine.cpu_children_system_s,
        ] {
            *seconds = hundredths(*seconds);
        }
        for pool in self.pools.values_mut() {
            thin_pool(pool);
            let workers = pool.workers.iter_mut();
            for thread in workers.flat_map(|worker| &mut worker.threads) {
                thin_thread(thread, &mut budget);
            }
        }
        for route in &mut self.routes {
            (route.queue_wait, route.run) = (Histogram::default(), Histogram::default());
            for number in [
                &mut route.thread_s_total,
                &mut route.cpu_s_total,
                &mut route.window.thread_s,
                &mut route.window.thread_share,
                &mut route.window.cpu_s,
            ] {
                *number = rounded(*number, 1_000.0);
            }
        }
    }

    /// A moment is kept in whole seconds; the rest of the start goes to the time since.
    fn thin_start(&mut self) {
        let server = &mut self.server;
        let rest_ms = server.started.ms % 1_000;
        server.started.ms -= rest_ms;
        let rest_s = Duration::from_millis(rest_ms).as_secs_f64();
        server.uptime_s = rounded(server.uptime_s + rest_s, 1_000.0);
    }
}

/// Which requests are kept.
struct Budget {
    /// Those that have run longer than this.
    longer_than: u64,
    /// So many that have run exactly as long.
    as_long: usize,
    /// So many that are stuck.
    stuck: usize,
}

impl Budget {
    fn of(snapshot: &Snapshot) -> Self {
        let rows = scoreboard::busiest(snapshot);
        let running =
            || rows.iter().filter(|row| !row.thread.stuck).map(|row| row.request.running_ms);
        let longer_than =
            running().nth(MAX_REQUESTS - 1).unwrap_or(0).max(MIN_RUNNING_MS.saturating_sub(1));
        let longer = running().take_while(|&ms| longer_than < ms).count();
        let as_long = if longer_than < MIN_RUNNING_MS { 0 } else { MAX_REQUESTS - longer };
        Self { longer_than, as_long, stuck: MAX_STUCK }
    }

    /// Tells whether a request is kept, and counts it.
    fn takes(&mut self, running_ms: u64, is_stuck: bool) -> bool {
        let places = match running_ms.cmp(&self.longer_than) {
            _ if is_stuck => &mut self.stuck,
            Ordering::Greater => return true,
            Ordering::Equal => &mut self.as_long,
            Ordering::Less => return false,
        };
        let has_place = 0 < *places;
        *places = places.saturating_sub(1);
        has_place
    }
}

fn thin_pool(pool: &mut Pool) {
    let surplus = pool.post_mortems.len().saturating_sub(MAX_POST_MORTEMS);
    pool.post_mortems.drain(..surplus);
    pool.blame.truncate(MAX_BLAME);
    (pool.queue_wait, pool.run) = (Histogram::default(), Histogram::default());
    thin_percentiles(&mut pool.queue_wait_ms);
    thin_percentiles(&mut pool.run_ms);
    pool.workers.iter_mut().for_each(thin_worker);
}

fn thin_percentiles(percentiles: &mut Percentiles) {
    for number in [&mut percentiles.p50, &mut percentiles.p99, &mut percentiles.max] {
        *number = if *number < 100.0 { hundredths(*number) } else { number.round() };
    }
}

fn thin_worker(worker: &mut Worker) {
    worker.age_s = worker.age_s.round();
    worker.rss_bytes = worker.rss_bytes.map(in_steps);
    worker.cpu_s = worker.cpu_s.map(hundredths);
}

fn thin_thread(thread: &mut Thread, budget: &mut Budget) {
    thread.requests_total = 0;
    thread.cpu_s = None;
    let is_stuck = thread.stuck;
    thread.request.take_if(|request| !budget.takes(request.running_ms, is_stuck));
    let Some(request) = &mut thread.request else {
        // Rows change their threads with every request.
        thread.tid = None;
        return;
    };
    for ms in [&mut request.costs.db_ms, &mut request.costs.outbound_ms] {
        *ms = hundredths(*ms);
    }
}

fn hundredths(number: f64) -> f64 {
    rounded(number, 100.0)
}

fn rounded(number: f64, parts: f64) -> f64 {
    (number * parts).round() / parts
}

fn in_steps(bytes: u64) -> u64 {
    bytes / MEMORY_STEP * MEMORY_STEP
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moment::UnixTime;
    use crate::snapshot::{Request, ThreadState};

    #[test]
    fn the_longest_requests_are_kept_and_all_that_are_stuck() {
        let running = |running_ms| Thread {
            state: ThreadState::Working,
            stuck: running_ms == 1_000,
            requests_total: 7,
            request: Some(Request { running_ms, ..Request::default() }),
            ..Thread::default()
        };
        for (all, expected) in [
            (vec![100, 499, 500, 700], vec![500, 700]),
            ((1..=40).map(|n| n * 1_000).collect(), {
                let mut kept: Vec<u64> = vec![1_000];
                kept.extend((25..=40).map(|n| n * 1_000));
                kept
            }),
            (vec![600; 40], vec![600; 16]),
            ((1..=20).map(|n| if n < 5 { 900 } else { 800 }).collect(), {
                let mut kept = vec![900; 4];
                kept.extend([800; 12]);
                kept
            }),
        ] {
            let worker = Worker {
                threads: all.into_iter().map(running).collect(),
                age_s: 1.25,
                rss_bytes: Some(MEMORY_STEP + 1),
                ..Worker::default()
            };
            let pool = Pool { threads: 40, workers: vec![worker], ..Pool::default() };
            let mut snapshot = Snapshot::default();
            snapshot.pools.insert("web".to_owned(), pool);
            snapshot.thin();
            let worker = &snapshot.pools["web"].workers[0];
            let kept = worker.threads.iter().filter_map(|thread| thread.request.as_ref());
            let kept: Vec<u64> = kept.map(|request| request.running_ms).collect();
            assert_eq!(kept, expected);
            assert!(worker.threads.iter().all(|thread| thread.state == ThreadState::Working));
            assert_eq!((worker.age_s, worker.rss_bytes), (1.0, Some(MEMORY_STEP)));
            assert_eq!(worker.threads[0].requests_total, 0);
        }
    }

    #[test]
    fn what_is_kept_is_kept_again_the_same() {
        let mut snapshot = Snapshot::default();
        snapshot.server.uptime_s = 1.234_567;
        snapshot.server.started = UnixTime::from_ms(7_900);
        let percentiles = Percentiles { p50: 0.123_4, p99: 99.999, max: 1_234.5 };
        snapshot.pools.insert("web".into(), Pool { run_ms: percentiles, ..Pool::default() });
        snapshot.machine.load = Some([0.239_999_994_635_581_97, 1.0, f64::NAN]);
        snapshot.thin();
        assert_eq!(snapshot.taken(), UnixTime::from_ms(9_135), "no time is lost");
        assert_eq!(snapshot.machine.load.map(|load| load[0]), Some(0.24));
        snapshot.machine.load = None;
        let mut again = snapshot.clone();
        again.thin();
        assert_eq!(again, snapshot);
        let read: Snapshot = serde_json::from_str(&crate::json(&snapshot)).unwrap();
        assert_eq!(read, snapshot);
    }
}
