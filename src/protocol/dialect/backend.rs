//! The side towards backends: requests out, their answers in.

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use smallvec::smallvec;

use super::by_row;
use super::client::{EncodeError, Form};
use super::failure::{BackendFailure, decode_failure};
use super::v2::{self, Envelope};
use super::{Body, ContainerForm, Dialect, Operation, Pieces, Release, Terms};
use crate::protocol::infer::{InferRequest, InferResponse};
use crate::protocol::json::DecodeError;
use crate::protocol::open_inference::grpc::CallError;
use crate::protocol::sagemaker::{self, Media, MediaError};
use crate::protocol::shown::shortened;
use crate::protocol::tensor::Tensor;
use crate::protocol::tensorflow_serving::{self, encode_name, path_of};
use crate::protocol::untyped::count_rows;
use crate::protocol::{kserve_v1, raw, torchserve};

/// The path of a container's predictions.
const INVOCATIONS: &str = "/invocations";

/// A model at a backend, and how it is spoken to.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// What the backend speaks.
    pub dialect: Dialect,
    /// The model's name there.
    pub model: Cow<'a, str>,
    /// Which release it is told; [`Release::Any`] where it is told none.
    pub release: Release<'a>,
    /// What is declared about it; the signature is the backend's, if that is known.
    pub terms: Terms<'a>,
    /// The path of a raw service.
    pub path: Option<&'a str>,
    /// The form in which a SageMaker container takes its values.
    pub container: ContainerForm,
    /// Whether the name was declared to be that of the backends. Where a path names no model they are told only
    /// such a one: a container that has one model need not know it by a name.
    pub named: bool,
    /// Whether an Open Inference backend takes and gives binary tensors over REST. Without them it can
    /// neither take FP16 and BF16 nor bytes that are not text.
    pub binary: bool,
}

impl<'a> Target<'a> {
    /// A model with nothing declared about it but its names.
    pub fn new(dialect: Dialect, model: impl Into<Cow<'a, str>>, release: Release<'a>) -> Self {
        Self {
            dialect,
            model: model.into(),
            release,
            terms: Terms::default(),
            path: None,
            container: ContainerForm::default(),
            named: false,
            binary: false,
        }
    }
}

