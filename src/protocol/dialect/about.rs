//! Answers to calls that run no model: health, lists, metadata and states.
//!
//! Owns which keys they have in each dialect. Never knows what is ready; that is an argument.

use http::{Response, StatusCode};

use super::client::respond;
use super::{Call, Dialect, Operation, Pieces, Release, VersionState, VersionStatus};
use crate::protocol::open_inference::{
    ModelMetadata, encode_live, encode_model_metadata, encode_model_ready, encode_ready,
};
use crate::protocol::{kserve_v1, tensorflow_serving, torchserve};

/// Whether the server lives or is ready, or the model `call` is about is ready. What is not ready
/// is 503, from TorchServe 500.
pub fn encode_readiness(call: &Call<'_>, ready: bool) -> Response<Pieces> {
    let body = match (call.dialect, call.operation, &call.model) {
        (Dialect::Torchserve | Dialect::Sagemaker, ..) if ready => torchserve::HEALTHY.to_vec(),
        (Dialect::Torchserve | Dialect::Sagemaker, ..) => torchserve::UNHEALTHY.to_vec(),
        (Dialect::KserveV1, Operation::Live, _) => kserve_v1::ALIVE.to_vec(),
        (_, Operation::Live, _) => encode_live(ready).to_vec(),
        (_, _, Some(model)) => encode_model_ready(model, ready),
        (_, _, None) => encode_ready(ready).to_vec(),
    };
    let mut response = respond(body, "application/json");
    if !ready {
        *response.status_mut() = match call.dialect {
            Dialect::Torchserve => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
    }
    response
}

/// The version of the server alone, as MLflow's tells it.
pub fn encode_version(version: &str) -> Response<Pieces> {
    respond(version.as_bytes().to_vec(), "text/plain")
}

/// The names of the models, for KServe V1.
pub fn encode_model_list<'a>(names: impl IntoIterator<Item = &'a str>) -> Response<Pieces> {
    respond(kserve_v1::encode_model_list(names), "application/json")
}

/// What a model takes and returns: a signature definition for TensorFlow Serving, the Open Inference
/// Protocol's metadata for all others.
pub fn encode_metadata(call: &Call<'_>, metadata: &ModelMetadata<'_>) -> Response<Pieces> {
    let body = if call.dialect == Dialect::TensorflowServing {
        let version = match &call.release {
            Release::Version(version) => version,
            Release::Any | Release::Label(_) => {
                metadata.versions.last().copied().unwrap_or_default()
            }
        };
        let mut out = Vec::new();
        let ModelMetadata { name, inputs, outputs, .. } = *metadata;
        tensorflow_serving::encode_metadata(name, version, inputs, outputs, &mut out);
        out
    } else {
        encode_model_metadata(metadata)
    };
    respond(body, "application/json")
}

/// The states of the versions that the call is about. On the path that KServe V1 and TensorFlow Serving
/// share, the answer has the keys of both, and is 503 while no version is available, as KServe has it;
/// on those that name a version or a label it is always 200.
pub fn encode_status(call: &Call<'_>, model: &str, versions: &[VersionStatus]) -> Response<Pieces> {
    let mut out = Vec::new();
    let shared = call.dialect == Dialect::KserveV1;
    let ready = versions.iter().any(|version| version.state == VersionState::Available);
    tensorflow_serving::encode_status(shared.then_some((model, ready)), versions, &mut out);
    let mut response = respond(out, "application/json");
    if shared && !ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}
