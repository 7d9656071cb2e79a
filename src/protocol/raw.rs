//! Any other HTTP service that speaks JSON.
//!
//! Owns the places in a body that the configuration declares ([`Extractors`]): where a request has its
//! rows, and a response its prediction and label. When client and backend speak the same, bytes pass
//! and these are read beside them, for the log and for monitoring; when they differ, a body is made
//! with nothing but the declared places. Never needs a path: routes lead here.

use super::dialect::Extractors;
use super::envelope::UNNAMED_INPUT;
use super::infer::InferRequest;
use super::json::{DecodeError, DecodeErrorKind, Reader, Token, write_string};
use super::tensor::{Datatype, Tensor, TensorSpec};
use super::untyped::{
    RowKind, ValueError, Values, WriteError, bind, check_rows, write_rows, write_tensor,
};
use crate::domain::spec::{JsonPointer, Step};

/// What an answer's outputs are called.
pub const PREDICTION: &str = "prediction";

/// What an answer's label is called.
pub const LABEL: &str = "label";

/// The most values that one pointer may find.
const FOUND_MAX: usize = 65_536;

/// A body that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RawError {
    /// Nothing says where the values go.
    #[error("no JSON pointer is configured for the {0} of this raw service")]
    NoPointer(&'static str),
    /// A pointer that names many places.
    #[error("the JSON pointer {0} has a `*`; a body cannot be made with it")]
    Many(String),
    /// Two pointers of which one lies within the other.
    #[error("the JSON pointer {0} lies within another one")]
    Within(String),
    /// A tensor that has no form.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Reads the rows of a request.
///
/// # Errors
/// When there are none where the pointer says, or they do not fit `inputs`, the tensors that the model
/// declares.
pub fn decode_request(
    extractors: &Extractors,
    body: &[u8],
    inputs: Option<&[TensorSpec]>,
) -> Result<InferRequest<'static>, DecodeError> {
    let Some(pointer) = &extractors.rows else {
        let why = "no JSON pointer is configured for the rows of this raw service";
        return Err(DecodeError::new(0, DecodeErrorKind::Unsupported(why)));
    };
    let found = find(body, pointer, true)?;
    let values = values_of(found, pointer)?;
    let inputs = bind(&values, inputs, UNNAMED_INPUT)?;
    Ok(InferRequest { inputs, ..InferRequest::default() })
}

/// Reads prediction and label of a response. With one output declared the prediction has its name. A label may be
/// absent where there is a prediction; never in some rows only.
///
/// # Errors
/// When there is nothing where a pointer says, or what is there is no tensor, or does not fit.
pub fn decode_answer(
    extractors: &Extractors,
    body: &[u8],
    outputs: Option<&[TensorSpec]>,
) -> Result<Vec<Tensor>, DecodeError> {
    let mut tensors = Vec::new();
    let named = |name| outputs.and_then(|specs| specs.iter().find(|spec| spec.name == name));
    for (pointer, name) in [(&extractors.prediction, PREDICTION), (&extractors.label, LABEL)] {
        let Some(pointer) = pointer else { continue };
        let may_lack = name == LABEL && !tensors.is_empty();
        if may_lack && find(body, pointer, false)?.is_empty() {
            continue;
        }
        let found = find(body, pointer, true)?;
        let only = outputs.filter(|specs| specs.len() == 1 && name == PREDICTION);
        let specs = named(name).map(std::slice::from_ref).or(only);
        tensors.extend(bind(&values_of(found, pointer)?, specs, name)?);
    }
    if tensors.is_empty() {
        let why = "no JSON pointer is configured for the prediction of this raw service";
        return Err(DecodeError::new(0, DecodeErrorKind::Unsupported(why)));
    }
    Ok(tensors)
}

/// One value is rows if it is an array, else a whole tensor; several are one row each.
fn values_of<'a>(
    mut found: Vec<Reader<'a>>,
    pointer: &JsonPointer,
) -> Result<Values<'a>, DecodeError> {
    if found.is_empty() {
        return Err(nothing(0, pointer.steps()));
    }
    if pointer.steps().contains(&Step::Any) {
        return Ok(Values::Each(found));
    }
    let Some(mut one) = found.pop() else {
        return Err(nothing(0, pointer.steps()));
    };
    Ok(match one.peek()? {
        Token::Array => Values::Rows { rows: one, kind: RowKind::Plain },
        Token::Null | Token::Boolean | Token::Number | Token::String | Token::Object => {
            Values::Columns(one)
        }
    })
}

