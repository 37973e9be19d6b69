//! Lines of the last hour, as small drawings with their figures beside them as text.

use std::fmt::Write;

use super::markup::Markup;

/// Height of a drawing in its own units; as many units wide as there are steps.
const HEIGHT: f64 = 30.0;

/// One line: a number for each step, `None` where nothing is known.
pub(super) struct Line<'a> {
    pub(super) name: &'static str,
    pub(super) points: &'a [Option<f64>],
    /// What the number cannot exceed, drawn as a line of its own.
    pub(super) limit: Option<f64>,
    /// How the numbers are read.
    pub(super) show: &'a dyn Fn(f64) -> String,
}

/// Writes a line with its name, its extremes and its last number.
pub(super) fn write_figure(page: &mut Markup, line: &Line<'_>) {
    let known = || line.points.iter().flatten().copied();
    let least = known().fold(f64::INFINITY, f64::min);
    let most = known().fold(0.0, f64::max);
    page.put("<figure><figcaption>", line.name, " <span class=\"soft\">");
    if known().next().is_none() {
        page.raw("nothing recorded in the last hour</span></figcaption></figure>\n");
        return;
    }
    let [least, shown_most] = [least, most].map(line.show);
    let last = line.points.last().copied().flatten();
    let last = last.map_or_else(|| "unknown".to_owned(), line.show);
    let gaps = match line.points.iter().filter(|point| point.is_none()).count() {
        0 => String::new(),
        gaps => format!(", nothing recorded in {} % of it", gaps * 100 / line.points.len()),
    };
    page.put("", &least, " to ").text(&shown_most).put(", last ", &last, "</span></figcaption>");
    page.put("<svg role=\"img\" aria-label=\"", line.name, " in the last hour: between ");
    page.text(&least).put(" and ", &shown_most, ", last ").text(&last).text(gaps);
    page.put("\" viewBox=\"0 -1 ", line.points.len().max(2) - 1, " 32\"");
    page.raw(" preserveAspectRatio=\"none\">");
    let top = line.limit.unwrap_or(0.0).max(most);
    if let Some(limit) = line.limit {
        let (height, end) = (y(limit, top), line.points.len());
        page.put("<path class=\"limit\" d=\"M0 ", format_args!("{height:.1}"), "H");
        page.text(end).raw("\"/>");
    }
    page.put("<path class=\"line\" d=\"", path(line.points, top), "\"/></svg></figure>\n");
}

/// The line as the data of a path: broken where nothing is known.
fn path(points: &[Option<f64>], top: f64) -> String {
    let mut data = String::with_capacity(points.len() * 8);
    let mut is_open = false;
    for (x, point) in points.iter().enumerate() {
        let Some(value) = point else {
            is_open = false;
            continue;
        };
        let command = if is_open { 'L' } else { 'M' };
        write!(data, "{command}{x} {:.1}", y(*value, top))
            .expect("writing to a String cannot fail");
        // A step between two gaps would not be drawn without a length.
        if !is_open && points.get(x + 1).copied().flatten().is_none() {
            data.push_str("h.01");
        }
        is_open = true;
    }
    data
}

fn y(value: f64, top: f64) -> f64 {
    if top <= 0.0 { HEIGHT } else { HEIGHT - value.clamp(0.0, top) / top * HEIGHT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_a_gap_and_a_lone_step_a_dot() {
        let (zero, full, none) = (Some(0.0), Some(10.0), None);
        for (points, expected) in [
            (vec![], ""),
            (vec![none, none], ""),
            (vec![zero, full], "M0 30.0L1 0.0"),
            (vec![zero, none, full, Some(5.0)], "M0 30.0h.01M2 0.0L3 15.0"),
        ] {
            assert_eq!(path(&points, 10.0), expected, "{points:?}");
        }
        assert_eq!(path(&[zero], 0.0), "M0 30.0h.01", "nothing happened");
    }

    #[test]
    fn a_line_is_told_in_words_too() {
        let mut page = Markup::default();
        let points = [Some(2.0), None, Some(7.0), Some(3.0)];
        let show = |value: f64| format!("{value:.0}");
        write_figure(
            &mut page,
            &Line { name: "Busy", points: &points, limit: Some(8.0), show: &show },
        );
        let page = page.finish();
        let label =
            "Busy in the last hour: between 2 and 7, last 3, nothing recorded in 25 % of it";
        assert!(page.contains(&format!("aria-label=\"{label}\"")), "{page}");
        assert!(page.contains("class=\"limit\""), "{page}");
        let mut page = Markup::default();
        write_figure(&mut page, &Line { name: "Busy", points: &[None], limit: None, show: &show });
        assert!(page.finish().contains("nothing recorded in the last hour"));
    }
}
