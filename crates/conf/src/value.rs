//! Values: how each type is read from TOML and written as TOML.
//!
//! Most values are strings with a form of their own; those implement [`Text`]. Each prints itself
//! such that reading it gives it back.

mod duration;
mod host;
mod net;
mod path;
mod share;
mod size;
mod umask;
mod url;
mod words;
mod wsgi;

use std::collections::BTreeMap;
use std::path::Path;

pub(crate) use duration::{DAY, HOUR, MILLISECOND, SECOND};
pub use host::HostPattern;
pub(crate) use net::MAX_SOCKET_PATH;
pub use net::{Allow, ListenAddress};
pub(crate) use path::check_plain_path;
pub use path::{LogPath, MountPath, RoutePath};
pub use share::Share;
pub use size::ByteSize;
pub use umask::Umask;
pub use url::{OriginHost, ServerUrl};
pub use words::{AccessFormat, CostHook, Level, Link, Ready, ResponseBuffering};
pub use wsgi::WsgiApplication;

use crate::decode::Decoder;
use crate::tree::{Data, Node};
use crate::variable;

/// A value of one key.
pub(crate) trait Value: Sized {
    /// What the reference and errors call it, such as `duration`.
    const KIND: &'static str;

    /// Reads it; `None` when it is wrong, which is then reported.
    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self>;

    /// As TOML.
    fn print(&self) -> String;
}

/// A value that TOML holds as a string.
pub(crate) trait Text: Sized {
    /// What the reference and errors call it, such as `duration`.
    const KIND: &'static str;
    /// How to write it, for who wrote something that is not a string.
    const HINT: &'static str = "write a string";

    /// Reads it.
    ///
    /// # Errors
    ///
    /// Says what is wrong and what is allowed.
    fn parse(text: &str) -> Result<Self, String>;

    /// The string that [`Text::parse`] reads back.
    fn text(&self) -> String;

    /// The same, with a relative path in it made relative to `directory`.
    fn relative_to(self, _directory: &Path) -> Self {
        self
    }
}

impl<T: Text> Value for T {
    const KIND: &'static str = T::KIND;

    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
        let Data::Text(text) = &node.data else {
            decoder.expected(node, "", T::KIND, &format!("; {}", T::HINT));
            return None;
        };
        match T::parse(text) {
            Ok(value) => Some(value.relative_to(decoder.sources.directory(node.at))),
            Err(message) => {
                decoder.refused(node, T::KIND, message);
                None
            }
        }
    }

    fn print(&self) -> String {
        quoted(&self.text())
    }
}

/// The type inside an `Option` of an optional key.
pub(crate) trait Optional {
    /// As [`Value::KIND`].
    const KIND: &'static str;
}

impl<T: Value> Optional for Option<T> {
    const KIND: &'static str = T::KIND;
}

impl Text for String {
    const KIND: &'static str = "a string";

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned()) }
    }

    fn text(&self) -> String {
        self.clone()
    }
}

impl Value for bool {
    const KIND: &'static str = "true or false";

    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
        if let Data::Boolean(value) = node.data {
            return Some(value);
        }
        decoder.expected(node, "", "true or false", "");
        None
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

macro_rules! integer_value {
    ($($type:ty),*) => {$(
        impl Value for $type {
            const KIND: &'static str = "a number";

            fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
                let Data::Integer(number) = node.data else {
                    decoder.expected(node, "", "a whole number", "");
                    return None;
                };
                let number = number.and_then(|number| Self::try_from(number).ok());
                if number.is_none() {
                    let (low, high) = (Self::MIN, Self::MAX);
                    let message = format!("{} is not within {low} to {high}", node.data);
                    decoder.problem(node.at, message);
                }
                number
            }

            fn print(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

integer_value!(i32, u16, u32, usize);

impl<T: Value> Value for Vec<T> {
    const KIND: &'static str = "an array";

    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
        let Data::Array(elements) = &node.data else {
            decoder.expected(node, "", "an array", "; write it in `[` `]`");
            return None;
        };
        let values: Vec<Option<T>> =
            elements.iter().map(|element| T::decode(element, decoder)).collect();
        values.into_iter().collect()
    }

    fn print(&self) -> String {
        let values: Vec<String> = self.iter().map(Value::print).collect();
        format!("[{}]", values.join(", "))
    }
}

/// Names with texts, such as environment variables. A text may be empty.
impl Value for BTreeMap<String, String> {
    const KIND: &'static str = "a table of strings";

    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
        let Some(table) = node.as_table() else {
            decoder.expected(node, "", "a table", "");
            return None;
        };
        let mut values = Self::new();
        for (name, entry) in &table.entries {
            let Data::Text(text) = &entry.value.data else {
                decoder.expected(&entry.value, &format!("`{name}`: "), "a string", "");
                continue;
            };
            values.insert(name.clone(), text.clone());
        }
        Some(values)
    }

    fn print(&self) -> String {
        let pairs: Vec<String> =
            self.iter().map(|(name, text)| format!("{} = {}", key(name), quoted(text))).collect();
        if pairs.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", pairs.join(", ")) }
    }
}

/// `text` as a TOML string that is read back as `text`.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::String(variable::escape(text)).to_string()
}

/// `name` as a TOML key.
pub(crate) fn key(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !name.is_empty() && name.bytes().all(bare) {
        name.to_owned()
    } else {
        toml::Value::String(name.to_owned()).to_string()
    }
}

/// Checks a text in a table test: `expected` is the text it prints, or the error.
#[cfg(test)]
#[track_caller]
pub(crate) fn check_text<T: Text + std::fmt::Debug>(text: &str, expected: Result<&str, &str>) {
    let parsed = T::parse(text).map(|value| value.text());
    assert_eq!(parsed, expected.map(str::to_owned).map_err(str::to_owned), "text: {text:?}");
}
