//! The Open Inference Protocol behind the common face, over REST and over gRPC.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Request, Response};
use smallvec::SmallVec;

use super::backend::{AnswerError, Target, post};
use super::client::EncodeError;
use super::{Body, Pieces, Release, RequestError, Terms};
use crate::protocol::infer::{InferRequest, InferResponse};
use crate::protocol::open_inference::grpc::{self, ContentsForm};
use crate::protocol::open_inference::{
    Encoded, HEAD_LENGTH_HEADER, OutputForms, encode_infer_request, encode_infer_response_as,
};
use crate::protocol::sagemaker;

const HEAD_LENGTH: HeaderName = HeaderName::from_static(HEAD_LENGTH_HEADER);
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// Where a body says how much of it is JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Envelope {
    /// In a header of its own.
    Header,
    /// In the content type, as SageMaker passes no other header.
    ContentType,
}

/// Reads a request, a raw binary one as well if the model's only input is known.
pub(super) fn decode_request<'a>(
    body: &'a Body,
    terms: &Terms<'_>,
) -> Result<(InferRequest<'a>, OutputForms), RequestError> {
    if body.content.is_raw() {
        let inputs = terms.signature.map(|signature| signature.inputs);
        let Some([input]) = inputs else { return Err(RequestError::RawInputs) };
        return Ok((body.content.decode_raw_request(input)?, OutputForms::binary()));
    }
    let request = body.content.decode_request()?;
    let forms = OutputForms::of(&request)?;
    Ok((request, forms))
}

/// Writes an answer.
pub(super) fn encode_response<'l>(
    forms: &OutputForms,
    envelope: Envelope,
    mut response: InferResponse<'_>,
    labels: impl Fn(&str) -> &'l [String],
) -> Result<Response<Pieces>, EncodeError> {
    forms.classify(&mut response, labels)?;
    let encoded = encode_infer_response_as(response, forms)?;
    let (content_type, head_length) = head(&encoded, envelope)?;
    let mut written = Response::new(encoded.into_pieces().collect::<Pieces>());
    written.headers_mut().insert(CONTENT_TYPE, content_type);
    if let Some(length) = head_length {
        written.headers_mut().insert(HEAD_LENGTH, length);
    }
    Ok(written)
}

/// The content type, and the value of the header that says how much is JSON where that is needed.
fn head(
    encoded: &Encoded,
    envelope: Envelope,
) -> Result<(HeaderValue, Option<HeaderValue>), EncodeError> {
    Ok(match (encoded.head_length(), envelope) {
        (None, _) => (HeaderValue::from_static(encoded.content_type()), None),
        (Some(length), Envelope::Header) => {
            (HeaderValue::from_static(encoded.content_type()), Some(HeaderValue::from(length)))
        }
        (Some(length), Envelope::ContentType) => {
            let text = format!("{};json-header-size={length}", sagemaker::BINARY);
            let value = HeaderValue::try_from(text);
            (value.map_err(|error| EncodeError::Head(error.to_string()))?, None)
        }
    })
}

/// Makes a request for a backend, with binary tensors where it takes them.
pub(super) fn encode_request(
    path: &str,
    envelope: Envelope,
    binary: bool,
    request: InferRequest<'_>,
) -> Result<Request<Pieces>, EncodeError> {
    let encoded = encode_infer_request(request, binary)?;
    let (content_type, head_length) = head(&encoded, envelope)?;
    let mut made = post(path, content_type, encoded.into_pieces().collect())?;
    if let Some(length) = head_length {
        made.headers_mut().insert(HEAD_LENGTH, length);
    }
    Ok(made)
}

/// Reads a backend's answer.
pub(super) fn decode_response(body: &Body) -> Result<InferResponse<'_>, AnswerError> {
    Ok(body.content.decode_response()?)
}

/// Reads the message of a gRPC request.
pub(super) fn decode_message(
    body: &Body,
) -> Result<(InferRequest<'static>, ContentsForm), RequestError> {
    let call = grpc::decode_infer_call(body.message())?;
    Ok((call.request, call.form))
}

/// Writes a gRPC answer as a frame.
pub(super) fn encode_frame(
    form: ContentsForm,
    response: InferResponse<'_>,
) -> Result<Response<Pieces>, EncodeError> {
    let frame = grpc::encode_infer_response(response, form)?;
    let mut written = Response::new(SmallVec::from_vec(frame.into_vec()));
    written.headers_mut().insert(CONTENT_TYPE, GRPC);
    Ok(written)
}

/// Makes a gRPC request for a backend: one frame.
pub(super) fn encode_call(
    target: &Target<'_>,
    request: InferRequest<'_>,
) -> Result<Request<Pieces>, EncodeError> {
    let version = match &target.release {
        Release::Any => None,
        Release::Version(name) | Release::Label(name) => Some(&**name),
    };
    let frame = grpc::encode_infer_request(&target.model, version, request, ContentsForm::Raw)?;
    let path = grpc::Method::ModelInfer.path();
    post(&path, GRPC, SmallVec::<[Bytes; 2]>::from_vec(frame.into_vec()))
}

/// Reads the message of a gRPC backend's answer.
pub(super) fn decode_answer(body: &Body) -> Result<InferResponse<'static>, AnswerError> {
    Ok(grpc::decode_infer_response(body.message())?)
}
