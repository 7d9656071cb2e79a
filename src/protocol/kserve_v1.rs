//! KServe's first protocol.
//!
//! Owns the list of models and the state of one; the rest of its paths and bodies are shared with
//! [`super::tensorflow_serving`], which owns them. Written to
//! <https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol>. It has no
//! versions. Values have no types of their own: see [`super::untyped`].

use super::dialect::{Call, Dialect, Operation};
use super::envelope::write_parameters;
use super::infer::InferRequest;
use super::json::{Reader, Token, write_string};
use super::tensor::Tensor;
use super::untyped::{WriteError, check_rows, write_columns, write_rows};

/// The path by which clients ask whether the server lives. It is anybody's, so that [`parse_path`] leaves it out.
pub const LIVE_PATH: &str = "/";

/// What is asked there.
pub const LIVE: Call<'static> = Call::server(Dialect::KserveV1, Operation::Live);

/// The answer to `GET /`.
pub const ALIVE: &[u8] = br#"{"status":"alive"}"#;

/// Reads a path without its query; `None` when it is not of this protocol alone.
pub fn parse_path(path: &str) -> Option<Call<'_>> {
    (path == "/v1/models").then(|| Call::server(Dialect::KserveV1, Operation::ModelList))
}

/// The answer to `GET /v1/models`.
pub fn encode_model_list<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut out = b"{\"models\":[".to_vec();
    for (at, name) in names.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_string(&mut out, name);
    }
    out.extend_from_slice(b"]}");
    out
}

/// Whether the answer to `GET /v1/models/{model}` says that the model can predict: `{"ready":true}`, or
/// `"True"` from older servers; `None` when it says neither.
pub fn decode_ready(body: &[u8]) -> Option<bool> {
    let mut reader = Reader::new(body);
    let mut ready = None;
    let read = reader.object(|reader, key| match (key, reader.peek()?) {
        ("ready", Token::Boolean) => reader.boolean().map(|is| ready = Some(is)),
        ("ready", Token::String) => {
            reader.string().map(|is| ready = Some(is.eq_ignore_ascii_case("true")))
        }
        _ => reader.skip(),
    });
    read.ok().and(ready)
}

/// Appends the body of a `…:predict` request: rows, and the parameters beside them.
///
/// # Errors
/// When the inputs have no rows, or not the same number of them.
pub fn encode_predict(request: &InferRequest<'_>, out: &mut Vec<u8>) -> Result<(), WriteError> {
    check_rows(&request.inputs)?;
    out.extend_from_slice(b"{\"instances\":");
    write_rows(out, &request.inputs, false)?;
    write_parameters(out, "parameters", &request.parameters);
    out.push(b'}');
    Ok(())
}

/// Appends the answer to a prediction: rows, or an object of whole outputs where they have no common
/// rows.
///
/// # Errors
/// When an output has too many dimensions.
pub fn encode_predictions(outputs: &[Tensor], out: &mut Vec<u8>) -> Result<(), WriteError> {
    out.extend_from_slice(b"{\"predictions\":");
    let start = out.len();
    if write_rows(out, outputs, false).is_err() {
        out.truncate(start);
        write_columns(out, outputs, true)?;
    }
    out.push(b'}');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::infer::Parameter;
    use crate::protocol::tensor::{Shape, TensorData};

    #[test]
    fn a_model_is_ready_in_old_and_new_words() {
        assert_eq!(decode_ready(br#"{"name":"m","ready":true}"#), Some(true));
        assert_eq!(decode_ready(br#"{"name":"m","ready":"True"}"#), Some(true));
        assert_eq!(decode_ready(br#"{"name":"m","ready":"False"}"#), Some(false));
        assert_eq!(decode_ready(br#"{"name":"m"}"#), None);
        assert_eq!(decode_ready(b"ok"), None);
    }

    #[test]
    fn requests_are_rows_with_their_parameters() {
        let tensor = |name, data| Tensor::new(name, [2].as_slice(), data).unwrap();
        let inputs = vec![
            tensor("age", TensorData::Int64(vec![9_007_199_254_740_993, 4])),
            tensor("name", TensorData::Bytes(vec![b"a\"b".to_vec(), vec![0xff]])),
        ];
        let parameters = vec![
            ("signature_name".into(), Parameter::String("x".into())),
            ("k".into(), Parameter::Integer(3)),
        ];
        let mut out = Vec::new();
        let request = InferRequest { inputs, parameters, ..InferRequest::default() };
        encode_predict(&request, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"instances":[{"age":9007199254740993,"name":"a\"b"},{"age":4,"name":{"b64":"/w=="}}],"parameters":{"k":3}}"#
        );
    }

    #[test]
    fn outputs_without_common_rows_are_an_object() {
        let row = Tensor::new("a", [1].as_slice(), TensorData::Int8(vec![1])).unwrap();
        let scalar = Tensor::new("b", Shape::new(), TensorData::Int8(vec![2])).unwrap();
        let mut out = Vec::new();
        encode_predictions(&[row, scalar], &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"predictions":{"a":[1],"b":2}}"#);
    }

    #[test]
    fn only_the_list_is_its_own_path() {
        assert_eq!(parse_path("/v1/models").map(|call| call.operation), Some(Operation::ModelList));
        assert_eq!(parse_path("/v1/models/m"), None);
        assert_eq!(encode_model_list(["a", "b"]), br#"{"models":["a","b"]}"#);
    }
}
