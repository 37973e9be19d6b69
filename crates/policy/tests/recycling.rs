//! Drives a pool's recycling with random events under a virtual clock: the scheduler and the life
//! of each place together, as the supervisor does.
//!
//! A failure prints its seed; `SIM_SEED=<seed>` replays it exactly.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ostler_policy::recycle::{Limits, Place, Reason, Scheduler, Standing, Step};
use ostler_policy::worker::{
    MAX_DELAY, WorkerCommand, WorkerEvent, WorkerLife, WorkerLimits, WorkerState,
};

const TIMES: WorkerLimits = WorkerLimits {
    start_timeout: Duration::from_secs(30),
    drain_timeout: Duration::from_secs(20),
    stop_timeout: Duration::from_secs(5),
};

/// The longest that anything may hold a request up while processes start.
const PATIENCE: Duration = Duration::from_secs(30 + 20 + 5 + 30);

const REASONS: [Reason; 11] = [
    Reason::EveryThreadStuck,
    Reason::Health,
    Reason::ProxyExit,
    Reason::RequestTimeout,
    Reason::MaxMemory,
    Reason::Operator,
    Reason::Configuration,
    Reason::ReloadOnChange,
    Reason::MaxAge,
    Reason::MaxRequests,
    Reason::MaxIdle,
];

/// Goal: no order of events makes recycling break the floor, the bound on processes or a deadline,
/// and no request is for ever while workers get ready. Method: 256 seeds, 1,500 events each, over
/// pools of every small shape; then peace, in which everything has to be carried out.
#[test]
fn no_order_of_events_breaks_recycling() {
    for seed in seeds(256) {
        let mut sim = Simulation::new(seed);
        for _ in 0..1_500 {
            sim.apply_random_event();
            sim.check_invariants();
        }
        sim.settle();
        sim.drain();
    }
}

fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => (1..=count).collect(),
    }
}

#[derive(Debug)]
struct Worker {
    slot: u32,
    life: WorkerLife,
    /// When the deadline of its state is, by this test's own book.
    deadline: Option<Instant>,
    /// When its request overrides the floor.
    forced: Option<Instant>,
    killed: bool,
    /// Processes that it has had.
    spawned: u32,
}

struct Simulation {
    seed: u64,
    random: u64,
    now: Instant,
    limits: Limits,
    scheduler: Scheduler,
    workers: BTreeMap<u64, Worker>,
    next_key: u64,
    /// A limit on places that an earlier, larger configuration left behind.
    bound: usize,
}

impl Simulation {
    #[expect(clippy::disallowed_methods, reason = "the start of the virtual clock")]
    fn new(seed: u64) -> Self {
        let mut sim = Self {
            seed,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            now: Instant::now(),
            limits: Limits { processes: 1, surge: 0, min_ready: 0 },
            scheduler: Scheduler::new(Limits { processes: 1, surge: 0, min_ready: 0 }),
            workers: BTreeMap::new(),
            next_key: 1,
            bound: 0,
        };
        sim.change_limits();
        sim.act();
        sim
    }

