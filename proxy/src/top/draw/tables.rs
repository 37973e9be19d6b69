//! The tables in the lower part of the screen, of which one is shown.

use ostler_status::units::{bytes, count, duration, milliseconds, printable, seconds};
use ostler_status::{Event, EventKind, Snapshot, Worker};
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::widgets::{Cell, Row, Table};

use super::WIDE;
use crate::top::rows::{self, Running, is_shown, queries_each};
use crate::top::state::{State, View};

/// From this age on, in milliseconds, a request is shown as slow, and from the next as old. As on
/// the status page.
const SLOW_MS: u64 = 1_000;
const OLD_MS: u64 = 10_000;

/// A column: its head, its width, and what is in it. Width 0: what is left.
type Column = (&'static str, u16, Kind);

/// What is in a column, and on which screens it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Text, to the left.
    Text,
    /// A number, to the right.
    Number,
    /// Text, on wide screens alone.
    WideText,
    /// A number, on wide screens alone.
    WideNumber,
}

use Kind::{Number, Text, WideNumber, WideText};

/// Where a table is drawn, and from what.
pub(super) struct Page<'p, 'f> {
    pub(super) frame: &'p mut Frame<'f>,
    pub(super) area: Rect,
    pub(super) state: &'p State,
    pub(super) snapshot: &'p Snapshot,
}

impl Page<'_, '_> {
    /// Draws the table that is chosen. Returns how many rows there are.
    pub(super) fn draw(self) -> usize {
        match self.state.view {
            View::Requests => requests(self),
            View::Routes => routes(self),
            View::Workers => workers(self),
            View::Events => events(self),
        }
    }

