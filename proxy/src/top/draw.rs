//! The screen, from what is asked for and what is known: nothing else goes in.
//!
//! From top to bottom: who it is and whether it is live, findings, rates, pools, a table, keys.
//! Every text of a snapshot may come from a client, so each goes through `printable`. Nothing is
//! told by colour alone: `NO_COLOR` is respected.

mod tables;

use ostler_status::units::{bytes, count, milliseconds, printable, seconds};
use ostler_status::{Pool, PoolState, Severity, Snapshot, UnixTime, verdicts};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use self::tables::Page;
use super::rows::is_shown;
use super::shown::{Rates, Shown};
use super::state::{State, View};

/// Lines that a screen needs for more than the table.
const SMALL: u16 = 30;

/// Columns from which on there is room for what is nice to have.
pub(crate) const WIDE: u16 = 110;

const KEYS: [&str; 13] = [
    "1 2 3 4         requests, routes, workers, events",
    "t c d r p       sort by time, cpu, database queries, route, pool",
    "Tab             the next pool alone; after the last one, all",
    "Space           pause, go on",
    "\u{2190} \u{2192}             one second back, on; with Shift ten, with Control sixty",
    "[ ]  { }        the same: ten seconds, a minute",
    "n               now",
    "\u{2191} \u{2193} PgUp PgDn   scroll",
    "q Esc Ctrl-C    end",
    "",
    "Requests past their request-timeout are marked and come first.",
    "Routes are those of the last minute.",
    "Any key goes on.",
];

/// Draws all of it.
pub(crate) fn screen(frame: &mut Frame<'_>, state: &State, shown: &Shown) {
    let area = frame.area();
    let Some(snapshot) = &shown.snapshot else { return waiting(frame, area, shown) };
    let is_small = area.height < SMALL;
    let findings = findings(snapshot, shown, area.width, if is_small { 2 } else { 6 });
    let pools = pools(snapshot, state, area.width, usize::from(area.height / 4).max(1));
    let heights = [1, lines(&findings), 1, lines(&pools), 1].map(Constraint::Length);
    let rest = [Constraint::Min(0), Constraint::Length(1)];
    let areas = Layout::vertical(heights.into_iter().chain(rest)).split(area);
    let [head, middle, numbers, gauges, tabs, table, foot] = &*areas else { return };
    head_line(frame, *head, state, snapshot);
    frame.render_widget(Paragraph::new(findings), *middle);
    frame.render_widget(rates(snapshot, &shown.rates, area.width), *numbers);
    frame.render_widget(Paragraph::new(pools), *gauges);
    if state.is_help {
        frame.render_widget(
            Paragraph::new(KEYS.map(|key| Line::from(format!("  {key}"))).to_vec()),
            *table,
        );
    } else {
        let rows = Page { frame: &mut *frame, area: *table, state, snapshot }.draw();
        tab_line(frame, *tabs, state, rows);
    }
    let keys =
        " 1-4 view  t c d r p sort  Tab pool  Space pause  \u{2190} \u{2192} past  ? help  q quit";
    frame.render_widget(Line::from(keys).dim(), *foot);
}

