//! TensorFlow Serving's REST API, and what KServe V1 shares with it.
//!
//! Owns its paths ([`parse_path`]), predictions in row and column form, classifications and
//! regressions, the status and the metadata of a model, both as a server and as a client of one. Never
//! knows which models exist. Written to <https://www.tensorflow.org/tfx/serving/api_rest>.
//!
//! Values have no types of their own: see [`super::untyped`]. A request in row form (`instances`) is
//! answered with `predictions`, one in column form (`inputs`) with `outputs`; an answer with one
//! output leaves out its name. Text that is not UTF-8, and every output whose name ends in `_bytes`,
//! is written as `{"b64":"…"}`; NaN and the infinities are bare tokens.
//!
//! KServe V1 uses the same paths and has no `inputs` in its specification, but its servers take an
//! array of rows under that key and answer with `predictions`. So an array under `inputs` on a path
//! that both have is answered under both keys.

mod labels;
mod metadata;
mod path;
mod status;
#[cfg(test)]
mod tests;

use super::envelope::{self, Envelope, Keys, Payload, SIGNATURE_NAME};
use super::infer::{InferRequest, Parameter, parameter};
use super::json::{DecodeError, Token, write_string};
use super::tensor::{Tensor, TensorSpec};
use super::untyped::{RowKind, Values, WriteError, bind, write_columns, write_rows};

pub use self::labels::{LabelError, decode_result, encode_classes, encode_values};
pub use self::metadata::{decode_metadata, encode_metadata};
pub use self::path::parse_path;
pub(in crate::protocol) use self::path::{encode_name, path_of};
pub use self::status::{decode_status, encode_status};

/// How a request was written, and so how its answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `instances` → `predictions`
    Rows,
    /// `inputs` → `outputs`
    Columns,
    /// `inputs` on a path of KServe → `outputs` and `predictions`
    Both,
}

const KEYS: Keys = Keys {
    values: &["instances", "inputs"],
    plain: false,
    exactly_one: "exactly one of \"instances\" (rows) and \"inputs\" (columns) is expected",
};

const EXAMPLES: Keys =
    Keys { values: &["examples"], plain: false, exactly_one: "\"examples\" are expected" };

/// Decodes the body of `…:predict`. `shared` says that the path is KServe's as well.
///
/// # Errors
/// When it is not of this protocol, or does not fit `inputs`, the tensors that the model declares.
pub fn decode_predict<'a>(
    body: &'a [u8],
    inputs: Option<&[TensorSpec]>,
    shared: bool,
) -> Result<(InferRequest<'a>, Form), DecodeError> {
    let envelope = Envelope::read(body, &KEYS)?;
    let mut form = match envelope.payload {
        Payload::Inputs(_) => Form::Columns,
        _ => Form::Rows,
    };
    if let Payload::Inputs(rows) = &envelope.payload
        && shared
        && rows.clone().peek()? == Token::Array
        && envelope.parameters.iter().all(|(name, _)| name != SIGNATURE_NAME)
    {
        form = Form::Both;
        let values = Values::Rows { rows: rows.clone(), kind: RowKind::Plain };
        let inputs = bind(&values, inputs, envelope::UNNAMED_INPUT);
        let inputs = inputs.map_err(|error| error.in_key("inputs"))?;
        let parameters = envelope.parameters;
        return Ok((InferRequest { parameters, inputs, ..InferRequest::default() }, form));
    }
    Ok((envelope.into_request(inputs)?, form))
}

/// Decodes the body of `…:classify` or `…:regress`: rows of named features.
///
/// # Errors
/// As [`decode_predict`].
pub fn decode_examples<'a>(
    body: &'a [u8],
    inputs: Option<&[TensorSpec]>,
) -> Result<InferRequest<'a>, DecodeError> {
    Envelope::read(body, &EXAMPLES)?.into_request(inputs)
}

/// Appends the answer to a prediction.
///
/// # Errors
/// When the outputs have no rows, or not the same number of them, and rows are wanted.
pub fn encode_predictions(
    form: Form,
    outputs: &[Tensor],
    out: &mut Vec<u8>,
) -> Result<(), WriteError> {
    match form {
        Form::Rows => {
            out.extend_from_slice(b"{\"predictions\":");
            write_rows(out, outputs, false)?;
        }
        Form::Columns => {
            out.extend_from_slice(b"{\"outputs\":");
            write_columns(out, outputs, false)?;
        }
        Form::Both => {
            out.extend_from_slice(b"{\"outputs\":");
            write_columns(out, outputs, false)?;
            let end = out.len();
            out.extend_from_slice(b",\"predictions\":");
            if write_rows(out, outputs, false).is_err() {
                out.truncate(end);
            }
        }
    }
    out.push(b'}');
    Ok(())
}

/// Appends the body of a `…:predict` request, in column form, as only that can say everything: the
/// inputs need not agree in their first dimension.
///
/// # Errors
/// When an input has too many dimensions.
pub fn encode_predict(request: &InferRequest<'_>, out: &mut Vec<u8>) -> Result<(), WriteError> {
    out.push(b'{');
    write_signature_name(out, request);
    out.extend_from_slice(b"\"inputs\":");
    write_columns(out, &request.inputs, !envelope::is_unnamed(&request.inputs))?;
    out.push(b'}');
    Ok(())
}

/// Appends the body of a `…:classify` or `…:regress` request.
///
/// # Errors
/// When the inputs do not have the same number of rows.
pub fn encode_examples(request: &InferRequest<'_>, out: &mut Vec<u8>) -> Result<(), WriteError> {
    out.push(b'{');
    write_signature_name(out, request);
    out.extend_from_slice(b"\"examples\":");
    write_rows(out, &request.inputs, true)?;
    out.push(b'}');
    Ok(())
}

fn write_signature_name(out: &mut Vec<u8>, request: &InferRequest<'_>) {
    if let Some(Parameter::String(name)) = parameter(&request.parameters, SIGNATURE_NAME) {
        out.extend_from_slice(b"\"signature_name\":");
        write_string(out, name);
        out.push(b',');
    }
}

/// Decodes the answer to a prediction, in either form.
///
/// # Errors
/// When it is neither, or does not fit `outputs`, the tensors that the model declares.
pub fn decode_predictions(
    body: &[u8],
    outputs: Option<&[TensorSpec]>,
) -> Result<Vec<Tensor>, DecodeError> {
    envelope::decode_predictions(body, outputs)
}
