//! What the screen looks like, at the sizes that terminals have.

use ostler_status::{
    Event, Pool, PoolState, Request, Route, Snapshot, Thread, ThreadState, UnixTime, Worker,
    WorkerState,
};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::screen;
use crate::top::shown::{News, Shown};
use crate::top::state::{State, View};

const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;x\u{7}\r\n\u{9b}31m\u{202e}";

#[test]
fn each_view_is_what_it_was_on_a_small_and_on_a_large_terminal() {
    for view in View::ALL {
        let state = State { view, ..State::default() };
        insta::assert_snapshot!(format!("{}_80x24", view.name()), drawn(&state, &site(), 80, 24));
    }
    insta::assert_snapshot!("requests_160x40", drawn(&State::default(), &site(), 160, 40));
    let state = State { view: View::Routes, ..State::default() };
    insta::assert_snapshot!("routes_160x40", drawn(&state, &site(), 160, 40));
    let help = State { is_help: true, ..State::default() };
    insta::assert_snapshot!("help_80x24", drawn(&help, &site(), 80, 24));
}

#[test]
fn the_stuck_request_and_its_worker_are_on_the_smallest_terminal() {
    let screen = drawn(&State::default(), &site(), 80, 24);
    let line = screen.lines().find(|line| line.contains("STUCK")).unwrap();
    assert!(line.contains("/report") && line.contains("0-2/2"), "{screen}");
}

#[test]
fn a_server_that_is_gone_is_told_above_what_it_said_last() {
    let shown = shown(site()).note(News::Trouble("no supervisor answers".into()), at(7_000));
    let screen = rendered(&State::default(), &shown, 100, 24);
    assert!(screen.contains("No answer since 00:00:07 UTC: no supervisor answers."), "{screen}");
    assert!(screen.contains("/report"), "{screen}");
    let never = Shown::default().note(News::Trouble("no supervisor answers".into()), at(0));
    assert!(rendered(&State::default(), &never, 80, 24).contains("no supervisor answers"));
}

#[test]
fn the_past_and_a_pause_cannot_be_taken_for_now() {
    let state = State { at: Some(at(1_000)), ..State::default() };
    assert!(drawn(&state, &site(), 80, 24).contains(" PAST"));
    let state = State { is_paused: true, ..State::default() };
    assert!(drawn(&state, &site(), 80, 24).contains(" PAUSED"));
}

#[test]
fn no_text_of_the_server_steers_the_terminal() {
    let mut hostile = site();
    hostile.server.version = HOSTILE.into();
    hostile.server.config_error = Some(HOSTILE.into());
    let pool = hostile.pools.remove("web").unwrap();
    hostile.pools.insert(HOSTILE.into(), pool);
    for worker in hostile.pools.values_mut().flat_map(|pool| &mut pool.workers) {
        for request in worker.threads.iter_mut().filter_map(|thread| thread.request.as_mut()) {
            let Request { method, target, client, route, .. } = request;
            for text in [method, target, client, route] {
                *text = HOSTILE.into();
            }
        }
    }
    hostile.routes[0].name = HOSTILE.into();
    hostile.events[0].text = HOSTILE.into();
    hostile.events[0].subject = None;
    for view in View::ALL {
        let state = State { view, ..State::default() };
        for (width, height) in [(80, 24), (200, 50)] {
            let screen = drawn(&state, &hostile, width, height);
            let is_harmless = |character: char| {
                character == '\n' || !(character.is_control() || character == '\u{202e}')
            };
            assert!(screen.chars().all(is_harmless), "{screen:?}");
            assert!(screen.contains("\\u{1b}[2J"), "{view:?}: {screen}");
        }
    }
}

#[test]
fn any_size_can_be_drawn() {
    for (width, height) in [(1, 1), (2, 40), (10, 3), (40, 7), (300, 2), (500, 120)] {
        for view in View::ALL {
            drawn(&State { view, scroll: 3, ..State::default() }, &site(), width, height);
        }
        drawn(&State { is_help: true, ..State::default() }, &Snapshot::default(), width, height);
    }
}

fn drawn(state: &State, snapshot: &Snapshot, width: u16, height: u16) -> String {
    rendered(state, &shown(snapshot.clone()), width, height)
}

fn rendered(state: &State, shown: &Shown, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen(frame, state, shown)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| line(y).trim_end().to_owned() + "\n").collect()
}

/// What is known after two looks, two seconds apart.
fn shown(snapshot: Snapshot) -> Shown {
    let mut before = snapshot.clone();
    before.server.uptime_s -= 2.0;
    before.requests.total -= before.requests.total.min(2_468);
    let shown = Shown::default().note(News::Snapshot(Box::new(before)), at(0));
    shown.note(News::Snapshot(Box::new(snapshot)), at(2_000))
}

fn at(ms: u64) -> UnixTime {
    UnixTime::from_ms(ms)
}

/// A site whose pool is full, with a stuck request.
fn site() -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.server.version = "0.1.0".into();
    snapshot.server.uptime_s = 12_345.0;
    snapshot.server.query_budget = 10;
    snapshot.requests.total = 1_234_567;
    snapshot.connections.open = 120;
    snapshot.connections.max = 1_000;
    snapshot.pools.insert("web".into(), pool());
    for (name, share, queries) in [("/leaderboard", 0.62, 6_800), ("/report", 0.3, 0)] {
        let mut route =
            Route { name: name.into(), pool: Some("web".into()), busy: 2, ..Route::default() };
        route.window.requests = 340;
        route.window.thread_s = share * 60.0;
        route.window.thread_share = share;
        route.window.cpu_s = 12.5;
        route.window.costs.db_queries = queries;
        route.window.over_budget = if queries == 0 { 0 } else { 340 };
        snapshot.routes.push(route);
    }
    snapshot.events.push(Event {
        at: at(12_300_000),
        kind: ostler_status::EventKind::Stuck,
        subject: Some("web".into()),
        text: "Worker 0-2 has a stuck request.".into(),
    });
    snapshot
}

fn pool() -> Pool {
    let rows = [("/leaderboard?contest=42", 850), ("/problems", 40), ("/report?from=1970", 83_400)];
    let threads = (0..).zip(rows).map(|(thread, (target, running_ms))| {
        let mut request = Request {
            method: "GET".into(),
            target: target.into(),
            client: "2001:db8::17".into(),
            route: target.split('?').next().unwrap().into(),
            running_ms,
            cpu_ms: Some(running_ms / 10),
            ..Request::default()
        };
        request.costs.db_queries = 20;
        let stuck = 10_000 < running_ms;
        Thread {
            thread,
            stuck,
            state: ThreadState::Working,
            request: Some(request),
            ..Thread::default()
        }
    });
    let worker = Worker {
        generation: 2,
        pid: 300,
        state: WorkerState::Ready,
        age_s: 45.2,
        rss_bytes: Some(47_185_920),
        cpu_s: Some(120.5),
        requests_total: 600_000,
        threads: threads.collect(),
        ..Worker::default()
    };
    Pool {
        state: PoolState::Ok,
        processes: 1,
        threads: 3,
        concurrency: 3,
        capacity: 3,
        ready: 1,
        busy: 3,
        stuck: 1,
        queued: 5,
        queue_length: 100,
        queue_oldest_ms: 1_250,
        workers: vec![worker],
        ..Pool::default()
    }
}
