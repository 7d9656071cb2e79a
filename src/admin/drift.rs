//! Drift and baselines over the admin API.
//!
//! Owns the choice of what is shown. Judges nothing; a baseline that is handed over is checked and kept by the
//! monitor.
//!
//! | path below `/api/v1/models/{model}` | answer |
//! |---|---|
//! | `/drift` | what was last concluded about each version |
//! | `/versions/{version}/drift` | about one |
//! | `PUT /versions/{version}/baseline` | takes a `baseline.json` for a version |
//! | `GET /versions/{version}/baseline` | the baseline that is in force, as a `baseline.json` |
//! | `DELETE /versions/{version}/baseline` | forgets the one that was handed over or learned |

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Admin;
use super::features::standing_of;
use super::monitor::{Answer, unknown};
use crate::domain::stats::baseline::BaselineFile;
use crate::domain::stats::drift::docket::Judgement;
use crate::domain::stats::drift::report::FeatureReport;
use crate::domain::stats::layout::Guard;
use crate::monitor::{ForgetError, MonitorReader, Standing, VersionKey, verdicts};
use crate::telemetry::Registry;

/// The features of a version that have series of their own: those with the smallest p-values.
const SERIES_MAX: usize = 10;

/// `GET /api/v1/models/{model}/drift`
pub(super) async fn model(State(admin): State<Arc<Admin>>, Path(model): Path<String>) -> Answer {
    let versions = admin.versions_of(&model);
    if versions.is_empty() {
        return Err(unknown(&format!("model `{}`", model.escape_debug())));
    }
    let shown: Vec<Value> = versions.iter().map(|key| shown(&admin.monitor, key)).collect();
    Ok(Json(json!({ "model": model, "versions": shown })))
}

/// `GET /api/v1/models/{model}/versions/{version}/drift`
pub(super) async fn version(
    State(admin): State<Arc<Admin>>,
    Path((model, version)): Path<(String, String)>,
) -> Answer {
    let key = admin.known(&model, &version)?;
    Ok(Json(shown(&admin.monitor, &key)))
}

/// The last judgement of a version, or why there is none.
fn shown(reader: &MonitorReader, key: &VersionKey) -> Value {
    if let Some(judgement) = reader.judgement(key) {
        let mut shown = verdicts::judgement(key, &judgement);
        shown["state"] = "judged".into();
        return shown;
    }
    let standing = reader.standing(key);
    let mut shown = json!({
        "model": key.model.as_str(),
        "version": key.version.as_str(),
        "state": match &standing {
            Some(Standing::Ready { .. }) => "insufficient",
            Some(standing) => standing.as_str(),
            None => "unmonitored",
        },
    });
    match standing {
        Some(Standing::Learning { rows, wanted }) => {
            (shown["rows"], shown["wanted"]) = (rows.into(), wanted.into());
        }
        Some(Standing::Refused { reason }) => shown["reason"] = reason.into(),
        Some(Standing::Ready { .. } | Standing::Absent) | None => {}
    }
    shown
}

