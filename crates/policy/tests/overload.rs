//! Overloads a pool under a virtual clock: Poisson arrivals at twice what it can do.
//!
//! Goal: refusals for predicted waits cost no throughput, and where handlers are steady, hit those
//! who would have waited about as long as they may, or longer. Method: for each capacity and kind
//! of handler, two thousand service times after a start; of each refusal it is known afterwards
//! when it would have had a place: within nine tenths of the timeout counts as wrong.
//! A failure names its case; everything comes from one seed.

#![expect(clippy::panic, reason = "a panic fails the test, as it should")]
#![expect(clippy::print_stdout, reason = "the figures behind the promises, on request")]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use ostler_policy::admission::{Admission, Arrival, Place, RouteId, Shed, Ticket};

const ROUTE: RouteId = RouteId(0);

/// How long handlers run, as a multiple of their mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Constant,
    /// Evenly between 0.8 and 1.2.
    Steady,
    Exponential,
    /// One of a hundred takes sixty times as long as the others.
    Bimodal,
}

#[derive(Debug)]
struct Case {
    service: Service,
    capacity: u32,
    mean: f64,
    timeout: f64,
}

#[derive(Debug, Default)]
struct Outcome {
    served: u32,
    timed_out: u32,
    /// Refused: when, and the departure after which it would have been the first in the queue.
    refused: Vec<(f64, usize)>,
    waits: Vec<f64>,
    /// Who left the queue, in order: when, and whether with a place. As all are equally patient,
    /// whoever leaves is the first.
    departures: Vec<(f64, bool)>,
    /// Row-seconds in use after the warm-up, of those there were.
    used: f64,
}

impl Outcome {
    /// The part of the refused who would have had a place within this time.
    fn wrongly_refused(&self, timeout: f64) -> f64 {
        let (mut wrong, mut known) = (0.0_f64, 0.0_f64);
        for &(at, first) in &self.refused {
            let then = self.departures.get(first..).unwrap_or_default();
            let Some((granted, _)) = then.iter().find(|(_, with_place)| *with_place) else {
                continue;
            };
            known += 1.0;
            if granted - at <= timeout {
                wrong += 1.0;
            }
        }
        wrong / known.max(1.0)
    }
}

#[test]
fn at_twice_the_capacity_all_of_it_is_used_and_hardly_anybody_is_refused_wrongly() {
    use Service::{Bimodal, Constant, Exponential, Steady};
    for capacity in [1, 2, 10, 100] {
        for service in [Constant, Steady, Exponential, Bimodal] {
            for waits in [20.0, 100.0] {
                let mean = 0.05;
                // So long that about `waits` requests are served within it, and at least four in
                // each row.
                let timeout = (waits * mean / f64::from(capacity)).max(4.0 * mean);
                if capacity == 100 && 20.0 < waits {
                    continue;
                }
                check(&Case { service, capacity, mean, timeout });
            }
        }
    }
}

#[track_caller]
fn check(case: &Case) {
    let mut outcome = Simulation::new(case).run();
    let wrong = outcome.wrongly_refused(case.timeout * 0.9);
    outcome.waits.sort_by(f64::total_cmp);
    let p99 = outcome.waits[outcome.waits.len() * 99 / 100];
    let refused = outcome.refused.len();
    println!(
        "{case:?}: used {:.3}, served {}, timed out {}, refused {refused}, wrongly {wrong:.3}, \
         p99 of waits {p99:.3}",
        outcome.used, outcome.served, outcome.timed_out
    );
    assert!(0.95 <= outcome.used, "{case:?}: {} of the capacity used", outcome.used);
    assert!(p99 <= case.timeout, "{case:?}: p99 {p99}");
    if matches!(case.service, Service::Constant | Service::Steady) {
        let is_long = 10.0 * case.mean <= case.timeout;
        assert!(wrong < if is_long { 0.05 } else { 0.1 }, "{case:?}: {wrong} refused wrongly");
        let late = f64::from(outcome.timed_out) / f64::from(outcome.served);
        assert!(late < 0.05, "{case:?}: {late} waited in vain for each that was served");
    }
}

struct Simulation<'c> {
    case: &'c Case,
    random: u64,
    start: Instant,
    now: f64,
    pool: Admission<u64>,
    /// Ends of handlers, in µs, the next first.
    ends: BinaryHeap<Reverse<(u64, u32)>>,
    deadlines: BinaryHeap<Reverse<(u64, u64)>>,
    tickets: HashMap<u64, Ticket>,
    busy: f64,
    outcome: Outcome,
}

