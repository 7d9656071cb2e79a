//! What operators read: the quality of one version as JSON, its comparison with another, and counts for metrics.
//!
//! Owns the form of the answers. Every number stands with its sample size, and with its interval where there is one;
//! what is an estimate is called one. Never changes what it reads.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::QualityReader;
use super::follow::unix_us;
use super::look::age_of;
use super::series::{Cell, VersionQuality};
use super::state::{Fate, ModelQuality, State};
use crate::domain::ids::{ModelName, VersionName};
use crate::domain::stats::baseline::Baseline;
use crate::domain::stats::cbpe::{self, Calibrator};
use crate::domain::stats::maturity::{self, Cohort, Curve, Matched};
use crate::domain::stats::quality::{Measure, Metric, Quality};
use crate::domain::stats::two_by_two::{Prior, Tally};
use crate::domain::stats::window::{Minute, WindowLength};
use crate::monitor::VersionKey;

/// The level of every interval: each holds with a probability of 95 %, at all times at once.
pub(super) const ALPHA: f64 = 0.05;
/// The share of labels by whose age a cohort counts as mature.
pub(super) const MATURE_SHARE: f64 = 0.9;
/// The fewest labelled predictions for a number to be more than `insufficient`.
const ENOUGH: u64 = 30;
/// The most cells of a confusion matrix that are told.
const CELLS_MAX: usize = 1024;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The length of the windows of the series.
    pub window: WindowLength,
    /// The slice; `None` for all predictions.
    pub slice: Option<String>,
    /// The version that it is compared with.
    pub control: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// The model has no labels.
    #[error("`{0}` has no `labels` in the configuration, so that its quality is not measured")]
    NoLabels(String),
    /// Nothing is known about the version.
    #[error("no prediction of `{0}/{1}` is known")]
    Unknown(String, String),
    /// There is no such slice.
    #[error("there is no slice `{0}`; there are: {1}")]
    Slice(String, String),
    /// A slice has no windows of this length.
    #[error("slices have windows of an hour and of a day")]
    Length,
}

/// What is counted, for metrics.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QualityStats {
    /// Predictions that may still get or change a label.
    pub predictions: u64,
    /// Statements that wait for their prediction.
    pub waiting: u64,
    /// Statements that found none.
    pub unmatched: u64,
    /// Predictions that were dropped before their time.
    pub dropped: u64,
    /// Windows that were dropped before their time.
    pub forgotten: u64,
    /// Bytes of memory, about.
    pub bytes: u64,
    /// The most bytes.
    pub bytes_max: u64,
    /// Every row up to this number is taken into account.
    pub position: u64,
    /// What became of statements, by model.
    pub fates: Vec<(String, &'static str, u64)>,
    /// Of each version.
    pub versions: Vec<VersionStats>,
}

/// What is counted about one version, for metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionStats {
    /// The model.
    pub model: String,
    /// The version.
    pub version: String,
    /// Changes that the detector has seen.
    pub changes: u64,
    /// Metrics over the whole join window.
    pub metrics: Vec<(&'static str, f64)>,
}

/// The metrics that `/metrics` shows.
const SHOWN: [&str; 8] = [
    "accuracy",
    "balanced_accuracy",
    "log_loss",
    "ece",
    "mae",
    "rmse",
    "reward",
    "within_tolerance",
];

impl QualityReader {
    /// What is counted; `None` where no model has labels.
    pub fn stats(&self) -> Option<QualityStats> {
        let shared = self.shared.as_ref()?;
        let state = shared.state.lock();
        let (bytes, bytes_max) = state.bytes();
        let mut stats = QualityStats {
            predictions: state.store.len() as u64,
            waiting: state.store.waiting() as u64,
            unmatched: state.unmatched,
            dropped: state.dropped,
            forgotten: state.forgotten,
            bytes: bytes as u64,
            bytes_max: bytes_max as u64,
            position: shared.position.load(Ordering::Relaxed),
            ..QualityStats::default()
        };
        for model in &state.models {
            let fate = |fate: &Fate| {
                let count = model.fates.get(fate).copied().unwrap_or_default();
                (model.name.to_string(), fate.as_str(), count)
            };
            stats.fates.extend(Fate::ALL.iter().map(fate));
            for (name, version) in model.names.iter().zip(&model.versions) {
                let whole = whole(version, &model.measure, 0);
                let metrics = whole.quality.metrics(&model.measure, ALPHA).into_iter();
                let shown = metrics.filter(|metric| SHOWN.contains(&metric.name));
                let coverage = whole.cohort.coverage().map(|share| ("coverage", share));
                stats.versions.push(VersionStats {
                    model: model.name.to_string(),
                    version: name.to_string(),
                    changes: version.changes,
                    metrics: shown
                        .map(|metric| (metric.name, metric.value))
                        .chain(coverage)
                        .collect(),
                });
            }
        }
        Some(stats)
    }

