//! What the gateway answers about itself on the data listener.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response, StatusCode};

use super::Gateway;
use super::exchange::Answer;
use super::problem::Problem;
use crate::protocol::open_inference::{Call, encode_server_metadata};

/// The extensions of the Open Inference Protocol that are served; clients read this list.
const EXTENSIONS: [&str; 0] = [];

/// What read-only paths allow.
pub(super) const GET: &str = "GET, HEAD";

/// Answers calls about the gateway as a whole; `None` for calls about a model.
pub(super) fn about_gateway(
    gateway: &Gateway,
    call: &Call<'_>,
    method: &Method,
) -> Result<Option<Answer>, Problem> {
    let (status, body) = match call {
        Call::Model { .. }
        | Call::ModelList
        | Call::Statistics
        | Call::RepositoryIndex
        | Call::Repository { .. }
        | Call::NotOffered(_) => return Ok(None),
        Call::ServerLive => (StatusCode::OK, br#"{"live":true}"#.to_vec()),
        Call::ServerReady if gateway.readiness.is_ready() => {
            (StatusCode::OK, br#"{"ready":true}"#.to_vec())
        }
        Call::ServerReady => (StatusCode::SERVICE_UNAVAILABLE, br#"{"ready":false}"#.to_vec()),
        Call::ServerMetadata => {
            let version = env!("CARGO_PKG_VERSION");
            (StatusCode::OK, encode_server_metadata("pointsman", version, &EXTENSIONS))
        }
    };
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Problem::method("this path is answered to GET only", GET));
    }
    Ok(Some(json(status, body)))
}

/// A whole JSON answer.
pub(super) fn json(status: StatusCode, body: Vec<u8>) -> Answer {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Answer::Whole(response)
}
