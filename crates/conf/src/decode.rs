//! Reads values out of the tree and collects every error on the way.
//!
//! A value that is wrong is reported and then replaced by its default, so that one pass finds
//! all errors. What was decoded is thrown away when there is any.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use toml::de::DeValue;

use crate::model::{OriginConfig, PoolConfig};
use crate::nearest;
use crate::source::{Place, Sources};
use crate::surroundings::Surroundings;
use crate::table::Table;
use crate::tree::{Data, Node, Problem, TableNode, TreeBuilder};
use crate::value::{ByteSize, Value};

/// The state of one decoding.
pub(crate) struct Decoder<'a> {
    pub(crate) sources: &'a Sources,
    pub(crate) surroundings: &'a Surroundings,
    /// What was decoded before and is referred to by what comes after.
    pub(crate) known: Known,
    /// A file has syntax errors, so what is absent may only have been unreadable.
    pub(crate) incomplete: bool,
    /// What errors say in place of values that may be secret.
    pub(crate) hidden: BTreeMap<Place, String>,
    pub(crate) problems: Vec<Problem>,
}

/// What the tables that are decoded later refer to.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Every pool by name; `None` for one that could not be decoded.
    pub(crate) pools: BTreeMap<String, Option<PoolConfig>>,
    /// Every origin by name; `None` for one that could not be decoded.
    pub(crate) origins: BTreeMap<String, Option<OriginConfig>>,
    /// Names of the listeners; `None` when one could not be decoded.
    pub(crate) listeners: Option<Vec<String>>,
    /// `limits.body-size`.
    pub(crate) body_size: ByteSize,
    /// `server.runtime-dir`.
    pub(crate) runtime_dir: PathBuf,
}

