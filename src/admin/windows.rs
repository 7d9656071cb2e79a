//! Windows in full over the admin API: `GET /api/v1/models/MODEL/versions/VERSION/windows`.
//!
//! Owns the choice of windows. Counts nothing.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use crate::domain::ids::{ModelName, VersionName};
use crate::domain::stats::window::WindowLength;
use crate::monitor::{Standing, VersionKey, show};

/// What may be asked.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    /// `minute`, `hour` or `day`.
    length: Option<String>,
    /// The last so many.
    last: Option<usize>,
}

/// The windows of one length, oldest first, the one that is being filled last.
pub(super) async fn windows(
    State(admin): State<Arc<Admin>>,
    Path((model, version)): Path<(String, String)>,
    Query(wanted): Query<Wanted>,
) -> (StatusCode, Json<Value>) {
    let key = VersionKey { model: ModelName::new(model), version: VersionName::new(version) };
    let reader = &admin.monitor;
    let word = wanted.length.as_deref().unwrap_or("minute");
    let Some(length) = WindowLength::from_word(word) else {
        let error = format!("`length` is minute, hour or day, not `{}`", word.escape_debug());
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": error })));
    };
    let Some(standing) = reader.standing(&key) else {
        let error = format!("`{}` is not monitored", key.to_string().escape_debug());
        return (StatusCode::NOT_FOUND, Json(json!({ "error": error })));
    };
    let (mut windows, open) = (reader.windows(&key, length), reader.open());
    windows.extend(reader.filling(&key, length));
    let skipped = windows.len().saturating_sub(wanted.last.unwrap_or(usize::MAX));
    let windows: Vec<Value> =
        windows.iter().skip(skipped).map(|window| show::window(window, open)).collect();
    let shown = json!({
        "model": key.model.as_str(),
        "version": key.version.as_str(),
        "baseline": baseline(&standing),
        "windows": windows,
    });
    (StatusCode::OK, Json(shown))
}

/// How a version stands with its baseline.
fn baseline(standing: &Standing) -> Value {
    let mut shown = json!({ "state": standing.as_str() });
    match standing {
        Standing::Ready { baseline, of } => {
            shown["origin"] = baseline.origin.as_str().into();
            shown["layout"] = baseline.layout().hash().to_string().into();
            shown["rows"] = baseline.rows.into();
            shown["of"] = of.as_ref().map(ToString::to_string).into();
        }
        Standing::Learning { rows, wanted } => {
            (shown["rows"], shown["wanted"]) = ((*rows).into(), (*wanted).into());
        }
        Standing::Refused { reason } => shown["reason"] = reason.as_str().into(),
        Standing::Absent => {}
    }
    shown
}
