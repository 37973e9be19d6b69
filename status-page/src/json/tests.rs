//! The document described: `docs/status.schema.json` and `docs/status-json.md` are what the types
//! and their comments say. `OSTLER_UPDATE_DOCS=1` writes them anew.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::UnixTime;
use crate::snapshot::{BOUNDS_MS, Event, SCHEMA_VERSION, Snapshot};

/// What a reader may rely on.
const PROMISE: &str = "The state of Ostler at one moment: what `/server-status?json` answers. \
    A key keeps its name, its unit and its meaning for as long as `schema_version` stays the same. \
    New keys and new words may come at any time: ignore those you do not know. \
    The version rises when a key goes or changes its meaning. What is not known is `null`.";

impl JsonSchema for UnixTime {
    fn schema_name() -> Cow<'static, str> {
        "Moment in time".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[test]
fn the_schema_is_that_of_the_types() {
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    is_in_docs("status.schema.json", &text);
}

#[test]
fn the_reference_is_that_of_the_schema() {
    is_in_docs("status-json.md", &reference(&schema()));
}

#[test]
fn every_key_is_explained() {
    let schema = schema();
    for (name, definition) in definitions(&schema) {
        for (key, property) in properties(definition) {
            assert!(!meaning(property).is_empty(), "{name}.{key}");
        }
    }
}

fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<Snapshot>().to_value();
    schema["title"] = "Status of Ostler".into();
    schema["description"] = PROMISE.into();
    schema["properties"]["schema_version"]["const"] = SCHEMA_VERSION.into();
    without_links(&mut schema);
    schema
}

/// Takes links to types, which mean nothing outside of the code, out of the descriptions.
fn without_links(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(text)) = object.get_mut("description") {
                let plain = text.replace("[`", "`").replace("`]", "`").replace("super::", "");
                let plain = plain.replace("`Event::KEPT`", &Event::KEPT.to_string());
                let plain = plain.replace("`BOUNDS_MS`", &bounds());
                *text = plain.split_whitespace().collect::<Vec<_>>().join(" ");
            }
            object.values_mut().for_each(without_links);
        }
        Value::Array(array) => array.iter_mut().for_each(without_links),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// As in `0.5, 1 and 2.5`.
fn bounds() -> String {
    let bounds = BOUNDS_MS.map(|bound| bound.to_string());
    let (last, others) = bounds.split_last().unwrap();
    format!("{} and {last}", others.join(", "))
}

/// Compares with a file of `docs/`, or writes it where that is asked for.
fn is_in_docs(name: &str, text: &str) {
    let path = docs().join(name);
    if std::env::var_os("OSTLER_UPDATE_DOCS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let advice = "OSTLER_UPDATE_DOCS=1 cargo test -p ostler-status writes it anew";
    assert!(written == text, "{} is not what the types say; {advice}", path.display());
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs")
}

/// The document itself, then every type in it, by name.
fn definitions(schema: &Value) -> Vec<(&str, &Value)> {
    let types = schema["$defs"].as_object().into_iter().flatten();
    let types = types.map(|(name, definition)| (name.as_str(), definition));
    std::iter::once(("The document", schema)).chain(types).collect()
}

fn properties(definition: &Value) -> impl Iterator<Item = (&String, &Value)> {
    definition["properties"].as_object().into_iter().flatten()
}

fn meaning(property: &Value) -> &str {
    property["description"].as_str().unwrap_or_default()
}

/// One table for each type.
fn reference(schema: &Value) -> String {
    let mut page = format!(
        "# The JSON document\n\n\
         Written from the types; [status.schema.json](status.schema.json) is the same as a JSON \
         Schema (2020-12), and [manual/monitoring.md](manual/monitoring.md#the-json-document) \
         says how to get the document.\n\n{}\n\n\
         The last word of a key is its unit: `_s` seconds, `_ms` milliseconds, `_bytes` bytes; \
         `_total` counts since the supervisor started. A *moment* is RFC 3339 in UTC.\n",
        PROMISE.replace(". ", ".\n")
    );
    for (name, definition) in definitions(schema) {
        write!(page, "\n## {name}\n").unwrap();
        if name != "The document" && !meaning(definition).is_empty() {
            write!(page, "\n{}\n", meaning(definition)).unwrap();
        }
        if let Some(words) = definition["oneOf"].as_array() {
            page.push_str("\n| word | |\n|---|---|\n");
            for word in words {
                let (name, meaning) = (word["const"].as_str().unwrap(), meaning(word));
                writeln!(page, "| `{name}` | {meaning} |").unwrap();
            }
        } else {
            page.push_str("\n| key | type | |\n|---|---|---|\n");
            for (key, property) in properties(definition) {
                writeln!(page, "| `{key}` | {} | {} |", type_of(property), meaning(property))
                    .unwrap();
            }
        }
    }
    page
}

/// The type of a value in words, with a link where it is one of ours.
fn type_of(property: &Value) -> String {
    if let Some(name) = property["$ref"].as_str() {
        let name = name.trim_start_matches("#/$defs/");
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(either) = property["anyOf"].as_array() {
        let words: Vec<String> = either.iter().map(type_of).collect();
        return words.join(" or ");
    }
    // One word, or a list of them.
    let types = &property["type"];
    let several = types.as_array().into_iter().flatten().filter_map(Value::as_str);
    let words: Vec<&str> = types.as_str().into_iter().chain(several).collect();
    let words: Vec<String> = words.into_iter().map(|word| type_word(word, property)).collect();
    words.join(" or ")
}

fn type_word(word: &str, property: &Value) -> String {
    match word {
        "array" => format!("list of {}", type_of(&property["items"])),
        "object" => format!("{} by name", type_of(&property["additionalProperties"])),
        "string" if property["format"] == "date-time" => "moment".to_owned(),
        "string" => "text".to_owned(),
        "integer" => "whole number".to_owned(),
        word => word.to_owned(),
    }
}

/// The schema refuses what is not the document, so that validating against it says something.
#[test]
fn a_document_is_valid_and_a_broken_one_is_not() {
    let validator = jsonschema::draft202012::new(&schema()).unwrap();
    let document = serde_json::to_value(Snapshot::default()).unwrap();
    assert!(validator.is_valid(&document), "{document:#}");
    for (pointer, broken) in [
        ("/schema_version", json!(2)),
        ("/server/uptime_s", json!("1")),
        ("/server/started", json!(null)),
        ("/connections", json!({})),
        ("/pools", Value::Object(Map::from_iter([("web".to_owned(), json!([]))]))),
    ] {
        let mut document = document.clone();
        *document.pointer_mut(pointer).unwrap() = broken;
        assert!(!validator.is_valid(&document), "{pointer}");
    }
}