impl<'c> Simulation<'c> {
    #[expect(clippy::disallowed_methods, reason = "the start of the virtual clock")]
    fn new(case: &'c Case) -> Self {
        let timeout = Duration::from_secs_f64(case.timeout);
        let mut pool = Admission::new(100_000, timeout);
        let start = Instant::now();
        pool.add_worker(0, case.capacity);
        pool.serve(0, start);
        Self {
            case,
            random: 0x9e37_79b9_7f4a_7c15,
            start,
            now: 0.0,
            pool,
            ends: BinaryHeap::new(),
            deadlines: BinaryHeap::new(),
            tickets: HashMap::new(),
            busy: 0.0,
            outcome: Outcome::default(),
        }
    }

    /// Plays arrivals, ends of handlers and ends of patience in the order of their times.
    fn run(mut self) -> Outcome {
        let rate = 2.0 * f64::from(self.case.capacity) / self.case.mean;
        let warm = 200.0 * self.case.mean + self.case.timeout;
        let end = warm + 2_000.0 * self.case.mean;
        let (mut arrival, mut request) = (0.0_f64, 0);
        while self.now < end {
            let next_end = self.ends.peek().map_or(f64::MAX, |Reverse((at, _))| seconds(*at));
            let next_late = self.deadlines.peek().map_or(f64::MAX, |Reverse((at, _))| seconds(*at));
            let at = arrival.min(next_end).min(next_late);
            if warm < at {
                self.busy += (at - self.now.max(warm)) * f64::from(self.pool.busy());
            }
            self.now = at;
            if next_end <= at {
                let Some(Reverse((_, row))) = self.ends.pop() else { continue };
                self.pool.release(Place { worker: 0, row }, self.instant());
                self.grant();
            } else if next_late <= at {
                let Some(Reverse((_, late))) = self.deadlines.pop() else { continue };
                let ticket = self.tickets.remove(&late);
                if ticket.is_some_and(|ticket| self.pool.leave(ticket).is_some()) {
                    self.outcome.departures.push((at, false));
                    self.outcome.timed_out += u32::from(warm < at);
                }
            } else {
                request += 1;
                self.arrive(request, warm < at);
                arrival += -self.fraction().ln() / rate;
            }
        }
        self.outcome.used = self.busy / (end - warm) / f64::from(self.case.capacity);
        self.outcome
    }

    fn arrive(&mut self, request: u64, is_counted: bool) {
        match self.pool.arrive(ROUTE, request, self.instant()) {
            Arrival::Admitted(place, _) => self.serve(place, 0.0),
            Arrival::Queued(ticket) => {
                self.tickets.insert(request, ticket);
                self.deadlines.push(Reverse((micros(self.now + self.case.timeout), request)));
            }
            Arrival::Shed(Shed::PredictedWait(_), _) if is_counted => {
                let first = self.outcome.departures.len() + self.pool.queued();
                self.outcome.refused.push((self.now, first));
            }
            Arrival::Shed(Shed::PredictedWait(_), _) => {}
            Arrival::Shed(shed, _) => panic!("{:?}: {shed:?}", self.case),
        }
    }

    fn grant(&mut self) {
        while let Some(grant) = self.pool.next_grant(self.instant()) {
            self.tickets.remove(&grant.waiter);
            self.outcome.departures.push((self.now, true));
            self.serve(grant.place, grant.waited.as_secs_f64());
        }
    }

    fn serve(&mut self, place: Place, waited: f64) {
        let fraction = self.fraction();
        let multiple = match self.case.service {
            Service::Constant => 1.0,
            Service::Steady => 0.8 + 0.4 * fraction,
            Service::Exponential => -fraction.ln(),
            Service::Bimodal => {
                if fraction < 0.01 {
                    60.0 / 1.59
                } else {
                    1.0 / 1.59
                }
            }
        };
        self.ends.push(Reverse((micros(self.now + multiple * self.case.mean), place.row)));
        self.outcome.served += 1;
        self.outcome.waits.push(waited);
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_secs_f64(self.now)
    }

    /// In (0, 1]: `SplitMix64`.
    #[expect(clippy::cast_precision_loss, reason = "random bits become a fraction")]
    fn fraction(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11).saturating_add(1) as f64 / (1_u64 << 53) as f64
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "some thousand seconds"
)]
fn micros(seconds: f64) -> u64 {
    (seconds * 1e6).ceil() as u64
}

#[expect(clippy::cast_precision_loss, reason = "some thousand seconds")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
