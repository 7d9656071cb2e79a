//! The side towards clients: their requests in, answers out.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response};
use smallvec::smallvec;

use super::v2::{self, Envelope};
use super::{Body, Call, Dialect, Extractors, Operation, Pieces, Terms};
use crate::protocol::infer::{InferRequest, InferResponse};
use crate::protocol::json::DecodeError;
use crate::protocol::open_inference::grpc::{CallEncodeError, CallError, ContentsForm};
use crate::protocol::open_inference::{self, BodyError, ClassifyError, FormError, OutputForms};
use crate::protocol::raw::{self, RawError};
use crate::protocol::sagemaker::{self, Media, MediaError};
use crate::protocol::status::FailureKind;
use crate::protocol::tensorflow_serving::{self, LabelError};
use crate::protocol::torchserve;
use crate::protocol::untyped::WriteError;

/// A client's request.
#[derive(Debug, Clone)]
pub struct Decoded<'a> {
    /// What is asked.
    pub request: InferRequest<'a>,
    /// How the answer is written.
    pub form: Form,
}

/// How an answer is written. It follows from the request.
#[derive(Debug, Clone)]
pub struct Form(pub(super) Kind);

impl Form {
    /// Leaves the making of classes to whoever answers.
    pub fn leave_classes(&mut self) {
        if let Kind::OpenInference(forms, _) = &mut self.0 {
            forms.leave_classes();
        }
    }

    /// Whether the client takes what comes for one prediction for each of its rows.
    pub(super) fn is_by_row(&self) -> bool {
        match &self.0 {
            Kind::OpenInference(..)
            | Kind::OpenInferenceGrpc(_)
            | Kind::Rows(tensorflow_serving::Form::Columns)
            | Kind::Torchserve(torchserve::Form::Bytes) => false,
            Kind::Rows(tensorflow_serving::Form::Rows | tensorflow_serving::Form::Both)
            | Kind::KserveRows
            | Kind::Classes
            | Kind::Values
            | Kind::Torchserve(torchserve::Form::Envelope | torchserve::Form::Rows)
            | Kind::Sagemaker(_)
            | Kind::Raw(_) => true,
        }
    }
}

/// The forms of all dialects.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    OpenInference(OutputForms, Envelope),
    OpenInferenceGrpc(ContentsForm),
    Rows(tensorflow_serving::Form),
    KserveRows,
    Classes,
    Values,
    Torchserve(torchserve::Form),
    Sagemaker(sagemaker::Form),
    Raw(Box<Extractors>),
}

