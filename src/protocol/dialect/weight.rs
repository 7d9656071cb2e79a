//! How much longer the tensors of a request are in memory than its body, before anything is allocated for them.
//!
//! Owns the estimate for each dialect. Over REST only texts count: an empty one takes three bytes of JSON, four behind
//! it or one of CSV, and in memory a place of its own; numbers are about as long. Reads no value.

use super::{Body, Dialect, Terms};
use crate::protocol::open_inference::grpc::{self, CallError};
use crate::protocol::sagemaker::Media;
use crate::protocol::tensor::Datatype;

/// What a text takes at least beside its bytes where the list of all has room for exactly them: its place, and the
/// smallest allocation.
const TEXT_ROOM: usize = PLACE + 16;
/// The same in a list that doubles when it grows.
const GROWN_TEXT_ROOM: usize = PLACE + TEXT_ROOM;
const PLACE: usize = size_of::<Vec<u8>>();

/// How much longer the tensors of a client's request are than `body`, about.
///
/// # Errors
/// When the message of gRPC is none, or has more parts than it may.
pub fn swelling(dialect: Dialect, body: &Body, terms: &Terms<'_>) -> Result<usize, CallError> {
    let document = body.bytes();
    let room = match dialect {
        Dialect::OpenInferenceGrpc => return grpc::swelling(document),
        Dialect::OpenInference => {
            let texts = texts_in(document).saturating_add(body.content.texts_behind());
            texts.saturating_mul(TEXT_ROOM)
        }
        Dialect::Sagemaker => match Media::parse(&body.content_type) {
            Ok(Media::Csv { .. }) if may_take_texts(terms) => {
                fields_in(document).saturating_mul(GROWN_TEXT_ROOM)
            }
            Ok(Media::Csv { .. }) => 0,
            Ok(_) | Err(_) => {
                let texts = texts_in(document).saturating_mul(GROWN_TEXT_ROOM);
                texts.saturating_add(body.content.texts_behind().saturating_mul(TEXT_ROOM))
            }
        },
        Dialect::KserveV1 | Dialect::TensorflowServing | Dialect::Torchserve | Dialect::Raw => {
            texts_in(document).saturating_mul(GROWN_TEXT_ROOM)
        }
    };
    Ok(room.saturating_sub(document.len()))
}

/// Whether the model takes texts, as far as is known: where nobody says what it takes, readers make texts of what is no
/// number.
fn may_take_texts(terms: &Terms<'_>) -> bool {
    terms.signature.is_none_or(|signature| {
        signature.inputs.iter().any(|input| input.datatype == Datatype::Bytes)
    })
}

/// How many strings of a JSON document are no keys.
fn texts_in(json: &[u8]) -> usize {
    let (mut texts, mut rest) = (0, json);
    // Outside of strings a quote begins one.
    while let Some(start) = rest.iter().position(|byte| *byte == b'"') {
        rest = after_string(rest.get(start + 1..).unwrap_or_default());
        let next = rest.iter().find(|byte| !byte.is_ascii_whitespace());
        texts += usize::from(next != Some(&b':'));
    }
    texts
}

/// What stands behind the string that has begun.
fn after_string(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
        let is_end = rest.get(at) == Some(&b'"');
        let next = if is_end { at + 1 } else { at + 2 };
        rest = rest.get(next..).unwrap_or_default();
        if is_end {
            return rest;
        }
    }
    &[]
}

