//! The one declaration of a table, from which come its struct, its decoder, its printer and its
//! part of the reference.
//!
//! ```text
//! config_table! {
//!     /// What the table is for.
//!     pub struct ExampleConfig(decoder) checked by check {
//!         /// What the key does, and the reason for its default.
//!         pub idle_timeout: Duration = default("75s") in MILLISECOND..=DAY,
//!         pub threads: usize = computed("CPUs", decoder.surroundings.cpus),
//!         pub user: Option<String> = optional,
//!         pub address: ListenAddress = required("127.0.0.1:0"),
//!         pub nested: NestedConfig = table,
//!         pub routes: Vec<RouteConfig> = tables("route"),
//!     }
//! }
//! ```
//!
//! A key is its field's name in kebab-case. `default` takes TOML. `computed` takes what the
//! reference says and an expression, which may name the fields above it and the decoder.
//! `required` takes TOML to go on checking with when the key is absent or wrong. `in` is a range
//! that the value must be within. `shown by` names what leaves keys out that do not apply.

use crate::decode::Decoder;
use crate::tree::TableNode;
use crate::value::Value;

/// A table of the configuration.
pub(crate) trait Table: Sized {
    /// Lines of its documentation.
    const DOC: &[&str];

    /// Its keys in the order of declaration.
    fn keys() -> Vec<Key>;

    /// Reads it; `None` when a required key is absent or wrong, which is then reported.
    fn decode(table: &TableNode, decoder: &mut Decoder<'_>) -> Option<Self>;

    /// Its values as TOML, in the order of declaration.
    fn encode(&self) -> Section;
}

/// A key as it was declared.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: String,
    /// Lines of its documentation.
    pub(crate) doc: &'static [&'static str],
    /// What it takes, such as `duration`.
    pub(crate) kind: &'static str,
    pub(crate) default: Fallback,
    /// The least and the greatest value, as TOML.
    pub(crate) range: Option<(String, String)>,
}

/// What happens when a key is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// This value, as TOML.
    Text(&'static str),
    /// A value that depends on others, in words.
    Computed(&'static str),
    /// It has no value.
    None,
    /// An error.
    Required,
    /// The key is a table, documented on its own.
    Table,
}

/// A table's values as TOML.
#[derive(Debug, Default)]
pub(crate) struct Section(pub(crate) Vec<Item>);

/// A key and its value as TOML.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) key: String,
    pub(crate) default: Fallback,
    pub(crate) encoded: Encoded,
}

/// What a key holds.
#[derive(Debug)]
pub(crate) enum Encoded {
    /// `key = value`.
    Value(String),
    /// No value.
    Absent,
    /// `[key]`.
    Table(Section),
    /// `[[key]]`.
    Tables(Vec<Section>),
    /// `[key.NAME]`.
    Named(Vec<(String, Section)>),
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.name
    }
}

impl Section {
    /// A section with one value, which was set.
    pub(crate) fn of_value(key: &str, value: &impl Value) -> Self {
        let encoded = Encoded::Value(value.print());
        Self(vec![Item { key: key.to_owned(), default: Fallback::None, encoded }])
    }

    /// The same without the keys that do not apply.
    pub(crate) fn without(mut self, keys: &[&str]) -> Self {
        self.0.retain(|item| !keys.contains(&item.key.as_str()));
        self
    }
}

/// The key of a field.
pub(crate) fn key_name(field: &str) -> String {
    field.replace('_', "-")
}

