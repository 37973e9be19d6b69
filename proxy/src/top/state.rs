//! What the operator has asked the live view to show, and how a key changes that.

use ostler_status::UnixTime;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Lines that a page up or down moves by.
const PAGE: usize = 10;

/// What fills the lower part of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum View {
    /// Requests in the application.
    #[default]
    Requests,
    /// What each route costs.
    Routes,
    /// Worker processes and their rows.
    Workers,
    /// What changed lately.
    Events,
}

impl View {
    /// In the order of their keys, from 1.
    pub(crate) const ALL: [Self; 4] = [Self::Requests, Self::Routes, Self::Workers, Self::Events];

    /// Its name on the screen.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Routes => "routes",
            Self::Workers => "workers",
            Self::Events => "events",
        }
    }
}

/// By what rows are put in order; the most first, names in alphabetical order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    /// Time in the application.
    #[default]
    Time,
    /// Processor time.
    Processor,
    /// Database queries.
    Queries,
    /// Name of the route.
    Route,
    /// Name of the pool.
    Pool,
}

impl Sort {
    /// Its name on the screen.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Processor => "cpu",
            Self::Queries => "db",
            Self::Route => "route",
            Self::Pool => "pool",
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) view: View,
    pub(crate) sort: Sort,
    /// The only pool that is shown; `None`: all.
    pub(crate) pool: Option<String>,
    /// The picture stands still.
    pub(crate) is_paused: bool,
    /// The moment of the past that is shown; `None`: now.
    pub(crate) at: Option<UnixTime>,
    /// Rows above the first that is shown.
    pub(crate) scroll: usize,
    /// The keys are explained.
    pub(crate) is_help: bool,
    /// The operator has seen enough.
    pub(crate) is_over: bool,
}

/// What a key may depend on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Names of the pools on the screen.
    pub(crate) pools: Vec<String>,
    /// The moment on the screen.
    pub(crate) taken: UnixTime,
    /// The present.
    pub(crate) now: UnixTime,
}

impl State {
    /// Returns what is asked for after a key. One that means nothing changes nothing.
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "most keys of a keyboard mean nothing")]
    pub(crate) fn key(self, key: KeyEvent, seen: &Seen) -> Self {
        if self.is_help && !is_end(key) {
            return Self { is_help: false, ..self };
        }
        match key.code {
            _ if is_end(key) => Self { is_over: true, ..self },
            KeyCode::Char(letter) => self.letter(letter, seen),
            KeyCode::Tab => self.next_pool(&seen.pools),
            KeyCode::BackTab => Self { pool: None, scroll: 0, ..self },
            KeyCode::Left => self.step(-seconds(key.modifiers), seen),
            KeyCode::Right => self.step(seconds(key.modifiers), seen),
            KeyCode::Up => Self { scroll: self.scroll.saturating_sub(1), ..self },
            KeyCode::Down => Self { scroll: self.scroll.saturating_add(1), ..self },
            KeyCode::PageUp => Self { scroll: self.scroll.saturating_sub(PAGE), ..self },
            KeyCode::PageDown => Self { scroll: self.scroll.saturating_add(PAGE), ..self },
            KeyCode::Home => Self { scroll: 0, ..self },
            _ => self,
        }
    }

    fn letter(self, letter: char, seen: &Seen) -> Self {
        match letter {
            '1' => self.view(View::Requests),
            '2' => self.view(View::Routes),
            '3' => self.view(View::Workers),
            '4' => self.view(View::Events),
            't' => self.sort(Sort::Time),
            'c' => self.sort(Sort::Processor),
            'd' => self.sort(Sort::Queries),
            'r' => self.sort(Sort::Route),
            'p' => self.sort(Sort::Pool),
            ' ' => Self { is_paused: !self.is_paused, ..self },
            'n' => Self { at: None, is_paused: false, ..self },
            '[' => self.step(-10, seen),
            ']' => self.step(10, seen),
            '{' => self.step(-60, seen),
            '}' => self.step(60, seen),
            'h' | '?' => Self { is_help: true, ..self },
            _ => self,
        }
    }

    fn view(self, view: View) -> Self {
        Self { view, scroll: 0, ..self }
    }

    fn sort(self, sort: Sort) -> Self {
        Self { sort, scroll: 0, ..self }
    }

    /// The pool after the one that is shown; all after the last one.
    fn next_pool(self, pools: &[String]) -> Self {
        let next = match &self.pool {
            None => pools.first(),
            Some(shown) => pools.iter().find(|pool| shown < *pool),
        };
        Self { pool: next.cloned(), scroll: 0, ..self }
    }

    /// Another moment of the past; the present where it is reached.
    fn step(self, seconds: i64, seen: &Seen) -> Self {
        let from = self.at.unwrap_or(seen.taken);
        let at = UnixTime::from_ms(from.ms.saturating_add_signed(seconds.saturating_mul(1_000)));
        Self { at: (at < seen.now).then_some(at), is_paused: false, ..self }
    }

    /// Returns how many rows to leave out so that the last ones still fill the screen.
    pub(crate) fn scrolled(&self, rows: usize, height: usize) -> usize {
        self.scroll.min(rows.saturating_sub(height))
    }
}