/// A request that cannot be read; the client's fault.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// The body is not what the dialect or the model asks for.
    #[error(transparent)]
    Body(#[from] DecodeError),
    /// The message of a gRPC call is not what it should be.
    #[error(transparent)]
    Message(#[from] CallError),
    /// The request asks for a form of its outputs that makes no sense.
    #[error(transparent)]
    Form(#[from] FormError),
    /// Nothing but data for a model about whose inputs too little is known.
    #[error("a raw binary request needs a model with exactly one input, whose type is known")]
    RawInputs,
    /// A header says something about the body that cannot be.
    #[error(transparent)]
    Length(#[from] BodyError),
    /// A content type that the dialect does not have.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// An answer in none of the forms that there are.
    #[error(
        "`accept` takes none of the forms that the answer can have: application/json, application/jsonlines and text/csv"
    )]
    NotAcceptable,
    /// The call cannot be answered by running a model.
    #[error("{dialect} has no {} that could be answered here", operation.words())]
    NoPrediction {
        /// The dialect.
        dialect: Dialect,
        /// What was asked.
        operation: Operation,
    },
}

impl RequestError {
    /// What kind of failure this is.
    pub fn failure_kind(&self) -> FailureKind {
        match self {
            Self::Body(error) => error.failure_kind(),
            Self::Message(CallError::Decode(_)) | Self::Length(_) => FailureKind::Malformed,
            Self::Message(
                CallError::TooMany
                | CallError::TooManyParameters
                | CallError::TooManyDimensions
                | CallError::Message(_),
            )
            | Self::Form(_)
            | Self::RawInputs
            | Self::NotAcceptable
            | Self::Media(_) => FailureKind::InvalidArgument,
            Self::NoPrediction { .. } => FailureKind::Unimplemented,
        }
    }
}

/// An answer or a request that the dialect has no form for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EncodeError {
    /// In the Open Inference Protocol.
    #[error(transparent)]
    OpenInference(#[from] open_inference::EncodeError),
    /// As a message of gRPC.
    #[error(transparent)]
    Message(#[from] CallEncodeError),
    /// As the largest classes of an output.
    #[error(transparent)]
    Classes(#[from] ClassifyError),
    /// As rows or columns.
    #[error(transparent)]
    Values(#[from] WriteError),
    /// As a classification or regression.
    #[error(transparent)]
    Labels(#[from] LabelError),
    /// Where nothing or too much is declared.
    #[error(transparent)]
    Raw(#[from] RawError),
    /// What one dialect asks and the other does not have.
    #[error("{dialect} backends have no {}", operation.words())]
    NoOperation {
        /// The dialect.
        dialect: Dialect,
        /// What was asked.
        operation: Operation,
    },
    /// A name or version that no path or header can hold.
    #[error("the request to the backend cannot be made: {0}")]
    Head(String),
}

impl EncodeError {
    /// Whether an answer lacks a form only because of the one that the client asked for: another dialect, or
    /// another request in the same, would have got it. Otherwise no client can be given this answer, which is
    /// the model's doing or that of whoever declared it.
    pub fn is_wish(&self) -> bool {
        use open_inference::EncodeError as V2;
        match self {
            Self::OpenInference(V2::NoJsonForm { .. } | V2::NotUtf8 { .. })
            | Self::Classes(_)
            | Self::Values(_)
            | Self::Labels(_)
            | Self::NoOperation { .. }
            | Self::Raw(RawError::Write(_)) => true,
            Self::OpenInference(V2::TooLong { .. })
            | Self::Message(_)
            | Self::Raw(RawError::NoPointer(_) | RawError::Many(_) | RawError::Within(_))
            | Self::Head(_) => false,
        }
    }
}

/// Reads a client's request.
///
/// # Errors
/// When it is not what the dialect, or the model by its signature, asks for.
pub fn decode_request<'a>(
    call: &Call<'_>,
    headers: &HeaderMap,
    body: &'a Body,
    terms: &Terms<'_>,
) -> Result<Decoded<'a>, RequestError> {
    let inputs = terms.signature.map(|signature| signature.inputs);
    let no_prediction =
        || RequestError::NoPrediction { dialect: call.dialect, operation: call.operation };
    let (request, kind) = match (call.dialect, call.operation) {
        (Dialect::OpenInference, Operation::Infer) => {
            let (request, forms) = v2::decode_request(body, terms)?;
            (request, Kind::OpenInference(forms, Envelope::Header))
        }
        (Dialect::OpenInferenceGrpc, Operation::Infer) => {
            let (request, form) = v2::decode_message(body)?;
            (request, Kind::OpenInferenceGrpc(form))
        }
        (Dialect::KserveV1 | Dialect::TensorflowServing, Operation::Infer) => {
            let shared = call.dialect == Dialect::KserveV1;
            let (request, form) = tensorflow_serving::decode_predict(body.bytes(), inputs, shared)?;
            let kserve = shared && form == tensorflow_serving::Form::Rows;
            (request, if kserve { Kind::KserveRows } else { Kind::Rows(form) })
        }
        (Dialect::TensorflowServing, Operation::Classify) => {
            (tensorflow_serving::decode_examples(body.bytes(), inputs)?, Kind::Classes)
        }
        (Dialect::TensorflowServing, Operation::Regress) => {
            (tensorflow_serving::decode_examples(body.bytes(), inputs)?, Kind::Values)
        }
        (Dialect::Torchserve, Operation::Infer) => {
            let (request, form) =
                torchserve::decode_predict(body.bytes(), &body.content_type, inputs)?;
            (request, Kind::Torchserve(form))
        }
        (Dialect::Sagemaker, Operation::Infer) => invocation(headers, body, terms)?,
        (Dialect::Raw, Operation::Infer) => {
            let extractors = terms.extractors.ok_or_else(no_prediction)?;
            let request = raw::decode_request(extractors, body.bytes(), inputs)?;
            (request, Kind::Raw(Box::new(extractors.clone())))
        }
        _ => return Err(no_prediction()),
    };
    Ok(Decoded { request, form: Form(kind) })
}

/// Reads the body of an invocation, in whichever form it came.
fn invocation<'a>(
    headers: &HeaderMap,
    body: &'a Body,
    terms: &Terms<'_>,
) -> Result<(InferRequest<'a>, Kind), RequestError> {
    let media = Media::parse(&body.content_type)?;
    let is_json = matches!(media, Media::Json | Media::Unnamed);
    if matches!(media, Media::Binary { .. })
        || is_json && sagemaker::is_open_inference(body.bytes(), "inputs")
    {
        let (request, forms) = v2::decode_request(body, terms)?;
        return Ok((request, Kind::OpenInference(forms, Envelope::ContentType)));
    }
    let inputs = terms.signature.map(|signature| signature.inputs);
    let (request, form) = sagemaker::decode_invocation(body.bytes(), media, inputs)?;
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let form = form.accepted(accept).ok_or(RequestError::NotAcceptable)?;
    Ok((request, Kind::Sagemaker(form)))
}

/// Writes an answer, status 200, in the form of its request. Large binary tensors are not copied.
/// `labels` are the names of the classes of an output, where they are known ([`no_labels`] where
/// not); they are written where the client asks for classes.
///
/// # Errors
/// When the dialect has no form for it.
pub fn encode_response<'l>(
    form: &Form,
    response: InferResponse<'_>,
    labels: impl Fn(&str) -> &'l [String],
) -> Result<Response<Pieces>, EncodeError> {
    let mut out = Vec::new();
    let outputs = response.outputs.as_slice();
    let mut content_type = "application/json";
    match &form.0 {
        Kind::OpenInference(forms, envelope) => {
            return v2::encode_response(forms, *envelope, response, labels);
        }
        Kind::OpenInferenceGrpc(form) => return v2::encode_frame(*form, response),
        Kind::Rows(form) => tensorflow_serving::encode_predictions(*form, outputs, &mut out)?,
        Kind::KserveRows => crate::protocol::kserve_v1::encode_predictions(outputs, &mut out)?,
        Kind::Classes => tensorflow_serving::encode_classes(outputs, labels, &mut out)?,
        Kind::Values => tensorflow_serving::encode_values(outputs, &mut out)?,
        Kind::Torchserve(form) => torchserve::encode_predictions(*form, outputs, &mut out)?,
        Kind::Sagemaker(form) => {
            content_type = form.content_type();
            sagemaker::encode_predictions(*form, outputs, &mut out)?;
        }
        Kind::Raw(extractors) => raw::encode_answer(extractors, outputs, &mut out)?,
    }
    Ok(respond(out, content_type))
}

/// The labels of outputs about whose classes nothing is known.
pub const fn no_labels<'l>(_output: &str) -> &'l [String] {
    &[]
}

/// A whole answer with status 200.
pub(super) fn respond(body: Vec<u8>, content_type: &'static str) -> Response<Pieces> {
    let mut response = Response::new(smallvec![Bytes::from(body)]);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
