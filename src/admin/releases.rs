//! Versions under the life cycle, on the admin listener: where each is and why, and the orders of operators.
//!
//! Owns how they are shown, and the bodies of orders. Decides nothing: what it is asked to change it asks of the
//! life cycle.
//!
//! | method and path below `/api/v1` | |
//! |---|---|
//! | `GET /releases` | every model with its versions, in short |
//! | `GET /models/{model}/versions` | the versions of one model |
//! | `GET /models/{model}/versions/{version}` | one version: why it is where it is, and its evidence |
//! | `POST /models/{model}/versions/{version}/{order}` | promote, rollback, drain, evict, restore, pin, unpin, hold, unhold, approve, reject, kill, unkill |
//! | `POST /models/{model}/{order}` | rollback, kill, unkill |
//! | `POST /{order}` | kill, unkill |
//!
//! The body of an order is `{"who": "…", "why": "…"}`; with `"expected_generation": N` it is refused if the model
//! has changed since, and with `"force": true` an eviction overrules everything but use.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Admin, float};
use crate::control::releases::{NotCarriedOut, View};
use crate::domain::ids::{ModelName, VersionName, is_valid_name};
use crate::domain::lifecycle::event::Scope;
use crate::domain::lifecycle::order::{Command, Force, Order, OrderError};
use crate::domain::lifecycle::stage::{Purpose, Stage};
use crate::domain::lifecycle::state::{Model, Signed, Version};
use crate::domain::lifecycle::time::Steady;
use crate::telemetry::Registry;
use crate::telemetry::logging::chain;

type Reply = (StatusCode, Json<Value>);

/// The longest body of an order.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Stages, in the order of a version's way.
const STAGES: [&str; 12] = [
    "discovered",
    "staged",
    "validating",
    "warming",
    "shadow",
    "canary",
    "live",
    "standby",
    "draining",
    "retired",
    "quarantined",
    "evicted",
];

/// The routes.
pub(super) fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/api/v1/releases", get(all))
        .route("/api/v1/models/{model}/versions", get(list))
        .route("/api/v1/models/{model}/versions/{version}", get(show))
        .route("/api/v1/models/{model}/versions/{version}/{order}", post(about_version))
        .route("/api/v1/models/{model}/rollback", post(rollback))
        .route("/api/v1/models/{model}/kill", post(kill_model))
        .route("/api/v1/models/{model}/unkill", post(unkill_model))
        .route("/api/v1/kill", post(kill_gateway))
        .route("/api/v1/unkill", post(unkill_gateway))
}

/// Copies what the life cycle knows into the registry.
pub(super) fn metrics(registry: &Registry, view: &View) {
    for (name, model) in view.state.models() {
        let of = ("model", name.as_str());
        for stage in STAGES {
            let count = model.versions().filter(|(_, known)| known.stage().word() == stage).count();
            let labels = [of, ("stage", stage)];
            registry.set("pointsman_release_versions", &labels, float(count as u64));
        }
        let alerts = float(model.alerts().count() as u64);
        registry.set("pointsman_release_alerts", &[of], alerts);
        let killed = model.killed().is_some() || view.state.killed().is_some();
        registry.set("pointsman_release_killed", &[of], f64::from(u8::from(killed)));
        let share = model.candidate().map_or(0.0, |(_, candidate)| match candidate.stage() {
            Stage::Canary(canary) => f64::from(canary.share().thousandths()) / 1000.0,
            _ => 0.0,
        });
        registry.set("pointsman_release_candidate_ratio", &[of], share);
    }
    for ((model, edge), count) in view.moves.iter() {
        let labels = [("model", model.as_str()), ("edge", *edge)];
        registry.copy("pointsman_release_moves_total", &labels, *count);
    }
    registry.copy("pointsman_release_events_total", &[], view.state.seq());
    registry.copy("pointsman_release_unwritten_total", &[], view.failures);
}

/// `GET /api/v1/releases`
async fn all(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let view = admin.releases.view();
    let models =
        view.state.models().map(|(name, model)| (name.to_string(), short(&view, name, model)));
    Json(json!({
        "number": view.state.seq(),
        "killed": signed(view.state.killed(), view.now.steady),
        "models": models.collect::<Map<_, _>>(),
    }))
}

