//! The JSON Schema of the configuration, for editors.
//!
//! Owns the translation of the table of keys. Never adds a key that the reader does not know.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::keys::{Absent, Form, Key, Kind, Section, TOP};
use super::scalar::{show_duration, show_percent, show_size};

/// Matches a string in which a part is replaced when the file is read, so that its form is unknown.
const REPLACED: &str = "\\$\\{";

/// Builds the schema (JSON Schema 2020-12) from the same table of keys that the reader uses.
pub fn schema() -> Value {
    let mut definitions = BTreeMap::new();
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
    schema.insert("title".to_owned(), "pointsman".into());
    schema.extend(table(&TOP, &mut definitions));
    schema.insert("$defs".to_owned(), definitions.into_iter().collect::<Map<_, _>>().into());
    Value::Object(schema)
}

type Definitions = BTreeMap<String, Value>;

fn table(section: &'static Section, definitions: &mut Definitions) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("description".to_owned(), section.doc.into());
    object.insert("type".to_owned(), "object".into());
    object.insert("additionalProperties".to_owned(), false.into());
    let properties: Map<String, Value> =
        section.keys.iter().map(|key| (key.name.to_owned(), property(key, definitions))).collect();
    object.insert("properties".to_owned(), properties.into());
    let required: Vec<Value> = section
        .keys
        .iter()
        .filter(|key| matches!(key.absent, Absent::Error))
        .map(|key| key.name.into())
        .collect();
    if !required.is_empty() {
        object.insert("required".to_owned(), required.into());
    }
    if !section.exactly_one.is_empty() {
        let choice = |name: &&str| json!({ "required": [name] });
        let choices: Vec<Value> = section.exactly_one.iter().map(choice).collect();
        object.insert("oneOf".to_owned(), choices.into());
    }
    if !section.at_most_one.is_empty() {
        object.insert("not".to_owned(), json!({ "required": section.at_most_one }));
    }
    object
}

fn property(key: &Key, definitions: &mut Definitions) -> Value {
    let (kind, range) = kind(&key.kind, definitions);
    let mut object = Map::new();
    let mut doc = key.doc.to_owned();
    doc.push_str(&range);
    match key.absent {
        Absent::Error => doc.push_str(" Required."),
        Absent::Same("{}") => {
            object.insert("default".to_owned(), json!({}));
        }
        Absent::Same(text) => {
            doc.push_str(&format!(" Default: {text}."));
            object.insert("default".to_owned(), default(&key.kind, text));
        }
        Absent::Means(words) => doc.push_str(&format!(" Default: {words}.")),
    }
    let mut all = Map::new();
    all.insert("description".to_owned(), doc.into());
    all.append(&mut object);
    all.extend(kind);
    Value::Object(all)
}

/// What a kind looks like, and a sentence about its range.
fn kind(kind: &Kind, definitions: &mut Definitions) -> (Map<String, Value>, String) {
    let (value, range) = match kind {
        Kind::Text(form) => (text(*form), format!(" Write {}.", form.expected())),
        Kind::Word(words) => (
            json!({ "anyOf": [{ "enum": words }, { "type": "string", "pattern": REPLACED }] }),
            String::new(),
        ),
        Kind::Flag => (json!({ "type": "boolean" }), String::new()),
        Kind::Integer(min, max) => bounded("integer", &json!(min), &json!(max)),
        Kind::Number(min, max) => bounded("number", &json!(min), &json!(max)),
        Kind::Duration(min, max) => {
            let range = format!(" {} to {}.", show_duration(*min), show_duration(*max));
            (pattern("^[0-9]+(us|ms|s|m|h|d)$"), range)
        }
        Kind::Size(min, max) => {
            let range = format!(" {} to {}.", show_size(*min), show_size(*max));
            (pattern("^[0-9]+(B|KiB|MiB|GiB|TiB|kB|KB|MB|GB|TB)$"), range)
        }
        Kind::List(form, min, max) => (
            json!({
                "type": "array",
                "items": text(*form),
                "minItems": min,
                "maxItems": max,
                "uniqueItems": true,
            }),
            format!(" Each entry is {}.", form.expected()),
        ),
        Kind::Table(section) => (reference(section, definitions), String::new()),
        Kind::Named(section, _, max) => (
            json!({
                "type": "object",
                "propertyNames": { "pattern": "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}$" },
                "maxProperties": max,
                "additionalProperties": reference(section, definitions),
            }),
            String::new(),
        ),
        Kind::Ratio(min, max) => {
            let range = format!(" {} to {}.", show_percent(*min), show_percent(*max));
            (share(), range)
        }
        Kind::Fraction => (share(), " Above 0, up to 100%.".to_owned()),
        Kind::Texts(max) => (list_of("string", *max), String::new()),
        Kind::Numbers(max) => (list_of("number", *max), String::new()),
        Kind::Tensors(section, _, max) => {
            (table_of(reference(section, definitions), *max), String::new())
        }
        Kind::Shares => (
            json!({
                "type": "object",
                "additionalProperties": share(),
            }),
            String::new(),
        ),
        Kind::Pointers(max) => (
            json!({
                "type": "object",
                "maxProperties": max,
                "additionalProperties": text(Form::Pointer),
            }),
            String::new(),
        ),
        Kind::Headers(max) | Kind::Aliases(max) => (table_of_strings(*max), String::new()),
    };
    match value {
        Value::Object(object) => (object, range),
        _ => (Map::new(), range),
    }
}

