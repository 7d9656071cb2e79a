//! Orders of operators, on the admin listener.
//!
//! Owns their bodies, their statuses, and that an order is JSON and says so, which a web page of another origin may not
//! send without being let. Decides nothing: what it is asked to change it asks of the life cycle.
//!
//! The body of an order is `{"who": "…", "why": "…"}`; with `"expected_generation": N` it is refused if the model
//! has changed since, and with `"force": true` an eviction overrules everything but use. A kill switch acts before it is
//! written down; where it cannot be, `written` is false in the answer and `unwritten` says why.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::{Admin, Reply};
use crate::control::releases::NotCarriedOut;
use crate::domain::ids::{ModelName, VersionName, is_valid_name};
use crate::domain::lifecycle::event::Scope;
use crate::domain::lifecycle::order::{Command, Force, Order, OrderError};
use crate::telemetry::logging::chain;

/// The longest body of an order.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// The routes.
pub(super) fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/api/v1/models/{model}/versions/{version}/{order}", post(about_version))
        .route("/api/v1/models/{model}/rollback", post(rollback))
        .route("/api/v1/models/{model}/kill", post(kill_model))
        .route("/api/v1/models/{model}/unkill", post(unkill_model))
        .route("/api/v1/kill", post(kill_gateway))
        .route("/api/v1/unkill", post(unkill_gateway))
        .route_layer(from_fn(only_json))
}

/// Turns away what a web page in an operator's browser may send to any address.
async fn only_json(request: Request, next: Next) -> Response {
    if is_json(request.headers()) {
        return next.run(request).await;
    }
    let words = "an order is JSON: send `content-type: application/json`";
    refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, words).into_response()
}