    /// The quality of a version.
    ///
    /// # Errors
    /// [`ReportError`] says why there is none.
    pub fn version(&self, model: &str, version: &str, query: &Query) -> Result<Value, ReportError> {
        let no_labels = || ReportError::NoLabels(model.to_owned());
        let shared = self.shared.as_ref().ok_or_else(no_labels)?;
        let key = VersionKey { model: ModelName::new(model), version: VersionName::new(version) };
        let baseline = self.baselines.baseline(&key);
        let state = shared.state.lock();
        let found =
            state.models.iter().find(|own| own.name.as_str() == model).ok_or_else(no_labels)?;
        let own = of_name(found, version)?;
        let slice = slice(found, query)?;
        let now_us = unix_us();
        let whole = whole(own, &found.measure, slice);
        let curve = curve(own, &state, now_us);
        let age_of = |share| age_of(share, &state, found, (own, now_us));
        let mature = age_of(MATURE_SHARE);
        let mut report = json!({
            "model": model,
            "version": version,
            "slice": query.slice.as_deref().unwrap_or("all"),
            "slices": found.slices.iter().skip(1).collect::<Vec<_>>(),
            "metric": found.spec.metric,
            "policy": found.spec.policy.as_str(),
            "alpha": ALPHA,
            "complete": shared.caught_up.load(Ordering::Relaxed),
            "lsn": shared.position.load(Ordering::Relaxed),
            "resumed_after_lsn": shared.resumed_after.load(Ordering::Relaxed),
            "since": time(state.floors.of(WindowLength::Day)),
            "whole": cell(&whole, found, &own.unscored),
            "maturity": maturity(&curve, age_of(0.5), mature),
            "estimated": estimated(&whole, found, baseline.as_deref()),
            "labels": found.fates.iter().map(|(fate, count)| (fate.as_str().to_owned(), json!(count))).collect::<Map<_, _>>(),
            "detector": detector(own),
            "window": query.window.as_str(),
            "series": series(own, found, (slice, query.window), (now_us, mature)),
        });
        if let Quality::Classes(classes) = &whole.quality {
            report["confusion"] = confusion(classes, found);
            report["calibration"] = classes.calibration.bins().map(|(n, came_true, mean)| {
                json!({ "n": n, "came_true": came_true, "mean_probability": mean })
            }).collect();
        }
        if let Some(control) = &query.control {
            let control = of_name(found, control)?;
            report["comparison"] = comparison(&state, found, (control, own), slice, now_us);
        }
        Ok(report)
    }
}

pub(super) fn of_name<'m>(
    model: &'m ModelQuality,
    version: &str,
) -> Result<&'m VersionQuality, ReportError> {
    let at = model.names.iter().position(|name| name.as_str() == version);
    at.and_then(|at| model.versions.get(at))
        .ok_or_else(|| ReportError::Unknown(model.name.to_string(), version.to_owned()))
}

fn slice(model: &ModelQuality, query: &Query) -> Result<u16, ReportError> {
    let Some(name) = query.slice.as_deref().filter(|name| *name != "all") else { return Ok(0) };
    if query.window == WindowLength::Minute {
        return Err(ReportError::Length);
    }
    let known = model.slices.iter().skip(1);
    let at = known.clone().position(|own| own == name);
    at.and_then(|at| u16::try_from(at + 1).ok()).ok_or_else(|| {
        ReportError::Slice(name.to_owned(), known.cloned().collect::<Vec<_>>().join(", "))
    })
}

/// All windows of a slice together.
fn whole(version: &VersionQuality, measure: &Measure, slice: u16) -> Cell {
    let mut whole = Cell::new(measure);
    for (_, day) in version.slice(slice).into_iter().flat_map(|series| series.of(WindowLength::Day))
    {
        whole.merge(day);
    }
    whole
}

/// The curve of label delays, from windows of an hour.
fn curve(version: &VersionQuality, state: &State, now_us: u64) -> Curve {
    let floor = state.floors.of(WindowLength::Hour);
    let hours = version.slice(0).into_iter().flat_map(|series| series.of(WindowLength::Hour));
    let cohorts: Vec<(Duration, &Cohort)> = hours
        .filter(|(start, _)| *start >= floor)
        .map(|(start, cell)| (age(start, WindowLength::Hour, now_us), &cell.cohort))
        .collect();
    Curve::of(cohorts.iter().copied())
}

