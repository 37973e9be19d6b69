//! `docs/configuration.md`, written from the declarations of the tables.

use crate::model::SECTIONS;
use crate::table::{Fallback, Key};

const INTRODUCTION: &str = include_str!("reference.md");

/// The reference of every key, as Markdown.
///
/// `docs/configuration.md` holds it; a test of this crate fails when the file differs.
pub fn reference() -> String {
    let mut lines: Vec<String> = INTRODUCTION.lines().map(str::to_owned).collect();
    for section in SECTIONS {
        lines.extend([String::new(), format!("## `{}`", section.head), String::new()]);
        lines.extend(section.doc.iter().map(|line| line.trim().to_owned()));
        lines.push(String::new());
        let keys = (section.keys)();
        lines.extend(keys.iter().flat_map(describe));
        if lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

/// A key as an item of a list.
fn describe(key: &Key) -> Vec<String> {
    let Key { name, doc, kind, default, range } = key;
    let default = match default {
        Fallback::Text(text) => format!("; default `{text}`"),
        Fallback::Computed(words) => format!("; default: {words}"),
        Fallback::None => "; optional".to_owned(),
        Fallback::Required => "; required".to_owned(),
        Fallback::Table => String::new(),
    };
    let range = range.as_ref();
    let range = range.map(|(low, high)| format!(", `{low}` to `{high}`")).unwrap_or_default();
    let head = format!("- **`{name}`** ({kind}{range}{default}):");
    let doc = doc.iter().map(|line| format!("  {}", line.trim()));
    std::iter::once(head).chain(doc).collect()
}