/// Nothing stands where the steps lead to.
#[cold]
fn nothing(offset: usize, steps: &[Step]) -> DecodeError {
    let names = steps.iter().rev().map(|step| match step {
        Step::Name(name) => name.as_str(),
        Step::Any => "*",
    });
    names.fold(DecodeError::new(offset, ValueError::Nothing), |error, name| error.in_key(name))
}

/// The places that a pointer finds, in the order of the body. The whole body must be JSON. Each of the places under a
/// `*` stands for a row, so that one without the rest of the pointer is an error, unless `strict` says otherwise: the rows
/// after it would move up.
fn find<'a>(
    body: &'a [u8],
    pointer: &JsonPointer,
    strict: bool,
) -> Result<Vec<Reader<'a>>, DecodeError> {
    let mut found = Vec::new();
    let mut reader = Reader::new(body);
    let need = if strict { Need::Rows } else { Need::Nothing };
    find_in(&mut reader, pointer.steps(), need, &mut found)?;
    reader.end()?;
    Ok(found)
}

/// What has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    /// Something at each of the places under a `*`.
    Rows,
    /// Something here.
    Here,
}

/// Of a name that stands twice the last value counts. The recursion is as
/// deep as the reader allows a document to be nested.
fn find_in<'a>(
    reader: &mut Reader<'a>,
    steps: &[Step],
    need: Need,
    found: &mut Vec<Reader<'a>>,
) -> Result<(), DecodeError> {
    let token = reader.peek()?;
    let (start, before) = (reader.offset(), found.len());
    let Some((step, rest)) = steps.split_first() else {
        if found.len() == FOUND_MAX {
            let why = "the JSON pointer finds more than 65536 values";
            return Err(DecodeError::new(reader.offset(), DecodeErrorKind::Unsupported(why)));
        }
        found.push(reader.clone());
        return reader.skip();
    };
    let inner = if need == Need::Rows && *step == Step::Any { Need::Here } else { need };
    match token {
        Token::Object => reader.object(|reader, name| {
            if !step.takes_name(name) {
                return reader.skip();
            }
            if *step != Step::Any {
                found.truncate(before);
            }
            find_in(reader, rest, inner, found)
        })?,
        Token::Array => {
            let mut index = 0;
            reader.array(|reader| {
                let takes = step.takes_index(index);
                index += 1;
                if takes { find_in(reader, rest, inner, found) } else { reader.skip() }
            })?;
        }
        Token::Null | Token::Boolean | Token::Number | Token::String => reader.skip()?,
    }
    if need == Need::Here && found.len() == before {
        return Err(nothing(start, steps));
    }
    Ok(())
}