/// How long ago a window ended.
pub(super) fn age(start: Minute, length: WindowLength, now_us: u64) -> Duration {
    Duration::from_micros(now_us.saturating_sub(start.plus(length.minutes()).start_us()))
}

fn series(
    version: &VersionQuality,
    model: &ModelQuality,
    (slice, length): (u16, WindowLength),
    (now_us, mature): (u64, Option<Duration>),
) -> Value {
    let none = BTreeMap::new();
    let windows = version.slice(slice).into_iter().flat_map(|series| series.of(length));
    let window = |(start, own): (Minute, &Cell)| {
        let mut value = cell(own, model, &none);
        value["start"] = json!(time(start));
        value["end"] = json!(time(start.plus(length.minutes())));
        value["mature"] = json!(mature.is_some_and(|mature| age(start, length, now_us) >= mature));
        value
    };
    windows.map(window).collect()
}

/// One window.
fn cell(
    cell: &Cell,
    model: &ModelQuality,
    unscored: &BTreeMap<super::answer::Unscored, u64>,
) -> Value {
    let metrics = cell.quality.metrics(&model.measure, ALPHA);
    let n = cell.quality.n();
    let mut value = json!({
        "predictions": cell.cohort.predicted(),
        "labelled": cell.cohort.labelled(),
        "coverage": cell.cohort.coverage(),
        "n": n,
        "state": if n < ENOUGH { "insufficient" } else { "sufficient" },
        "metrics": metrics.iter().map(|one| (one.name.to_owned(), metric(one))).collect::<Map<_, _>>(),
    });
    if !unscored.is_empty() {
        let reasons = unscored.iter().map(|(why, count)| (why.as_str().to_owned(), json!(count)));
        value["unscored"] = reasons.collect::<Map<_, _>>().into();
    }
    if let Quality::Classes(classes) = &cell.quality
        && classes.log_loss.clipped() > 0
    {
        value["clipped"] = json!(classes.log_loss.clipped());
    }
    value
}

fn metric(metric: &Metric) -> Value {
    let mut value = json!({ "value": metric.value, "n": metric.n });
    if let Some((kind, interval)) = metric.interval {
        value["lower"] = json!(interval.lower);
        value["upper"] = json!(interval.upper);
        value["interval"] = json!(kind.as_str());
    }
    value
}

fn maturity(curve: &Curve, half: Option<Duration>, mature: Option<Duration>) -> Value {
    let seconds = |age: Option<Duration>| age.map(|age| age.as_secs());
    json!({
        "t50_seconds": seconds(half),
        "t90_seconds": seconds(mature),
        "curve": curve.points.iter().map(|(age, share)| json!([age.as_secs(), share])).collect::<Value>(),
    })
}

/// What is expected of a model.
pub(super) enum Expectation {
    /// Of one that answers yes or no.
    Binary(cbpe::Expected),
    /// Of one with more classes.
    Accuracy(cbpe::Estimate),
}

/// The calibration of a version's scores, and where it is from.
pub(super) fn calibrator(baseline: Option<&Baseline>) -> (Calibrator, String) {
    let map = baseline.and_then(|baseline| baseline.calibration.as_ref());
    match map.map(|map| Calibrator::new(&map.x, &map.y)) {
        Some(Ok(calibrator)) => (calibrator, "baseline".to_owned()),
        Some(Err(why)) => {
            (Calibrator::identity(), format!("none: that of the baseline is unfit, since {why}"))
        }
        None => (Calibrator::identity(), "none: the scores are taken as they are".to_owned()),
    }
}

/// What the scores of predictions let expect; `None` without scores, and for other kinds of models.
pub(super) fn expected(
    cell: &Cell,
    model: &ModelQuality,
    calibrator: &Calibrator,
) -> Option<Expectation> {
    match &model.measure {
        Measure::Classes { classes: 2, positive: Some(_) } => {
            let threshold = match &model.spec.task {
                crate::domain::spec::LabelTask::Classes { threshold, .. } => *threshold,
                _ => 0.5,
            };
            cbpe::expected(&cell.scores, calibrator, threshold).map(Expectation::Binary)
        }
        Measure::Classes { positive: None, .. } => {
            cbpe::expected_accuracy(&cell.scores, calibrator).map(Expectation::Accuracy)
        }
        Measure::Classes { .. } | Measure::Values { .. } | Measure::Rewards => None,
    }
}

