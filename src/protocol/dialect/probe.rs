//! What a backend is asked to find out what it speaks and serves.
//!
//! Owns the paths and the reading of the answers. Never asks: whoever does, decides when and how often.

use bytes::Bytes;
use http::StatusCode;
use prost::Message as _;
use serde_json::Value;

use super::backend::open_inference_path;
use super::{DeclaredModel, Dialect, Extensions, Release, Target, VersionState};
use crate::protocol::grpc::encode_frame;
use crate::protocol::kserve_v1;
use crate::protocol::open_inference::decode_model_metadata;
use crate::protocol::open_inference::grpc::{
    Empty, Method, ModelMetadataResponse, ModelRequest, ReadyResponse, ServerMetadataResponse,
};
use crate::protocol::tensorflow_serving::{self, path_of};

/// The dialects that a backend is asked for when its own is not declared, in this order: one that
/// answers for several is told apart by what comes first. The raw dialect cannot be recognised, and
/// what answers `/ping` in no particular words is taken for a SageMaker container. Servers of gRPC alone understand
/// nothing of all that.
pub const ASKED: [Dialect; 6] = [
    Dialect::OpenInference,
    Dialect::TensorflowServing,
    Dialect::KserveV1,
    Dialect::Torchserve,
    Dialect::Sagemaker,
    Dialect::OpenInferenceGrpc,
];

/// What `GET` tells whether the model can predict; `None` where the dialect has nothing of the kind.
pub fn ready_path(target: &Target<'_>) -> Option<String> {
    match target.dialect {
        Dialect::OpenInference => Some(open_inference_path(target, "/ready")),
        Dialect::KserveV1 => Some(path_of(&target.model, &Release::Any, "")),
        Dialect::TensorflowServing => Some(path_of(&target.model, &target.release, "")),
        Dialect::Torchserve | Dialect::Sagemaker => Some("/ping".to_owned()),
        Dialect::OpenInferenceGrpc | Dialect::Raw => None,
    }
}

/// Whether the answer to [`ready_path`] says that the model can predict.
pub fn decode_ready(target: &Target<'_>, status: StatusCode, body: &[u8]) -> bool {
    let said = match target.dialect {
        Dialect::KserveV1 => kserve_v1::decode_ready(body).unwrap_or(true),
        Dialect::TensorflowServing => tensorflow_serving::decode_status(body)
            .is_some_and(|all| all.iter().any(|one| one.state == VersionState::Available)),
        Dialect::OpenInference
        | Dialect::OpenInferenceGrpc
        | Dialect::Torchserve
        | Dialect::Sagemaker
        | Dialect::Raw => true,
    };
    status.is_success() && said
}

/// Whether backends of a dialect describe their models when they are asked.
pub const fn describes(dialect: Dialect) -> bool {
    match dialect {
        Dialect::OpenInference | Dialect::OpenInferenceGrpc | Dialect::TensorflowServing => true,
        Dialect::KserveV1 | Dialect::Torchserve | Dialect::Sagemaker | Dialect::Raw => false,
    }
}