/// An answer that is no prediction.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AnswerError {
    /// The backend said that it has none; a 4xx status is about the request.
    #[error(transparent)]
    Failed(#[from] BackendFailure),
    /// The body is not what the dialect or the model's signature says; the backend is at fault.
    #[error("the backend's answer cannot be read: {}", .0.in_answer())]
    Body(#[from] DecodeError),
    /// The message of a gRPC answer is not what it should be; the backend is at fault.
    #[error("the backend's answer cannot be read: {0}")]
    Message(#[from] CallError),
    /// The content type is none that the dialect has.
    #[error("the backend's answer cannot be read: {0}")]
    Media(#[from] MediaError),
    /// An output that was asked for is not there.
    #[error("the backend's answer has no output '{}'", shortened(.0))]
    MissingOutput(String),
    /// Two outputs have the same name; the backend is at fault.
    #[error("the backend's answer has two outputs '{}'", shortened(.0))]
    TwoOutputs(String),
    /// Another number of predictions than of rows; the backend is at fault.
    #[error(
        "the backend was asked for {asked} rows and answered with {found}; which prediction is whose cannot be told"
    )]
    Rows {
        /// The number of rows that were sent.
        asked: usize,
        /// The number of predictions that came.
        found: usize,
    },
}

/// Makes the request for a prediction: method, path, the headers that the dialect needs, and body. The
/// authority is the caller's. What the answer is read by is kept with [`Asked::of`] before.
///
/// # Errors
/// When the dialect has no form for it.
pub fn encode_request(
    target: &Target<'_>,
    operation: Operation,
    request: InferRequest<'_>,
) -> Result<Request<Pieces>, EncodeError> {
    let mut made = encode_unnamed(target, operation, request)?;
    if target.dialect == Dialect::Sagemaker {
        let version = match &target.release {
            Release::Any => None,
            Release::Version(name) | Release::Label(name) => Some(name.as_ref()),
        };
        let model = target.named.then_some(target.model.as_ref());
        name_container(made.headers_mut(), model, version)?;
    }
    Ok(made)
}

/// Tells a SageMaker container in headers which of its models is meant, and which version of it.
///
/// # Errors
/// When a name cannot stand in a header.
pub fn name_container(
    headers: &mut HeaderMap,
    model: Option<&str>,
    version: Option<&str>,
) -> Result<(), EncodeError> {
    let names = [(sagemaker::TARGET_MODEL, model), (sagemaker::TARGET_VARIANT, version)];
    for (header, name) in names {
        let Some(name) = name else { continue };
        let unsound =
            |error: http::header::InvalidHeaderValue| EncodeError::Head(error.to_string());
        headers.insert(header, HeaderValue::from_str(name).map_err(unsound)?);
    }
    Ok(())
}

/// The request but for the names that stand in headers.
fn encode_unnamed(
    target: &Target<'_>,
    operation: Operation,
    request: InferRequest<'_>,
) -> Result<Request<Pieces>, EncodeError> {
    let mut out = Vec::new();
    let model = encode_name(&target.model);
    let mut content_type = "application/json";
    let no_operation = || EncodeError::NoOperation { dialect: target.dialect, operation };
    let path = match (target.dialect, operation) {
        (_, Operation::Explain) => return Err(no_operation()),
        (Dialect::OpenInference, _) => {
            let path = open_inference_path(target, "/infer");
            return v2::encode_request(&path, Envelope::Header, target.binary, request);
        }
        (Dialect::OpenInferenceGrpc, _) => return v2::encode_call(target, request),
        (Dialect::KserveV1, _) => {
            kserve_v1::encode_predict(&request, &mut out)?;
            format!("/v1/models/{model}:predict")
        }
        (Dialect::TensorflowServing, Operation::Classify) => {
            tensorflow_serving::encode_examples(&request, &mut out)?;
            path_of(&target.model, &target.release, ":classify")
        }
        (Dialect::TensorflowServing, Operation::Regress) => {
            tensorflow_serving::encode_examples(&request, &mut out)?;
            path_of(&target.model, &target.release, ":regress")
        }
        (Dialect::TensorflowServing, _) => {
            tensorflow_serving::encode_predict(&request, &mut out)?;
            path_of(&target.model, &target.release, ":predict")
        }
        (Dialect::Torchserve, _) => {
            content_type = torchserve::encode_predict(&request, &mut out)?;
            match &target.release {
                Release::Any => format!("/predictions/{model}"),
                Release::Version(name) | Release::Label(name) => {
                    format!("/predictions/{model}/{}", encode_name(name))
                }
            }
        }
        (Dialect::Sagemaker, _) => {
            let form = match target.container {
                ContainerForm::Json => sagemaker::Form::Json,
                ContainerForm::Csv => sagemaker::Form::Csv,
                ContainerForm::JsonLines => sagemaker::Form::Lines,
                ContainerForm::OpenInference => {
                    return v2::encode_request(INVOCATIONS, Envelope::ContentType, true, request);
                }
            };
            content_type = form.content_type();
            sagemaker::encode_invocation(form, &request, &mut out)?;
            INVOCATIONS.to_owned()
        }
        (Dialect::Raw, _) => {
            let extractors = target.terms.extractors.ok_or_else(no_operation)?;
            raw::encode_request(extractors, &request, &mut out)?;
            target.path.unwrap_or("/").to_owned()
        }
    };
    post(&path, HeaderValue::from_static(content_type), smallvec![Bytes::from(out)])
}

/// A request with a body.
pub(super) fn post(
    path: &str,
    content_type: HeaderValue,
    body: Pieces,
) -> Result<Request<Pieces>, EncodeError> {
    let request = Request::builder().method(Method::POST).uri(path);
    let request = request.header(CONTENT_TYPE, content_type).body(body);
    request.map_err(|error| EncodeError::Head(error.to_string()))
}

/// What a request asks of its answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    id: Option<String>,
    outputs: Vec<String>,
    /// The number of its rows, where there must be a prediction for each.
    rows: Option<usize>,
}

impl Asked {
    /// What `request` asks.
    pub fn of(request: &InferRequest<'_>) -> Self {
        let outputs = request.outputs.iter().map(|output| output.name.clone().into_owned());
        Self { id: request.id.clone().map(Cow::into_owned), outputs: outputs.collect(), rows: None }
    }

    /// What `request` asks if it is answered in `form`: a client that speaks of rows wants a prediction for each.
    pub fn in_form(request: &InferRequest<'_>, form: &Form) -> Self {
        let rows = form.is_by_row().then(|| count_rows(&request.inputs).ok()).flatten();
        Self { rows, ..Self::of(request) }
    }
}

