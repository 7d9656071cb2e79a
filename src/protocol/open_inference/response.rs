//! Decodes an inference response, as a backend sends it.

use std::borrow::Cow;

use super::body::Tail;
use super::parameters::read_parameters;
use super::request::{nothing_left, once, read_tensors};
use crate::protocol::infer::InferResponse;
use crate::protocol::json::{DecodeError, DecodeErrorKind, Reader, Token};

/// Reads a name; some backends write those that are numbers as numbers.
fn name<'a>(reader: &mut Reader<'a>) -> Result<Cow<'a, str>, DecodeError> {
    if reader.peek()? != Token::Number {
        return reader.string();
    }
    let start = reader.offset();
    reader.number()?;
    let text = String::from_utf8_lossy(reader.read_since(start));
    Ok(Cow::Owned(text.trim().to_owned()))
}

/// Decodes JSON and the tensors behind it. What can only mean one thing is taken, although the protocol
/// writes it otherwise: `null` for NaN, `1.0` for an integer, numbers for names, parameters that are no
/// scalars, which are passed over. Only the outputs must be there: some backends leave out what
/// the client knows anyway.
pub(super) fn read_response<'a>(
    head: &'a [u8],
    mut tail: Tail<'_>,
) -> Result<InferResponse<'a>, DecodeError> {
    let mut reader = Reader::lenient(head);
    let (mut id, mut model_name, mut model_version) = (None, None, None);
    let (mut parameters, mut outputs) = (None, None);
    reader.object(|reader, key| match key {
        "id" => once("id", reader, &mut id, name),
        "model_name" => once("model_name", reader, &mut model_name, name),
        "model_version" => once("model_version", reader, &mut model_version, name),
        "parameters" => once("parameters", reader, &mut parameters, read_parameters),
        "outputs" => {
            once("outputs", reader, &mut outputs, |reader| read_tensors(reader, &mut tail))
        }
        _ => reader.skip(),
    })?;
    reader.end()?;
    let outputs = outputs
        .ok_or_else(|| DecodeError::new(head.len(), DecodeErrorKind::MissingKey("outputs")))?;
    nothing_left(head, &tail)?;
    Ok(InferResponse {
        id,
        model_name: model_name.unwrap_or_default(),
        model_version: model_version.unwrap_or_default(),
        parameters: parameters.unwrap_or_default(),
        outputs,
    })
}
