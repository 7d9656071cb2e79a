use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::spec::{JsonPointer, RedactRule, Secret, Step};

fn rules(rules: &[(&str, RedactionKind)]) -> Redaction {
    let rules = rules
        .iter()
        .map(|(pointer, kind)| RedactRule {
            pointer: JsonPointer::parse(pointer).unwrap(),
            kind: *kind,
        })
        .collect();
    Redaction { rules, key: Some(Secret::new("k")) }
}

/// The text after redaction, the same text where nothing matched, and `None` where it is left out.
fn text_of(redaction: &Redaction, format: Format, body: &str) -> Option<String> {
    let redacted = redact(redaction, format, body.as_bytes()).ok()?;
    Some(redacted.body.map_or_else(|| body.to_owned(), |body| String::from_utf8(body).unwrap()))
}

fn document(pointer: &str, kind: RedactionKind, body: &str) -> Option<String> {
    text_of(&rules(&[(pointer, kind)]), Format::Document, body)
}

#[test]
fn values_go_and_all_else_stays_as_it_was_written() {
    let body =
        r#" { "a" : 1.50e+01 , "pass" : {"x":[1]} ,"z":[ 0 , -0 , 12345678901234567890 ] } "#;
    let drop = |pointer| document(pointer, RedactionKind::Drop, body).unwrap();
    let mask = |pointer| document(pointer, RedactionKind::Mask, body).unwrap();
    assert_eq!(drop("/pass"), r#" { "a" : 1.50e+01 ,"z":[ 0 , -0 , 12345678901234567890 ] } "#);
    assert_eq!(drop("/a"), r#" { "pass" : {"x":[1]} ,"z":[ 0 , -0 , 12345678901234567890 ] } "#);
    assert_eq!(drop("/z"), r#" { "a" : 1.50e+01 , "pass" : {"x":[1]} } "#);
    assert_eq!(drop("/*"), r#" { } "#);
    assert_eq!(drop("/z/1"), body.replace("-0", "null"));
    assert_eq!(mask("/pass/x"), body.replace("[1]", r#""***""#));
    assert_eq!(mask("/nothing"), body);
}

#[test]
fn names_are_compared_as_decoded_and_each_one_that_stands_twice_counts() {
    let body = r#"{"p\u0061ss":"x","pass":"y","n":{"pass":1},"pass":["z"]}"#;
    let masked = document("/pass", RedactionKind::Mask, body).unwrap();
    assert_eq!(masked, r#"{"p\u0061ss":"***","pass":"***","n":{"pass":1},"pass":"***"}"#);
    let dropped = document("/pass", RedactionKind::Drop, body).unwrap();
    assert_eq!(dropped, r#"{"n":{"pass":1}}"#);
}

#[test]
fn hashes_are_keyed_and_equal_for_equal_texts() {
    let body = r#"["user-7","\u0075ser-7",7]"#;
    let hashed: Vec<String> =
        serde_json::from_str(&document("/*", RedactionKind::Hash, body).unwrap()).unwrap();
    // printf user-7 | openssl dgst -sha256 -hmac k
    let digest = "396d366cfeed6a5d275799578d4a13a79b34147753fed1eab63fd3485506946c";
    assert_eq!(hashed[0], format!("hmac:{digest}"));
    assert_eq!(hashed[0], hashed[1]);
    assert_ne!(hashed[0], hashed[2]);
}

#[test]
fn a_value_that_several_rules_name_meets_the_first_of_them() {
    let redaction = rules(&[
        ("/a/b", RedactionKind::Mask),
        ("/*/b", RedactionKind::Drop),
        ("/a", RedactionKind::Mask),
        ("/c", RedactionKind::Drop),
    ]);
    let text = text_of(&redaction, Format::Document, r#"{"a":{"b":1},"x":{"b":2}}"#);
    assert_eq!(text.as_deref(), Some(r#"{"a":"***","x":{}}"#), "the outer value goes as a whole");
}

#[test]
fn what_cannot_be_read_to_its_end_is_left_out() {
    let deep = "[".repeat(65) + &"]".repeat(65);
    for body in [
        "{",
        r#"{"a":1"#,
        r#"{"a":1}x"#,
        "secret",
        "\u{feff}{}",
        r#"{"a":"\ud800"}"#,
        "{}{}",
        &deep,
    ] {
        assert_eq!(document("/a", RedactionKind::Mask, body), None, "{body}");
    }
    for bytes in [&b"\x1f\x8b\x08\x00"[..], b"{\"a\":\"\xff\"}", b"{\0\"\0a\0\"\0:\x001\0}\0"] {
        let redaction = rules(&[("/a", RedactionKind::Mask)]);
        assert_eq!(redact(&redaction, Format::Document, bytes), Err(Unredactable));
    }
    assert_eq!(document("/a", RedactionKind::Mask, "").as_deref(), Some(""));
}

#[test]
fn lines_and_events_are_redacted_one_by_one() {
    let redaction = rules(&[("/s", RedactionKind::Mask)]);
    let lines = "{\"s\":1}\n\n {\"t\":2} \r\n{\"s\":[3]}";
    let expected = "{\"s\":\"***\"}\n\n {\"t\":2} \r\n{\"s\":\"***\"}";
    assert_eq!(text_of(&redaction, Format::Lines, lines).as_deref(), Some(expected));
    assert_eq!(text_of(&redaction, Format::Lines, "{\"s\":1}\n{\"s\""), None, "the last is cut");

    let events = ": hello\r\nevent: x\r\ndata: {\"s\":1}\r\n\r\ndata:{\"s\":2}\nid: 7\ndata\n\ndata: [DONE]\n\n";
    let expected = events.replace(":1}", ":\"***\"}").replace(":2}", ":\"***\"}");
    assert_eq!(text_of(&redaction, Format::Events, events), Some(expected));
    for bad in [
        "data: hello\n\n",
        "data: {\"s\":\ndata: 1}\n\n",
        "x: 1\n",
        ": c\rdata: {\"s\":1}\n",
        "data: {",
    ] {
        assert_eq!(text_of(&redaction, Format::Events, bad), None, "{bad:?}");
    }
}

#[test]
fn the_content_type_names_the_format() {
    let of = |text: &'static str| Format::of(Some(&http::HeaderValue::from_static(text)));
    assert_eq!(of("Text/Event-Stream; charset=utf-8"), Format::Events);
    assert_eq!(of("application/x-ndjson"), Format::Lines);
    assert_eq!(of("application/json"), Format::Document);
    assert_eq!(Format::of(None), Format::Document);
}

/// A step on the way to a value.
#[derive(Clone)]
enum Way {
    Name(String),
    Index(usize),
}

/// The first rule that names the value at `way`: the definition, step by step.
fn rule_for<'a>(redaction: &'a Redaction, way: &[Way]) -> Option<&'a RedactRule> {
    let takes = |step: &Step, way: &Way| match (step, way) {
        (Step::Any, _) => true,
        (Step::Name(step), Way::Name(name)) => step == name,
        (Step::Name(step), Way::Index(index)) => *step == index.to_string(),
    };
    redaction.rules.iter().find(|rule| {
        let steps = rule.pointer.steps();
        steps.len() == way.len() && steps.iter().zip(way).all(|(step, way)| takes(step, way))
    })
}

/// Redaction as its definition says it, on a tree.
fn reference(redaction: &Redaction, value: &Value, way: &mut Vec<Way>) -> Value {
    let mut child = |step: Way, value: &Value, in_object: bool| {
        way.push(step);
        let result = match rule_for(redaction, way).map(|rule| rule.kind) {
            None => Some(reference(redaction, value, way)),
            Some(RedactionKind::Drop) => (!in_object).then_some(Value::Null),
            Some(RedactionKind::Mask) => Some(json!("***")),
            Some(RedactionKind::Hash) => {
                let content = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let mut mac = Hmac::<Sha256>::new_from_slice(b"k").unwrap();
                mac.update(content.as_bytes());
                let bytes = mac.finalize().into_bytes();
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                Some(json!(format!("hmac:{hex}")))
            }
        };
        way.pop();
        result
    };
    match value {
        Value::Object(members) => members
            .iter()
            .filter_map(|(name, value)| {
                Some((name.clone(), child(Way::Name(name.clone()), value, true)?))
            })
            .collect(),
        Value::Array(elements) => elements
            .iter()
            .enumerate()
            .filter_map(|(index, value)| child(Way::Index(index), value, false))
            .collect(),
        scalar => scalar.clone(),
    }
}

/// Writes a value with white space drawn from `spaces` to `whole`, and what a mask leaves of it to
/// `masked`, unless that part is masked already.
struct Writer<'a> {
    redaction: &'a Redaction,
    spaces: std::iter::Cycle<std::slice::Iter<'a, u8>>,
    whole: String,
    masked: String,
    hidden: bool,
}

impl Writer<'_> {
    fn put(&mut self, text: &str) {
        self.whole.push_str(text);
        if !self.hidden {
            self.masked.push_str(text);
        }
    }

    fn space(&mut self) {
        let spaces = ["", "", " ", "\n", "\t ", "\r\n"];
        let drawn = usize::from(self.spaces.next().copied().unwrap_or_default());
        self.put(spaces[drawn % spaces.len()]);
    }

    fn value(&mut self, value: &Value, way: &mut Vec<Way>) {
        let hides = !self.hidden && !way.is_empty() && rule_for(self.redaction, way).is_some();
        if hides {
            self.masked.push_str("\"***\"");
            self.hidden = true;
        }
        match value {
            Value::Object(members) => {
                self.put("{");
                for (index, (name, value)) in members.iter().enumerate() {
                    self.put(if index == 0 { "" } else { "," });
                    self.space();
                    self.put(&Value::from(name.as_str()).to_string());
                    self.space();
                    self.put(":");
                    self.space();
                    way.push(Way::Name(name.clone()));
                    self.value(value, way);
                    way.pop();
                    self.space();
                }
                self.put("}");
            }
            Value::Array(elements) => {
                self.put("[");
                for (index, value) in elements.iter().enumerate() {
                    self.put(if index == 0 { "" } else { "," });
                    self.space();
                    way.push(Way::Index(index));
                    self.value(value, way);
                    way.pop();
                    self.space();
                }
                self.put("]");
            }
            scalar => self.put(&scalar.to_string()),
        }
        if hides {
            self.hidden = false;
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let name = || prop_oneof!["[ab0]", "[ab~/*\"\\\\é]{0,2}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-c\"\\\\\u{0}-\u{20}é]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name(), inner), 0..4)
                .prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

fn any_rules(kind: impl Strategy<Value = RedactionKind>) -> impl Strategy<Value = Redaction> {
    let step = prop_oneof![Just("*"), Just("a"), Just("b"), Just("0"), Just("1"), Just("")];
    let pointer =
        prop::collection::vec(step, 1..4).prop_map(|steps| format!("/{}", steps.join("/")));
    prop::collection::vec((pointer, kind), 1..4).prop_map(|list| {
        let list: Vec<_> = list.iter().map(|(pointer, kind)| (pointer.as_str(), *kind)).collect();
        rules(&list)
    })
}

fn any_kind() -> impl Strategy<Value = RedactionKind> {
    prop_oneof![Just(RedactionKind::Drop), Just(RedactionKind::Mask), Just(RedactionKind::Hash)]
}

proptest! {
    /// The result is JSON, and the document that the definition gives.
    #[test]
    fn redaction_is_what_its_definition_says(
        value in any_json(),
        redaction in any_rules(any_kind()),
    ) {
        let text = value.to_string();
        let redacted = text_of(&redaction, Format::Document, &text).unwrap();
        let read: Value = serde_json::from_str(&redacted).unwrap();
        prop_assert_eq!(read, reference(&redaction, &value, &mut Vec::new()));
    }

    /// What no rule names stays as it was written, byte for byte.
    #[test]
    fn all_else_is_identical(
        value in any_json(),
        redaction in any_rules(Just(RedactionKind::Mask)),
        spaces in prop::collection::vec(any::<u8>(), 1..20),
    ) {
        let spaces = spaces.iter().cycle();
        let (whole, masked) = (String::new(), String::new());
        let mut writer = Writer { redaction: &redaction, spaces, whole, masked, hidden: false };
        writer.value(&value, &mut Vec::new());
        let redacted = text_of(&redaction, Format::Document, &writer.whole).unwrap();
        prop_assert_eq!(redacted, writer.masked);
    }

    /// Whatever comes, nothing panics, and what comes out can be read again.
    #[test]
    fn arbitrary_bytes_are_redacted_or_left_out(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz(&bytes);
    }

    /// The same for bytes that look like JSON.
    #[test]
    fn near_json_is_redacted_or_left_out(text in "[012][\\[\\]{}\",:a-d0-9 \\\\\nu]{0,60}") {
        fuzz(text.as_bytes());
    }
}
