//! The files as one tree of values that know where they stand.
//!
//! Between the TOML parser and the decoder: `${NAME}` is replaced here, and included files are
//! merged here. The tree knows nothing of which keys exist.

use std::collections::BTreeMap;
use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::source::{Place, Sources};
use crate::surroundings::Surroundings;
use crate::variable;

/// A value and where it starts.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: Place,
    /// Variables of the environment that its text was made from.
    pub(crate) variables: Vec<String>,
    pub(crate) data: Data,
}

/// A value of one of TOML's types.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Text(String),
    /// `None`: outside 64 bits.
    Integer(Option<i64>),
    Boolean(bool),
    /// As written, without underscores.
    Float(String),
    /// No key takes one, so the value itself is not kept.
    Datetime,
    Array(Vec<Node>),
    Table(TableNode),
}

/// A table and what its keys hold.
#[derive(Clone, Debug)]
pub(crate) struct TableNode {
    pub(crate) at: Place,
    /// The path to it, such as `pool.web`; empty for the whole file.
    pub(crate) path: String,
    pub(crate) entries: BTreeMap<String, Entry>,
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key_at: Place,
    pub(crate) value: Node,
}

impl TableNode {
    /// A table without keys.
    pub(crate) fn empty(at: Place, path: impl Into<String>) -> Self {
        Self { at, path: path.into(), entries: BTreeMap::new() }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// The table at `key`, if there is one.
    pub(crate) fn table(&self, key: &str) -> Option<&Self> {
        self.get(key).and_then(Node::as_table)
    }

    /// The elements of the array at `key`; none when it is absent or something else.
    pub(crate) fn elements(&self, key: &str) -> &[Node] {
        let Some(Data::Array(elements)) = self.get(key).map(|node| &node.data) else { return &[] };
        elements
    }

    /// The tables of `[[key]]`.
    pub(crate) fn tables_mut(&mut self, key: &str) -> impl Iterator<Item = &mut Self> {
        let elements = match self.entries.get_mut(key).map(|entry| &mut entry.value.data) {
            Some(Data::Array(elements)) => elements.as_mut_slice(),
            _ => &mut [],
        };
        elements.iter_mut().filter_map(Node::as_table_mut)
    }

    /// The table at `key`, made at `place` when the key is absent; `None` when it is something
    /// else.
    pub(crate) fn table_or_insert(&mut self, key: &str, place: Place) -> Option<&mut Self> {
        let path = self.path_of(key);
        let entry = self.entries.entry(key.to_owned()).or_insert_with(|| {
            let data = Data::Table(Self::empty(place, path));
            Entry { key_at: place, value: Node { at: place, variables: Vec::new(), data } }
        });
        entry.value.as_table_mut()
    }

    /// Where the value of `key` stands; the table itself when the key is absent.
    pub(crate) fn place(&self, key: &str) -> Place {
        self.get(key).map_or(self.at, |node| node.at)
    }

    /// The path to `key` in this table.
    pub(crate) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

impl Node {
    pub(crate) fn as_table(&self) -> Option<&TableNode> {
        if let Data::Table(table) = &self.data { Some(table) } else { None }
    }

    fn as_table_mut(&mut self) -> Option<&mut TableNode> {
        if let Data::Table(table) = &mut self.data { Some(table) } else { None }
    }

    /// Variables of the environment that it, or anything in it, was made from.
    pub(crate) fn all_variables(&self) -> Vec<String> {
        let inner: Vec<String> = match &self.data {
            Data::Array(elements) => elements.iter().flat_map(Self::all_variables).collect(),
            Data::Table(table) => {
                table.entries.values().flat_map(|entry| entry.value.all_variables()).collect()
            }
            Data::Text(_)
            | Data::Integer(_)
            | Data::Boolean(_)
            | Data::Float(_)
            | Data::Datetime => Vec::new(),
        };
        self.variables.iter().cloned().chain(inner).collect()
    }

    /// What to call it when variables of the environment are in it: their text may be secret.
    pub(crate) fn made_from(&self) -> Option<String> {
        let what = match &self.data {
            Data::Array(_) if !self.is_tables() => "an array",
            Data::Text(_) => "a string",
            Data::Array(_)
            | Data::Table(_)
            | Data::Integer(_)
            | Data::Boolean(_)
            | Data::Float(_)
            | Data::Datetime => return None,
        };
        let variables = self.all_variables();
        let names: Vec<String> = variables.iter().map(|name| format!("${{{name}}}")).collect();
        (!names.is_empty()).then(|| format!("{what} made from {}", names.join(", ")))
    }

    /// Whether this is `[[…]]`, or could have been written so.
    fn is_tables(&self) -> bool {
        let Data::Array(elements) = &self.data else { return false };
        elements.iter().all(|element| element.as_table().is_some())
    }
}

/// As in "found …".
impl fmt::Display for Data {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(formatter, "the string {text:?}"),
            Self::Integer(Some(number)) => write!(formatter, "the number {number}"),
            Self::Integer(None) => write!(formatter, "a number outside 64 bits"),
            Self::Boolean(value) => write!(formatter, "{value}"),
            Self::Float(text) => write!(formatter, "the number {text}"),
            Self::Datetime => write!(formatter, "a date or time"),
            Self::Array(_) => write!(formatter, "an array"),
            Self::Table(_) => write!(formatter, "a table"),
        }
    }
}

