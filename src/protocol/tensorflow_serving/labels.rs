//! Answers to `…:classify` and `…:regress`.
//!
//! Owns which of a model's outputs are the scores and the labels. A classification has a float output
//! `[rows, classes]` (or `[rows]` for one class), and may have a BYTES output of the same shape with
//! the labels; without one, a class is called by the name that is known for it, else by its index. A
//! regression has a float output with one value a row.

use crate::protocol::json::{
    DecodeError, DecodeErrorKind, Number, Reader, Token, write_f32, write_f64, write_integer,
    write_string,
};
use crate::protocol::shown::shortened;
use crate::protocol::tensor::{Datatype, Tensor, TensorData};

/// Outputs that are no classification or regression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// There is no output with scores.
    #[error(
        "the model has no float output with one value for each class of a row, as a classification needs"
    )]
    NoScores,
    /// There is no output with one value a row.
    #[error("the model has no output with one number for each row, as a regression needs")]
    NoValues,
    /// A label that is not text.
    #[error("a label in '{output}' is not UTF-8")]
    NotUtf8 {
        /// The output.
        output: String,
    },
}

/// Appends `{"result":[[["label",score],…],…]}`.
///
/// # Errors
/// When the outputs are no classification.
pub fn encode_classes<'l>(
    outputs: &[Tensor],
    known: impl Fn(&str) -> &'l [String],
    out: &mut Vec<u8>,
) -> Result<(), LabelError> {
    let is_scores = |tensor: &&Tensor| {
        is_float(tensor) && matches!(tensor.shape().len(), 1 | 2) && !tensor.data().is_empty()
    };
    let matrix = outputs.iter().find(|tensor| is_scores(tensor) && tensor.shape().len() == 2);
    let scores = matrix.or_else(|| outputs.iter().find(is_scores)).ok_or(LabelError::NoScores)?;
    let labels = outputs.iter().find_map(|tensor| match tensor.data() {
        TensorData::Bytes(labels) if tensor.shape() == scores.shape() => {
            Some((tensor.name(), labels))
        }
        _ => None,
    });
    let classes = scores.shape().get(1).copied().unwrap_or(1);
    let names = known(scores.name());
    out.extend_from_slice(b"{\"result\":[");
    for element in 0..scores.data().len() {
        let class = element % classes.max(1);
        out.extend_from_slice(match (element, class) {
            (0, _) => b"[[".as_slice(),
            (_, 0) => b"],[[",
            _ => b",[",
        });
        match labels {
            Some((output, labels)) => {
                let label = labels.get(element).map(Vec::as_slice).unwrap_or_default();
                let not_utf8 = |_utf8| LabelError::NotUtf8 { output: shortened(output) };
                write_string(out, std::str::from_utf8(label).map_err(not_utf8)?);
            }
            None => match names.get(class) {
                Some(name) => write_string(out, name),
                None => write_string(out, itoa::Buffer::new().format(class)),
            },
        }
        out.push(b',');
        write_number(out, scores.data(), element);
        out.push(b']');
    }
    out.extend_from_slice(b"]]}");
    Ok(())
}

/// Appends `{"result":[value,…]}`.
///
/// # Errors
/// When the outputs are no regression.
pub fn encode_values(outputs: &[Tensor], out: &mut Vec<u8>) -> Result<(), LabelError> {
    let one_a_row = |tensor: &&Tensor| match tensor.shape() {
        [rows, rest @ ..] => tensor.data().len() == *rows && rest.iter().all(|&dim| dim == 1),
        [] => false,
    };
    let is_number = |tensor: &&Tensor| {
        !matches!(tensor.datatype(), Datatype::Bool | Datatype::Bytes) && one_a_row(tensor)
    };
    let float = outputs.iter().find(|tensor| is_float(tensor) && one_a_row(tensor));
    let values = float.or_else(|| outputs.iter().find(is_number)).ok_or(LabelError::NoValues)?;
    out.extend_from_slice(b"{\"result\":[");
    for element in 0..values.data().len() {
        if element > 0 {
            out.push(b',');
        }
        write_number(out, values.data(), element);
    }
    out.extend_from_slice(b"]}");
    Ok(())
}

fn is_float(tensor: &Tensor) -> bool {
    matches!(tensor.datatype(), Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64)
}