impl Decoder<'_> {
    /// Records an error at `place`.
    pub(crate) fn problem(&mut self, place: Place, message: impl Into<String>) {
        let mut message = message.into();
        if let Some(hidden) = self.hidden.get(&place) {
            let key = message.starts_with('`').then(|| message.split_once("`: ")).flatten();
            let key = key.map_or_else(String::new, |(key, _)| format!("{key}`: "));
            message = format!("{key}{hidden} is not accepted here");
        }
        self.problems.push((place, message));
    }

    /// Records that `node` is not `what`; `key` and `hint` are put before and after.
    pub(crate) fn expected(&mut self, node: &Node, key: &str, what: &str, hint: &str) {
        let found = self.hidden.get(&node.at).cloned().unwrap_or_else(|| node.data.to_string());
        self.problems.push((node.at, format!("{key}expected {what}, found {found}{hint}")));
    }

    /// Records what a parser said of the text of `node`, or without its text that it is not `kind`.
    pub(crate) fn refused(&mut self, node: &Node, kind: &str, message: String) {
        let message = match self.hidden.get(&node.at) {
            Some(hidden) => format!("{hidden} is not {kind}"),
            None => message,
        };
        self.problems.push((node.at, message));
    }

    /// Records that something is not there, unless a syntax error may be the reason.
    pub(crate) fn absent(&mut self, place: Place, message: impl Into<String>) {
        if !self.incomplete {
            self.problem(place, message);
        }
    }

    /// The value of `key`; `None` when it is absent or wrong.
    pub(crate) fn value<T: Value>(&mut self, table: &TableNode, key: &str) -> Option<T> {
        let node = table.get(key)?;
        let first = self.problems.len();
        let value = T::decode(node, self);
        for (_, message) in &mut self.problems[first..] {
            message.insert_str(0, &format!("`{key}`: "));
        }
        value
    }

    /// As [`Decoder::value`], and within `range`.
    pub(crate) fn value_in<T: Value + PartialOrd>(
        &mut self,
        table: &TableNode,
        key: &str,
        range: &RangeInclusive<T>,
    ) -> Option<T> {
        let value = self.value(table, key)?;
        if range.contains(&value) {
            return Some(value);
        }
        let (low, high) = (range.start().print(), range.end().print());
        let place = table.place(key);
        let shown = self.hidden.get(&place).cloned().unwrap_or_else(|| value.print());
        self.problems.push((place, format!("`{key}`: {shown} is not within {low} to {high}")));
        None
    }

    /// Reports `key` as missing when it is not there. What is there was decoded already.
    pub(crate) fn required<T>(
        &mut self,
        table: &TableNode,
        key: &str,
        value: Option<T>,
    ) -> Option<T> {
        if table.get(key).is_none() {
            self.absent(table.at, format!("[{}] needs `{key}`", table.path));
        }
        value
    }

    /// The value that a declared default, as TOML, stands for.
    pub(crate) fn default_value<T: Value>(&mut self, at: Place, text: &str) -> T {
        let parsed = DeValue::parse(text).expect("a declared default is TOML");
        let file = at.file;
        let mut builder =
            TreeBuilder { file, surroundings: self.surroundings, problems: Vec::new() };
        let node = builder.node("", &parsed);
        T::decode(&node, self).expect("a declared default is a value of its key")
    }

    /// The table at `key`; one without keys when it is absent or something else.
    pub(crate) fn table<T: Table>(&mut self, table: &TableNode, key: &str) -> Option<T> {
        let empty = TableNode::empty(table.place(key), table.path_of(key));
        let node = table.get(key).and_then(|node| self.as_table(key, node));
        T::decode(node.unwrap_or(&empty), self)
    }

    /// The tables of `[[key]]`; `None` in place of one that is wrong.
    pub(crate) fn tables<T: Table>(&mut self, table: &TableNode, key: &str) -> Vec<Option<T>> {
        if let Some(node) = table.get(key)
            && !matches!(node.data, Data::Array(_))
        {
            let path = table.path_of(key);
            let hidden = self.hidden.get(&node.at).cloned();
            let found = hidden.unwrap_or_else(|| node.data.to_string());
            let message = format!("expected tables, written [[{path}]]; found {found}");
            self.problems.push((node.at, message));
        }
        let decode = |element| T::decode(self.as_table(key, element)?, self);
        table.elements(key).iter().map(decode).collect()
    }

    /// The tables `[key.NAME]` by name; `None` in place of one that is wrong.
    pub(crate) fn named_tables<T: Table>(
        &mut self,
        table: &TableNode,
        key: &str,
    ) -> BTreeMap<String, Option<T>> {
        let Some(tables) = table.get(key).and_then(|node| self.as_table(key, node)) else {
            return BTreeMap::new();
        };
        let mut decoded = BTreeMap::new();
        for (name, entry) in &tables.entries {
            if !is_name(name) {
                let message =
                    format!("{name:?} is not a name: 1 to {MAX_NAME} letters, digits, `-` and `_`");
                self.problem(entry.key_at, message);
            }
            let table = self.as_table(name, &entry.value);
            decoded.insert(name.clone(), table.and_then(|table| T::decode(table, self)));
        }
        decoded
    }

    fn as_table<'n>(&mut self, key: &str, node: &'n Node) -> Option<&'n TableNode> {
        let table = node.as_table();
        if table.is_none() {
            self.expected(node, &format!("`{key}`: "), "a table", "");
        }
        table
    }

    /// Reports every key of `table` that is not among `keys`.
    pub(crate) fn refuse_unknown_keys(&mut self, table: &TableNode, keys: &[impl AsRef<str>]) {
        let names: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
        for (key, entry) in &table.entries {
            if names.contains(&key.as_str()) {
                continue;
            }
            let place =
                if table.path.is_empty() { String::new() } else { format!(" in [{}]", table.path) };
            let hint = nearest::hint(key, names.iter().copied());
            self.problem(entry.key_at, format!("unknown key `{key}`{place}; {hint}"));
        }
    }

    /// Reports a `kind` called `name` as unknown, and names the nearest.
    pub(crate) fn unknown_name(&mut self, place: Place, kind: &str, name: &str, known: &[String]) {
        let hint = nearest::hint(name, known.iter().map(String::as_str));
        self.absent(place, format!("there is no {kind} `{name}`; {hint}"));
    }

    /// Whether something is wrong at `place`.
    pub(crate) fn has_problem(&self, place: Place) -> bool {
        self.problems.iter().any(|(at, _)| *at == place)
    }
}

/// Longest name of a pool or an origin: it is part of the paths of UNIX sockets.
pub(crate) const MAX_NAME: usize = 32;

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed)
}
