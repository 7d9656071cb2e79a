//! What the monitor has counted, over the admin API.
//!
//! Owns how windows are shown. Counts nothing and judges nothing.
//!
//! | path below `/api/v1/models/{model}` | answer |
//! |---|---|
//! | `/monitor` | every version in short, and the alarms of the model |
//! | `/versions/{version}/monitor` | one version: the last minute, hour and day |
//! | `/versions/{version}/series?length=minute` | its closed windows of one length, oldest first |

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Admin, alarms, drift, features};
use crate::domain::ids::{ModelName, VersionName};
use crate::domain::record::Outcome;
use crate::domain::stats::window::{
    LatencyCounts, Minute, Stage, Traffic, Unseen, WindowCounts, WindowLength,
};
use crate::monitor::alarms::date;
use crate::monitor::{MonitorReader, VersionKey};

/// Why there is no answer.
pub(super) type Refused = (StatusCode, Json<Value>);
/// An answer, or why there is none.
pub(super) type Answer = Result<Json<Value>, Refused>;

/// The quantiles that are shown.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)];

/// A span of time up to the last closed minute.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) name: &'static str,
    pub(super) length: WindowLength,
    /// Windows of that length.
    pub(super) count: u32,
}

/// The spans that are shown: the last closed minute, hour and day.
pub(super) const SPANS: [Span; 3] = [
    Span { name: "minute", length: WindowLength::Minute, count: 1 },
    Span { name: "hour", length: WindowLength::Minute, count: 60 },
    Span { name: "day", length: WindowLength::Hour, count: 24 },
];

impl Span {
    /// What was counted in it, and its minutes.
    pub(super) fn counts(&self, reader: &MonitorReader, key: &VersionKey) -> (WindowCounts, u32) {
        let open = reader.open();
        let first = match self.length {
            WindowLength::Minute => Minute(open.0.saturating_sub(self.count)),
            // The hour that is being filled counts as one of them.
            length => {
                let newest = length.start_of(Minute(open.0.saturating_sub(1)));
                Minute(newest.0.saturating_sub((self.count - 1) * length.minutes()))
            }
        };
        let mut sum = WindowCounts::default();
        let mut windows = reader.windows(key, self.length);
        windows.extend(reader.filling(key, self.length));
        windows
            .iter()
            .filter(|window| window.start >= first)
            .for_each(|window| sum.merge(&window.counts));
        (sum, open.0.saturating_sub(first.0))
    }
}

/// What may be asked of the overview.
#[derive(Debug, Deserialize)]
pub(super) struct OverviewQuery {
    last: Option<String>,
}

/// `GET /api/v1/monitor`: all versions in a line each, and all active alarms.
pub(super) async fn overview(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<OverviewQuery>,
) -> Answer {
    let span = span_of(query.last.as_deref().unwrap_or("minute"))?;
    let versions = admin.all_versions();
    let active = admin.alarms.active();
    let row = |key: &VersionKey| {
        let (counts, minutes) = span.counts(&admin.monitor, key);
        let alarms = active.iter().filter(|(alarm, _)| {
            let own = alarm.version.is_empty() || alarm.version == key.version.as_str();
            alarm.model == key.model.as_str() && own
        });
        json!({
            "model": key.model.as_str(),
            "version": key.version.as_str(),
            "traffic": traffic(&counts.traffic, minutes),
            "drift": drift::worst(&admin.monitor, key),
            "alarms": alarms.count(),
        })
    };
    let rows: Vec<Value> = versions.iter().map(row).collect();
    let alarms: Vec<Value> =
        active.iter().map(|(key, standing)| alarms::shown(key, standing)).collect();
    let snapshot = admin.gateway.snapshots.load();
    Ok(Json(json!({
        "node": admin.node,
        "ready": admin.gateway.readiness.is_ready(),
        "generation": snapshot.generation.0,
        "last": span.name,
        "until": until(&admin.monitor),
        "versions": rows,
        "alarms": alarms,
    })))
}

/// Up to when windows are closed; null before the first is.
fn until(monitor: &MonitorReader) -> Value {
    match monitor.open() {
        Minute(0) => Value::Null,
        open => date(open.0.into()).into(),
    }
}

/// `GET /api/v1/models/{model}/monitor`
pub(super) async fn model(State(admin): State<Arc<Admin>>, Path(model): Path<String>) -> Answer {
    let versions = admin.versions_of(&model);
    if versions.is_empty() {
        return Err(unknown(&format!("model `{}`", model.escape_debug())));
    }
    let shown: Map<String, Value> =
        versions.iter().map(|key| (key.version.to_string(), admin.summary(key))).collect();
    let active = admin.alarms.active();
    let own = active.iter().filter(|(key, _)| key.model == model);
    let alarms: Vec<Value> = own.map(|(key, standing)| alarms::shown(key, standing)).collect();
    Ok(Json(json!({ "model": model, "versions": shown, "alarms": alarms })))
}

/// `GET /api/v1/models/{model}/versions/{version}/monitor`
pub(super) async fn version(
    State(admin): State<Arc<Admin>>,
    Path((model, version)): Path<(String, String)>,
) -> Answer {
    let key = admin.known(&model, &version)?;
    Ok(Json(admin.summary(&key)))
}

/// What may be asked of a series.
#[derive(Debug, Deserialize)]
pub(super) struct SeriesQuery {
    length: Option<String>,
}

