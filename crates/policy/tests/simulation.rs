//! Drives the machines of this crate with random events under a virtual clock.
//!
//! A failure prints its seed; `SIM_SEED=<seed>` replays it exactly.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic fails the test, as it should")]

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use ostler_conf::Share;
use ostler_policy::admission::{Admission, Arrival, Place, RouteId, Shed, Ticket};

/// Goal: no order of events breaks a pool's promises. Method: 256 seeds, 2,000 events each,
/// against a plain model of who holds and who waits.
#[test]
fn no_order_of_events_breaks_admission() {
    for seed in seeds(256) {
        let mut sim = Simulation::new(seed);
        for _ in 0..2_000 {
            sim.apply_random_event();
            sim.check_invariants();
        }
        sim.drain();
    }
}

fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => (1..=count).collect(),
    }
}

const ROWS: u32 = 3;
const QUEUE: usize = 6;
/// Routes of the model; the first never has a share.
const ROUTES: u64 = 3;

struct Simulation {
    seed: u64,
    random: u64,
    now: Instant,
    pool: Admission<u64>,
    /// Workers that are known, and whether they serve.
    workers: HashMap<u64, Standing>,
    held: HashMap<Place, (u64, RouteId)>,
    /// In the order they came.
    waiting: Vec<(Ticket, u64, RouteId)>,
    /// Routes that may hold only a part of the rows.
    shares: Vec<(RouteId, Share)>,
    next_worker: u64,
    next_request: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Starting,
    Serving,
    Lost,
    Withdrawn,
}

impl Simulation {
    #[expect(clippy::disallowed_methods, reason = "the start of the virtual clock")]
    fn new(seed: u64) -> Self {
        Self {
            seed,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            now: Instant::now(),
            pool: Admission::new(QUEUE, Duration::from_hours(24)),
            workers: HashMap::new(),
            held: HashMap::new(),
            waiting: Vec::new(),
            shares: Vec::new(),
            next_worker: 0,
            next_request: 0,
        }
    }