/// `GET /api/v1/models/MODEL/versions`
async fn list(State(admin): State<Arc<Admin>>, Path(model): Path<String>) -> Reply {
    let view = admin.releases.view();
    match view.state.model(&ModelName::new(model.as_str())) {
        Some(known) => (StatusCode::OK, Json(short(&view, &ModelName::new(model), known))),
        None => unknown(&format!("no version of model `{model}` is under the life cycle")),
    }
}

/// `GET /api/v1/models/MODEL/versions/VERSION`
async fn show(
    State(admin): State<Arc<Admin>>,
    Path((model, version)): Path<(String, String)>,
) -> Reply {
    let view = admin.releases.view();
    let (model, version) = (ModelName::new(model), VersionName::new(version));
    let known = view.state.model(&model).and_then(|known| known.version(&version));
    match known {
        Some(known) => (StatusCode::OK, Json(whole(&view, &model, &version, known))),
        None => {
            unknown(&format!("no version `{version}` of model `{model}` is under the life cycle"))
        }
    }
}

fn unknown(words: &str) -> Reply {
    (StatusCode::NOT_FOUND, Json(json!({ "error": words })))
}

fn short(view: &View, name: &ModelName, model: &Model) -> Value {
    let versions = model.versions().map(|(version, known)| in_short(view, name, version, known));
    json!({
        "model": name.as_str(),
        "generation": model.generation(),
        "killed": signed(model.killed(), view.now.steady),
        "alerts": model.alerts().map(ToString::to_string).collect::<Vec<_>>(),
        "versions": versions.collect::<Vec<_>>(),
    })
}

fn in_short(view: &View, model: &ModelName, name: &VersionName, known: &Version) -> Value {
    let now = view.now.steady;
    let seen = view.observed.version(model, name);
    let share = match known.stage() {
        Stage::Canary(canary) => Some(f64::from(canary.share().thousandths()) / 1000.0),
        _ => None,
    };
    let explained = view.explain(model, name);
    json!({
        "version": name.as_str(),
        "stage": known.stage().word(),
        "for_seconds": now.since(known.since()).as_secs_f64(),
        "share": share,
        "ready": seen.is_some_and(|seen| seen.ready),
        "in_flight": seen.map_or(0, |seen| seen.in_flight),
        "digest": known.release().digest.as_str(),
        "proven": known.proven().is_some(),
        "pinned": known.pinned().is_some(),
        "held": known.held().is_some(),
        "killed": known.killed().is_some(),
        "approved": known.is_approved(),
        "why": explained.map(|explained| explained.to_string()),
    })
}

fn whole(view: &View, model: &ModelName, name: &VersionName, known: &Version) -> Value {
    let now = view.now.steady;
    let release = known.release();
    let mut shown = in_short(view, model, name, known);
    let explained = view.explain(model, name);
    let generation = view.state.model(model).map(Model::generation);
    shown["model"] = model.as_str().into();
    shown["generation"] = generation.into();
    shown["source"] = release.source.as_str().into();
    shown["bytes"] = release.bytes.into();
    shown["publisher"] = release.publisher.clone().into();
    shown["waits_for"] = explained.map(|explained| explained.waits_for).into();
    shown["pinned_by"] = signed(known.pinned(), now);
    shown["held_by"] = signed(known.held(), now);
    shown["killed_by"] = signed(known.killed(), now);
    shown["verdict"] = match known.stage() {
        Stage::Quarantined(quarantined) => json!(quarantined.verdict()),
        _ => Value::Null,
    };
    let checks = match known.stage() {
        Stage::Quarantined(quarantined) => quarantined.checks(),
        Stage::Warming(warming) => match warming.purpose() {
            Purpose::Rollout(admitted) => admitted.checks(),
            Purpose::Undo => &[],
        },
        _ => &[],
    };
    shown["checks"] = json!(checks);
    if let Some(seen) = view.observed.version(model, name) {
        let age = |at: Option<Steady>| at.map(|at| now.since(at).as_secs_f64());
        shown["on_disk"] = seen.on_disk.into();
        shown["last_request_seconds"] = age(seen.last_request).into();
        shown["references"] = json!(seen.references);
        shown["shadow"] = json!(seen.shadow);
        shown["canary"] = json!(seen.canary);
        shown["health"] = json!(seen.health);
        shown["look"] = json!(seen.look);
    }
    shown
}

fn signed(signed: Option<&Signed>, now: Steady) -> Value {
    let Some(signed) = signed else { return Value::Null };
    json!({ "by": signed.told(), "for_seconds": now.since(signed.at).as_secs_f64() })
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
