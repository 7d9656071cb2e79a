//! The Open Inference Protocol over gRPC: `inference.GRPCInferenceService`.
//!
//! Owns the calls ([`Method`]), their messages, and the way between those and the form that all dialects
//! share ([`InferCall`], [`response_message`]). Frames and headers are [`grpc`](crate::protocol::grpc)'s.

mod contents;
mod convert;
mod messages;
mod metadata;
mod stream;

#[cfg(test)]
mod descriptor_tests;
#[cfg(test)]
mod tests;

use bytes::{Buf as _, Bytes};
use prost::Message as _;
use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};

pub use self::contents::ContentsError;
pub use self::convert::{ContentsForm, InferCall, MessageError, request_message, response_message};
pub use self::messages::{
    Empty, InferParameter, InferRequestedOutput, InferTensor, InferTensorContents, ModelIndex,
    ModelInferRequest, ModelInferResponse, ModelMetadataResponse, ModelRepositoryParameter,
    ModelRequest, ModelStreamInferResponse, ParameterChoice, ReadyResponse, RepositoryIndexRequest,
    RepositoryIndexResponse, RepositoryModelRequest, RepositoryModelResponse,
    RepositoryParameterChoice, ServerLiveResponse, ServerMetadataResponse, TensorMetadata,
};
pub use self::stream::{encode_stream_failure, encode_stream_response};
use crate::protocol::grpc::{FramePieces, MessageTooLong, encode_frame_with};
use crate::protocol::infer::{InferRequest, InferResponse};
use crate::protocol::tensor::ElementTooLong;

/// The name of the service.
pub const SERVICE: &str = "inference.GRPCInferenceService";

/// Declares the calls, one name each.
macro_rules! methods {
    ($($(#[$doc:meta])* $method:ident,)+) => {
        /// A call of the service.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Method { $($(#[$doc])* $method,)+ }

        impl Method {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$method,)+];

            /// The name on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$method => stringify!($method),)+ }
            }
        }
    };
}

methods! {
    /// `Empty` → [`ServerLiveResponse`]
    ServerLive,
    /// `Empty` → [`ReadyResponse`]
    ServerReady,
    /// [`ModelRequest`] → [`ReadyResponse`]
    ModelReady,
    /// `Empty` → [`ServerMetadataResponse`]
    ServerMetadata,
    /// [`ModelRequest`] → [`ModelMetadataResponse`]
    ModelMetadata,
    /// [`ModelInferRequest`] → [`ModelInferResponse`]
    ModelInfer,
    /// Any number of [`ModelInferRequest`] → any number of [`ModelStreamInferResponse`]
    ModelStreamInfer,
    /// [`ModelRequest`] → [`ModelConfigResponse`](super::ModelConfigResponse)
    ModelConfig,
    /// [`ModelRequest`] → [`ModelStatisticsResponse`](super::ModelStatisticsResponse)
    ModelStatistics,
    /// [`RepositoryIndexRequest`] → [`RepositoryIndexResponse`]
    RepositoryIndex,
    /// [`RepositoryModelRequest`] → [`RepositoryModelResponse`]
    RepositoryModelLoad,
    /// [`RepositoryModelRequest`] → [`RepositoryModelResponse`]
    RepositoryModelUnload,
}

impl Method {
    /// The call of a path `/inference.GRPCInferenceService/…`; `None` for any other path.
    pub fn parse(path: &str) -> Option<Self> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        let known = || Self::ALL.iter().find(|known| known.as_str() == method).copied();
        if service == SERVICE { known() } else { None }
    }

    /// The path.
    pub fn path(self) -> String {
        format!("/{SERVICE}/{}", self.as_str())
    }
}

/// The most tensors and requested outputs in one message. Each is far larger in memory than the two bytes
/// that it takes on the wire at least.
pub const TENSORS_MAX: usize = 4096;

/// A message that cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CallError {
    /// It is not the message of this call.
    #[error("the message is not valid: {0}")]
    Decode(#[from] prost::DecodeError),
    /// It has too many parts.
    #[error("the message has more than {TENSORS_MAX} tensors and requested outputs")]
    TooMany,
    /// Its tensors make no sense.
    #[error(transparent)]
    Message(#[from] MessageError),
}

/// Decodes the message of `ModelInfer`, or one of `ModelStreamInfer`.
///
/// # Errors
/// When it is not such a message or its tensors make no sense; every such error is the client's.
pub fn decode_infer_call(message: Bytes) -> Result<InferCall, CallError> {
    check_parts(&message, &[REQUEST_INPUTS, REQUEST_OUTPUTS, REQUEST_RAW])?;
    Ok(ModelInferRequest::decode(message)?.try_into()?)
}

/// Decodes a backend's answer to `ModelInfer`.
///
/// # Errors
/// When it is not such a message or its tensors make no sense; every such error is the backend's.
pub fn decode_infer_response(message: Bytes) -> Result<InferResponse<'static>, CallError> {
    check_parts(&message, &[RESPONSE_OUTPUTS, RESPONSE_RAW])?;
    Ok(ModelInferResponse::decode(message)?.try_into()?)
}

const REQUEST_INPUTS: u32 = 5;
const REQUEST_OUTPUTS: u32 = 6;
const REQUEST_RAW: u32 = 7;
const RESPONSE_OUTPUTS: u32 = 5;
const RESPONSE_RAW: u32 = 6;

/// Counts the parts of a message before anything is allocated for them.
fn check_parts(mut message: &[u8], fields: &[u32]) -> Result<(), CallError> {
    let mut parts = 0;
    while message.has_remaining() {
        let (field, wire_type) = decode_key(&mut message)?;
        if wire_type == WireType::LengthDelimited && fields.contains(&field) {
            parts += 1;
            if parts > TENSORS_MAX {
                return Err(CallError::TooMany);
            }
        }
        skip_field(wire_type, field, &mut message, DecodeContext::default())?;
    }
    Ok(())
}

/// An answer that cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallEncodeError {
    /// An element of BYTES is too long.
    #[error(transparent)]
    Element(#[from] ElementTooLong),
    /// All of it is too long.
    #[error(transparent)]
    Message(#[from] MessageTooLong),
}

/// Encodes the answer to `ModelInfer` as a frame. Large raw contents are not copied.
///
/// # Errors
/// When it is longer than gRPC allows.
pub fn encode_infer_response(
    response: InferResponse<'_>,
    form: ContentsForm,
) -> Result<FramePieces, CallEncodeError> {
    let (message, raw) = response_message(response, form)?;
    Ok(encode_frame_with(&message, RESPONSE_RAW, raw)?)
}

/// Encodes a request of `ModelInfer` for a backend as a frame. Large raw contents are not copied.
///
/// # Errors
/// When it is longer than gRPC allows.
pub fn encode_infer_request(
    model: &str,
    version: Option<&str>,
    request: InferRequest<'_>,
    form: ContentsForm,
) -> Result<FramePieces, CallEncodeError> {
    let (message, raw) = request_message(model, version, request, form)?;
    Ok(encode_frame_with(&message, REQUEST_RAW, raw)?)
}