/// `GET /api/v1/models/{model}/versions/{version}/series`
pub(super) async fn series(
    State(admin): State<Arc<Admin>>,
    Path((model, version)): Path<(String, String)>,
    Query(query): Query<SeriesQuery>,
) -> Answer {
    let key = admin.known(&model, &version)?;
    let word = query.length.as_deref().unwrap_or("minute");
    let length = WindowLength::from_word(word).ok_or_else(|| {
        let words = WindowLength::ALL.map(WindowLength::as_str).join(", ");
        let error = format!("`length` is one of {words}, not `{}`", word.escape_debug());
        (StatusCode::BAD_REQUEST, Json(json!({ "error": error })))
    })?;
    let windows = admin.monitor.windows(&key, length);
    let windows: Vec<Value> = windows
        .iter()
        .map(|window| {
            let mut shown = traffic(&window.counts.traffic, length.minutes());
            shown["start"] = date(window.start.0.into()).into();
            shown
        })
        .collect();
    Ok(Json(json!({
        "model": model,
        "version": version,
        "length": length.as_str(),
        "windows": windows,
    })))
}

impl Admin {
    /// All versions: those that are configured or loaded, and those of which something is kept.
    fn all_versions(&self) -> Vec<VersionKey> {
        let snapshot = self.gateway.snapshots.load();
        let targets = snapshot.table.targets().iter();
        let mut keys: Vec<VersionKey> =
            targets.filter_map(|target| VersionKey::of(&target.kind)).collect();
        keys.extend(self.monitor.versions());
        keys.sort();
        keys.dedup();
        keys
    }

    /// The versions of a model.
    pub(super) fn versions_of(&self, model: &str) -> Vec<VersionKey> {
        let mut keys = self.all_versions();
        keys.retain(|key| key.model.as_str() == model);
        keys
    }

    /// The key of a version that there is.
    pub(super) fn known(&self, model: &str, version: &str) -> Result<VersionKey, Refused> {
        let key = VersionKey { model: ModelName::new(model), version: VersionName::new(version) };
        match self.versions_of(model).contains(&key) {
            true => Ok(key),
            false => Err(unknown(&format!(
                "version `{}` of model `{}`",
                version.escape_debug(),
                model.escape_debug()
            ))),
        }
    }

    /// One version in short.
    pub(super) fn summary(&self, key: &VersionKey) -> Value {
        let spans: Map<String, Value> = SPANS
            .iter()
            .map(|span| {
                let (counts, minutes) = span.counts(&self.monitor, key);
                (span.name.to_owned(), traffic(&counts.traffic, minutes))
            })
            .collect();
        let active = self.alarms.active_for(key.model.as_str(), key.version.as_str());
        let alarms: Vec<Value> =
            active.iter().map(|(key, standing)| alarms::shown(key, standing)).collect();
        json!({
            "model": key.model.as_str(),
            "version": key.version.as_str(),
            "until": until(&self.monitor),
            "last": spans,
            "baseline": features::standing_of(self.monitor.standing(key).as_ref()),
            "alarms": alarms,
        })
    }
}

/// The span of that name.
pub(super) fn span_of(name: &str) -> Result<Span, Refused> {
    let named = SPANS.into_iter().find(|span| span.name == name);
    named.ok_or_else(|| {
        let words = SPANS.map(|span| span.name).join(", ");
        let error = format!("`last` is one of {words}, not `{}`", name.escape_debug());
        (StatusCode::BAD_REQUEST, Json(json!({ "error": error })))
    })
}

/// Why there is no such thing.
pub(super) fn unknown(what: &str) -> Refused {
    (StatusCode::NOT_FOUND, Json(json!({ "error": format!("there is no {what}") })))
}

/// Traffic over so many minutes.
pub(super) fn traffic(traffic: &Traffic, minutes: u32) -> Value {
    let words = |counts: &[u64], words: &mut dyn Iterator<Item = &'static str>| -> Map<_, _> {
        words.zip(counts).map(|(word, count)| (word.to_owned(), json!(count))).collect()
    };
    let outcomes = words(&traffic.outcomes, &mut Outcome::ALL.iter().map(|it| it.as_str()));
    let unseen = words(&traffic.unseen, &mut Unseen::ALL.iter().map(|it| it.as_str()));
    let latency: BTreeMap<&str, Value> = Stage::ALL
        .iter()
        .filter(|stage| traffic.latency(**stage).count() > 0)
        .map(|stage| (stage.as_str(), times(traffic.latency(*stage))))
        .collect();
    let seconds = f64::from(minutes) * 60.0;
    json!({
        "minutes": minutes,
        "exchanges": traffic.exchanges(),
        "per_second": super::float(traffic.exchanges()) / seconds.max(1.0),
        "outcomes": outcomes,
        "predictions": traffic.rows,
        "values_seen": traffic.seen,
        "values_unseen": unseen,
        "share_seen": traffic.share_seen(),
        "latency_us": latency,
    })
}

/// Times in microseconds; each quantile is known to within one percent.
fn times(times: &LatencyCounts) -> Value {
    let count = times.count();
    let mut shown = json!({
        "count": count,
        "mean": super::float(times.sum_us()) / super::float(count.max(1)),
    });
    for (name, share) in QUANTILES {
        shown[name] = times.quantile_us(share).into();
    }
    shown
}