fn lines(text: &[Line<'_>]) -> u16 {
    u16::try_from(text.len()).unwrap_or(u16::MAX)
}

/// Before the first answer.
fn waiting(frame: &mut Frame<'_>, area: Rect, shown: &Shown) {
    let text = match &shown.trouble {
        Some((why, _)) => vec![
            Line::from(printable(why)).fg(Color::Red).bold(),
            Line::from("Trying again; q ends."),
        ],
        None => vec![Line::from("Asking the server ...")],
    };
    frame.render_widget(Paragraph::new(text).wrap(ratatui::widgets::Wrap { trim: true }), area);
}

fn head_line(frame: &mut Frame<'_>, area: Rect, state: &State, snapshot: &Snapshot) {
    let server = &snapshot.server;
    let standing = if server.draining { "draining" } else { "serving" };
    let head = Line::from(vec![
        Span::from(format!(" Ostler {}", printable(&server.version))).bold(),
        Span::from(format!("  {standing}")).fg(if server.draining {
            Color::Yellow
        } else {
            Color::Green
        }),
        Span::from(format!(
            "  up {}  configuration {}",
            seconds(server.uptime_s),
            server.config_version
        )),
    ]);
    let taken = snapshot.taken();
    let (word, colour) = match (state.at, state.is_paused) {
        (Some(_), _) => (" PAST ", Color::Magenta),
        (None, true) => (" PAUSED ", Color::Yellow),
        (None, false) => (" LIVE ", Color::Green),
    };
    // The date matters in the past alone.
    let clock = if state.at.is_some() { taken.date_and_clock() } else { taken.clock() };
    let badge = Style::new().fg(colour).add_modifier(Modifier::REVERSED | Modifier::BOLD);
    let right = Line::from(vec![Span::from(format!("{clock} UTC ")), Span::styled(word, badge)]);
    let width = u16::try_from(right.width()).unwrap_or(area.width);
    let [left, corner] =
        Layout::horizontal([Constraint::Min(0), Constraint::Length(width)]).areas(area);
    frame.render_widget(head, left);
    frame.render_widget(right.alignment(Alignment::Right), corner);
}

/// The findings, the worst first, `most` of them.
fn findings<'a>(snapshot: &Snapshot, shown: &Shown, width: u16, most: usize) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    if let Some((why, since)) = &shown.trouble {
        let text = format!("{} Trying again; this is what it said last.", sentence(why, *since));
        lines.extend(finding("\u{2716}", Color::Red, &text, width));
    }
    let verdicts = verdicts(snapshot);
    for verdict in verdicts.iter().take(most) {
        let (mark, colour) = match verdict.severity {
            Severity::Bad => ("\u{2716}", Color::Red),
            Severity::Warning => ("!", Color::Yellow),
            Severity::Note => ("\u{00b7}", Color::Cyan),
            Severity::Good => ("\u{2714}", Color::Green),
        };
        lines.extend(finding(mark, colour, &printable(&verdict.to_string()), width));
    }
    if let Some(more) = verdicts.len().checked_sub(most + 1) {
        lines.push(Line::from(format!("   and {} more", more + 1)).dim());
    }
    lines
}

fn sentence(why: &str, since: UnixTime) -> String {
    format!("No answer since {} UTC: {}.", since.clock(), printable(why))
}

/// A finding on two lines at the most: what it is about stands in front.
fn finding<'a>(mark: &'static str, colour: Color, text: &str, width: u16) -> Vec<Line<'a>> {
    let room = usize::from(width).saturating_sub(4);
    let first = broken(text, room);
    let (first, second) = (&text[..first], text[first..].trim_start());
    let line = |mark: &'static str, text: &str| {
        let mark = Span::from(format!(" {mark} ")).fg(colour).bold();
        Line::from(vec![mark, Span::from(text.to_owned()).fg(colour)])
    };
    let second = (!second.is_empty()).then(|| line(" ", second));
    std::iter::once(line(mark, first)).chain(second).collect()
}

/// How many bytes of `text` fit into `room` characters, if it is broken at a space.
fn broken(text: &str, room: usize) -> usize {
    let Some((end, _)) = text.char_indices().nth(room) else { return text.len() };
    match text[..end].rfind(' ') {
        Some(space) if end / 2 < space => space,
        _ => end,
    }
}

fn rates<'a>(snapshot: &Snapshot, rates: &Rates, width: u16) -> Line<'a> {
    let number = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), short);
    let size = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |rate| bytes(whole(rate)));
    let percent =
        rates.processors.map_or_else(|| "-".to_owned(), |part| format!("{:.0} %", part * 100.0));
    let connections = &snapshot.connections;
    let mut parts = Vec::new();
    for (name, value, is_bad) in [
        (if width < WIDE { "req/s" } else { "requests/s" }, number(rates.requests), false),
        ("5xx/s", number(rates.errors), rates.errors.is_some_and(|rate| 0.0 < rate)),
        ("shed/s", number(rates.shed), rates.shed.is_some_and(|rate| 0.0 < rate)),
        ("in", format!("{}/s", size(rates.received_bytes)), false),
        ("out", format!("{}/s", size(rates.sent_bytes)), false),
        ("cpu", percent, false),
        (
            if width < WIDE { "conn" } else { "connections" },
            format!("{}/{}", connections.open, connections.max),
            connections.max <= connections.open,
        ),
    ] {
        parts.push(Span::from(format!(" {name} ")).dim());
        let value = Span::from(format!("{value} ")).bold();
        parts.push(if is_bad { value.fg(Color::Red) } else { value });
    }
    Line::from(parts)
}

