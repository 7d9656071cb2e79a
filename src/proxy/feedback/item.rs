//! The items of a feedback request.
//!
//! Owns their JSON form and what is wrong with it. Never looks at the log.

use serde::de::{Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Shape;
use crate::domain::ids::RecordId;
use crate::domain::record::{FeedbackRecord, FeedbackTarget};

/// The most items of one request.
const ITEMS_MAX: usize = 10_000;

/// The most bytes of one item: a label and all names, each byte of them escaped.
const ITEM_BYTES_MAX: usize = 512 * 1024;

/// The most bytes of a name, an id or a key.
const NAME_BYTES_MAX: usize = 512;

/// The most bytes of a label.
const LABEL_BYTES_MAX: usize = 64 * 1024;

/// What a statement is about if it does not say.
const METRIC: &str = "label";

const FIELDS: [&str; 11] = [
    "prediction_id",
    "request_id",
    "feedback_key",
    "model",
    "metric",
    "value",
    "label",
    "retract",
    "source",
    "id",
    "observed_at",
];

/// One statement of a client.
#[derive(Debug, PartialEq)]
pub(super) struct Item {
    target: Target,
    id: String,
    model: String,
    metric: String,
    value: Option<f64>,
    label: Option<String>,
    source: String,
    observed_us: Option<u64>,
    retracted: bool,
}

/// Which prediction is meant.
#[derive(Debug, PartialEq)]
enum Target {
    Prediction(RecordId),
    Request(String),
    Key(String),
}

impl Item {
    /// The row of this statement.
    pub(super) fn record(&self, record_id: RecordId, ts_us: u64) -> FeedbackRecord<'_> {
        FeedbackRecord {
            record_id,
            feedback_id: &self.id,
            ts_us,
            target: match &self.target {
                Target::Prediction(id) => FeedbackTarget::Prediction(*id),
                Target::Request(request) => FeedbackTarget::Request(request),
                Target::Key(key) => FeedbackTarget::Key(key),
            },
            model: &self.model,
            metric: &self.metric,
            value: self.value,
            label: self.label.as_deref(),
            source: &self.source,
            observed_us: self.observed_us,
            retracted: self.retracted,
        }
    }
}

/// Reads the items of a body; `lines` for one a line.
///
/// # Errors
/// A sentence, when the body as a whole cannot be read; an item that is wrong has its own sentence.
pub(super) fn items(
    body: &[u8],
    lines: bool,
) -> Result<(Shape, Vec<Result<Item, String>>), String> {
    if lines {
        let full = |line: &&[u8]| !line.trim_ascii().is_empty();
        let lines: Vec<&[u8]> =
            body.split(|byte| *byte == b'\n').filter(full).take(ITEMS_MAX + 1).collect();
        few(lines.len())?;
        return Ok((Shape::Lines, lines.into_iter().map(one).collect()));
    }
    match body.trim_ascii_start().first() {
        Some(b'[') => Ok((Shape::Array, array(body)?)),
        Some(b'{') => {
            small(body)?;
            Ok((Shape::One, vec![item(serde_json::from_slice(body).map_err(not_json)?)]))
        }
        _ => Err("feedback is a JSON object or an array of them".to_owned()),
    }
}

/// Reads an array item by item, and no further than there may be items: what is refused takes no memory.
fn array(body: &[u8]) -> Result<Vec<Result<Item, String>>, String> {
    struct Items<'i>(&'i mut Vec<Result<Item, String>>);

    impl<'de> Visitor<'de> for Items<'_> {
        type Value = ();

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("an array of feedback")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
            while let Some(raw) = array.next_element::<&RawValue>()? {
                few(self.0.len() + 1).map_err(A::Error::custom)?;
                self.0.push(one(raw.get().as_bytes()));
            }
            Ok(())
        }
    }

    let mut items = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = reader.deserialize_seq(Items(&mut items)).and_then(|()| reader.end());
    match read {
        Ok(()) => Ok(items),
        // The visitor says nothing else.
        Err(error) if error.is_data() => few(ITEMS_MAX + 1).map(|()| items),
        Err(error) => Err(not_json(error)),
    }
}

/// Reads one item.
fn one(json: &[u8]) -> Result<Item, String> {
    small(json)?;
    serde_json::from_slice(json).map_err(not_json).and_then(item)
}

fn small(item: &[u8]) -> Result<(), String> {
    if item.len() <= ITEM_BYTES_MAX {
        return Ok(());
    }
    Err(format!("an item is longer than {ITEM_BYTES_MAX} bytes"))
}

fn few(items: usize) -> Result<(), String> {
    if items <= ITEMS_MAX {
        return Ok(());
    }
    Err(format!("more than {ITEMS_MAX} items: send them in several requests"))
}

fn not_json(error: serde_json::Error) -> String {
    format!("not JSON: {error}")
}

