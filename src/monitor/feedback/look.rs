//! What alarms and releases read of the quality of predictions.
//!
//! Owns which windows are taken together: the last ones whose labels have had the time to come, and of scores simply the
//! last ones. Never changes what it reads, and never decides anything.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::QualityReader;
use super::report::{ALPHA, Expectation, MATURE_SHARE, age, calibrator, expected, of_name};
use super::series::{Cell, Floors, VersionQuality};
use super::state::{Fate, ModelQuality, State};
use crate::domain::stats::cbpe;
use crate::domain::stats::maturity::{self, Cohort};
use crate::domain::stats::quality::Metric;
use crate::domain::stats::two_by_two::Tally;
use crate::domain::stats::window::{Minute, WindowLength};
use crate::monitor::VersionKey;

/// What is known of predictions whose labels have had the time to come.
#[derive(Debug, Clone, PartialEq)]
pub struct Matured {
    /// The age by which nine tenths of the labels come that ever come.
    pub after: Duration,
    /// The metrics of those that have their label.
    pub metrics: Vec<Metric>,
    /// How many of them have one.
    pub labelled: Tally,
    /// The same of earlier ones.
    pub labelled_before: Tally,
}

/// A change that the detector has seen.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorChange {
    /// Which detector.
    pub detector: &'static str,
    /// The minute in which it was seen, since the Unix epoch.
    pub minute: u64,
    /// The minute in which the prediction was made whose error showed it.
    pub predicted: Minute,
    /// Labels until then.
    pub labels: u64,
    /// The share of errors before it and at its end, where the detector knows them.
    pub errors: Option<(f64, f64)>,
}

/// What has become of statements since the beginning of the process or of its checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelFates {
    /// Statements that found no prediction.
    pub unmatched: u64,
    /// Predictions that were dropped before their time, for want of memory.
    pub dropped: u64,
    /// How long the join reaches back, where that is less than its window: predictions before it were dropped.
    pub reach: Option<Duration>,
    /// By model: what counted or changed nothing, and what could not count, by reason.
    pub models: BTreeMap<String, (u64, BTreeMap<&'static str, u64>)>,
}

impl QualityReader {
    /// The predictions of the last `minutes` before those up to `minute` whose labels have not had the time to come:
    /// a window counts once it is as old as nine tenths of the labels need. `None` where nothing is known of a model,
    /// or of how late its labels come.
    pub fn matured(&self, key: &VersionKey, minutes: u32, minute: Minute) -> Option<Matured> {
        matured(&self.shared.as_ref()?.state.lock(), key, minutes, minute)
    }

    /// The accuracy that the scores of these predictions let expect, labelled or not, and how many there are;
    /// `None` where there are none, or nothing is estimated for this kind of model.
    pub fn expected_accuracy(
        &self,
        key: &VersionKey,
        minutes: u32,
        minute: Minute,
    ) -> Option<(cbpe::Estimate, u64)> {
        let baseline = self.baselines.baseline(key);
        let (calibrator, _) = calibrator(baseline.as_deref());
        let expected = |sum: Cell, model: &ModelQuality| {
            let expected = match expected(&sum, model, &calibrator)? {
                Expectation::Binary(expected) => expected.accuracy,
                Expectation::Accuracy(accuracy) => accuracy,
            };
            Some((expected, sum.scores.n()))
        };
        self.lately(key, minutes, minute, expected).flatten()
    }

    /// What `of` makes of the sum of the last `minutes`.
    fn lately<T>(
        &self,
        key: &VersionKey,
        minutes: u32,
        minute: Minute,
        of: impl FnOnce(Cell, &ModelQuality) -> T,
    ) -> Option<T> {
        let shared = self.shared.as_ref()?;
        let day = WindowLength::Day;
        let length = if minutes < day.minutes() { WindowLength::Hour } else { day };
        let since = length.start_of(Minute(minute.0.saturating_sub(minutes)));
        let state = shared.state.lock();
        let model = state.models.iter().find(|own| own.name == key.model)?;
        let version = of_name(model, key.version.as_str()).ok()?;
        let mut sum = Cell::new(&model.measure);
        let windows = version.slice(0).into_iter().flat_map(|series| series.of(length));
        windows.filter(|(start, _)| *start >= since).for_each(|(_, window)| sum.merge(window));
        Some(of(sum, model))
    }

