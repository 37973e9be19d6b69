//! The transition table, rule by rule, and a simulation of any order of events.

use super::WorkerCommand::{Kill, Serve, Spawn, Terminate, WarmUp, Withdraw};
use super::*;

const LIMITS: WorkerLimits = WorkerLimits {
    start_timeout: Duration::from_secs(30),
    drain_timeout: Duration::from_mins(1),
    stop_timeout: Duration::from_secs(5),
};

/// What a worker that goes all the way sees.
const TO_READY: [WorkerEvent; 4] =
    [WorkerEvent::Tick, WorkerEvent::Ready, WorkerEvent::Warmed, WorkerEvent::Serve];

#[test]
fn a_worker_that_does_what_it_should_is_spawned_warmed_and_served() {
    let mut place = Place::new();
    let commands: Vec<_> = TO_READY.into_iter().map(|event| place.feed(event)).collect();
    assert_eq!(commands, [Some(Spawn), Some(WarmUp), None, Some(Serve)]);
    assert!(matches!(place.life.state(), WorkerState::Ready { .. }));
}

#[test]
fn each_event_has_the_command_of_the_table() {
    use WorkerEvent::{Exited, Ready, Retire, Tick, WarmFailed, Warmed, Withdrawn};

    let (tick, ready, warm, served) =
        (&TO_READY[..1], &TO_READY[..2], &TO_READY[..3], &TO_READY[..]);
    check(&[], Ready, None);
    check(&[], Exited, None);
    check(tick, Warmed, None);
    check(tick, WorkerEvent::Serve, None);
    check(ready, Ready, None);
    check(ready, WarmFailed, Some(Kill));
    check(ready, WorkerEvent::Serve, None);
    check(warm, Tick, None);
    check(warm, Retire, Some(Terminate));
    check(served, Ready, None);
    check(served, Withdrawn, None);
    check(served, Retire, Some(Withdraw));
    check(served, WorkerEvent::Terminate, Some(Terminate));
    check(served, WorkerEvent::Kill, Some(Kill));
    check(&[], Retire, None);
    check(tick, Retire, Some(Terminate));
    check(tick, WorkerEvent::Kill, Some(Kill));
}

#[test]
fn a_retired_worker_is_withdrawn_then_told_to_end_then_killed_and_not_replaced() {
    let mut place = Place::ready();
    assert_eq!(place.feed(WorkerEvent::Retire), Some(Withdraw));
    assert_eq!(place.feed(WorkerEvent::Withdrawn), Some(Terminate));
    assert_eq!(place.wait(LIMITS.stop_timeout), Some(Kill));
    place.feed(WorkerEvent::Exited);
    assert_eq!(place.life.state(), WorkerState::Gone);
    assert_eq!(place.wait(MAX_DELAY), None);
}

#[test]
fn a_drain_that_takes_too_long_ends_in_term() {
    let mut place = Place::ready();
    place.feed(WorkerEvent::Retire);
    assert_eq!(place.wait(LIMITS.drain_timeout / 2), None);
    assert_eq!(place.wait(LIMITS.drain_timeout / 2), Some(Terminate));
}

#[test]
fn the_start_timeout_covers_the_warm_up_too() {
    let mut place = Place::new();
    place.feed(WorkerEvent::Tick);
    place.now += LIMITS.start_timeout / 2;
    place.feed(WorkerEvent::Ready);
    assert_eq!(place.wait(LIMITS.start_timeout / 2), Some(Kill));
}

#[test]
fn a_worker_killed_for_a_failed_start_is_replaced_unless_it_was_retired_meanwhile() {
    for retired in [false, true] {
        let mut place = Place::new();
        place.feed(WorkerEvent::Tick);
        assert_eq!(place.wait(LIMITS.start_timeout), Some(Kill));
        if retired {
            assert_eq!(place.feed(WorkerEvent::Retire), None);
        }
        place.feed(WorkerEvent::Exited);
        let expected = (!retired).then_some(Spawn);
        assert_eq!(place.wait(FIRST_DELAY), expected, "retired: {retired}");
    }
}