/// Whether a status says that the server cannot answer now, whatever it is asked.
pub const fn is_not_now(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// Whether the answer to [`ready_path`] says that the model cannot predict yet. What says nothing of the kind, such
/// as that there is no such path, does not.
pub fn says_not_ready(target: &Target<'_>, status: StatusCode, body: &[u8]) -> bool {
    let document = || serde_json::from_slice::<Value>(body).ok();
    match target.dialect {
        _ if is_not_now(status) => true,
        Dialect::TensorflowServing => tensorflow_serving::decode_status(body)
            .is_some_and(|all| all.iter().all(|one| one.state != VersionState::Available)),
        Dialect::OpenInference => {
            let ready = document().and_then(|document| document.get("ready")?.as_bool());
            status == StatusCode::BAD_REQUEST || ready == Some(false)
        }
        Dialect::OpenInferenceGrpc
        | Dialect::KserveV1
        | Dialect::Torchserve
        | Dialect::Sagemaker
        | Dialect::Raw => false,
    }
}

/// What `GET` tells what the model takes and returns; `None` where the dialect has nothing of the kind.
pub fn metadata_path(target: &Target<'_>) -> Option<String> {
    match target.dialect {
        Dialect::OpenInference => Some(open_inference_path(target, "")),
        Dialect::TensorflowServing => Some(path_of(&target.model, &target.release, "/metadata")),
        Dialect::OpenInferenceGrpc
        | Dialect::KserveV1
        | Dialect::Torchserve
        | Dialect::Sagemaker
        | Dialect::Raw => None,
    }
}

/// What the answer to [`metadata_path`] says; `None` when it says nothing of use.
pub fn decode_metadata(
    target: &Target<'_>,
    status: StatusCode,
    body: &[u8],
) -> Option<DeclaredModel> {
    let is_tensorflow = target.dialect == Dialect::TensorflowServing;
    match (status.is_success(), is_tensorflow) {
        (true, true) => tensorflow_serving::decode_metadata(body, None),
        (true, false) => decode_model_metadata(body).ok(),
        (false, _) => None,
    }
}

/// The call that tells what the model of a gRPC backend takes and returns: its path and its message.
pub fn metadata_call(target: &Target<'_>) -> Option<(String, Bytes)> {
    let version = match &target.release {
        Release::Any => String::new(),
        Release::Version(name) | Release::Label(name) => name.to_string(),
    };
    let message = ModelRequest { name: target.model.to_string(), version };
    Some((Method::ModelMetadata.path(), encode_frame(&message).ok()?))
}

/// What the message that answers [`metadata_call`] says; `None` when it is none, or says nothing of use.
pub fn decode_metadata_answer(message: Bytes) -> Option<DeclaredModel> {
    ModelMetadataResponse::decode(message).ok()?.try_into().ok()
}

/// The call that tells which extensions a gRPC backend has: its path and its message.
pub fn extensions_call() -> Option<(String, Bytes)> {
    Some((Method::ServerMetadata.path(), encode_frame(&Empty {}).ok()?))
}

/// What the message that answers [`extensions_call`] says; `None` when it is none.
pub fn decode_extensions_answer(message: Bytes) -> Option<Extensions> {
    let listed = ServerMetadataResponse::decode(message).ok()?.extensions;
    Some(extensions_of(|name| listed.iter().any(|one| one == name)))
}

/// The call that tells whether the model of a gRPC backend can predict: its path and its message.
pub fn ready_call(target: &Target<'_>) -> Option<(String, Bytes)> {
    let (_, message) = metadata_call(target)?;
    Some((Method::ModelReady.path(), message))
}

/// Whether the message that answers [`ready_call`] says so.
pub fn decode_ready_answer(message: Bytes) -> bool {
    ReadyResponse::decode(message).is_ok_and(|answer| answer.ready)
}

/// What `GET` tells which extensions a backend has; `None` where the dialect has nothing of the kind.
pub const fn extensions_path(dialect: Dialect) -> Option<&'static str> {
    match dialect {
        Dialect::OpenInference => Some("/v2"),
        Dialect::OpenInferenceGrpc
        | Dialect::KserveV1
        | Dialect::TensorflowServing
        | Dialect::Torchserve
        | Dialect::Sagemaker
        | Dialect::Raw => None,
    }
}

/// What the answer to [`extensions_path`] says; `None` when it has no list of them.
pub fn decode_extensions(status: StatusCode, body: &[u8]) -> Option<Extensions> {
    let document: Value = serde_json::from_slice(body).ok().filter(|_| status.is_success())?;
    let listed = document.get("extensions")?.as_array()?;
    Some(extensions_of(|name| listed.iter().any(|one| one.as_str() == Some(name))))
}

/// Those of which `has` says that they are listed.
fn extensions_of(has: impl Fn(&str) -> bool) -> Extensions {
    Extensions { binary_tensors: has("binary_tensor_data"), classification: has("classification") }
}

/// What `GET` tells whether a backend speaks `target`'s dialect.
pub fn recognition_path(target: &Target<'_>) -> Option<String> {
    metadata_path(target).or_else(|| ready_path(target))
}

/// Whether the answer to [`recognition_path`] is of `target`'s dialect.
pub fn recognises(target: &Target<'_>, status: StatusCode, body: &[u8]) -> bool {
    match target.dialect {
        Dialect::TensorflowServing => decode_metadata(target, status, body).is_some(),
        Dialect::OpenInference => {
            let document: Option<Value> = serde_json::from_slice(body).ok();
            let has_inputs = document.is_some_and(|document| document.get("inputs").is_some());
            has_inputs && decode_metadata(target, status, body).is_some()
        }
        Dialect::KserveV1 => kserve_v1::decode_ready(body).is_some(),
        Dialect::Torchserve => {
            let health: Option<Value> = serde_json::from_slice(body).ok();
            health.is_some_and(|health| health.get("status").is_some_and(Value::is_string))
        }
        Dialect::Sagemaker => status.is_success(),
        Dialect::OpenInferenceGrpc | Dialect::Raw => false,
    }
}
