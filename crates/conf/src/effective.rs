//! A configuration as TOML: with the source of every value for operators, with or without what
//! may be secret, and plain for programs.

use crate::mask;
use crate::model::Config;
use crate::source::Sources;
use crate::table::{Encoded, Fallback, Item, Section};
use crate::tree::{Node, TableNode};
use crate::value::key;

/// Every value followed by where it was set; with `show_defaults` also those that were not.
pub(crate) fn with_sources(
    config: &Config,
    root: &TableNode,
    sources: &Sources,
    show_defaults: bool,
) -> String {
    let text = String::new();
    let mut printer = Printer { sources: Some(sources), show_defaults, is_masked: false, text };
    printer.nested("", &config.encode(), Some(root));
    printer.text
}

/// The same with every value, but without what may be secret.
pub(crate) fn masked(config: &Config, root: &TableNode, sources: &Sources) -> String {
    let text = String::new();
    let mut printer =
        Printer { sources: Some(sources), show_defaults: true, is_masked: true, text };
    printer.nested("", &config.encode(), Some(root));
    printer.text
}

/// Every value and nothing else.
pub(crate) fn plain(config: &Config) -> String {
    let text = String::new();
    let mut printer = Printer { sources: None, show_defaults: true, is_masked: false, text };
    printer.nested("", &config.encode(), None);
    printer.text
}

/// Widest value that comments are lined up behind.
const ALIGN_WITHIN: usize = 48;

struct Printer<'a> {
    /// `None`: no comments.
    sources: Option<&'a Sources>,
    show_defaults: bool,
    is_masked: bool,
    text: String,
}

impl Printer<'_> {
    /// One table under its head: its values, then the tables in it.
    ///
    /// `written`: whether the head is needed although no value is shown.
    fn table(
        &mut self,
        head: &str,
        path: &str,
        section: &Section,
        source: Option<&TableNode>,
        written: bool,
    ) {
        let lines: Vec<(String, String)> =
            section.0.iter().filter_map(|item| self.line(path, item, source)).collect();
        if written || !lines.is_empty() {
            let separator = if self.text.is_empty() { "" } else { "\n" };
            self.push(&format!("{separator}{head}\n"));
        }
        let widths = lines.iter().map(|(value, _)| value.chars().count());
        let width = widths.filter(|width| *width <= ALIGN_WITHIN).max().unwrap_or_default();
        for (value, comment) in lines {
            let line = format!("{value:width$}  {comment}");
            self.push(line.trim_end());
            self.push("\n");
        }
        self.nested(path, section, source);
    }

    /// The tables in a table.
    fn nested(&mut self, path: &str, section: &Section, source: Option<&TableNode>) {
        for item in &section.0 {
            let path =
                if path.is_empty() { item.key.clone() } else { format!("{path}.{}", item.key) };
            match &item.encoded {
                Encoded::Value(_) | Encoded::Absent => {}
                Encoded::Table(section) => {
                    let source = source.and_then(|source| source.table(&item.key));
                    self.table(&format!("[{path}]"), &path, section, source, false);
                }
                Encoded::Tables(sections) => {
                    let elements = source.map_or(&[][..], |source| source.elements(&item.key));
                    for (index, section) in sections.iter().enumerate() {
                        let source = elements.get(index).and_then(|node| node.as_table());
                        let written = source.is_some() || self.show_defaults;
                        self.table(&format!("[[{path}]]"), &path, section, source, written);
                    }
                }
                Encoded::Named(sections) => {
                    let tables = source.and_then(|source| source.table(&item.key));
                    for (name, section) in sections {
                        let path = format!("{path}.{}", key(name));
                        let source = tables.and_then(|tables| tables.table(name));
                        self.table(&format!("[{path}]"), &path, section, source, true);
                    }
                }
            }
        }
    }

    /// A value and the comment behind it; `None` when it is not shown.
    fn line(
        &self,
        path: &str,
        item: &Item,
        source: Option<&TableNode>,
    ) -> Option<(String, String)> {
        let node = source.and_then(|source| source.get(&item.key));
        if node.is_none() && !self.show_defaults {
            return None;
        }
        let variables = node.filter(|_| self.is_masked).map(Node::all_variables);
        let variables = variables.unwrap_or_default();
        let value = match &item.encoded {
            Encoded::Value(_) if !variables.is_empty() && item.key != "environment" => {
                format!("{} = {}", item.key, mask::MASK)
            }
            Encoded::Value(value) if self.is_masked => {
                format!("{} = {}", item.key, mask::value(path, &item.key, value, node))
            }
            Encoded::Value(value) => format!("{} = {value}", item.key),
            Encoded::Absent => {
                self.sources?;
                return Some((format!("# {} is not set", item.key), String::new()));
            }
            Encoded::Table(_) | Encoded::Tables(_) | Encoded::Named(_) => return None,
        };
        let comment = match (self.sources, node, item.default) {
            (None, _, _) => String::new(),
            (Some(sources), Some(node), _) => {
                let position = sources.position(node.at);
                let place = format!("# {}:{}", position.path.display(), position.line);
                let names = variables.iter().map(|name| format!("${{{name}}}"));
                std::iter::once(place).chain(names).collect::<Vec<_>>().join(", ")
            }
            (Some(_), None, Fallback::Computed(words)) => format!("# default: {words}"),
            (Some(_), None, _) => "# default".to_owned(),
        };
        Some((value, comment))
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }
}
