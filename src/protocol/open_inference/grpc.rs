//! The Open Inference Protocol over gRPC: `inference.GRPCInferenceService`.
//!
//! Owns the calls ([`Method`]), their messages, and the way between those and the form that all dialects
//! share ([`InferCall`], [`response_message`]). Frames and headers are [`grpc`](crate::protocol::grpc)'s.

mod contents;
mod convert;
mod messages;
mod metadata;
mod stream;
mod weight;
mod wishes;

#[cfg(test)]
mod descriptor_tests;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use prost::Message as _;

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
pub use self::weight::{PARAMETERS_MAX, swelling};
pub use self::wishes::wants_classes;
use crate::protocol::grpc::{FramePieces, MessageTooLong, encode_frame_with};
use crate::protocol::infer::{InferRequest, InferResponse};
use crate::protocol::tensor::{ElementTooLong, SHAPE_RANK_MAX, TENSORS_MAX};

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

/// A message that cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CallError {
    /// It is not the message of this call.
    #[error("the message is not valid: {0}")]
    Decode(#[from] prost::DecodeError),
    /// It has too many parts.
    #[error("the message has more than {TENSORS_MAX} tensors and requested outputs")]
    TooMany,
    /// It has too many parameters in one place.
    #[error("there are more than {PARAMETERS_MAX} parameters")]
    TooManyParameters,
    /// A tensor has more than [`SHAPE_RANK_MAX`] dimensions.
    #[error("a shape has at most {SHAPE_RANK_MAX} dimensions")]
    TooManyDimensions,
    /// Its tensors make no sense.
    #[error(transparent)]
    Message(#[from] MessageError),
}

/// Decodes the message of `ModelInfer`, or one of `ModelStreamInfer`.
///
/// # Errors
/// When it is not such a message or its tensors make no sense; every such error is the client's.
pub fn decode_infer_call(message: Bytes) -> Result<InferCall, CallError> {
    weight::weigh(&message, weight::REQUEST)?;
    Ok(ModelInferRequest::decode(message)?.try_into()?)
}

/// Decodes a backend's answer to `ModelInfer`.
///
/// # Errors
/// When it is not such a message or its tensors make no sense; every such error is the backend's.
pub fn decode_infer_response(message: Bytes) -> Result<InferResponse<'static>, CallError> {
    weight::weigh(&message, weight::RESPONSE)?;
    Ok(ModelInferResponse::decode(message)?.try_into()?)
}

const REQUEST_RAW: u32 = 7;
const RESPONSE_RAW: u32 = 6;

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