/// An error, before its place is turned into a line and a column.
pub(crate) type Problem = (Place, String);

/// Turns parsed TOML into nodes of one file.
pub(crate) struct TreeBuilder<'a> {
    pub(crate) file: usize,
    pub(crate) surroundings: &'a Surroundings,
    pub(crate) problems: Vec<Problem>,
}

impl TreeBuilder<'_> {
    /// The table `path`, which starts at `offset`.
    pub(crate) fn table(&mut self, offset: usize, path: String, table: &DeTable<'_>) -> TableNode {
        let mut node = TableNode::empty(self.place(offset), path);
        for (key, value) in table {
            let name = key.get_ref().to_string();
            let value = self.node(&node.path_of(&name), value);
            node.entries.insert(name, Entry { key_at: self.place(key.span().start), value });
        }
        node
    }

    /// The value of the key `path`.
    pub(crate) fn node(&mut self, path: &str, value: &Spanned<DeValue<'_>>) -> Node {
        let offset = value.span().start;
        let mut variables = Vec::new();
        let data = match value.get_ref() {
            DeValue::String(text) => {
                variables = variable::names(text);
                Data::Text(self.text(offset, text))
            }
            DeValue::Integer(number) => {
                Data::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok())
            }
            DeValue::Boolean(value) => Data::Boolean(*value),
            DeValue::Float(number) => Data::Float(number.as_str().to_owned()),
            DeValue::Datetime(_) => Data::Datetime,
            DeValue::Array(elements) => {
                Data::Array(elements.iter().map(|element| self.node(path, element)).collect())
            }
            DeValue::Table(table) => Data::Table(self.table(offset, path.to_owned(), table)),
        };
        Node { at: self.place(offset), variables, data }
    }

    fn text(&mut self, offset: usize, text: &str) -> String {
        let place = self.place(offset);
        if text.contains('\0') {
            self.problems.push((place, "a string must not contain a NUL character".to_owned()));
        }
        match variable::expand(text, &self.surroundings.variables) {
            Ok(text) => text,
            Err(message) => {
                self.problems.push((place, message));
                text.to_owned()
            }
        }
    }

    fn place(&self, offset: usize) -> Place {
        Place { file: self.file, offset }
    }
}

/// Adds what `from` holds to `into`: tables merge, arrays of tables are joined, and any other key
/// that stands in both is a problem.
pub(crate) fn merge(
    into: &mut TableNode,
    from: TableNode,
    sources: &Sources,
    problems: &mut Vec<Problem>,
) {
    for (key, entry) in from.entries {
        let Some(present) = into.entries.get_mut(&key) else {
            into.entries.insert(key, entry);
            continue;
        };
        let both_tables = present.value.is_tables() && entry.value.is_tables();
        match (&mut present.value.data, entry.value.data) {
            (Data::Table(into), Data::Table(from)) => merge(into, from, sources, problems),
            (Data::Array(into), Data::Array(from)) if both_tables => into.extend(from),
            _ => {
                let first = sources.position(present.key_at);
                let path = into.path_of(&key);
                problems.push((entry.key_at, format!("`{path}` is already set at {first}")));
            }
        }
    }
}
