//! What the gateway answers about itself on the data listener.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response, StatusCode};

use super::Gateway;
use super::asked::joined;
use super::exchange::Answer;
use super::problem::{Cause, Problem};
use crate::domain::spec::StrictStatus;
use crate::protocol::dialect::{Call, Dialect, Operation, VersionState, VersionStatus, about};
use crate::protocol::open_inference::encode_server_metadata;
use crate::snapshot::Snapshot;

/// The name in the server's metadata.
pub(super) const NAME: &str = "pointsman";
/// The version in the server's metadata.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The extensions of the Open Inference Protocol that are served; clients read this list.
pub(super) const EXTENSIONS: [&str; 6] = [
    "classification",
    "model_repository",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
];

/// What read-only paths allow.
pub(super) const GET: &str = "GET, HEAD";

/// Answers calls about the gateway as a whole.
pub(super) fn about_gateway(
    gateway: &Gateway,
    snapshot: &Snapshot,
    call: &Call<'_>,
    method: &Method,
) -> Result<Answer, Problem> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Problem::method("this path is answered to GET only", GET));
    }
    Ok(Answer::Whole(joined(match call.operation {
        Operation::Live => about::encode_readiness(call, true),
        Operation::Ready => {
            if gateway.protocols.strict_status == StrictStatus::Triton
                && !gateway.readiness.is_ready()
            {
                return Err(Problem::new(Cause::NotReady, "the gateway is not ready"));
            }
            about::encode_readiness(call, gateway.readiness.is_ready())
        }
        Operation::ModelList => {
            let names = snapshot.table.models().iter().map(|model| model.name.as_str());
            about::encode_model_list(names)
        }
        Operation::ServerMetadata if call.dialect == Dialect::Sagemaker => {
            about::encode_version(VERSION)
        }
        _ => {
            return Ok(json(StatusCode::OK, encode_server_metadata(NAME, VERSION, &EXTENSIONS)));
        }
    })))
}

/// The state of a version that answers, or not.
pub(super) fn version_status(version: &str, ready: bool) -> VersionStatus {
    let state = if ready { VersionState::Available } else { VersionState::End };
    VersionStatus { version: version.to_owned(), state, message: String::new() }
}

/// A whole JSON answer.
pub(super) fn json(status: StatusCode, body: Vec<u8>) -> Answer {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Answer::Whole(response)
}