    /// xorshift64*: good enough to shuffle events, and the same on every machine.
    fn below(&mut self, limit: u32) -> u32 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let high = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        u32::try_from(high % u64::from(limit)).unwrap_or_default()
    }

    fn change_limits(&mut self) {
        let processes = 1 + self.below(4);
        let surge = self.below(3).min(processes);
        let highest = if surge == 0 { processes - 1 } else { processes };
        let min_ready = self.below(highest + 1);
        self.limits = Limits { processes, surge, min_ready };
        self.scheduler.set_limits(self.limits);
    }

    fn apply_random_event(&mut self) {
        let step = if self.below(4) == 0 { 10_000 } else { 500 };
        let passed = self.below(step);
        self.pass(Duration::from_millis(u64::from(passed)));
        match self.below(40) {
            0 => self.change_limits(),
            1..=4 => self.request_something(),
            5 => {
                let reason = self.some_reason();
                self.scheduler.cancel(reason);
            }
            6..=8 => self.some_process_exits(),
            9 => self.feed_some(WorkerEvent::WarmFailed),
            10..=15 => self.feed_some(WorkerEvent::Ready),
            16..=24 => self.feed_some(WorkerEvent::Warmed),
            25..=30 => self.feed_some(WorkerEvent::Withdrawn),
            _ => {}
        }
        self.act();
    }

    fn some_reason(&mut self) -> Reason {
        let at = self.below(10) as usize;
        REASONS.get(at).copied().unwrap_or(Reason::Operator)
    }

    fn some_key(&mut self) -> Option<u64> {
        let count = u32::try_from(self.workers.len()).unwrap_or_default();
        let at = self.below(count.max(1)) as usize;
        self.workers.keys().nth(at).copied()
    }

    fn request_something(&mut self) {
        let (Some(key), reason) = (self.some_key(), self.some_reason()) else { return };
        if !self.is_staying(key) {
            return;
        }
        self.scheduler.request(key, reason);
        if reason == Reason::EveryThreadStuck {
            let at = self.now + TIMES.start_timeout;
            self.scheduler.force(key, at);
            if let Some(worker) = self.workers.get_mut(&key) {
                worker.forced.get_or_insert(at);
            }
        }
    }

    fn some_process_exits(&mut self) {
        if let Some(key) = self.some_key() {
            self.exit(key);
        }
    }

    fn exit(&mut self, key: u64) {
        let Some(worker) = self.workers.get_mut(&key) else { return };
        if worker.life.has_process() {
            worker.forced = None;
            worker.killed = false;
            self.feed(key, WorkerEvent::Exited);
            self.scheduler.exited(key);
        }
    }

    fn feed_some(&mut self, event: WorkerEvent) {
        if let Some(key) = self.some_key() {
            self.feed(key, event);
        }
    }

    fn feed(&mut self, key: u64, event: WorkerEvent) {
        let Some(worker) = self.workers.get_mut(&key) else { return };
        let (life, command) = worker.life.step(event, self.now, &TIMES);
        worker.life = life;
        worker.deadline = life.due();
        match command {
            Some(WorkerCommand::Kill) => worker.killed = true,
            Some(WorkerCommand::Spawn) => worker.spawned += 1,
            Some(
                WorkerCommand::WarmUp
                | WorkerCommand::Serve
                | WorkerCommand::Withdraw
                | WorkerCommand::Terminate,
            )
            | None => {}
        }
        if life.state() == WorkerState::Warm {
            self.feed(key, WorkerEvent::Serve);
        }
    }

    /// Time passes in pieces that end where something is due, as the supervisor's loop does.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let lives = self.workers.values().filter_map(|worker| worker.life.due());
            let due = lives.chain(self.scheduler.due(self.now)).min();
            match due.filter(|&due| due <= end) {
                Some(due) => self.now = self.now.max(due),
                None => break,
            }
            self.act();
        }
        self.now = end;
    }

    /// What the supervisor does after each event.
    fn act(&mut self) {
        let keys: Vec<u64> = self.workers.keys().copied().collect();
        for key in keys {
            self.feed(key, WorkerEvent::Tick);
        }
        for round in 0.. {
            assert!(round < 100, "seed {}: it never has enough", self.seed);
            self.forget();
            let places = self.places();
            let Some(step) = self.scheduler.next(&places, self.now) else { break };
            self.check_step(step, &places);
            match step {
                Step::Start { slot } => self.start(slot),
                Step::Retire { key, .. } => self.feed(key, WorkerEvent::Retire),
            }
        }
    }

    fn start(&mut self, slot: u32) {
        let life = WorkerLife::new(self.now);
        let worker = Worker { slot, life, deadline: None, forced: None, killed: false, spawned: 0 };
        self.workers.insert(self.next_key, worker);
        self.feed(self.next_key, WorkerEvent::Tick);
        self.next_key += 1;
    }

    fn forget(&mut self) {
        let gone = |worker: &Worker| worker.life.state() == WorkerState::Gone;
        let keys: Vec<u64> =
            self.workers.iter().filter(|(_, it)| gone(it)).map(|(&key, _)| key).collect();
        for key in keys {
            self.workers.remove(&key);
            self.scheduler.gone(key);
        }
    }

    fn places(&self) -> Vec<Place> {
        let place = |(&key, worker): (&u64, &Worker)| Place {
            key,
            slot: worker.slot,
            standing: standing(&worker.life),
        };
        self.workers.iter().map(place).collect()
    }

    fn is_staying(&self, key: u64) -> bool {
        self.workers.get(&key).is_some_and(|it| standing(&it.life) != Standing::Leaving)
    }

    /// Each step keeps what it promises at the moment it is taken.
    fn check_step(&self, step: Step, places: &[Place]) {
        let seed = self.seed;
        match step {
            Step::Start { slot } => {
                assert!(slot < self.limits.processes, "seed {seed}: a slot too many");
                let bound = self.limits.processes + self.limits.surge;
                assert!(places.len() < bound as usize, "seed {seed}: a process too many");
            }
            Step::Retire { key, .. } => {
                let stuck = self.scheduler.reason(key) == Some(Reason::EveryThreadStuck);
                let worker = &self.workers[&key];
                let is_ready = standing(&worker.life) == Standing::Ready;
                let is_forced = worker.forced.is_some_and(|at| at <= self.now);
                let others = places.iter().filter(|it| it.key != key && self.is_fit(it)).count();
                assert!(
                    stuck || !is_ready || is_forced || self.limits.min_ready as usize <= others,
                    "seed {seed}: below the floor"
                );
                assert!(self.is_staying(key), "seed {seed}: retired twice");
            }
        }
    }

    fn is_fit(&self, place: &Place) -> bool {
        let stuck = self.scheduler.reason(place.key) == Some(Reason::EveryThreadStuck);
        place.standing == Standing::Ready && !stuck
    }

    fn check_invariants(&mut self) {
        let seed = self.seed;
        let most = (self.limits.processes + self.limits.surge) as usize;
        // Shrinking takes the time that workers take to leave, and must never grow meanwhile.
        assert!(
            self.workers.len() <= most.max(self.bound),
            "seed {seed}: {} places, {:?}",
            self.workers.len(),
            self.limits
        );
        self.bound = self.workers.len().max(most);
        for (key, worker) in &self.workers {
            let late = worker.deadline.is_some_and(|at| at < self.now);
            assert!(!late, "seed {seed}: place {key} is past its deadline: {worker:?}");
            let overdue = worker.forced.is_some_and(|at| at < self.now);
            assert!(!overdue || !self.is_staying(*key), "seed {seed}: {key} was to be forced out");
        }
        for slot in 0..self.limits.processes {
            let has_place =
                self.workers.iter().any(|(&key, it)| it.slot == slot && self.is_staying(key));
            assert!(has_place || most <= self.workers.len(), "seed {seed}: slot {slot} is empty");
        }
    }

    /// From here on every worker gets ready in a second, and what is killed dies.
    fn settle(&mut self) {
        let asked: BTreeMap<u64, u32> =
            self.workers.iter().map(|(&key, worker)| (key, worker.spawned)).collect();
        for &key in asked.keys().filter(|&&key| self.is_staying(key)).collect::<Vec<_>>() {
            self.scheduler.request(key, Reason::Operator);
        }
        let rounds = PATIENCE.as_secs() * 10 * (asked.len() as u64 + 1);
        for _ in 0..rounds {
            self.pass(Duration::from_millis(500));
            for key in self.workers.keys().copied().collect::<Vec<_>>() {
                self.behave(key);
            }
            self.act();
            self.check_invariants();
        }
        let (seed, places) = (self.seed, self.places());
        assert_eq!(self.scheduler.pending(&places).count(), 0, "seed {seed}: left: {places:?}");
        let is_new = |(key, &spawned): (&u64, &u32)| {
            self.workers.get(key).is_none_or(|worker| spawned < worker.spawned)
        };
        assert!(asked.iter().all(is_new), "seed {seed}: a process stayed");
        let mut slots: Vec<u32> = places.iter().map(|place| place.slot).collect();
        slots.sort_unstable();
        assert_eq!(slots, (0..self.limits.processes).collect::<Vec<_>>(), "seed {seed}");
        assert!(places.iter().all(|place| place.standing == Standing::Ready), "seed {seed}");
    }

    fn behave(&mut self, key: u64) {
        let Some(worker) = self.workers.get(&key) else { return };
        match worker.life.state() {
            WorkerState::Starting { .. } => self.feed(key, WorkerEvent::Ready),
            WorkerState::Warming { .. } => self.feed(key, WorkerEvent::Warmed),
            WorkerState::Stopping { .. } | WorkerState::Killed { .. } => self.exit(key),
            WorkerState::Vacant { retry_at } => {
                assert!(retry_at <= self.now + MAX_DELAY, "seed {}: waits too long", self.seed);
            }
            WorkerState::Warm
            | WorkerState::Ready { .. }
            | WorkerState::Draining { .. }
            | WorkerState::Gone => {}
        }
    }

    /// The pool ends: nothing is scheduled any more, and nothing stays.
    fn drain(&mut self) {
        for key in self.workers.keys().copied().collect::<Vec<_>>() {
            self.feed(key, WorkerEvent::Retire);
        }
        for _ in 0..3 {
            self.now += TIMES.drain_timeout;
            for key in self.workers.keys().copied().collect::<Vec<_>>() {
                self.feed(key, WorkerEvent::Tick);
            }
        }
        for key in self.workers.keys().copied().collect::<Vec<_>>() {
            let worker = &self.workers[&key];
            assert!(!worker.life.has_process() || worker.killed, "seed {}: stays", self.seed);
            self.exit(key);
        }
        self.forget();
        assert!(self.workers.is_empty(), "seed {}: {:?}", self.seed, self.workers);
    }
}

fn standing(life: &WorkerLife) -> Standing {
    Standing::of(life.state())
}