/// Makes the body of a request.
///
/// # Errors
/// When no place for the rows is configured, or the inputs have no rows.
pub fn encode_request(
    extractors: &Extractors,
    request: &InferRequest<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RawError> {
    let pointer = extractors.rows.as_ref().ok_or(RawError::NoPointer("rows"))?;
    check_rows(&request.inputs)?;
    let mut rows = Vec::new();
    write_rows(&mut rows, &request.inputs, false)?;
    let mut body = Members::default();
    body.insert(pointer, rows)?;
    body.write(out);
    Ok(())
}

/// Makes the body of a response: the output called `prediction`, else the first float output, else the
/// first, where the prediction goes; and the one called `label`, else the first other that is BYTES or
/// an integer, where the label goes.
///
/// # Errors
/// When no place for the prediction is configured.
pub fn encode_answer(
    extractors: &Extractors,
    outputs: &[Tensor],
    out: &mut Vec<u8>,
) -> Result<(), RawError> {
    let pointer = extractors.prediction.as_ref().ok_or(RawError::NoPointer("prediction"))?;
    let is_float = |tensor: &&Tensor| {
        use Datatype::{Bf16, Fp16, Fp32, Fp64};
        matches!(tensor.datatype(), Fp16 | Bf16 | Fp32 | Fp64)
    };
    let named = |name| outputs.iter().find(|output| output.name() == name);
    let prediction =
        named(PREDICTION).or_else(|| outputs.iter().find(is_float)).or_else(|| outputs.first());
    let is_label = |output: &&Tensor| {
        !is_float(output) && prediction.is_none_or(|prediction| prediction.name() != output.name())
    };
    let label = named(LABEL).or_else(|| outputs.iter().find(is_label));
    let mut body = Members::default();
    for (pointer, tensor) in [(Some(pointer), prediction), (extractors.label.as_ref(), label)] {
        let (Some(pointer), Some(tensor)) = (pointer, tensor) else { continue };
        let mut value = Vec::new();
        write_tensor(&mut value, tensor)?;
        body.insert(pointer, value)?;
    }
    body.write(out);
    Ok(())
}

/// The members of an object in the making.
#[derive(Debug, Default)]
struct Members(Vec<(String, Member)>);

#[derive(Debug)]
enum Member {
    Object(Members),
    Value(Vec<u8>),
}

impl Members {
    /// Puts a value where the pointer says; indexes are names here, as only objects are made.
    fn insert(&mut self, pointer: &JsonPointer, value: Vec<u8>) -> Result<(), RawError> {
        let within = || RawError::Within(pointer.to_string());
        let mut names = Vec::with_capacity(pointer.steps().len());
        for step in pointer.steps() {
            match step {
                Step::Name(name) => names.push(name),
                Step::Any => return Err(RawError::Many(pointer.to_string())),
            }
        }
        let Some((last, path)) = names.split_last() else { return Ok(()) };
        let mut members = self;
        for name in path {
            let position = members.0.iter().position(|(own, _)| own == *name);
            let position = position.unwrap_or_else(|| {
                members.0.push(((*name).clone(), Member::Object(Self::default())));
                members.0.len() - 1
            });
            members = match members.0.get_mut(position) {
                Some((_, Member::Object(inner))) => inner,
                _ => return Err(within()),
            };
        }
        if members.0.iter().any(|(own, _)| own == *last) {
            return Err(within());
        }
        members.0.push(((*last).clone(), Member::Value(value)));
        Ok(())
    }

    /// The recursion is as deep as a pointer is long.
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (at, (name, member)) in self.0.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write_string(out, name);
            out.push(b':');
            match member {
                Member::Object(members) => members.write(out),
                Member::Value(value) => out.extend_from_slice(value),
            }
        }
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::tensor::TensorData;

    fn extractors(rows: &str, prediction: &str, label: &str) -> Extractors {
        let pointer = |text| JsonPointer::parse(text).ok();
        Extractors { rows: pointer(rows), prediction: pointer(prediction), label: pointer(label) }
    }

    fn text(out: Vec<u8>) -> String {
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rows_are_read_where_the_pointer_says() {
        let whole = extractors("/data", "", "");
        let request = decode_request(&whole, br#"{"x":1,"data":[[5.1,3],[4,2]]}"#, None).unwrap();
        assert_eq!(request.inputs[0].shape(), [2, 2]);
        assert_eq!(request.inputs[0].data(), &TensorData::Fp64(vec![5.1, 3.0, 4.0, 2.0]));
        let each = extractors("/items/*/features", "", "");
        let body = br#"{"items":[{"id":7,"features":[1,2]},{"features":[3,4]}]}"#;
        let request = decode_request(&each, body, None).unwrap();
        assert_eq!(request.inputs[0].shape(), [2, 2]);
        assert_eq!(request.inputs[0].data(), &TensorData::Int64(vec![1, 2, 3, 4]));
        let error = decode_request(&whole, br#"{"rows":[]}"#, None).unwrap_err();
        assert_eq!(error.pointer(), "/data");
        assert!(decode_request(&whole, br#"{"data":[[1,2],[3]]}"#, None).is_err());
        let body = br#"{"items":[{"features":[1,2]},{"id":8},{"features":[3,4]}]}"#;
        let error = decode_request(&each, body, None).unwrap_err();
        assert_eq!(
            (error.pointer(), error.kind()),
            ("/items/1/features", &ValueError::Nothing.into())
        );
        assert!(decode_request(&whole, br#"{"data":[1]} x"#, None).is_err());
    }

    #[test]
    fn a_fleet_of_hand_written_services_is_spoken_to() {
        // POST /predict {"data":[[…]]} → {"prediction":[…],"prediction_label":"setosa"}
        let iris = extractors("/data", "/prediction", "/prediction_label");
        let input = Tensor::new("x", [1, 2].as_slice(), TensorData::Fp32(vec![0.1, 2.0])).unwrap();
        let request = InferRequest { inputs: vec![input], ..InferRequest::default() };
        let mut out = Vec::new();
        encode_request(&iris, &request, &mut out).unwrap();
        assert_eq!(text(out), r#"{"data":[[0.1,2.0]]}"#);
        let body = br#"{"prediction":[0.97,0.02,0.01],"prediction_label":"setosa"}"#;
        let outputs = decode_answer(&iris, body, None).unwrap();
        assert_eq!(outputs[0].data(), &TensorData::Fp64(vec![0.97, 0.02, 0.01]));
        assert_eq!(
            (outputs[1].name(), outputs[1].data()),
            (LABEL, &TensorData::Bytes(vec![b"setosa".to_vec()]))
        );
        let mut out = Vec::new();
        encode_answer(&iris, &outputs, &mut out).unwrap();
        assert_eq!(text(out), r#"{"prediction":[0.97,0.02,0.01],"prediction_label":"setosa"}"#);
    }

    #[test]
    fn a_row_without_a_prediction_is_never_left_out() {
        let each = extractors("", "/items/*/score", "/items/*/label");
        let read = |body: &str| decode_answer(&each, body.as_bytes(), None);
        let missing = |body: &str| read(body).unwrap_err().pointer().to_owned();
        assert_eq!(missing(r#"{"items":[{"score":1},{"x":1},{"score":3}]}"#), "/items/1/score");
        assert_eq!(missing(r#"{"items":[{"score":1},7]}"#), "/items/1/score");
        let body = r#"{"items":[{"score":1,"label":"a"},{"score":2}]}"#;
        assert_eq!(missing(body), "/items/1/label");
        // What is there and null is a missing value; a name that stands twice is one place.
        let body = r#"{"items":[{"score":9,"score":1},{"score":null}]}"#;
        let outputs = read(body).unwrap();
        assert_eq!((outputs.len(), outputs[0].shape()), (1, [2].as_slice()));
        let TensorData::Fp64(scores) = outputs[0].data() else { panic!("{outputs:?}") };
        assert!((scores[0] - 1.0).abs() < f64::EPSILON && scores[1].is_nan());
        let deep = extractors("", "/a/*/s/*", "");
        let error = decode_answer(&deep, br#"{"a":[{"s":[1]},{"s":[]}]}"#, None).unwrap_err();
        assert_eq!(error.pointer(), "/a/1/s/*");
    }

    #[test]
    fn an_answer_without_the_prediction_is_none() {
        let both = extractors("", "/p", "/l");
        let error = decode_answer(&both, br#"{"error":"x","l":[1,2]}"#, None).unwrap_err();
        assert_eq!(error.in_answer().to_string(), "at /p: there is nothing here (byte 0)");
        assert_eq!(decode_answer(&both, br#"{"p":[1,2]}"#, None).unwrap().len(), 1);
        let label = extractors("", "", "/l");
        assert_eq!(decode_answer(&label, b"{}", None).unwrap_err().pointer(), "/l");
    }

    #[test]
    fn a_bare_string_is_an_answer_too() {
        let bare =
            Extractors { prediction: JsonPointer::parse("/label").ok(), ..Extractors::default() };
        let outputs = decode_answer(&bare, br#"{"label":"Persian cat"}"#, None).unwrap();
        assert_eq!(outputs[0].data(), &TensorData::Bytes(vec![b"Persian cat".to_vec()]));
    }

    #[test]
    fn bodies_that_cannot_be_made_say_why() {
        let outputs = [Tensor::new("x", [1].as_slice(), TensorData::Int8(vec![1])).unwrap()];
        let make = |extractors: &Extractors| {
            encode_answer(extractors, &outputs, &mut Vec::new()).unwrap_err().to_string()
        };
        assert!(make(&Extractors::default()).contains("no JSON pointer is configured"));
        assert!(make(&extractors("", "/a/*", "")).contains("has a `*`"));
        let outputs = [
            outputs[0].clone(),
            Tensor::new("label", [1].as_slice(), TensorData::Int8(vec![1])).unwrap(),
        ];
        let within = encode_answer(&extractors("", "/a", "/a/b"), &outputs, &mut Vec::new());
        assert_eq!(within, Err(RawError::Within("/a/b".into())));
    }
}