fn is_end(key: KeyEvent) -> bool {
    let is_interrupt =
        key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    is_interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
}

/// How far an arrow goes.
fn seconds(modifiers: KeyModifiers) -> i64 {
    if modifiers.contains(KeyModifiers::CONTROL) {
        60
    } else if modifiers.contains(KeyModifiers::SHIFT) {
        10
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_does_one_thing() {
        let start = State::default;
        check("2", &State { view: View::Routes, ..start() });
        check("3", &State { view: View::Workers, ..start() });
        check("4", &State { view: View::Events, ..start() });
        check("41", &start());
        check("c", &State { sort: Sort::Processor, ..start() });
        check("d", &State { sort: Sort::Queries, ..start() });
        check("r", &State { sort: Sort::Route, ..start() });
        check("p", &State { sort: Sort::Pool, ..start() });
        check("pt", &start());
        check(" ", &State { is_paused: true, ..start() });
        check("  ", &start());
        check("q", &State { is_over: true, ..start() });
        check("?", &State { is_help: true, ..start() });
        check("?2", &start());
        check("?q", &State { is_help: true, is_over: true, ..start() });
        check("x!\u{7}", &start());
    }

    #[test]
    fn the_past_is_walked_through_and_ends_at_the_present() {
        check("[", &past(90));
        check("[[]", &past(90));
        check("{", &past(40));
        check("{}", &State::default());
        check("[n", &State::default());
        check(" [", &past(90));
        let code =
            |state: State, code, modifiers| state.key(KeyEvent::new(code, modifiers), &seen());
        let none = KeyModifiers::NONE;
        assert_eq!(code(State::default(), KeyCode::Left, none), past(99));
        assert_eq!(code(past(50), KeyCode::Right, none), past(51));
        assert_eq!(code(past(50), KeyCode::Right, KeyModifiers::SHIFT), past(60));
        assert_eq!(code(past(50), KeyCode::Left, KeyModifiers::SHIFT), past(40));
        assert_eq!(code(past(10), KeyCode::Left, KeyModifiers::CONTROL), past(0));
        assert_eq!(code(past(90), KeyCode::Right, KeyModifiers::CONTROL), State::default());
    }

    #[test]
    fn tab_goes_through_the_pools_and_back_to_all() {
        let tab = |state: State| state.key(KeyCode::Tab.into(), &seen());
        let first = tab(State::default());
        assert_eq!(first.pool.as_deref(), Some("api"));
        assert_eq!(tab(first.clone()).pool.as_deref(), Some("web"));
        assert_eq!(tab(tab(first.clone())).pool, None);
        assert_eq!(first.key(KeyCode::BackTab.into(), &seen()).pool, None);
        let gone = State { pool: Some("b".to_owned()), ..State::default() };
        assert_eq!(tab(gone).pool.as_deref(), Some("web"), "the one that would come after it");
    }

    #[test]
    fn control_c_and_escape_end_it_and_c_alone_does_not() {
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(State::default().key(control_c, &seen()).is_over);
        assert!(State::default().key(KeyCode::Esc.into(), &seen()).is_over);
        assert!(!State::default().key(KeyCode::Char('c').into(), &seen()).is_over);
    }

    #[test]
    fn scrolling_stops_at_the_last_row() {
        let state = State { scroll: 7, ..State::default() };
        for (rows, height, expected) in [(0, 5, 0), (8, 5, 3), (20, 5, 7), (5, 0, 5)] {
            assert_eq!(state.scrolled(rows, height), expected, "{rows} rows, {height} lines");
        }
    }

    fn past(seconds: u64) -> State {
        State { at: Some(UnixTime::from_ms(seconds * 1_000)), ..State::default() }
    }

    fn seen() -> Seen {
        let pools = vec!["api".to_owned(), "web".to_owned()];
        Seen { pools, taken: UnixTime::from_ms(100_000), now: UnixTime::from_ms(100_000) }
    }

    #[track_caller]
    fn check(letters: &str, expected: &State) {
        let press = |state: State, letter| state.key(KeyCode::Char(letter).into(), &seen());
        assert_eq!(&letters.chars().fold(State::default(), press), expected, "{letters:?}");
    }
}
