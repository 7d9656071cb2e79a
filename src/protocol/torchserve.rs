//! TorchServe's inference API.
//!
//! Owns its paths ([`parse_path`]), its bodies and its errors, both as a server and as a client of one.
//! Written to <https://pytorch.org/serve/inference_api.html>.
//!
//! TorchServe gives a handler whatever bytes come, so what a body means is the handler's business. Read
//! here are the forms that its own handlers and KServe's envelope read: JSON with rows under `instances`
//! or `data`, a JSON array of rows, and anything else as the bytes of the one input, also as the part
//! `data` of a form. The answer mirrors it: `{"predictions":…}`, an array of rows, or the one row's
//! value.

mod form;
#[cfg(test)]
mod tests;

use super::dialect::{Call, Dialect, Operation, PathError, Release};
use super::envelope::{Envelope, Keys, Payload, UNNAMED_INPUT, UNNAMED_OUTPUT, decode_predictions};
use super::infer::InferRequest;
use super::json::{DecodeError, DecodeErrorKind, Reader, Token, write_integer, write_string};
use super::open_inference::decode_name;
use super::tensor::{Tensor, TensorData, TensorSpec};
use super::untyped::{Values, WriteError, bind, bytes_tensor, write_columns, write_rows};

/// How a request was written, and so how its answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `{"instances":…}` → `{"predictions":…}`
    Envelope,
    /// An array or `{"data":…}` → an array
    Rows,
    /// Bytes → the value of one row
    Bytes,
}

const KEYS: Keys = Keys {
    values: &["instances", "data"],
    plain: true,
    exactly_one: "an array of rows, or exactly one of \"instances\" and \"data\", is expected",
};

/// The answer to `GET /ping`.
pub const HEALTHY: &[u8] = br#"{"status":"Healthy"}"#;

/// The answer to `GET /ping` when the server cannot predict, with status 500 from TorchServe itself.
pub const UNHEALTHY: &[u8] = br#"{"status":"Unhealthy"}"#;

/// Reads a path without its query; `Ok(None)` when it is not of this protocol.
///
/// # Errors
/// When it is, and a name in it is refused.
pub fn parse_path(path: &str) -> Result<Option<Call<'_>>, PathError> {
    if path == "/ping" {
        return Ok(Some(Call::server(Dialect::Torchserve, Operation::Ready)));
    }
    let (names, operation) =
        match (path.strip_prefix("/predictions/"), path.strip_prefix("/explanations/")) {
            (Some(names), _) => (names, Operation::Infer),
            (None, Some(names)) => (names, Operation::Explain),
            (None, None) => return Ok(None),
        };
    let (model, version) = match names.split_once('/') {
        Some((model, version)) => (model, Some(version)),
        None => (names, None),
    };
    if model.is_empty()
        || version.is_some_and(|version| version.is_empty() || version.contains('/'))
    {
        return Ok(None);
    }
    let model = decode_name("model", model)?;
    let release = match version {
        Some(version) => Release::Version(decode_name("version", version)?),
        None => Release::Any,
    };
    Ok(Some(Call::model(Dialect::Torchserve, model, release, operation)))
}

/// Decodes the body of `POST /predictions/{model}`.
///
/// # Errors
/// When it is JSON that holds no rows, or does not fit `inputs`, the tensors that the model declares.
pub fn decode_predict<'a>(
    body: &'a [u8],
    content_type: &str,
    inputs: Option<&[TensorSpec]>,
) -> Result<(InferRequest<'a>, Form), DecodeError> {
    if let Some(boundary) = form::boundary(content_type) {
        let part = form::data_part(body, boundary)
            .map_err(|why| DecodeError::new(0, DecodeErrorKind::Unsupported(why)))?;
        return decode_bytes(part.body, part.content_type, inputs);
    }
    decode_bytes(body, content_type, inputs)
}