    /// Draws a table from those rows that are on the screen, or says why there is none.
    fn table<T>(
        self,
        (columns, empty): (&[Column], &'static str),
        rows: &[T],
        cells: impl Fn(&T) -> (Vec<String>, Style),
    ) -> usize {
        let Self { frame, area, state, .. } = self;
        let is_wide = WIDE <= area.width;
        let has_room = |column: &Column| is_wide || matches!(column.2, Text | Number);
        let widths =
            columns.iter().filter(|column| has_room(column)).map(|&(_, width, _)| match width {
                0 => Constraint::Min(10),
                width => Constraint::Length(width),
            });
        let head = columns.iter().filter(|column| has_room(column));
        let head = head.map(|column| cell(column.0.to_owned(), column.2));
        let height = usize::from(area.height.saturating_sub(1));
        let first = state.scrolled(rows.len(), height);
        let mut shown: Vec<Row<'_>> = Vec::new();
        for row in rows.iter().skip(first).take(height) {
            let (cells, style) = cells(row);
            let kept = cells.into_iter().zip(columns).filter(|(_, column)| has_room(column));
            shown.push(Row::new(kept.map(|(text, column)| cell(text, column.2))).style(style));
        }
        if rows.is_empty() {
            let line = Rect { y: area.y.saturating_add(1), height: area.height.min(2) / 2, ..area };
            frame.render_widget(ratatui::text::Line::from(format!(" {empty}")).dim(), line);
        }
        let head =
            Row::new(head).style(Style::new().add_modifier(Modifier::UNDERLINED | Modifier::DIM));
        frame.render_widget(Table::new(shown, widths).header(head).column_spacing(1), area);
        rows.len()
    }
}

fn requests(page: Page<'_, '_>) -> usize {
    const COLUMNS: [Column; 9] = [
        ("", 5, Text),
        ("time", 12, Number),
        ("cpu", 8, Number),
        ("db", 5, Number),
        ("pool", 10, Text),
        ("worker", 9, Text),
        ("client", 18, WideText),
        ("request", 0, Text),
        ("route", 26, WideText),
    ];
    let rows = rows::requests(page.snapshot, page.state);
    page.table((&COLUMNS, "no request is in the application"), &rows, |row| {
        let Running { pool, worker, thread, request } = row;
        let place = format!("{}-{}/{}", worker.slot, worker.generation, thread.thread);
        let cells = vec![
            if thread.stuck { "STUCK".to_owned() } else { String::new() },
            duration(request.running_ms),
            request.cpu_ms.map_or_else(dash, duration),
            if request.costs.db_queries == 0 { dash() } else { count(request.costs.db_queries) },
            shown(pool),
            place,
            shown(&request.client),
            format!("{} {}", shown(&request.method), shown(&request.target)),
            shown(&request.route),
        ];
        let style = match request.running_ms {
            _ if thread.stuck => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
            OLD_MS.. => Style::new().fg(Color::Red),
            SLOW_MS.. => Style::new().fg(Color::Yellow),
            _ => Style::new(),
        };
        (cells, style)
    })
}

fn routes(page: Page<'_, '_>) -> usize {
    const COLUMNS: [Column; 11] = [
        ("share", 6, Number),
        ("busy", 5, Number),
        ("requests", 9, Number),
        ("errors", 7, Number),
        ("cpu", 9, Number),
        ("db each", 8, Number),
        ("db time", 9, Number),
        ("too many", 9, WideNumber),
        ("calls", 7, WideNumber),
        ("pool", 12, WideText),
        ("route", 0, Text),
    ];
    let rows = rows::routes(page.snapshot, page.state);
    let budget = page.snapshot.server.query_budget;
    page.table((&COLUMNS, "no route is known yet"), &rows, |route| {
        let window = &route.window;
        let each = queries_each(route);
        let target = route.pool.as_ref().or(route.origin.as_ref());
        #[expect(clippy::cast_precision_loss, reason = "a budget is a small number")]
        let is_over = budget != 0 && budget as f64 <= each;
        let is_bad = is_over || window.over_budget != 0;
        let mark = if is_bad { "!" } else { "" };
        let cells = vec![
            format!("{:.0} %", window.thread_share * 100.0),
            count(route.busy),
            count(window.requests),
            count(window.errors),
            seconds(window.cpu_s),
            if window.costs.db_queries == 0 { dash() } else { format!("{each:.1}{mark}") },
            milliseconds(window.costs.db_ms),
            count(window.over_budget),
            count(window.costs.outbound_calls),
            target.map_or_else(dash, |name| shown(name)),
            shown(&route.name),
        ];
        (cells, if is_bad { Style::new().fg(Color::Red) } else { Style::new() })
    })
}

fn workers(page: Page<'_, '_>) -> usize {
    const COLUMNS: [Column; 9] = [
        ("pool", 12, Text),
        ("worker", 7, Text),
        ("pid", 8, Number),
        ("state", 9, Text),
        ("age", 12, WideNumber),
        ("memory", 10, Number),
        ("cpu", 12, WideNumber),
        ("requests", 11, Number),
        ("rows", 0, Text),
    ];
    let (state, pools) = (page.state, &page.snapshot.pools);
    let pools = pools.iter().filter(|(name, _)| is_shown(state, Some(name)));
    let rows: Vec<(&str, &Worker)> = pools
        .flat_map(|(name, pool)| pool.workers.iter().map(move |worker| (name.as_str(), worker)))
        .collect();
    page.table((&COLUMNS, "no worker runs"), &rows, |(pool, worker)| {
        let letters = worker.threads.iter().map(|thread| {
            // The one row that a busy operator must not miss.
            if thread.stuck { '!' } else { thread.state.letter() }
        });
        let cells = vec![
            shown(pool),
            format!("{}-{}", worker.slot, worker.generation),
            worker.pid.to_string(),
            worker.state.name().to_owned(),
            seconds(worker.age_s),
            worker.rss_bytes.map_or_else(dash, bytes),
            worker.cpu_s.map_or_else(dash, seconds),
            count(worker.requests_total),
            letters.collect(),
        ];
        let is_bad = worker.threads.iter().any(|thread| thread.stuck);
        (cells, if is_bad { Style::new().fg(Color::Red) } else { Style::new() })
    })
}

fn events(page: Page<'_, '_>) -> usize {
    const COLUMNS: [Column; 3] = [("when (UTC)", 19, Text), ("about", 12, Text), ("what", 0, Text)];
    let (state, events) = (page.state, &page.snapshot.events);
    let rows: Vec<&Event> =
        events.iter().filter(|event| is_shown(state, event.subject.as_deref())).collect();
    page.table((&COLUMNS, "nothing has changed"), &rows, |event| {
        let subject = event.subject.as_ref().map_or_else(String::new, |name| shown(name));
        let cells = vec![event.at.date_and_clock(), subject, shown(&event.text)];
        (cells, event_style(event.kind))
    })
}

fn event_style(kind: EventKind) -> Style {
    match kind {
        EventKind::Stuck | EventKind::WorkerExited | EventKind::Shed | EventKind::QueueFull => {
            Style::new().fg(Color::Red)
        }
        EventKind::PoolFull
        | EventKind::PoolState
        | EventKind::ConfigRefused
        | EventKind::OriginServer
        | EventKind::OverBudget
        | EventKind::Draining => Style::new().fg(Color::Yellow),
        EventKind::Started
        | EventKind::ConfigLoaded
        | EventKind::ProxyReplaced
        | EventKind::WorkerRecycled => Style::new(),
    }
}

fn cell<'a>(text: String, kind: Kind) -> Cell<'a> {
    let line = ratatui::text::Line::from(text);
    Cell::from(match kind {
        Text | WideText => line,
        Number | WideNumber => line.right_aligned(),
    })
}

/// A text of the snapshot, made harmless.
fn shown(text: &str) -> String {
    printable(text).into_owned()
}

fn dash() -> String {
    "-".to_owned()
}
