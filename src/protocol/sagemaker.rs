//! SageMaker containers and MLflow's scoring server.
//!
//! Owns their paths ([`parse_path`]), the forms of a body that their `Content-Type` names, and their
//! errors, both as a server and as a client of one. Written to
//! <https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html> and
//! <https://mlflow.org/docs/latest/ml/deployment>.
//!
//! JSON has rows under `instances`, rows or columns under `inputs`, a data frame under
//! `dataframe_split` or `dataframe_records`, or is an array of rows; JSON lines and CSV have a row a
//! line, and numpy saves one array. Triton's container takes an Open Inference request as JSON or, with the length of its JSON in
//! the content type, in binary form. The answer has the form of the request unless `Accept` asks for
//! another. The path names no model: the header [`TARGET_MODEL`] or a route does.

mod media;
#[cfg(test)]
mod tests;

use super::dialect::{Call, Dialect, Operation, PathError, Release};
use super::envelope::{Envelope, Keys, UNNAMED_INPUT, UNNAMED_OUTPUT, decode_predictions};
use super::infer::InferRequest;
use super::json::{DecodeError, DecodeErrorKind, Reader, Token, write_string};
use super::open_inference::decode_name;
use super::preference::weight;
use super::tensor::{Tensor, TensorSpec};
use super::untyped::{
    Values, WriteError, bind, check_rows, npy_tensor, write_csv, write_lines, write_rows,
};

pub use self::media::{BINARY, Media, MediaError};

/// The header by which a client of a container with several models chooses one.
pub const TARGET_MODEL: &str = "x-amzn-sagemaker-target-model";
/// The header by which it chooses a version of the model.
pub const TARGET_VARIANT: &str = "x-amzn-sagemaker-target-variant";

const KEYS: Keys = Keys {
    values: &["instances", "inputs", "dataframe_split", "dataframe_records"],
    plain: true,
    exactly_one: "an array of rows, or exactly one of \"instances\", \"inputs\", \
        \"dataframe_split\" and \"dataframe_records\", is expected",
};

/// How a request was written, and so how its answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `{"predictions":…}`
    Json,
    /// A line of CSV for each row.
    Csv,
    /// A line of JSON for each row.
    Lines,
}

impl Form {
    /// The content type of an answer.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv",
            Self::Lines => "application/jsonlines",
        }
    }

    /// The form of the greatest weight among those that `accept` names, the first of several; `self` where it names
    /// none of them. `None` where it excludes `self` and takes no other.
    #[must_use]
    pub fn accepted(self, accept: &str) -> Option<Self> {
        let mut best: Option<(Self, usize, f32)> = None;
        for form in [self, Self::Json, Self::Csv, Self::Lines] {
            let Some((place, weight)) = form.weight_in(accept) else { continue };
            // A smaller place is an earlier one.
            let is_better = best.is_none_or(|(_, best_place, best_weight)| {
                weight > best_weight || (weight >= best_weight && place < best_place)
            });
            if weight > 0.0 && is_better {
                best = Some((form, place, weight));
            }
        }
        let is_excluded = self.weight_in(accept).is_some_and(|(_, weight)| weight <= 0.0);
        best.map(|(form, ..)| form).or_else(|| (!is_excluded).then_some(self))
    }

    /// The place and the weight of what `accept` says most precisely about this form.
    fn weight_in(self, accept: &str) -> Option<(usize, f32)> {
        let mut found: Option<(u8, usize, f32)> = None;
        for (place, range) in accept.split(',').enumerate() {
            let (name, parameters) = range.split_once(';').unwrap_or((range, ""));
            let precision = match (Media::parse(range), name.trim()) {
                (_, "*/*") => 1,
                (_, "application/*") if self != Self::Csv => 2,
                (_, "text/*") if self == Self::Csv => 2,
                (_, "application/*" | "text/*") => continue,
                (Ok(Media::Json), _) if self == Self::Json => 3,
                (Ok(Media::Csv { .. }), _) if self == Self::Csv => 3,
                (Ok(Media::Lines), _) if self == Self::Lines => 3,
                _ => continue,
            };
            if found.is_none_or(|(precise, ..)| precision > precise) {
                found = Some((precision, place, weight(parameters).unwrap_or(0.0)));
            }
        }
        found.map(|(_, place, weight)| (place, weight))
    }
}

/// Reads a path without its query; `Ok(None)` when it is not of this protocol. `/ping` is TorchServe's
/// as well, whose answer serves both; `/health` and `/version` are MLflow's.
///
/// # Errors
/// When it is, and a name in it is refused.
pub fn parse_path(path: &str) -> Result<Option<Call<'_>>, PathError> {
    let server = |operation| Ok(Some(Call::server(Dialect::Sagemaker, operation)));
    match path {
        "/invocations" => return server(Operation::Infer),
        "/health" => return server(Operation::Ready),
        "/version" => return server(Operation::ServerMetadata),
        _ => {}
    }
    let model = path.strip_prefix("/models/").and_then(|rest| rest.strip_suffix("/invoke"));
    let Some(model) = model.filter(|model| !model.is_empty() && !model.contains('/')) else {
        return Ok(None);
    };
    let model = decode_name("model", model)?;
    Ok(Some(Call::model(Dialect::Sagemaker, model, Release::Any, Operation::Infer)))
}

