//! The quality of predictions, as labels tell it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Admin, float};
use crate::domain::stats::window::WindowLength;
use crate::monitor::{QualityQuery, QualityStats, ReportError};
use crate::telemetry::Registry;

/// What may be asked.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    window: Option<String>,
    slice: Option<String>,
    control: Option<String>,
}

/// `GET /api/v1/models/MODEL/versions/VERSION/quality?window=minute|hour|day&slice=NAME&control=VERSION`
pub(super) async fn version(
    State(admin): State<Arc<Admin>>,
    Path((model, version)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> (StatusCode, Json<Value>) {
    let refusal = |status, why: &str| (status, Json(json!({ "error": why })));
    let word = asked.window.as_deref().unwrap_or("hour");
    let Some(window) = WindowLength::from_word(word) else {
        return refusal(StatusCode::BAD_REQUEST, "`window` is minute, hour or day");
    };
    let query = QualityQuery { window, slice: asked.slice, control: asked.control };
    match admin.quality.version(&model, &version, &query) {
        Ok(report) => (StatusCode::OK, Json(report)),
        Err(error @ ReportError::Length) => refusal(StatusCode::BAD_REQUEST, &error.to_string()),
        Err(
            error @ (ReportError::NoLabels(_) | ReportError::Unknown(..) | ReportError::Slice(..)),
        ) => refusal(StatusCode::NOT_FOUND, &error.to_string()),
    }
}

pub(super) fn metrics(registry: &Registry, stats: &QualityStats, written_lsn: u64) {
    let gauges = [
        ("pointsman_labels_predictions", stats.predictions),
        ("pointsman_labels_waiting", stats.waiting),
        ("pointsman_labels_memory_bytes", stats.bytes),
        ("pointsman_labels_memory_limit_bytes", stats.bytes_max),
        ("pointsman_labels_lag_records", written_lsn.saturating_sub(stats.position)),
    ];
    for (name, value) in gauges {
        registry.set(name, &[], float(value));
    }
    registry.copy("pointsman_labels_unmatched_total", &[], stats.unmatched);
    registry.copy("pointsman_labels_predictions_dropped_total", &[], stats.dropped);
    registry.copy("pointsman_labels_windows_forgotten_total", &[], stats.forgotten);
    for (model, status, count) in &stats.fates {
        let labels = [("model", model.as_str()), ("status", status)];
        registry.copy("pointsman_labels_total", &labels, *count);
    }
    for version in &stats.versions {
        let own = [("model", version.model.as_str()), ("version", version.version.as_str())];
        registry.copy("pointsman_quality_changes_total", &own, version.changes);
        for (metric, value) in &version.metrics {
            let labels = [own[0], own[1], ("metric", *metric)];
            registry.set("pointsman_quality", &labels, *value);
        }
    }
}