macro_rules! config_table {
    (
        $(#[doc = $doc:literal])*
        $vis:vis struct $name:ident($decoder:ident)
            $(checked by $check:path)? $(, shown by $shown:path)? {
            $(
                $(#[doc = $field_doc:literal])*
                pub $field:ident: $type:ty = $kind:ident $(($($arg:tt)*))? $(in $range:expr)?,
            )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $name {
            $($(#[doc = $field_doc])* pub $field: $type,)*
        }

        impl $crate::table::Table for $name {
            const DOC: &[&str] = &[$($doc),*];

            fn keys() -> Vec<$crate::table::Key> {
                vec![$(
                    $crate::table::Key {
                        name: $crate::table::field!(
                            @name $field: $kind [$($($arg)*)?]
                        ),
                        doc: &[$($field_doc),*],
                        kind: $crate::table::field!(@kind $type, $kind),
                        default: $crate::table::field!(@fallback $kind [$($($arg)*)?]),
                        range: $crate::table::field!(@range $type, [$($range)?]),
                    }
                ),*]
            }

            fn decode(
                table: &$crate::tree::TableNode,
                $decoder: &mut $crate::decode::Decoder<'_>,
            ) -> Option<Self> {
                $decoder.refuse_unknown_keys(table, &Self::keys());
                $(
                    let key = $crate::table::field!(@name $field: $kind [$($($arg)*)?]);
                    let $field = $crate::table::field!(
                        @read ($decoder, table, &key) $type, $kind [$($($arg)*)?] [$($range)?]
                    );
                )*
                let decoded = Self {
                    $($field: $crate::table::field!(
                        @finish ($decoder, table) $field, $kind [$($($arg)*)?]
                    ),)*
                };
                $(let decoded = $check(decoded, table, $decoder);)?
                $($crate::table::field!(@demand $field, $kind);)*
                Some(decoded)
            }

            fn encode(&self) -> $crate::table::Section {
                let all = $crate::table::Section(vec![$(
                    $crate::table::Item {
                        key: $crate::table::field!(@name $field: $kind [$($($arg)*)?]),
                        default: $crate::table::field!(@fallback $kind [$($($arg)*)?]),
                        encoded: $crate::table::field!(@encode self.$field, $kind),
                    }
                ),*]);
                $crate::table::field!(@shown self, all, $($shown)?)
            }
        }
    };
}

/// One field of [`config_table!`], by what is wanted of it and by its kind.
macro_rules! field {
    (@name $field:ident: tables [$key:literal]) => { $key.to_owned() };
    (@name $field:ident: $kind:ident [$($arg:tt)*]) => {
        $crate::table::key_name(stringify!($field))
    };

    (@kind $type:ty, optional) => { <$type as $crate::value::Optional>::KIND };
    (@kind $type:ty, table) => { "a table" };
    (@kind $type:ty, tables) => { "one table each" };
    (@kind $type:ty, $kind:ident) => { <$type as $crate::value::Value>::KIND };

    (@fallback default [$($text:tt)*]) => {
        $crate::table::Fallback::Text(stringify!($($text)*))
    };
    (@fallback computed [$why:literal, $($value:tt)*]) => {
        $crate::table::Fallback::Computed($why)
    };
    (@fallback optional []) => { $crate::table::Fallback::None };
    (@fallback required [$($text:tt)*]) => { $crate::table::Fallback::Required };
    (@fallback table []) => { $crate::table::Fallback::Table };
    (@fallback tables [$key:literal]) => { $crate::table::Fallback::Table };

    (@range $type:ty, []) => { None };
    (@range $type:ty, [$range:expr]) => {{
        let range: std::ops::RangeInclusive<$type> = $range;
        let print = <$type as $crate::value::Value>::print;
        Some((print(range.start()), print(range.end())))
    }};

    (@value ($decoder:ident, $table:ident, $key:expr) []) => { $decoder.value($table, $key) };
    (@value ($decoder:ident, $table:ident, $key:expr) [$range:expr]) => {
        $decoder.value_in($table, $key, &$range)
    };

    (@read ($decoder:ident, $table:ident, $key:expr) $type:ty,
        default [$($text:tt)*] $range:tt) => {{
        let value: Option<$type> =
            $crate::table::field!(@value ($decoder, $table, $key) $range);
        value.unwrap_or_else(|| $decoder.default_value($table.at, stringify!($($text)*)))
    }};
    (@read $at:tt $type:ty, computed [$why:literal, $value:expr] $range:tt) => {{
        let value: Option<$type> = $crate::table::field!(@value $at $range);
        match value {
            Some(value) => value,
            None => $value,
        }
    }};
    (@read $at:tt $type:ty, optional [] $range:tt) => {{
        let value: $type = $crate::table::field!(@value $at $range);
        value
    }};
    (@read ($decoder:ident, $table:ident, $key:expr) $type:ty,
        required [$($text:tt)*] $range:tt) => {{
        let value: Option<$type> =
            $crate::table::field!(@value ($decoder, $table, $key) $range);
        $decoder.required($table, $key, value)
    }};
    (@read ($decoder:ident, $table:ident, $key:expr) $type:ty, table [] []) => {{
        let value: Option<$type> = $decoder.table($table, $key);
        value
    }};
    (@read ($decoder:ident, $table:ident, $key:expr) $type:ty, tables [$name:literal] []) => {
        $decoder.tables($table, $key).into_iter().flatten().collect::<$type>()
    };

    (@finish ($decoder:ident, $table:ident) $field:ident, required [$($text:tt)*]) => {
        $field.clone().unwrap_or_else(|| {
            $decoder.default_value($table.at, stringify!($($text)*))
        })
    };
    (@finish $at:tt $field:ident, table []) => { $field? };
    (@finish $at:tt $field:ident, $kind:ident [$($arg:tt)*]) => { $field };

    (@demand $field:ident, required) => { $field? };
    (@demand $field:ident, $kind:ident) => { () };

    (@shown $table:expr, $all:expr, ) => { $all };
    (@shown $table:expr, $all:expr, $shown:path) => { $shown($table, $all) };

    (@encode $value:expr, optional) => {
        match &$value {
            Some(value) => {
                $crate::table::Encoded::Value($crate::value::Value::print(value))
            }
            None => $crate::table::Encoded::Absent,
        }
    };
    (@encode $value:expr, table) => {
        $crate::table::Encoded::Table($crate::table::Table::encode(&$value))
    };
    (@encode $value:expr, tables) => {
        $crate::table::Encoded::Tables(
            $value.iter().map($crate::table::Table::encode).collect(),
        )
    };
    (@encode $value:expr, $kind:ident) => {
        $crate::table::Encoded::Value($crate::value::Value::print(&$value))
    };
}

pub(crate) use {config_table, field};