/// What the scores of all predictions let expect, labelled or not.
fn estimated(cell: &Cell, model: &ModelQuality, baseline: Option<&Baseline>) -> Value {
    let (calibrator, source) = calibrator(baseline);
    let about =
        "from the scores alone, as far as they are calibrated; blind to a change of what is true";
    let n = cell.scores.n();
    let interval = |estimate: cbpe::Estimate| {
        let (lower, upper) = (estimate.interval.lower, estimate.interval.upper);
        json!({ "value": estimate.value, "lower": lower, "upper": upper, "interval": "certified" })
    };
    match expected(cell, model, &calibrator) {
        None => Value::Null,
        Some(Expectation::Binary(found)) => {
            json!({ "about": about, "calibration": source, "n": n, "accuracy": interval(found.accuracy), "f1": found.f1, "auc": found.auc })
        }
        Some(Expectation::Accuracy(found)) => {
            json!({ "about": about, "calibration": source, "n": n, "accuracy": interval(found) })
        }
    }
}

fn detector(version: &VersionQuality) -> Value {
    let changes = version.last_changes.iter();
    json!({
        "kind": version.detector().as_str(),
        "watched": version.watched,
        "changes": version.changes,
        "last_changes": changes.map(|change| {
            let (at, predicted_at) = (moment(change.ts_us), moment(change.predicted_us));
            let mut shown =
                json!({ "at": at, "predicted_at": predicted_at, "labels": change.labels });
            if let Some((before, after)) = change.errors {
                (shown["errors_before"], shown["errors_after"]) = (before.into(), after.into());
            }
            shown
        }).collect::<Value>(),
    })
}

fn confusion(classes: &crate::domain::stats::quality::Classes, model: &ModelQuality) -> Value {
    let name = |class: u16| match &model.spec.task {
        crate::domain::spec::LabelTask::Classes { names, .. } => {
            names.get(usize::from(class)).cloned().unwrap_or_default()
        }
        _ => String::new(),
    };
    let cells = classes.confusion.cells().take(CELLS_MAX);
    cells
        .map(|(truth, predicted, count)| json!({ "truth": name(truth), "predicted": name(predicted), "count": count }))
        .collect()
}

/// A candidate against a control, over hours that both have and whose labels have come.
fn comparison(
    state: &State,
    model: &ModelQuality,
    (control, candidate): (&VersionQuality, &VersionQuality),
    slice: u16,
    now_us: u64,
) -> Value {
    let ages = [control, candidate].map(|one| age_of(MATURE_SHARE, state, model, (one, now_us)));
    let [Some(a), Some(b)] = ages else {
        let why = "it is not known yet how late labels come";
        return json!({ "state": "insufficient", "why": why });
    };
    let mature = a.max(b);
    let tally = |cell: &Cell| cell.quality.errors(&model.measure).unwrap_or_default();
    let mut hours: BTreeMap<Minute, (Tally, Tally)> = BTreeMap::new();
    let windows = |version: &'_ VersionQuality| {
        let series = version.slice(slice).into_iter();
        series
            .flat_map(|series| series.of(WindowLength::Hour))
            .map(|(start, cell)| (start, tally(cell)))
            .collect::<Vec<_>>()
    };
    for (start, tally) in windows(control) {
        hours.entry(start).or_default().0 = tally;
    }
    for (start, tally) in windows(candidate) {
        hours.entry(start).or_default().1 = tally;
    }
    let matched: Vec<Matched> = hours
        .into_iter()
        .map(|(start, (control, candidate))| Matched {
            age: age(start, WindowLength::Hour, now_us),
            control,
            candidate,
        })
        .collect();
    let Some(found) = maturity::compare(&matched, mature, Prior::default(), ALPHA) else {
        return json!({ "state": "insufficient", "why": "no hour has mature labels of both" });
    };
    let enough = found.control.total >= ENOUGH && found.candidate.total >= ENOUGH;
    json!({
        "state": if enough { "sufficient" } else { "insufficient" },
        "what": "share of wrong predictions, candidate less control, over hours that both have",
        "mature_after_seconds": mature.as_secs(),
        "hours": found.intervals,
        "hours_immature": found.immature,
        "hours_unmatched": found.unmatched,
        "control": { "errors": found.control.failures, "n": found.control.total },
        "candidate": { "errors": found.candidate.failures, "n": found.candidate.total },
        "difference": found.difference,
        "lower": found.interval.map(|interval| interval.lower),
        "upper": found.interval.map(|interval| interval.upper),
        "interval": "asymptotic_confidence_sequence",
        "ln_evidence_candidate_is_worse": found.ln_evidence,
    })
}

fn time(minute: Minute) -> String {
    moment(minute.start_us())
}

fn moment(unix_us: u64) -> String {
    let us = i64::try_from(unix_us).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(us).map(|time| time.to_string()).unwrap_or_default()
}
