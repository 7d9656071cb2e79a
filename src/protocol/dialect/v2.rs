//! The Open Inference Protocol behind the common face.

use http::{HeaderMap, Request, Response};

use super::backend::{AnswerError, Target};
use super::client::{EncodeError, respond};
use super::{Body, Operation, Pieces, RequestError};
use crate::protocol::infer::{InferRequest, InferResponse};
use crate::protocol::json::{DecodeError, DecodeErrorKind};
use crate::protocol::open_inference::{decode_infer_request, encode_infer_response};

/// How an answer is written.
#[derive(Debug, Clone, Default)]
pub(super) struct Form;

/// Reads a request.
pub(super) fn decode_request<'a>(
    _headers: &HeaderMap,
    body: &'a Body,
) -> Result<(InferRequest<'a>, Form), RequestError> {
    Ok((decode_infer_request(body.bytes())?, Form))
}

/// Writes an answer.
pub(super) fn encode_response(
    _form: &Form,
    response: InferResponse<'_>,
) -> Result<Response<Pieces>, EncodeError> {
    let mut out = Vec::new();
    encode_infer_response(&response, &mut out)?;
    Ok(respond(out, "application/json"))
}

/// Makes a request for a backend.
pub(super) fn encode_request(
    target: &Target<'_>,
    operation: Operation,
    _request: InferRequest<'_>,
) -> Result<Request<Pieces>, EncodeError> {
    Err(EncodeError::NoOperation { dialect: target.dialect, operation })
}

/// Reads a backend's answer.
pub(super) fn decode_response<'a>(_body: &'a Body) -> Result<InferResponse<'a>, AnswerError> {
    let kind = DecodeErrorKind::Unsupported("Open Inference answers are not read yet");
    Err(DecodeError::new(0, kind).into())
}