/// Appends one element of a numeric tensor.
fn write_number(out: &mut Vec<u8>, data: &TensorData, element: usize) {
    /// Appends the element as an integer, if it is there.
    macro_rules! integer {
        ($values:ident) => {
            $values.get(element).into_iter().for_each(|&value| write_integer(out, value))
        };
    }
    match data {
        TensorData::Uint8(values) => integer!(values),
        TensorData::Uint16(values) => integer!(values),
        TensorData::Uint32(values) => integer!(values),
        TensorData::Uint64(values) => integer!(values),
        TensorData::Int8(values) => integer!(values),
        TensorData::Int16(values) => integer!(values),
        TensorData::Int32(values) => integer!(values),
        TensorData::Int64(values) => integer!(values),
        TensorData::Fp16(values) => {
            values.get(element).into_iter().for_each(|value| write_f32(out, value.to_f32()));
        }
        TensorData::Bf16(values) => {
            values.get(element).into_iter().for_each(|value| write_f32(out, value.to_f32()));
        }
        TensorData::Fp32(values) => {
            values.get(element).into_iter().for_each(|&value| write_f32(out, value));
        }
        TensorData::Fp64(values) => {
            values.get(element).into_iter().for_each(|&value| write_f64(out, value));
        }
        TensorData::Bool(_) | TensorData::Bytes(_) => {}
    }
}

/// Decodes `{"result":…}` of either kind: `classes` (BYTES) and `scores` (FP32), both
/// `[rows, classes]`, or `outputs` (FP32, `[rows]`), as TensorFlow names them.
///
/// # Errors
/// When it is neither, or the rows differ in their number of classes.
pub fn decode_result(body: &[u8]) -> Result<Vec<Tensor>, DecodeError> {
    let mut reader = Reader::new(body);
    let mut result = None;
    reader.object(|reader, key| match key {
        "result" => {
            result = Some(read_result(reader)?);
            Ok(())
        }
        _ => reader.skip(),
    })?;
    reader.end()?;
    result.ok_or_else(|| DecodeError::new(0, DecodeErrorKind::MissingKey("result")))
}

fn read_result(reader: &mut Reader<'_>) -> Result<Vec<Tensor>, DecodeError> {
    let start = reader.offset();
    let (mut labels, mut scores, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let (mut rows, mut classes) = (0, None);
    reader.array(|reader| {
        rows += 1;
        if reader.peek()? != Token::Array {
            values.push(read_score(reader)?);
            return Ok(());
        }
        let row = reader.offset();
        let before = scores.len();
        reader.array(|reader| read_class(reader, &mut labels, &mut scores))?;
        let found = scores.len() - before;
        let expected = *classes.get_or_insert(found);
        if found == expected {
            return Ok(());
        }
        let ragged = crate::protocol::untyped::ValueError::Ragged { expected, found };
        Err(DecodeError::new(row, ragged))
    })?;
    let at = |error| DecodeError::new(start, DecodeErrorKind::Shape(error));
    let Some(classes) = classes else {
        let values = Tensor::new("outputs", [rows].as_slice(), TensorData::Fp32(values));
        return Ok(vec![values.map_err(at)?]);
    };
    let shape = [rows, classes];
    Ok(vec![
        Tensor::new("classes", shape.as_slice(), TensorData::Bytes(labels)).map_err(at)?,
        Tensor::new("scores", shape.as_slice(), TensorData::Fp32(scores)).map_err(at)?,
    ])
}

/// Reads `["label",score]`.
fn read_class(
    reader: &mut Reader<'_>,
    labels: &mut Vec<Vec<u8>>,
    scores: &mut Vec<f32>,
) -> Result<(), DecodeError> {
    let start = reader.offset();
    let before = (labels.len(), scores.len());
    let mut index = 0;
    reader.array(|reader| {
        index += 1;
        match index {
            1 => labels.push(reader.string()?.into_owned().into_bytes()),
            2 => scores.push(read_score(reader)?),
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    if (labels.len(), scores.len()) == (before.0 + 1, before.1 + 1) {
        return Ok(());
    }
    let kind = DecodeErrorKind::WrongType { expected: "a label and its score", found: "an array" };
    Err(DecodeError::new(start, kind))
}

fn read_score(reader: &mut Reader<'_>) -> Result<f32, DecodeError> {
    Ok(match reader.number()? {
        Number::Integer(text) | Number::Fraction(text) => text.parse().unwrap_or(f32::NAN),
        Number::Nan => f32::NAN,
        Number::Infinity => f32::INFINITY,
        Number::NegativeInfinity => f32::NEG_INFINITY,
    })
}