#[test]
fn the_delay_doubles_with_each_failed_start_up_to_its_cap() {
    let mut place = Place::new();
    let mut delays = Vec::new();
    for _ in 0..10 {
        assert_eq!(place.feed(WorkerEvent::Tick), Some(Spawn));
        place.feed(WorkerEvent::Exited);
        let due = place.life.due().unwrap();
        delays.push((due - place.now).as_millis());
        place.now = due;
    }
    assert_eq!(delays, [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
    assert_eq!(delay_after(u32::MAX), MAX_DELAY);
}

#[test]
fn a_worker_that_was_ready_for_a_while_is_replaced_at_once_and_its_past_is_forgotten() {
    let mut place = Place::new();
    place.feed(WorkerEvent::Tick);
    place.feed(WorkerEvent::Exited);
    assert_eq!(place.life.failures(), 1);
    place.now += FIRST_DELAY;
    place.start();
    place.now += SETTLED;
    place.feed(WorkerEvent::Exited);
    assert_eq!(place.life.failures(), 0);
    assert_eq!(place.feed(WorkerEvent::Tick), Some(Spawn));
}

#[test]
fn a_worker_that_dies_soon_after_ready_is_replaced_at_once_a_few_times() {
    let mut place = Place::new();
    for _ in 0..FREE_RESTARTS {
        place.start();
        place.feed(WorkerEvent::Exited);
        assert_eq!(place.life.due(), Some(place.now));
    }
    place.start();
    place.feed(WorkerEvent::Exited);
    assert_eq!(place.life.due(), Some(place.now + FIRST_DELAY));
    for _ in 0..10 {
        place.now += MAX_DELAY_READY;
        place.start();
        place.feed(WorkerEvent::Exited);
        assert!(place.life.due() <= Some(place.now + MAX_DELAY_READY), "it serves in between");
    }
}

/// Workers that were ready show that the start works.
#[test]
fn the_delay_doubles_with_failed_starts_and_not_with_workers_that_died_when_ready() {
    let mut place = Place::new();
    for _ in 0..20 {
        place.start();
        place.feed(WorkerEvent::Exited);
        place.now = place.life.due().unwrap();
    }
    let mut delays = Vec::new();
    for _ in 0..5 {
        assert_eq!(place.feed(WorkerEvent::Tick), Some(Spawn));
        place.feed(WorkerEvent::Exited);
        let due = place.life.due().unwrap();
        delays.push((due - place.now).as_millis());
        place.now = due;
    }
    assert_eq!(delays, [1_000, 1_000, 1_000, 2_000, 4_000]);
}

#[test]
fn a_timeout_too_long_for_the_clock_is_no_panic() {
    let limits = WorkerLimits {
        start_timeout: Duration::MAX,
        drain_timeout: Duration::MAX,
        stop_timeout: Duration::MAX,
    };
    let now = start_of_time();
    let (life, command) = WorkerLife::new(now).step(WorkerEvent::Tick, now, &limits);
    assert_eq!(command, Some(Spawn));
    assert_eq!(life.step(WorkerEvent::Tick, now, &limits), (life, None));
}

/// Drives a place with random events under a virtual clock.
///
/// Goal: no order of events breaks an invariant. Method: 256 seeds, 2,000 steps each; a failure
/// prints its seed.
#[test]
fn no_order_of_events_breaks_a_place() {
    for seed in 1..=256 {
        let mut simulation = Simulation::new(seed);
        for step in 0..2_000 {
            simulation.step_at_random();
            simulation.check_invariants(&format!("seed {seed} step {step}"));
        }
        simulation.retire_and_run_until_idle();
        assert!(!simulation.process, "seed {seed}: a worker outlived its retirement");
        assert_eq!(simulation.place.life.state(), WorkerState::Gone, "seed {seed}");
    }
}

#[track_caller]
fn check(before: &[WorkerEvent], event: WorkerEvent, expected: Option<WorkerCommand>) {
    let mut place = Place::new();
    for &event in before {
        place.feed(event);
    }
    assert_eq!(place.feed(event), expected, "{event:?} after {before:?}");
}

#[expect(clippy::disallowed_methods, reason = "any instant will do as the start of a test's time")]
fn start_of_time() -> Instant {
    Instant::now()
}

struct Place {
    life: WorkerLife,
    now: Instant,
}

impl Place {
    fn new() -> Self {
        let now = start_of_time();
        Self { life: WorkerLife::new(now), now }
    }

    fn ready() -> Self {
        let mut place = Self::new();
        place.start();
        place
    }

    fn start(&mut self) {
        for event in TO_READY {
            self.feed(event);
        }
        assert!(matches!(self.life.state(), WorkerState::Ready { .. }));
    }

    fn feed(&mut self, event: WorkerEvent) -> Option<WorkerCommand> {
        let (life, command) = self.life.step(event, self.now, &LIMITS);
        self.life = life;
        command
    }

    fn wait(&mut self, time: Duration) -> Option<WorkerCommand> {
        self.now += time;
        self.feed(WorkerEvent::Tick)
    }
}

/// A place, and the process that its commands would have made.
#[expect(clippy::struct_excessive_bools, reason = "each is one fact about the process")]
struct Simulation {
    place: Place,
    random: u64,
    process: bool,
    terminated: bool,
    killed: bool,
    serves: bool,
    retired: bool,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        Self {
            place: Place::new(),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            process: false,
            terminated: false,
            killed: false,
            serves: false,
            retired: false,
        }
    }

    fn step_at_random(&mut self) {
        use WorkerEvent::{Exited, Kill, Ready, Retire, Serve, Terminate, Tick};
        use WorkerEvent::{WarmFailed, Warmed, Withdrawn};

        if self.place.life.state() == WorkerState::Gone && !self.process {
            let Self { random, .. } = *self;
            *self = Self::new(random);
        }
        let pause = Duration::from_millis(self.below(3_000));
        self.place.now += pause;
        let event = match self.below(64) {
            0 => Retire,
            1 => Terminate,
            2 => Kill,
            3 => WarmFailed,
            4..=9 if self.process => Exited,
            10..=19 => Ready,
            20..=29 => Warmed,
            30..=39 => Serve,
            40..=44 => Withdrawn,
            _ => Tick,
        };
        self.apply(event);
    }

    fn apply(&mut self, event: WorkerEvent) {
        match event {
            WorkerEvent::Exited => {
                self.process = false;
                self.serves = false;
            }
            WorkerEvent::Retire | WorkerEvent::Terminate | WorkerEvent::Kill => {
                self.retired = true;
            }
            WorkerEvent::Tick
            | WorkerEvent::Ready
            | WorkerEvent::Warmed
            | WorkerEvent::WarmFailed
            | WorkerEvent::Serve
            | WorkerEvent::Withdrawn => {}
        }
        match self.place.feed(event) {
            Some(Spawn) => {
                assert!(!self.process, "two processes in one place");
                assert!(!self.retired, "a start in a retired place");
                (self.process, self.terminated, self.killed) = (true, false, false);
            }
            Some(Serve) => {
                assert!(self.process && !self.terminated && !self.killed);
                self.serves = true;
            }
            Some(Withdraw) => {
                assert!(self.serves, "withdrawn without having served");
                self.serves = false;
            }
            Some(Terminate) => {
                assert!(self.process && !self.terminated && !self.killed);
                (self.terminated, self.serves) = (true, false);
            }
            Some(Kill) => {
                assert!(self.process && !self.killed, "killed twice");
                (self.killed, self.serves) = (true, false);
            }
            Some(WarmUp) => assert!(self.process),
            None => {}
        }
    }

    fn check_invariants(&self, at: &str) {
        let life = &self.place.life;
        assert_eq!(life.has_process(), self.process, "{at}");
        let ready = matches!(life.state(), WorkerState::Ready { .. });
        assert_eq!(ready, self.serves, "{at}");
        let waits = matches!(
            life.state(),
            WorkerState::Warm
                | WorkerState::Ready { .. }
                | WorkerState::Killed { .. }
                | WorkerState::Gone
        );
        assert_eq!(life.due().is_none(), waits, "{at}: nothing would ever end the state");
        if let WorkerState::Vacant { retry_at } = life.state() {
            assert!(retry_at <= self.place.now + MAX_DELAY, "{at}: waits for too long");
        }
    }

    /// Nothing happens any more but time, and deaths by KILL.
    fn retire_and_run_until_idle(&mut self) {
        self.apply(WorkerEvent::Retire);
        for _ in 0..3 {
            self.place.now += LIMITS.drain_timeout;
            self.apply(WorkerEvent::Tick);
        }
        if self.process {
            assert!(self.killed, "never killed");
            self.apply(WorkerEvent::Exited);
        }
    }

    /// Xorshift: the tests need variety, not quality.
    fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % limit
    }
}