fn bounded(kind: &str, min: &Value, max: &Value) -> (Value, String) {
    let range = format!(" {min} to {max}.");
    (json!({ "type": kind, "minimum": min, "maximum": max }), range)
}

fn table_of_strings(max: usize) -> Value {
    json!({
        "type": "object",
        "maxProperties": max,
        "additionalProperties": { "type": "string" },
    })
}

fn list_of(items: &str, max: usize) -> Value {
    json!({ "type": "array", "items": { "type": items }, "maxItems": max })
}

fn table_of(entries: Value, max: usize) -> Value {
    json!({ "type": "object", "maxProperties": max, "additionalProperties": entries })
}

fn share() -> Value {
    json!({
        "anyOf": [
            pattern("^[0-9]*\\.?[0-9]*%$"),
            { "type": "number", "minimum": 0, "maximum": 1 },
        ],
    })
}

fn text(form: Form) -> Value {
    match form.pattern() {
        Some(form) => pattern(form),
        None => json!({ "type": "string", "minLength": 1 }),
    }
}

fn pattern(form: &str) -> Value {
    json!({ "type": "string", "pattern": format!("{form}|{REPLACED}") })
}

fn reference(section: &'static Section, definitions: &mut Definitions) -> Value {
    let name = section.what.split_once(' ').map_or(section.what, |(_, name)| name);
    let name = name.replace([' ', '-'], "_");
    if !definitions.contains_key(&name) {
        let object = Value::Object(table(section, definitions));
        definitions.insert(name.clone(), object);
    }
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn default(kind: &Kind, text: &str) -> Value {
    match kind {
        Kind::Flag | Kind::Integer(..) | Kind::Number(..) | Kind::List(..) => {
            serde_json::from_str(text).unwrap_or_else(|_| text.into())
        }
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMITTED: &str = include_str!("../../config/schema.json");

    #[test]
    fn the_committed_schema_is_fresh() {
        let fresh = format!("{:#}\n", schema());
        assert!(
            fresh == COMMITTED,
            "config/schema.json is stale; refresh it: pointsman schema > config/schema.json"
        );
    }

    #[test]
    fn every_property_has_a_description_and_defaults_have_their_type() {
        fn walk(value: &Value, seen: &mut usize) {
            if let Some(properties) = value.get("properties").and_then(Value::as_object) {
                for (name, property) in properties {
                    *seen += 1;
                    assert!(property["description"].is_string(), "{name}");
                    if let (Some(default), Some("integer")) =
                        (property.get("default"), property.get("type").and_then(Value::as_str))
                    {
                        assert!(default.is_i64(), "{name}: {default}");
                    }
                }
            }
            value.as_object().into_iter().flatten().for_each(|(_, inner)| walk(inner, seen));
        }
        let mut seen = 0;
        walk(&schema(), &mut seen);
        assert!(seen > 50, "{seen} properties");
    }
}
