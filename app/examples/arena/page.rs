//! The pages: what is shown, as HTML. Whatever a contestant wrote is escaped by the macro.

use maud::{DOCTYPE, Markup, html};

use crate::store::{Attempt, Leader, Problem, Viewer};

/// What every page needs to know.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) viewer: Option<&'a Viewer>,
    /// The path of the page.
    pub(crate) path: &'a str,
    /// Seconds since 1970.
    pub(crate) now: i64,
}

impl Frame<'_> {
    /// Puts `content` into a whole page.
    fn around(&self, title: &str, content: &Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (title) " · Arena" }
                    link rel="icon" href="/static/logo.svg" type="image/svg+xml";
                    link rel="stylesheet" href="/static/arena.css";
                    script src="/static/arena.js" defer {}
                }
                body {
                    header.top { div.wrap {
                        a.brand href="/" { img src="/static/logo.svg" alt=""; "Arena" }
                        nav {
                            (self.link("/", "Problems"))
                            (self.link("/leaders", "Leader board"))
                        }
                        (self.who())
                    } }
                    main { div.wrap { (content) } }
                    footer { div.wrap { "Arena is an example application of Ostler." } }
                }
            }
        }
    }

    fn link(&self, path: &str, text: &str) -> Markup {
        html! { a href=(path) aria-current=[(path == self.path).then_some("page")] { (text) } }
    }

    fn who(&self) -> Markup {
        html! {
            div.who {
                @if let Some(viewer) = self.viewer {
                    span { (viewer.name) " · " (points(viewer.score)) }
                    form method="post" action="/logout" { button.plain { "Sign out" } }
                } @else {
                    a href="/login" { "Sign in" }
                    a href="/register" { "Register" }
                }
            }
        }
    }
}

/// The front page.
pub(crate) fn problems(frame: &Frame<'_>, problems: &[Problem]) -> Markup {
    let solved = problems.iter().filter(|problem| problem.awarded.is_some()).count();
    frame.around("Problems", &html! {
        h1 { "Problems" }
        p.lead {
            "Small problems for a quiet hour. Think, or write a little program; what counts is the "
            "answer. Each wrong one costs a tenth of the points."
            @if frame.viewer.is_some() { " You have solved " (solved) " of " (problems.len()) "." }
        }
        ul.problems data-filter {
            @for problem in problems {
                li { a.card href={ "/problems/" (problem.slug) } {
                    strong { (problem.title) }
                    (facts(problem))
                } }
            }
        }
    })
}

/// The page of one problem, with what the viewer answered so far.
pub(crate) fn problem(frame: &Frame<'_>, problem: &Problem, attempts: &[Attempt]) -> Markup {
    frame.around(&problem.title, &html! {
        h1 { (problem.title) }
        (facts(problem))
        div.columns {
            div.card.statement {
                @for paragraph in problem.statement.split("\n\n") { p { (paragraph) } }
            }
            div.card {
                @if let Some(points_awarded) = problem.awarded {
                    p.note.right role="status" { "Solved, for " (points(points_awarded)) "." }
                    p { a href="/" { "On to the next one" } }
                } @else if frame.viewer.is_some() {
                    @if !attempts.is_empty() {
                        p.note.wrong role="status" { "That was not it. Try again." }
                    }
                    form method="post" {
                        label for="answer" { "Your answer" }
                        input #answer name="answer" required maxlength="200" autocomplete="off" autofocus;
                        button { "Submit" }
                    }
                } @else {
                    p {
                        a href={ "/login?next=/problems/" (problem.slug) } { "Sign in" }
                        " or " a href="/register" { "register" } " to answer."
                    }
                }
                (history(frame, attempts))
            }
        }
    })
}

fn history(frame: &Frame<'_>, attempts: &[Attempt]) -> Markup {
    html! {
        @if !attempts.is_empty() {
            h2 { "Your answers" }
            table { tbody {
                @for attempt in attempts {
                    tr {
                        td { (attempt.answer) }
                        td { @if attempt.points.is_some() { "right" } @else { "wrong" } }
                        td.number { (ago(frame.now, attempt.submitted_at)) }
                    }
                }
            } }
        }
    }
}

fn facts(problem: &Problem) -> Markup {
    html! {
        p.facts {
            span.badge { (problem.level) }
            span { (points(problem.points)) }
            span { "solved by " (problem.solved_by) }
            @if problem.awarded.is_some() { span.badge.solved { "solved" } }
        }
    }
}