/// A line for each pool that is shown, `most` of them.
fn pools<'a>(snapshot: &Snapshot, state: &State, width: u16, most: usize) -> Vec<Line<'a>> {
    let shown: Vec<(&String, &Pool)> =
        snapshot.pools.iter().filter(|(name, _)| is_shown(state, Some(name))).collect();
    let names = shown.iter().map(|(name, _)| printable(name).chars().count());
    let longest = names.max().unwrap_or_default().clamp(4, 16);
    let mut lines: Vec<Line<'a>> =
        shown.iter().take(most).map(|(name, pool)| pool_line(name, pool, longest, width)).collect();
    if shown.is_empty() {
        let text = state.pool.as_ref().map_or_else(
            || " no pool is configured".to_owned(),
            |pool| format!(" there is no pool {}; Tab shows the others", printable(pool)),
        );
        lines.push(Line::from(text).fg(Color::Yellow));
    }
    if let Some(more) = shown.len().checked_sub(most + 1) {
        lines.push(
            Line::from(format!(" and {} more pools; Tab shows them one by one", more + 1)).dim(),
        );
    }
    lines
}

fn pool_line<'a>(name: &str, pool: &Pool, longest: usize, width: u16) -> Line<'a> {
    let cells: u64 = if width < WIDE { 10 } else { 24 };
    let is_full = pool.capacity != 0 && pool.capacity <= pool.busy;
    let colour = match pool.state {
        PoolState::Ok => Color::Green,
        PoolState::Starting | PoolState::Degraded => Color::Yellow,
        PoolState::Down => Color::Red,
    };
    let name: String = printable(name).chars().take(longest).collect();
    let mut parts = vec![
        Span::from(format!(" {name:<longest$} ")).bold(),
        Span::from(format!("{:<8} ", pool.state.name())).fg(colour),
        Span::from("busy ").dim(),
    ];
    parts.extend(bar(
        pool.busy,
        pool.capacity,
        cells,
        if is_full { Color::Red } else { Color::Blue },
    ));
    parts.push(Span::from(format!(" {:<7} ", format!("{}/{}", pool.busy, pool.capacity))));
    parts.push(Span::from("queue ").dim());
    parts.extend(bar(pool.queued, pool.queue_length, cells, Color::Red));
    parts.push(Span::from(format!(" {:<7} ", format!("{}/{}", pool.queued, pool.queue_length))));
    if pool.stuck != 0 {
        parts.push(Span::from(format!("{} stuck ", pool.stuck)).fg(Color::Red).bold());
    }
    let (wait, run) = (milliseconds(pool.queue_wait_ms.p99), milliseconds(pool.run_ms.p99));
    if width < WIDE {
        parts.push(Span::from(format!("p99 {run}")).dim());
    } else {
        let ready = format!("{} of {} ready", pool.ready, pool.processes);
        parts.push(Span::from(format!("p99: wait {wait}, run {run}  {ready}")).dim());
    }
    Line::from(parts)
}

/// A bar that is only empty for nothing and only full for everything.
fn bar<'a>(number: u64, of: u64, cells: u64, colour: Color) -> [Span<'a>; 2] {
    let filled = match (number, of) {
        (0, _) | (_, 0) => 0,
        _ if of <= number => cells,
        _ => (number.saturating_mul(cells) / of).clamp(1, cells - 1),
    };
    let repeat = |cell: &str, number: u64| cell.repeat(usize::try_from(number).unwrap_or(0));
    let empty = Span::from(repeat("\u{2500}", cells - filled)).dim();
    [Span::from(repeat("\u{2501}", filled)).fg(colour).bold(), empty]
}

fn tab_line(frame: &mut Frame<'_>, area: Rect, state: &State, rows: usize) {
    let mut parts = Vec::new();
    for (number, view) in (1..).zip(View::ALL) {
        let is_open = view == state.view;
        let rows = if is_open { format!(" ({rows})") } else { String::new() };
        let tab = Span::from(format!(" {number} {}{rows} ", view.name()));
        parts.push(if is_open { tab.bold().reversed() } else { tab.dim() });
        parts.push(Span::from(" "));
    }
    let pool = state.pool.as_deref().unwrap_or("all");
    parts.push(Span::from(format!(" sort {}  pool {}", state.sort.name(), printable(pool))).dim());
    frame.render_widget(Line::from(parts), area);
}

/// A rate with what matters of it: `0.3`, `12`, `1 234`.
fn short(rate: f64) -> String {
    if rate == 0.0 {
        "0".to_owned()
    } else if rate < 10.0 {
        format!("{rate:.1}")
    } else {
        count(whole(rate))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and the number is only shown"
)]
fn whole(rate: f64) -> u64 {
    rate as u64
}

#[cfg(test)]
mod tests;