fn is_json(headers: &HeaderMap) -> bool {
    let declared = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = declared.and_then(|declared| declared.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// The body of an order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    who: String,
    why: String,
    #[serde(default)]
    expected_generation: Option<u64>,
    #[serde(default)]
    force: bool,
}

/// `POST /api/v1/models/MODEL/versions/VERSION/ORDER`
async fn about_version(
    State(admin): State<Arc<Admin>>,
    Path((model, version, order)): Path<(String, String, String)>,
    body: Bytes,
) -> Reply {
    let (Some(model), Some(version)) = (named(model).map(ModelName::new), named(version)) else {
        return refusal(StatusCode::BAD_REQUEST, "a model and a version have names");
    };
    let version = VersionName::new(version);
    let scope = || Scope::Version(model.clone(), version.clone());
    give(&admin, &body, |force| {
        let (model, version) = (model.clone(), version.clone());
        Some(match order.as_str() {
            "promote" => Command::Promote(model, version),
            "rollback" => Command::Rollback(model, Some(version)),
            "drain" => Command::Drain(model, version),
            "evict" => Command::Evict(model, version, if force { Force::Yes } else { Force::No }),
            "restore" => Command::Restore(model, version),
            "pin" => Command::Pin(model, version, true),
            "unpin" => Command::Pin(model, version, false),
            "hold" => Command::Hold(model, version, true),
            "unhold" => Command::Hold(model, version, false),
            "approve" => Command::Approve(model, version),
            "reject" => Command::Reject(model, version),
            "kill" => Command::Kill(scope(), true),
            "unkill" => Command::Kill(scope(), false),
            _ => return None,
        })
    })
    .await
}

/// `POST /api/v1/models/MODEL/rollback`
async fn rollback(
    State(admin): State<Arc<Admin>>,
    Path(model): Path<String>,
    body: Bytes,
) -> Reply {
    about_model(&admin, model, &body, |model| Command::Rollback(model, None)).await
}

/// `POST /api/v1/models/MODEL/kill`
async fn kill_model(
    State(admin): State<Arc<Admin>>,
    Path(model): Path<String>,
    body: Bytes,
) -> Reply {
    about_model(&admin, model, &body, |model| Command::Kill(Scope::Model(model), true)).await
}

/// `POST /api/v1/models/MODEL/unkill`
async fn unkill_model(
    State(admin): State<Arc<Admin>>,
    Path(model): Path<String>,
    body: Bytes,
) -> Reply {
    about_model(&admin, model, &body, |model| Command::Kill(Scope::Model(model), false)).await
}

/// `POST /api/v1/kill`
async fn kill_gateway(State(admin): State<Arc<Admin>>, body: Bytes) -> Reply {
    give(&admin, &body, |_| Some(Command::Kill(Scope::Gateway, true))).await
}

/// `POST /api/v1/unkill`
async fn unkill_gateway(State(admin): State<Arc<Admin>>, body: Bytes) -> Reply {
    give(&admin, &body, |_| Some(Command::Kill(Scope::Gateway, false))).await
}

async fn about_model(
    admin: &Admin,
    model: String,
    body: &[u8],
    command: impl Fn(ModelName) -> Command,
) -> Reply {
    match named(model) {
        Some(model) => give(admin, body, |_| Some(command(ModelName::new(model.as_str())))).await,
        None => refusal(StatusCode::BAD_REQUEST, "a model has a name"),
    }
}

fn named(name: String) -> Option<String> {
    is_valid_name(&name).then_some(name)
}

/// Reads the body, and gives the order.
async fn give(admin: &Admin, body: &[u8], command: impl Fn(bool) -> Option<Command>) -> Reply {
    if body.len() > BODY_BYTES_MAX {
        let words = format!("the body has more than {BODY_BYTES_MAX} bytes");
        return refusal(StatusCode::PAYLOAD_TOO_LARGE, &words);
    }
    let body: Body = match serde_json::from_slice(body) {
        Ok(body) => body,
        Err(error) => {
            let words =
                format!("the body is no order ({error}); send {{\"who\": \"…\", \"why\": \"…\"}}");
            return refusal(StatusCode::BAD_REQUEST, &words);
        }
    };
    let Some(command) = command(body.force) else {
        return refusal(StatusCode::NOT_FOUND, "there is no such order");
    };
    let Body { who, why, expected_generation: expected, .. } = body;
    match admin.releases.order(Order { who, why, expected, command }).await {
        Ok(done) => {
            let shown = json!({
                "number": done.number,
                "generation": done.generation,
                "event": done.words,
                "written": done.unwritten.is_none(),
                "unwritten": done.unwritten,
            });
            (StatusCode::OK, Json(shown))
        }
        Err(error) => {
            let words = chain(&error).to_string();
            let mut shown = json!({ "error": words });
            if let NotCarriedOut::Order(OrderError::Refused(_, refusals)) = &error {
                let all: Vec<String> = refusals.iter().map(ToString::to_string).collect();
                shown["refusals"] = json!(all);
            }
            (status(&error), Json(shown))
        }
    }
}

fn status(error: &NotCarriedOut) -> StatusCode {
    match error {
        NotCarriedOut::Order(OrderError::Anonymous) => StatusCode::BAD_REQUEST,
        NotCarriedOut::Order(OrderError::UnknownModel(_) | OrderError::UnknownVersion(..)) => {
            StatusCode::NOT_FOUND
        }
        NotCarriedOut::Order(_) => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn refusal(status: StatusCode, words: &str) -> Reply {
    (status, Json(json!({ "error": words })))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let value = |value| HeaderValue::from_static(value);
        pairs.iter().map(|(name, text)| (name.clone(), value(*text))).collect()
    }

    #[test]
    fn only_json_is_an_order() {
        for (declared, is_it) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
            ("application/jsonx", false),
        ] {
            assert_eq!(is_json(&headers(&[(CONTENT_TYPE, declared)])), is_it, "{declared}");
        }
        assert!(!is_json(&HeaderMap::new()), "a form need not say what it is");
    }
}