/// The leader board.
pub(crate) fn leaders(frame: &Frame<'_>, leaders: &[Leader]) -> Markup {
    let me = frame.viewer.map(|viewer| viewer.id);
    frame.around(
        "Leader board",
        &html! {
            h1 { "Leader board" }
            p.lead { "Of two with the same score, who had it first is ahead." }
            div.card {
                @if leaders.is_empty() {
                    p.empty { "Nobody has solved anything yet. " a href="/" { "Be the first." } }
                } @else {
                    table {
                        thead { tr {
                            th.number { "Place" } th { "Name" } th.number { "Points" }
                            th.number { "Solved" } th.number { "Last" }
                        } }
                        tbody {
                            @for (place, leader) in (1..).zip(leaders) {
                                tr.me[Some(leader.id) == me] {
                                    td.number { (place) }
                                    td { (leader.name) }
                                    td.number { (leader.score) }
                                    td.number { (leader.solved) }
                                    td.number {
                                        @if let Some(at) = leader.scored_at { (ago(frame.now, at)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        },
    )
}

/// A form with a name and a password: to register, or to sign in.
#[derive(Debug)]
pub(crate) struct Account<'a> {
    pub(crate) is_new: bool,
    /// What was filled in before.
    pub(crate) name: &'a str,
    /// Where to go afterwards.
    pub(crate) next: &'a str,
    /// What was wrong with it.
    pub(crate) mistake: Option<&'a str>,
}

/// The page to register or to sign in.
pub(crate) fn account(frame: &Frame<'_>, account: &Account<'_>) -> Markup {
    let title = if account.is_new { "Register" } else { "Sign in" };
    let kind = if account.is_new { "new-password" } else { "current-password" };
    frame.around(title, &html! {
        h1 { (title) }
        div.card.narrow {
            @if let Some(mistake) = account.mistake { p.note.wrong role="alert" { (mistake) } }
            form method="post" {
                label for="name" { "Name" }
                input #name name="name" value=(account.name) required minlength="2" maxlength="24"
                    autocomplete="username" autocapitalize="none" spellcheck="false";
                @if account.is_new {
                    p.hint { "Shown on the leader board. Letters, digits, - _ and ." }
                }
                label for="password" { "Password" }
                input #password name="password" type="password" required autocomplete=(kind)
                    minlength=[account.is_new.then_some("8")];
                @if account.is_new { p.hint { "At least 8 characters." } }
                input type="hidden" name="next" value=(account.next);
                button { (title) }
            }
        }
        @if !account.is_new { p { "New here? " a href="/register" { "Register." } } }
    })
}

/// A page that says why there is no other.
pub(crate) fn apology(frame: &Frame<'_>, title: &str, text: &str) -> Markup {
    frame.around(
        title,
        &html! {
            h1 { (title) }
            p.lead { (text) }
            p { a href="/" { "To the problems" } }
        },
    )
}

fn points(points: i64) -> String {
    if points == 1 { "1 point".to_owned() } else { format!("{points} points") }
}

/// How long ago something was, in the largest unit that fits.
fn ago(now: i64, then: i64) -> String {
    match now.saturating_sub(then) {
        ..60 => "just now".to_owned(),
        seconds @ 60..3600 => format!("{} min ago", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_told_in_the_largest_unit_that_fits() {
        for (seconds, expected) in [
            (-5, "just now"),
            (59, "just now"),
            (60, "1 min ago"),
            (3599, "59 min ago"),
            (7200, "2 h ago"),
            (86_400 * 3, "3 d ago"),
        ] {
            assert_eq!(ago(1_000_000, 1_000_000 - seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn what_a_contestant_wrote_is_never_markup() {
        let viewer = Viewer { id: 1, name: "<b>ada".to_owned(), score: 1 };
        let frame = Frame { viewer: Some(&viewer), path: "/", now: 0 };
        let shown = Problem {
            id: 1,
            slug: "a".to_owned(),
            title: "A & B".to_owned(),
            level: "easy".to_owned(),
            points: 1,
            statement: "one\n\ntwo".to_owned(),
            solved_by: 0,
            awarded: None,
        };
        let script = "<script>alert(1)</script>".to_owned();
        let attempt = Attempt { answer: script, points: None, submitted_at: 0 };
        let page = problem(&frame, &shown, &[attempt]).into_string();
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{page}");
        assert!(page.contains("&lt;b&gt;ada · 1 point"), "{page}");
        assert!(page.contains("<p>one</p><p>two</p>"), "{page}");
        assert!(!page.contains("<script>"), "{page}");
    }
}