fn decode_bytes<'a>(
    body: &'a [u8],
    content_type: &str,
    inputs: Option<&[TensorSpec]>,
) -> Result<(InferRequest<'a>, Form), DecodeError> {
    if !is_json(body, content_type) {
        let tensor = bytes_tensor(body.to_vec(), inputs, UNNAMED_INPUT)?;
        return Ok((InferRequest { inputs: vec![tensor], ..InferRequest::default() }, Form::Bytes));
    }
    let envelope = Envelope::read(body, &KEYS)?;
    let form = match &envelope.payload {
        Payload::Instances(_) => Form::Envelope,
        _ => Form::Rows,
    };
    Ok((envelope.into_request(inputs)?, form))
}

/// Whether a body is JSON: it is called that, or begins like it and is called nothing in particular
/// (`curl -d` says that it sends a form).
fn is_json(body: &[u8], content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    match essence {
        "application/json" => true,
        "" | "text/plain" | "application/x-www-form-urlencoded" => {
            matches!(body.trim_ascii_start().first(), Some(b'[' | b'{'))
        }
        _ => essence.ends_with("+json"),
    }
}

/// Appends the answer to a prediction.
///
/// # Errors
/// When an output has too many dimensions.
pub fn encode_predictions(
    form: Form,
    outputs: &[Tensor],
    out: &mut Vec<u8>,
) -> Result<(), WriteError> {
    if form == Form::Envelope {
        return super::kserve_v1::encode_predictions(outputs, out);
    }
    let start = out.len();
    if write_rows(out, outputs, false).is_err() {
        out.truncate(start);
        return write_columns(out, outputs, true);
    }
    let one = outputs.iter().all(|output| output.shape().first() == Some(&1));
    if form == Form::Bytes && one && !outputs.is_empty() {
        // The one row without the array around it.
        out.pop();
        out.remove(start);
    }
    Ok(())
}

/// Appends the body of a prediction and says what it is: the bytes of one BYTES element as they are,
/// anything else as rows in KServe's envelope.
///
/// # Errors
/// When the inputs have no rows, or not the same number of them.
pub fn encode_predict(
    request: &InferRequest<'_>,
    out: &mut Vec<u8>,
) -> Result<&'static str, WriteError> {
    if let [input] = request.inputs.as_slice()
        && let TensorData::Bytes(elements) = input.data()
        && let [element] = elements.as_slice()
    {
        out.extend_from_slice(element);
        return Ok("application/octet-stream");
    }
    super::kserve_v1::encode_predict(request, out)?;
    Ok("application/json")
}

/// Decodes the answer to a prediction: rows under `predictions`, rows, an object of outputs, one value,
/// or bytes that are not JSON.
///
/// # Errors
/// When it is JSON that is none of these, or does not fit `outputs`, the tensors that the model
/// declares.
pub fn decode_answer(
    body: &[u8],
    content_type: &str,
    outputs: Option<&[TensorSpec]>,
) -> Result<Vec<Tensor>, DecodeError> {
    if !is_json(body, content_type) {
        return Ok(vec![bytes_tensor(body.to_vec(), outputs, UNNAMED_OUTPUT)?]);
    }
    let mut reader = Reader::new(body);
    let mut has_predictions = false;
    if reader.peek()? == Token::Object {
        let here = reader.clone();
        reader.object(|reader, key| {
            has_predictions |= key == "predictions";
            reader.skip()
        })?;
        reader.end()?;
        if !has_predictions {
            return bind(&Values::Columns(here), outputs, UNNAMED_OUTPUT);
        }
    }
    decode_predictions(body, outputs)
}

/// The body of an error.
pub fn encode_error(status: u16, message: &str) -> Vec<u8> {
    let kind = match status {
        404 => "ModelNotFoundException",
        405 => "MethodNotAllowedException",
        409 => "ConflictStatusException",
        413 => "RequestEntityTooLargeException",
        503 => "ServiceUnavailableException",
        507 => "InsufficientStorageException",
        400..=499 => "BadRequestException",
        _ => "InternalServerException",
    };
    let mut out = b"{\"code\":".to_vec();
    write_integer(&mut out, status);
    out.extend_from_slice(b",\"type\":");
    write_string(&mut out, kind);
    out.extend_from_slice(b",\"message\":");
    write_string(&mut out, message);
    out.push(b'}');
    out
}