/// Reads a backend's answer to [`encode_request`]: the outputs that were asked for, under the request's
/// id where the dialect has none.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn decode_response<'a>(
    target: &Target<'a>,
    operation: Operation,
    asked: &Asked,
    status: StatusCode,
    body: &'a Body,
) -> Result<InferResponse<'a>, AnswerError> {
    if !status.is_success() {
        return Err(decode_failure(status, body.bytes()).into());
    }
    let outputs = target.terms.signature.map(|signature| signature.outputs);
    let outputs = outputs.filter(|outputs| !outputs.is_empty());
    let json = body.bytes();
    let tensors = match target.dialect {
        Dialect::OpenInference => return finish(v2::decode_response(body)?, asked),
        Dialect::OpenInferenceGrpc => return finish(v2::decode_answer(body)?, asked),
        Dialect::TensorflowServing
            if matches!(operation, Operation::Classify | Operation::Regress) =>
        {
            tensorflow_serving::decode_result(json)?
        }
        Dialect::KserveV1 | Dialect::TensorflowServing => {
            tensorflow_serving::decode_predictions(json, outputs)?
        }
        Dialect::Torchserve => torchserve::decode_answer(json, &body.content_type, outputs)?,
        Dialect::Sagemaker => {
            let media = Media::parse(&body.content_type)?;
            let is_json = matches!(media, Media::Json | Media::Unnamed);
            if matches!(media, Media::Binary { .. })
                || is_json && sagemaker::is_open_inference(json, "outputs")
            {
                return finish(v2::decode_response(body)?, asked);
            }
            sagemaker::decode_answer(json, media, outputs)?
        }
        Dialect::Raw => {
            let none = Default::default();
            raw::decode_answer(target.terms.extractors.unwrap_or(&none), json, outputs)?
        }
    };
    let tensors = match asked.rows {
        Some(rows) => by_row::check(target, operation, rows, body, tensors)?,
        None => tensors,
    };
    let version = match &target.release {
        Release::Version(version) => version.clone(),
        Release::Any | Release::Label(_) => Cow::Borrowed(""),
    };
    let response = InferResponse {
        id: None,
        model_name: target.model.clone(),
        model_version: version,
        parameters: Vec::new(),
        outputs: tensors,
    };
    finish(response, asked)
}

/// What the request asks of the response.
fn finish<'a>(
    mut response: InferResponse<'a>,
    asked: &Asked,
) -> Result<InferResponse<'a>, AnswerError> {
    response.id = response.id.or_else(|| asked.id.clone().map(Cow::Owned));
    if let Some(name) = named_twice(&response.outputs) {
        return Err(AnswerError::TwoOutputs(name.to_owned()));
    }
    response.outputs = select(response.outputs, &asked.outputs)?;
    Ok(response)
}

/// A name that two outputs have.
fn named_twice(outputs: &[Tensor]) -> Option<&str> {
    let mut seen = HashSet::new();
    outputs.iter().map(Tensor::name).find(|name| !seen.insert(*name))
}

/// The outputs that are wanted, in the order in which they were asked for. One output that the dialect
/// does not name is taken for the one that is wanted.
fn select(mut outputs: Vec<Tensor>, wanted: &[String]) -> Result<Vec<Tensor>, AnswerError> {
    if wanted.is_empty() {
        return Ok(outputs);
    }
    if let ([output], [wanted]) = (outputs.as_slice(), wanted)
        && crate::protocol::envelope::is_unnamed(std::slice::from_ref(output))
    {
        return Ok(outputs.into_iter().map(|output| output.renamed(wanted.as_str())).collect());
    }
    let mut selected = Vec::with_capacity(wanted.len());
    for name in wanted {
        let position = outputs.iter().position(|output| output.name() == name);
        let missing = || AnswerError::MissingOutput(name.clone());
        selected.push(outputs.swap_remove(position.ok_or_else(missing)?));
    }
    Ok(selected)
}

/// The path of an operation on an Open Inference backend.
pub(super) fn open_inference_path(target: &Target<'_>, suffix: &str) -> String {
    let model = encode_name(&target.model);
    match &target.release {
        Release::Any => format!("/v2/models/{model}{suffix}"),
        Release::Version(name) | Release::Label(name) => {
            format!("/v2/models/{model}/versions/{}{suffix}", encode_name(name))
        }
    }
}