fn item(value: Value) -> Result<Item, String> {
    let Value::Object(mut fields) = value else {
        return Err("an item is a JSON object".to_owned());
    };
    if let Some(strange) = fields.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        let known = FIELDS.join(", ");
        let strange: String = strange.chars().take(64).collect();
        return Err(format!("unknown field `{strange}`: the fields are {known}"));
    }
    let target = target(&mut fields)?;
    let metric = text(&mut fields, "metric", NAME_BYTES_MAX)?.unwrap_or_else(|| METRIC.to_owned());
    let value = match fields.remove("value") {
        None | Some(Value::Null) => None,
        Some(Value::Number(number)) => number.as_f64(),
        Some(_) => return Err("`value` must be a number; a text is a `label`".to_owned()),
    };
    let label = match fields.remove("label") {
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(Value::Bool(flag)) => Some(flag.to_string()),
        Some(Value::Array(rows)) => Some(labels_of_rows(&rows)?),
        Some(other) => {
            fields.insert("label".to_owned(), other);
            text(&mut fields, "label", LABEL_BYTES_MAX)?
        }
        None => None,
    };
    let retracted = match fields.remove("retract") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(flag)) => flag,
        Some(_) => return Err("`retract` must be true or false".to_owned()),
    };
    if value.is_none() && label.is_none() && !retracted {
        return Err("`value`, `label` or both are needed, or `retract`: true".to_owned());
    }
    let observed_us = match text(&mut fields, "observed_at", NAME_BYTES_MAX)? {
        None => None,
        Some(text) => Some(observed(&text)?),
    };
    Ok(Item {
        target,
        id: text(&mut fields, "id", NAME_BYTES_MAX)?.unwrap_or_default(),
        model: text(&mut fields, "model", NAME_BYTES_MAX)?.unwrap_or_default(),
        metric,
        value,
        label,
        source: text(&mut fields, "source", NAME_BYTES_MAX)?.unwrap_or_default(),
        observed_us,
        retracted,
    })
}

/// The labels of the rows of one prediction, as the log keeps them: a list in JSON.
fn labels_of_rows(rows: &[Value]) -> Result<String, String> {
    let is_label = |row: &Value| !matches!(row, Value::Array(_) | Value::Object(_));
    if rows.is_empty() || !rows.iter().all(is_label) {
        return Err("a list in `label` has a text, number, boolean or null for each row".to_owned());
    }
    let list = serde_json::to_string(rows).map_err(not_json)?;
    if list.len() > LABEL_BYTES_MAX {
        return Err(format!("`label` is longer than {LABEL_BYTES_MAX} bytes"));
    }
    Ok(list)
}

fn target(fields: &mut Map<String, Value>) -> Result<Target, String> {
    let prediction = text(fields, "prediction_id", NAME_BYTES_MAX)?;
    let request = text(fields, "request_id", NAME_BYTES_MAX)?;
    let key = text(fields, "feedback_key", NAME_BYTES_MAX)?;
    match (prediction, request, key) {
        // A text that is no UUID becomes the nil UUID, which no gateway gives: it is unknown.
        (Some(id), None, None) => {
            Ok(Target::Prediction(RecordId::parse(&id).unwrap_or(RecordId::from_bytes([0; 16]))))
        }
        (None, Some(request), None) => Ok(Target::Request(request)),
        (None, None, Some(key)) => Ok(Target::Key(key)),
        _ => {
            Err("exactly one of `prediction_id`, `request_id` and `feedback_key` is needed"
                .to_owned())
        }
    }
}

/// A text that is not empty.
fn text(
    fields: &mut Map<String, Value>,
    name: &str,
    bytes_max: usize,
) -> Result<Option<String>, String> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Err(format!("`{name}` is empty")),
        Some(Value::String(text)) if text.len() > bytes_max => {
            Err(format!("`{name}` is longer than {bytes_max} bytes"))
        }
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("`{name}` must be a text")),
    }
}