/// `PUT /api/v1/models/{model}/versions/{version}/baseline`
pub(super) async fn adopt(
    State(admin): State<Arc<Admin>>,
    Path((model, version)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let key = admin.known(&model, &version)?;
    let (references, taken) = (Arc::clone(&admin.references), key.clone());
    // The monitor's thread may be busy with bodies for a moment.
    let adopted =
        tokio::task::spawn_blocking(move || references.adopt(&taken, body.to_vec())).await;
    let refused = |status: StatusCode, error: String| (status, Json(json!({ "error": error })));
    match adopted {
        Ok(Ok(())) => {
            let baseline = admin.monitor.baseline(&key);
            let layout = baseline.map(|baseline| baseline.layout().hash().to_string());
            Ok(Json(json!({
                "model": key.model.as_str(),
                "version": key.version.as_str(),
                "layout": layout,
            })))
        }
        Ok(Err(reason)) => Err(refused(StatusCode::UNPROCESSABLE_ENTITY, reason)),
        Err(gone) => Err(refused(StatusCode::SERVICE_UNAVAILABLE, gone.to_string())),
    }
}

/// `GET /api/v1/models/{model}/versions/{version}/baseline`
pub(super) async fn baseline(
    State(admin): State<Arc<Admin>>,
    Path((model, version)): Path<(String, String)>,
) -> Answer {
    let key = admin.known(&model, &version)?;
    let baseline = admin.monitor.baseline(&key);
    let baseline = baseline.ok_or_else(|| unknown(&format!("baseline in force of `{key}`")))?;
    let file = serde_json::to_value(BaselineFile::from(&*baseline));
    let failed = |error: serde_json::Error| {
        (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": error.to_string() })))
    };
    file.map(Json).map_err(failed)
}

/// `DELETE /api/v1/models/{model}/versions/{version}/baseline`
pub(super) async fn forget(
    State(admin): State<Arc<Admin>>,
    Path((model, version)): Path<(String, String)>,
) -> Answer {
    let key = admin.known(&model, &version)?;
    let (references, forgotten) = (Arc::clone(&admin.references), key.clone());
    let done = tokio::task::spawn_blocking(move || references.forget_baseline(&forgotten)).await;
    let status = match &done {
        Ok(Ok(())) => {
            let standing = admin.monitor.standing(&key);
            return Ok(Json(json!({
                "model": key.model.as_str(),
                "version": key.version.as_str(),
                "baseline": standing_of(standing.as_ref()),
            })));
        }
        Ok(Err(ForgetError::Nothing | ForgetError::Unmonitored)) => StatusCode::NOT_FOUND,
        Ok(Err(ForgetError::Beside(_))) => StatusCode::CONFLICT,
        Ok(Err(ForgetError::Remove { .. })) => StatusCode::INTERNAL_SERVER_ERROR,
        Err(_gone) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let why = done.map_or_else(
        |gone| gone.to_string(),
        |done| done.err().map(|error| error.to_string()).unwrap_or_default(),
    );
    Err((status, Json(json!({ "error": why }))))
}

/// The worst of a version's last judgement, for overviews.
pub(super) fn worst(reader: &MonitorReader, key: &VersionKey) -> Value {
    let Some(judgement) = reader.judgement(key) else { return Value::Null };
    let Some(report) = strongest(&judgement).into_iter().next() else { return Value::Null };
    let feature = judgement.baseline.layout().features().get(report.index);
    json!({
        "feature": feature.map(|feature| feature.name()),
        "psi": report.measured.psi,
        "state": report.verdict.outcome.as_str(),
    })
}

/// The features of a judgement, breaches and small p-values first.
fn strongest(judgement: &Judgement) -> Vec<&FeatureReport> {
    let mut reports: Vec<&FeatureReport> = judgement.report.features.iter().collect();
    let order = |report: &FeatureReport| {
        (!report.verdict.is_breach(), report.measured.p.unwrap_or(1.0), -report.measured.psi)
    };
    reports.sort_by(|a, b| order(a).partial_cmp(&order(b)).unwrap_or(std::cmp::Ordering::Equal));
    reports
}

/// Renders the last judgement of each version: how many features have which verdict, and numbers of the few
/// with the strongest evidence.
pub(super) fn metrics(reader: &MonitorReader, out: &mut String) {
    let judgements = reader.judgements();
    if judgements.is_empty() {
        return;
    }
    let number = |read: &dyn Fn(&FeatureReport) -> Option<f64>| -> Vec<(Vec<(&str, String)>, f64)> {
        judgements
            .iter()
            .flat_map(|(key, judgement)| {
                let features = judgement.baseline.layout().features();
                strongest(judgement).into_iter().take(SERIES_MAX).filter_map(move |report| {
                    let feature = features.get(report.index)?;
                    Some((labels(key, feature.role().as_str(), feature.name()), read(report)?))
                })
            })
            .collect()
    };
    let interval = |report: &FeatureReport| report.measured.kolmogorov_smirnov;
    let missing =
        |report: &FeatureReport| report.measured.guards.get(Guard::Missing as usize).copied();
    let w1 = |report: &FeatureReport| report.measured.wasserstein;
    for (name, values) in [
        ("pointsman_feature_psi", number(&|report| Some(report.measured.psi))),
        ("pointsman_feature_psi_p", number(&|report| report.measured.p)),
        ("pointsman_feature_ks_lower", number(&|report| Some(interval(report)?.lower))),
        ("pointsman_feature_ks_upper", number(&|report| Some(interval(report)?.upper))),
        ("pointsman_feature_wasserstein_lower", number(&|report| Some(w1(report)?.lower))),
        ("pointsman_feature_wasserstein_upper", number(&|report| Some(w1(report)?.upper))),
        ("pointsman_feature_values", number(&|report| Some(report.measured.n as f64))),
        ("pointsman_feature_missing_ratio", number(&missing)),
        ("pointsman_feature_factor", number(&|report| Some(report.scaled?.change.factor))),
        ("pointsman_feature_breach", number(&|report| Some(f64::from(report.verdict.is_breach())))),
    ] {
        Registry::gauges(name, &values, out);
    }
    let breaches: Vec<(Vec<(&str, String)>, f64)> =
        judgements.iter().map(|(key, judgement)| (of(key), judgement.breaches() as f64)).collect();
    Registry::gauges("pointsman_drift_breaches", &breaches, out);
}

fn of(key: &VersionKey) -> Vec<(&'static str, String)> {
    vec![("model", key.model.to_string()), ("version", key.version.to_string())]
}

fn labels(key: &VersionKey, role: &str, feature: &str) -> Vec<(&'static str, String)> {
    let mut labels = of(key);
    labels.extend([("role", role.to_owned()), ("feature", feature.to_owned())]);
    labels
}
