//! Results as pictures: bars, one for each server and point, the longest as wide as the picture.
//!
//! Each picture has its own light background, so that it can be read on a dark page, too.

use crate::figure::Figure;
use crate::results::{Cell, Results};
use crate::scenario::Kind;
use crate::text::add;

const WIDTH: f64 = 720.0;
const LABEL_WIDTH: f64 = 190.0;
const VALUE_WIDTH: f64 = 90.0;
const BAR_HEIGHT: f64 = 20.0;
const ROW_HEIGHT: f64 = 28.0;
const HEAD_HEIGHT: f64 = 46.0;

/// Colours that differ for every kind of eye (Okabe and Ito).
const COLOURS: [&str; 2] = ["#0072b2", "#e69f00"];

/// One picture: a name for its file, its title, and the figures that a bar is made of.
struct Plot {
    name: &'static str,
    title: &'static str,
    parts: &'static [Figure],
}

/// What is shown of a kind of scenario.
fn plots(kind: Kind) -> &'static [Plot] {
    const COST: Plot = Plot {
        name: "cost",
        title: "processor time of a request in µs: server (blue), worker (orange)",
        parts: &[Figure::ServerCpuUs, Figure::WorkerCpuUs],
    };
    const RATE: Plot =
        Plot { name: "rate", title: "requests a second", parts: &[Figure::RequestsPerSecond] };
    const LATENCY: Plot = Plot {
        name: "p99",
        title: "99th percentile of latency over that of an ideal queue",
        parts: &[Figure::P99OverIdeal],
    };
    const GOODPUT: Plot = Plot {
        name: "goodput",
        title: "answers over capacity",
        parts: &[Figure::GoodputOverCapacity],
    };
    const MEMORY: Plot = Plot {
        name: "connection",
        title: "bytes of each idle connection",
        parts: &[Figure::BytesPerConnection],
    };
    const REST: Plot = Plot {
        name: "rest",
        title: "MiB at rest, workers and segments left out",
        parts: &[Figure::ProxyMemoryMib],
    };
    match kind {
        Kind::Closed => &[COST, RATE],
        Kind::Open => &[LATENCY, GOODPUT],
        Kind::Idle => &[MEMORY, REST],
        Kind::Fault => &[],
    }
}

/// The pictures of a scenario: file name and SVG.
pub(crate) fn draw(results: &Results) -> Vec<(String, String)> {
    let draw = |plot: &Plot| {
        let cells: Vec<&Cell> = results
            .cells
            .iter()
            .filter(|cell| plot.parts.iter().all(|part| cell.medians.contains_key(part)))
            .collect();
        let title = format!("{}: {}", results.scenario.title, plot.title);
        let name = format!("{}-{}.svg", results.scenario.name, plot.name);
        (!cells.is_empty()).then(|| (name, picture(&title, plot.parts, &cells)))
    };
    plots(results.scenario.kind).iter().filter_map(draw).collect()
}

#[expect(clippy::cast_precision_loss, reason = "there are some dozens of rows")]
fn picture(title: &str, parts: &[Figure], cells: &[&Cell]) -> String {
    let sum = |cell: &Cell| parts.iter().map(|part| cell.medians[part].median).sum::<f64>();
    let longest = cells.iter().map(|cell| sum(cell)).fold(f64::MIN_POSITIVE, f64::max);
    let scale = (WIDTH - LABEL_WIDTH - VALUE_WIDTH) / longest;
    let height = HEAD_HEIGHT + ROW_HEIGHT * cells.len() as f64 + 10.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\" fill=\"#222\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" rx=\"6\" fill=\"#fdfdfd\"/>\n\
         <text x=\"14\" y=\"26\" font-weight=\"bold\">{}</text>\n",
        escape(title)
    );
    for (row, cell) in cells.iter().enumerate() {
        let top = HEAD_HEIGHT + ROW_HEIGHT * row as f64;
        let base = top + BAR_HEIGHT - 5.0;
        let label = escape(&cell.label());
        add(&mut svg, format_args!("<text x=\"14\" y=\"{base}\">{label}</text>\n"));
        let mut left = LABEL_WIDTH;
        for (part, colour) in parts.iter().zip(COLOURS) {
            let width = cell.medians[part].median * scale;
            add(
                &mut svg,
                format_args!(
                    "<rect x=\"{left:.1}\" y=\"{top}\" width=\"{width:.1}\" \
                     height=\"{BAR_HEIGHT}\" fill=\"{colour}\"/>\n"
                ),
            );
            left += width;
        }
        let value = parts[0].show(sum(cell));
        add(&mut svg, format_args!("<text x=\"{:.1}\" y=\"{base}\">{value}</text>\n", left + 6.0));
    }
    svg + "</svg>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