/// Reads a time (RFC 3339) in microseconds since the Unix epoch.
fn observed(text: &str) -> Result<u64, String> {
    let time: jiff::Timestamp = text
        .parse()
        .map_err(|_| "`observed_at` must be a time such as 2026-01-31T12:00:00Z".to_owned())?;
    u64::try_from(time.as_microsecond())
        .map_err(|_| "`observed_at` must not lie before 1970".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(body: &str) -> Result<Item, String> {
        let (shape, mut items) = items(body.as_bytes(), false).expect("a body");
        assert_eq!((shape, items.len()), (Shape::One, 1));
        items.remove(0)
    }

    #[test]
    fn an_item_becomes_a_row() {
        let id = RecordId::from_parts(1, [7; 10]);
        let body = format!(
            r#"{{"prediction_id": "{id}", "model": "m", "metric": "reward", "value": 0.5,
                "label": true, "source": "s", "id": "i", "observed_at": "1970-01-01T00:00:01Z",
                "retract": true}}"#
        );
        let item = one(&body).expect("an item");
        let expected = FeedbackRecord {
            record_id: id,
            feedback_id: "i",
            ts_us: 9,
            target: FeedbackTarget::Prediction(id),
            model: "m",
            metric: "reward",
            value: Some(0.5),
            label: Some("true"),
            source: "s",
            observed_us: Some(1_000_000),
            retracted: true,
        };
        assert_eq!(item.record(id, 9), expected);
        let item = one(r#"{"feedback_key": "k", "label": 7}"#).expect("an item");
        let record = item.record(id, 9);
        assert_eq!((record.target, record.metric), (FeedbackTarget::Key("k"), METRIC));
        assert_eq!((record.label, record.value), (Some("7"), None));
        let item = one(r#"{"feedback_key": "k", "label": ["a", 2, true, null]}"#).expect("an item");
        assert_eq!(item.record(id, 9).label, Some(r#"["a",2,true,null]"#));
    }

    #[test]
    fn each_mistake_has_its_sentence() {
        for (body, why) in [
            (r#"{"label": "x"}"#, "exactly one"),
            (r#"{"request_id": "a", "feedback_key": "b", "label": "x"}"#, "exactly one"),
            (r#"{"request_id": "a"}"#, "are needed"),
            (r#"{"request_id": "a", "retract": false}"#, "are needed"),
            (r#"{"request_id": "", "label": "x"}"#, "empty"),
            (r#"{"request_id": "a", "label": []}"#, "for each row"),
            (r#"{"request_id": "a", "label": ["x", ["y"]]}"#, "for each row"),
            (r#"{"request_id": 7, "label": "x"}"#, "must be a text"),
            (r#"{"request_id": "a", "value": "7"}"#, "must be a number"),
            (r#"{"request_id": "a", "lable": "x"}"#, "unknown field `lable`"),
            (r#"{"request_id": "a", "label": {"x": 1}}"#, "must be a text"),
            (r#"{"request_id": "a", "label": "x", "observed_at": "now"}"#, "RFC 3339|such as"),
            (r#"{"request_id": "a", "label": "x", "observed_at": "1960-01-01T00:00:00Z"}"#, "1970"),
            (r#"{"request_id": "a", "retract": 1}"#, "true or false"),
        ] {
            let error = one(body).expect_err(body);
            assert!(why.split('|').any(|why| error.contains(why)), "{body}: {error}");
        }
        for body in ["", "7", "{", "[1", "\u{feff}{}"] {
            assert!(items(body.as_bytes(), false).is_err(), "{body}");
        }
    }

    #[test]
    fn lines_stand_for_themselves() {
        let body = b"{\"request_id\": \"a\", \"label\": \"x\"}\r\n\n{broken\n7\n";
        let (shape, items) = items(body, true).expect("lines");
        assert_eq!(shape, Shape::Lines);
        assert_eq!(items.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false]);
        let many = "{}\n".repeat(ITEMS_MAX + 1);
        assert!(super::items(many.as_bytes(), true).is_err());
    }

    #[test]
    fn an_array_is_read_no_further_than_there_may_be_items() {
        let full = format!("[{}0]", "0,".repeat(ITEMS_MAX - 1));
        let (shape, all) = items(full.as_bytes(), false).expect("as many as there may be");
        assert_eq!((shape, all.len()), (Shape::Array, ITEMS_MAX));
        // What follows the first that is too many is not even JSON.
        let many = format!("[{}0, and so on", "0,".repeat(ITEMS_MAX));
        let why = items(many.as_bytes(), false).expect_err("too many");
        assert!(why.contains("more than 10000 items"), "{why}");
        for body in ["[] []", "[{}", "[{},]"] {
            let why = items(body.as_bytes(), false).expect_err(body);
            assert!(why.contains("not JSON"), "{why}");
        }
    }

    #[test]
    fn an_item_that_is_too_long_is_not_read() {
        let long = format!("[{}0]", "0,".repeat(ITEM_BYTES_MAX / 2));
        let array = format!(r#"[{long}, {{"request_id": "a", "label": "x"}}]"#);
        let (_, all) = items(array.as_bytes(), false).expect("an array");
        assert!(all[0].as_ref().is_err_and(|why| why.contains("longer than")), "{all:?}");
        assert!(all[1].is_ok(), "the others are taken");
        let object = format!(r#"{{"label": {long}}}"#);
        assert!(items(object.as_bytes(), false).is_err_and(|why| why.contains("longer than")));
        let (_, lines) = items(object.as_bytes(), true).expect("lines");
        assert!(lines[0].as_ref().is_err_and(|why| why.contains("longer than")));
    }
}