/// Decodes the body of `POST /invocations` in the dialect's own forms.
///
/// # Errors
/// When it is not what `media` says, or does not fit `inputs`, the tensors that the model declares.
pub fn decode_invocation<'a>(
    body: &'a [u8],
    media: Media,
    inputs: Option<&[TensorSpec]>,
) -> Result<(InferRequest<'a>, Form), DecodeError> {
    let (values, form) = match media.of(body) {
        // Containers answer JSON to CSV unless they are asked for CSV.
        Media::Csv { header } => (Values::Csv { text: body, header }, Form::Json),
        Media::Lines => (Values::Lines(Reader::new(body)), Form::Lines),
        Media::Npy => {
            let inputs = vec![npy_tensor(body, inputs, UNNAMED_INPUT)?];
            return Ok((InferRequest { inputs, ..InferRequest::default() }, Form::Json));
        }
        Media::Json | Media::Unnamed | Media::Binary { .. } => {
            return Ok((Envelope::read(body, &KEYS)?.into_request(inputs)?, Form::Json));
        }
    };
    let inputs = bind(&values, inputs, UNNAMED_INPUT)?;
    Ok((InferRequest { inputs, ..InferRequest::default() }, form))
}

/// Whether a JSON body is an Open Inference request or response: the first member of the array under
/// `key` says its datatype.
pub fn is_open_inference(body: &[u8], key: &str) -> bool {
    let mut found = false;
    let mut reader = Reader::new(body);
    // Ends the reading, as the rest of the body tells no more.
    let decided = |reader: &Reader<'_>| {
        Err(DecodeError::new(reader.offset(), DecodeErrorKind::Unsupported("decided")))
    };
    let read = reader.object(|reader, name| {
        if name != key {
            return reader.skip();
        }
        if reader.peek()? == Token::Array {
            reader.array(|reader| {
                if reader.peek()? == Token::Object {
                    reader.object(|reader, name| {
                        found |= name == "datatype";
                        reader.skip()
                    })?;
                }
                decided(reader)
            })?;
        }
        decided(reader)
    });
    found && read.is_err()
}

/// Appends the answer to a prediction.
///
/// # Errors
/// When the outputs have no rows, or not the same number of them, and `form` needs rows.
pub fn encode_predictions(
    form: Form,
    outputs: &[Tensor],
    out: &mut Vec<u8>,
) -> Result<(), WriteError> {
    match form {
        Form::Json => super::kserve_v1::encode_predictions(outputs, out),
        Form::Csv => write_csv(out, outputs),
        Form::Lines => write_lines(out, outputs),
    }
}

/// Appends the body of `POST /invocations`: rows in the form that the backend is declared to take.
///
/// # Errors
/// When the inputs have no rows, or not the same number of them.
pub fn encode_invocation(
    form: Form,
    request: &InferRequest<'_>,
    out: &mut Vec<u8>,
) -> Result<(), WriteError> {
    check_rows(&request.inputs)?;
    match form {
        Form::Json => {
            out.extend_from_slice(b"{\"instances\":");
            write_rows(out, &request.inputs, false)?;
            super::envelope::write_parameters(out, "params", &request.parameters);
            out.push(b'}');
            Ok(())
        }
        Form::Csv => write_csv(out, &request.inputs),
        Form::Lines => write_lines(out, &request.inputs),
    }
}

/// Decodes the answer to a prediction in the dialect's own forms.
///
/// # Errors
/// When it is none of them, or does not fit `outputs`, the tensors that the model declares.
pub fn decode_answer(
    body: &[u8],
    media: Media,
    outputs: Option<&[TensorSpec]>,
) -> Result<Vec<Tensor>, DecodeError> {
    let values = match media.of(body) {
        Media::Csv { header } => Values::Csv { text: body, header: header.or(Some(false)) },
        Media::Lines => Values::Lines(Reader::new(body)),
        Media::Npy => return Ok(vec![npy_tensor(body, outputs, UNNAMED_OUTPUT)?]),
        Media::Json | Media::Unnamed | Media::Binary { .. } => {
            return decode_predictions(body, outputs);
        }
    };
    bind(&values, outputs, UNNAMED_OUTPUT)
}

/// The body of an error, as MLflow writes it.
pub fn encode_error(status: u16, message: &str) -> Vec<u8> {
    let code = match status {
        404 => "RESOURCE_DOES_NOT_EXIST",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        408 | 504 => "DEADLINE_EXCEEDED",
        429 => "REQUEST_LIMIT_EXCEEDED",
        501 => "NOT_IMPLEMENTED",
        502 | 503 => "TEMPORARILY_UNAVAILABLE",
        400..=499 => "BAD_REQUEST",
        _ => "INTERNAL_ERROR",
    };
    let mut out = b"{\"error_code\":".to_vec();
    write_string(&mut out, code);
    out.extend_from_slice(b",\"message\":");
    write_string(&mut out, message);
    out.push(b'}');
    out
}