    /// xorshift64*: good enough to shuffle events, and the same on every machine.
    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % below
    }

    fn apply_random_event(&mut self) {
        let passed = self.random(50);
        self.now += Duration::from_millis(passed);
        match self.random(22) {
            20 => self.lose_some_worker(),
            21 => self.change_shares(),
            0 if self.workers.len() < 4 => self.add_worker(),
            1 => self.serve_some_worker(),
            2 => self.withdraw_some_worker(),
            3 => self.remove_some_worker(),
            4..=6 => self.some_waiter_leaves(),
            7..=12 => self.some_permit_is_released(),
            _ => self.request_arrives(),
        }
        while let Some(grant) = self.pool.next_grant(self.now) {
            self.granted(grant.place, grant.waiter);
        }
    }

    fn change_shares(&mut self) {
        self.shares.clear();
        for route in 1..ROUTES {
            let percent = u32::try_from(self.random(150)).unwrap();
            if percent < 100 {
                let route = RouteId(u32::try_from(route).unwrap());
                self.shares.push((route, Share::percent(percent)));
            }
        }
        self.pool.set_shares(&self.shares, self.now);
    }

    /// Rows that serve.
    fn capacity(&self) -> u32 {
        let serving = self.workers.values().filter(|&&is| is == Standing::Serving).count();
        ROWS * u32::try_from(serving).unwrap()
    }

    fn share(&self, route: RouteId) -> Option<Share> {
        self.shares.iter().find(|(limited, _)| *limited == route).map(|(_, share)| *share)
    }

    /// Whether a route holds as many rows of workers that serve as it may.
    fn is_full(&self, route: RouteId) -> bool {
        let Some(share) = self.share(route) else { return false };
        let is_counted = |(place, held): &(&Place, &(u64, RouteId))| {
            held.1 == route && self.workers.get(&place.worker) == Some(&Standing::Serving)
        };
        let held = self.held.iter().filter(is_counted).count();
        share.of(self.capacity()) as usize <= held
    }

    fn add_worker(&mut self) {
        self.pool.add_worker(self.next_worker, ROWS);
        self.workers.insert(self.next_worker, Standing::Starting);
        self.next_worker += 1;
    }

    fn some_worker(&mut self, standing: &[Standing]) -> Option<u64> {
        let mut ids: Vec<u64> = self
            .workers
            .iter()
            .filter(|(_, is)| standing.contains(is))
            .map(|(&id, _)| id)
            .collect();
        ids.sort_unstable();
        let at = usize::try_from(self.random(ids.len().max(1) as u64)).unwrap();
        ids.get(at).copied()
    }

    fn serve_some_worker(&mut self) {
        let Some(id) = self.some_worker(&[Standing::Starting]) else { return };
        self.workers.insert(id, Standing::Serving);
        self.pool.serve(id, self.now);
    }

    fn withdraw_some_worker(&mut self) {
        let Some(id) = self.some_worker(&[Standing::Starting, Standing::Serving]) else { return };
        self.workers.insert(id, Standing::Withdrawn);
        let is_idle = self.held.keys().all(|place| place.worker != id);
        assert_eq!(self.pool.withdraw(id, self.now), is_idle, "seed {}", self.seed);
    }

    fn lose_some_worker(&mut self) {
        let Some(id) = self.some_worker(&[Standing::Starting, Standing::Serving]) else { return };
        self.workers.insert(id, Standing::Lost);
        self.pool.lose(id, self.now);
    }

    fn remove_some_worker(&mut self) {
        let all = [Standing::Starting, Standing::Serving, Standing::Lost, Standing::Withdrawn];
        let Some(id) = self.some_worker(&all) else { return };
        self.workers.remove(&id);
        let has_prospect = self.workers.values().any(|&is| is != Standing::Withdrawn);
        let mut refused = self.pool.remove_worker(id, self.now);
        if has_prospect {
            assert!(refused.is_empty(), "seed {}", self.seed);
        } else {
            refused.sort_unstable();
            let expected: Vec<u64> = self.waiting.drain(..).map(|(_, it, _)| it).collect();
            assert_eq!(refused, expected, "seed {}", self.seed);
        }
    }

    fn some_waiter_leaves(&mut self) {
        let count = self.waiting.len() as u64;
        if count == 0 {
            return;
        }
        let at = usize::try_from(self.random(count)).unwrap();
        let (ticket, request, _) = self.waiting.remove(at);
        assert_eq!(self.pool.leave(ticket), Some(request), "seed {}", self.seed);
        assert_eq!(self.pool.leave(ticket), None, "seed {}", self.seed);
    }

    fn some_permit_is_released(&mut self) {
        let mut places: Vec<Place> = self.held.keys().copied().collect();
        places.sort_unstable_by_key(|place| (place.worker, place.row));
        let at = usize::try_from(self.random(places.len().max(1) as u64)).unwrap();
        let Some(&place) = places.get(at) else { return };
        self.held.remove(&place);
        let is_known = self.workers.contains_key(&place.worker);
        assert_eq!(self.pool.release(place, self.now), is_known, "seed {}", self.seed);
    }

    fn request_arrives(&mut self) {
        let request = self.next_request;
        self.next_request += 1;
        let route = RouteId(u32::try_from(self.random(ROUTES)).unwrap());
        let would_shed = self.pool.would_shed(route, self.now);
        let has_prospect =
            self.next_worker == 0 || self.workers.values().any(|&is| is != Standing::Withdrawn);
        match self.pool.arrive(route, request, self.now) {
            Arrival::Admitted(place, _) => {
                let overtakes = self.waiting.iter().any(|(_, _, it)| !self.is_full(*it));
                assert!(!overtakes, "seed {}: a newcomer overtook", self.seed);
                assert_eq!(would_shed, None);
                self.hold(place, request, route);
            }
            Arrival::Queued(ticket) => {
                assert_eq!(would_shed, None);
                self.waiting.push((ticket, request, route));
            }
            Arrival::Shed(reason, _) => {
                assert_eq!(would_shed, Some(reason), "seed {}", self.seed);
                self.check_refusal(reason, route, has_prospect);
            }
        }
    }

    fn check_refusal(&self, reason: Shed, route: RouteId, has_prospect: bool) {
        let seed = self.seed;
        match reason {
            Shed::QueueFull(_) => {
                let in_line = self.waiting.iter().filter(|(_, _, it)| *it == route).count();
                let most = self.share(route).map_or(QUEUE, |it| it.of(6) as usize);
                assert!(self.waiting.len() == QUEUE || most <= in_line, "seed {seed}");
            }
            Shed::PredictedWait(after) => panic!("seed {seed}: {after:?} when a day may be waited"),
            Shed::PoolNotReady => assert!(!has_prospect, "seed {seed}"),
        }
    }

    /// Checks that it is the turn of who was granted a place: the first that may have one.
    fn granted(&mut self, place: Place, request: u64) {
        let first = self.waiting.iter().position(|(_, _, route)| !self.is_full(*route));
        let (_, first, route) = self.waiting.remove(first.expect("somebody may have it"));
        assert_eq!(request, first, "seed {}: not first come first served", self.seed);
        self.hold(place, request, route);
    }

    fn hold(&mut self, place: Place, request: u64, route: RouteId) {
        let standing = self.workers.get(&place.worker);
        assert_eq!(standing, Some(&Standing::Serving), "seed {}", self.seed);
        assert!(place.row < ROWS, "seed {}", self.seed);
        assert!(!self.is_full(route), "seed {}: more than its share", self.seed);
        let before = self.held.insert(place, (request, route));
        assert_eq!(before, None, "seed {}: one row, two permits", self.seed);
    }

    fn check_invariants(&self) {
        let seed = self.seed;
        let known = self.held.keys().filter(|place| self.workers.contains_key(&place.worker));
        assert_eq!(self.pool.busy() as usize, known.count(), "seed {seed}");
        assert_eq!(self.pool.queued(), self.waiting.len(), "seed {seed}");
        assert!(self.waiting.len() <= QUEUE, "seed {seed}");
        let places: HashSet<&Place> = self.held.keys().collect();
        let free = self
            .workers
            .iter()
            .filter(|&(_, &standing)| standing == Standing::Serving)
            .flat_map(|(&worker, _)| (0..ROWS).map(move |row| Place { worker, row }))
            .any(|place| !places.contains(&place));
        let may_run = self.waiting.iter().any(|(_, _, route)| !self.is_full(*route));
        assert!(!free || !may_run, "seed {seed}: a free row while somebody could have it");
        let serving = |(place, _): &(&Place, &(u64, RouteId))| {
            self.workers.get(&place.worker) == Some(&Standing::Serving)
        };
        let held = self.held.iter().filter(serving).count();
        let holders = self.pool.holders(self.now);
        assert_eq!(
            (holders.held as usize, holders.capacity),
            (held, self.capacity()),
            "seed {seed}"
        );
    }

    fn drain(&mut self) {
        while !self.held.is_empty() {
            self.some_permit_is_released();
            while let Some(grant) = self.pool.next_grant(self.now) {
                self.granted(grant.place, grant.waiter);
            }
            self.check_invariants();
        }
        assert_eq!(self.pool.busy(), 0, "seed {}", self.seed);
    }
}