/// How many fields the lines of a table have, at most.
fn fields_in(csv: &[u8]) -> usize {
    csv.iter().filter(|byte| matches!(byte, b',' | b'\n')).count() + 1
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue};

    use super::super::Signature;
    use super::*;
    use crate::protocol::tensor::TensorSpec;

    fn weighed(dialect: Dialect, headers: &[(&'static str, String)], body: &[u8]) -> usize {
        weighed_for(Some(Datatype::Bytes), dialect, headers, body)
    }

    /// For a model that takes this datatype, or nobody knows what.
    fn weighed_for(
        taken: Option<Datatype>,
        dialect: Dialect,
        headers: &[(&'static str, String)],
        body: &[u8],
    ) -> usize {
        let headers = headers.iter().map(|(name, value)| {
            let value = HeaderValue::from_str(value).expect("a value");
            (http::HeaderName::from_static(name), value)
        });
        let headers: HeaderMap = headers.collect();
        let (front, back) = body.split_at(body.len() / 2);
        let pieces = [Bytes::copy_from_slice(front), Bytes::copy_from_slice(back)];
        let body = Body::new(dialect, &headers, pieces).expect("sound");
        let spec = taken.map(|datatype| TensorSpec {
            name: "t".to_owned(),
            datatype,
            shape: [-1].as_slice().into(),
            places: Vec::new(),
            ordered: true,
        });
        let specs = spec.as_slice();
        let signature = taken.map(|_| Signature { inputs: specs, outputs: specs });
        swelling(dialect, &body, &Terms { signature, extractors: None }).expect("sound")
    }

    #[test]
    fn strings_are_counted_and_keys_are_not() {
        for (json, texts) in [
            (r#"{"instances":["","a\"b","c\\"]}"#, 3),
            (r#"{"a" : "x", "b":1, "c":{"b64":"QQ=="}}"#, 2),
            (r#"[1,2.5,null,true]"#, 0),
            (r#"["not closed"#, 1),
            ("", 0),
        ] {
            assert_eq!(texts_in(json.as_bytes()), texts, "{json}");
        }
    }

    #[test]
    fn texts_are_weighed_in_every_form_and_numbers_are_not() {
        let rows = |cell: &str| format!(r#"{{"instances":[{}]}}"#, vec![cell; 1000].join(","));
        let grown = |length: usize| 1000 * GROWN_TEXT_ROOM - length;
        for dialect in [Dialect::KserveV1, Dialect::TensorflowServing, Dialect::Torchserve] {
            assert_eq!(weighed(dialect, &[], rows("1.5").as_bytes()), 0);
            let texts = rows("\"\"");
            assert_eq!(weighed(dialect, &[], texts.as_bytes()), grown(texts.len()));
        }
        let table = "\n".repeat(999);
        let csv = [("content-type", "text/csv".to_owned())];
        assert_eq!(weighed(Dialect::Sagemaker, &csv, table.as_bytes()), grown(table.len()));
    }

    #[test]
    fn lines_are_texts_where_nobody_says_what_the_model_takes() {
        let table = "a\n".repeat(1000);
        let csv = [("content-type", "text/csv".to_owned())];
        let weighed = |taken| weighed_for(taken, Dialect::Sagemaker, &csv, table.as_bytes());
        let texts = weighed(Some(Datatype::Bytes));
        assert_eq!((texts, weighed(None)), (1001 * GROWN_TEXT_ROOM - table.len(), texts));
        assert_eq!(weighed(Some(Datatype::Fp32)), 0);
    }

    #[test]
    fn texts_behind_the_json_are_weighed_by_their_number() {
        let weighed = |datatype: &str, tail: &[u8]| {
            let head = format!(
                r#"{{"inputs":[{{"name":"n","shape":[2],"datatype":"FP32","parameters":{{"binary_data_size":8}}}},
                   {{"name":"t","shape":[9],"datatype":"{datatype}","parameters":{{"binary_data_size":{}}}}}]}}"#,
                tail.len()
            );
            let length = [("inference-header-content-length", head.len().to_string())];
            let body = [head.as_bytes(), &[0; 8], tail].concat();
            weighed(Dialect::OpenInference, &length, &body)
        };
        assert_eq!(weighed("FP32", &[0; 40_000]), 0);
        let empty = weighed("BYTES", &[0; 40_000]);
        assert!(empty > 9_900 * TEXT_ROOM && empty <= 10_000 * TEXT_ROOM, "{empty}");
        let one = [&39_996_u32.to_le_bytes()[..], &[0; 39_996]].concat();
        assert!(weighed("BYTES", &one) < TEXT_ROOM, "it is as long as it was");
    }
}