    /// The changes that the detector of a version has seen last, oldest first.
    pub fn changes(&self, key: &VersionKey) -> Vec<ErrorChange> {
        let Some(shared) = &self.shared else { return Vec::new() };
        let state = shared.state.lock();
        let model = state.models.iter().find(|own| own.name == key.model);
        let Some(version) = model.and_then(|model| of_name(model, key.version.as_str()).ok())
        else {
            return Vec::new();
        };
        let detector = version.detector().as_str();
        let change = |change: &super::series::Change| ErrorChange {
            detector,
            minute: Minute::of_us(change.ts_us).0.into(),
            predicted: Minute::of_us(change.predicted_us),
            labels: change.labels,
            errors: change.errors,
        };
        version.last_changes.iter().map(change).collect()
    }

    /// What has become of statements; `None` where no model has labels, or the past is still being read.
    pub fn fates(&self) -> Option<LabelFates> {
        let shared = self.shared.as_ref()?;
        if !shared.caught_up.load(Ordering::Relaxed) {
            return None;
        }
        let state = shared.state.lock();
        let of = |model: &ModelQuality| {
            let (mut counted, mut lost) = (0, BTreeMap::new());
            for (fate, count) in &model.fates {
                match fate {
                    Fate::Joined | Fate::Replaced | Fate::Retracted | Fate::Unchanged => {
                        counted += count;
                    }
                    Fate::Late | Fate::Unscorable | Fate::Invalid | Fate::Excess => {
                        lost.insert(fate.as_str(), *count);
                    }
                }
            }
            (model.name.to_string(), (counted, lost))
        };
        Some(LabelFates {
            unmatched: state.unmatched,
            dropped: state.dropped,
            reach: state.reach(),
            models: state.models.iter().map(of).collect(),
        })
    }
}

/// See [`QualityReader::matured`].
pub(super) fn matured(
    state: &State,
    key: &VersionKey,
    minutes: u32,
    minute: Minute,
) -> Option<Matured> {
    let model = state.models.iter().find(|own| own.name == key.model)?;
    let version = of_name(model, key.version.as_str()).ok()?;
    let now_us = minute.plus(1).start_us();
    let after = age_of(MATURE_SHARE, state, model, (version, now_us))?;
    let cells = version.finest(&state.floors);
    let late = u32::try_from(after.as_secs().div_ceil(60)).unwrap_or(u32::MAX);
    let since = Minute((minute.0 + 1).saturating_sub(minutes.saturating_add(late)));
    let (mut recent, mut before) = (Cell::new(&model.measure), Cohort::default());
    for (start, length, cell) in cells {
        if age(start, length, now_us) < after {
            continue;
        }
        match length.start_of(start) >= length.start_of(since) {
            true => recent.merge(cell),
            false => before.merge(&cell.cohort),
        }
    }
    Some(Matured {
        after,
        metrics: recent.quality.metrics(&model.measure, ALPHA),
        labelled: Tally::new(recent.cohort.labelled(), recent.cohort.predicted()),
        labelled_before: Tally::new(before.labelled(), before.predicted()),
    })
}

/// The age by which `share` of a version's labels have come; where it is too young to tell, that of the version of the
/// model whose labels take the longest. `None` while nothing is known.
pub(super) fn age_of(
    share: f64,
    state: &State,
    model: &ModelQuality,
    (version, now_us): (&VersionQuality, u64),
) -> Option<Duration> {
    let of = |version| own_age_of(share, version, &state.floors, (state.window_us, now_us));
    of(version).or_else(|| model.versions.iter().filter_map(of).max())
}

/// The same of what is known of this version alone.
pub(super) fn own_age_of(
    share: f64,
    version: &VersionQuality,
    floors: &Floors,
    (window_us, now_us): (u64, u64),
) -> Option<Duration> {
    let cells = version.finest(floors);
    let cohorts: Vec<(Duration, &Cohort)> =
        cells.map(|(start, length, cell)| (age(start, length, now_us), &cell.cohort)).collect();
    maturity::age_of(&cohorts, share, Duration::from_micros(window_us))
}
