//! The quality of one version, window by window.
//!
//! Owns the sums of minutes, hours and days by prediction time, for all predictions and for each slice, and the
//! detector on the errors ([`mature`](super::mature) says what it is shown). Windows of every length are counted by themselves; the sums are exact, so that they agree.
//! Never knows a prediction's name.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::answer::{Answer, Unscored};
use super::ledger::Truth;
use super::mature::Shown;
use super::store::Home;
use crate::domain::stats::detectors::{self, Detector, Signal};
use crate::domain::stats::maturity::Cohort;
use crate::domain::stats::quality::{Measure, Quality, ScoreCounts, Scored};
use crate::domain::stats::window::{Minute, WindowLength};

/// Minutes for which windows of a minute are kept.
const MINUTES: u32 = 180;
/// Days for which windows of an hour and of a day are kept, if the join window is as long.
pub(super) const DAYS_MAX: u32 = 40;
/// Alarms of the detector that are kept.
const ALARMS_MAX: usize = 20;

/// What is counted in one window.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Cell {
    /// Of predictions with a label.
    pub(super) quality: Quality,
    /// Predictions and labels by age.
    pub(super) cohort: Cohort,
    /// Of all predictions: the scores of the positive class, or the probabilities of the predicted ones.
    pub(super) scores: ScoreCounts,
}

impl Cell {
    pub(super) fn new(measure: &Measure) -> Self {
        let quality = Quality::new(measure);
        Self { quality, cohort: Cohort::default(), scores: ScoreCounts::default() }
    }

    /// Adds another window of the same version.
    pub(super) fn merge(&mut self, other: &Self) {
        // Both are of one model, so that they are of one kind.
        let _alike = self.quality.merge(&other.quality).is_ok();
        self.cohort.merge(&other.cohort);
        self.scores.merge(&other.scores);
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.quality.bytes() + self.scores.bytes()
    }
}

/// From which minute on windows of each length are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Floors([Minute; 3]);

impl Floors {
    /// What is kept at `now` under a join window of `days`, at least what was kept before.
    pub(super) fn raise(&mut self, now: Minute, days: u32) {
        let back = |minutes: u32| Minute(now.0.saturating_sub(minutes));
        let oldest =
            WindowLength::Day.start_of(back(days.min(DAYS_MAX) * WindowLength::Day.minutes()));
        for (floor, to) in self.0.iter_mut().zip([back(MINUTES), oldest, oldest]) {
            *floor = (*floor).max(to);
        }
    }

    /// Stops keeping the oldest windows of `length`, up to `to`.
    pub(super) fn raise_one(&mut self, length: WindowLength, to: Minute) {
        if let Some(floor) = self.0.get_mut(length as usize) {
            *floor = (*floor).max(to);
        }
    }

    /// From which minute on windows of this length are kept.
    pub(super) fn of(&self, length: WindowLength) -> Minute {
        self.0.get(length as usize).copied().unwrap_or_default()
    }
}

/// The windows of one slice of a version.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Series {
    windows: [BTreeMap<Minute, Cell>; 3],
}

impl Series {
    /// The windows of one length, oldest first.
    pub(super) fn of(&self, length: WindowLength) -> impl Iterator<Item = (Minute, &Cell)> {
        let windows = self.windows.get(length as usize).into_iter().flatten();
        windows.map(|(minute, cell)| (*minute, cell))
    }

    /// Counts in each window that `minute` lies in; makes those that are kept and are not there if it `may_make`.
    fn count(
        &mut self,
        (minute, measure): (Minute, &Measure),
        (floors, lengths): (&Floors, &[WindowLength]),
        may_make: bool,
        mut count: impl FnMut(&mut Cell),
    ) {
        for &length in lengths {
            let start = length.start_of(minute);
            let Some(windows) = self.windows.get_mut(length as usize) else { continue };
            if let Some(cell) = windows.get_mut(&start) {
                count(cell);
            } else if may_make && start >= floors.of(length) {
                count(windows.entry(start).or_insert_with(|| Cell::new(measure)));
            }
        }
    }

    fn age(&mut self, floors: &Floors) {
        for (length, windows) in WindowLength::ALL.into_iter().zip(&mut self.windows) {
            while windows.first_key_value().is_some_and(|(start, _)| *start < floors.of(length)) {
                windows.pop_first();
            }
        }
    }

    fn bytes(&self) -> usize {
        self.windows.iter().flat_map(BTreeMap::values).map(Cell::bytes).sum()
    }
}

/// An alarm of the detector.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Change {
    /// When it was seen, in microseconds since the Unix epoch.
    pub(super) ts_us: u64,
    /// When the prediction was made whose error showed it.
    pub(super) predicted_us: u64,
    /// Labels until then.
    pub(super) labels: u64,
    /// The share of errors before it and at its end, where the detector knows them.
    pub(super) errors: Option<(f64, f64)>,
}

/// What is known about one version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct VersionQuality {
    /// All predictions under 0, then slices by their place in the model's table.
    slices: BTreeMap<u16, Series>,
    /// Why predictions could not be scored.
    pub(super) unscored: BTreeMap<Unscored, u64>,
    detector: Detector,
    /// How far it has come.
    pub(super) shown: Shown,
    /// Values that the detector has seen.
    pub(super) watched: u64,
    pub(super) changes: u64,
    pub(super) last_changes: VecDeque<Change>,
}

/// A label that comes or goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step<'a> {
    pub(super) answer: &'a Answer,
    pub(super) truth: Truth,
    /// How long after the prediction the label came.
    pub(super) after: Duration,
}

impl VersionQuality {
    pub(super) fn new(detector: detectors::Kind) -> Self {
        Self {
            slices: BTreeMap::new(),
            unscored: BTreeMap::new(),
            detector: detector.detector(),
            shown: Shown::default(),
            watched: 0,
            changes: 0,
            last_changes: VecDeque::new(),
        }
    }

    /// The windows of a slice; 0 is all.
    pub(super) fn slice(&self, slice: u16) -> Option<&Series> {
        self.slices.get(&slice)
    }

    /// The windows of all predictions that together tell of each as finely as is known: of a minute where these are
    /// kept, of an hour before.
    pub(super) fn finest(
        &self,
        floors: &Floors,
    ) -> impl Iterator<Item = (Minute, WindowLength, &Cell)> {
        let hour = WindowLength::Hour;
        let first = floors.of(WindowLength::Minute);
        let whole = hour.start_of(first);
        let cut = if whole < first { whole.plus(hour.minutes()) } else { first };
        let hours = self.slice(0).into_iter().flat_map(move |series| series.of(hour));
        let hours = hours.filter(move |(start, _)| *start < cut);
        let minutes = self.slice(0).into_iter();
        let minutes = minutes.flat_map(|series| series.of(WindowLength::Minute));
        let minutes = minutes.filter(move |(start, _)| *start >= cut);
        hours
            .map(move |(start, cell)| (start, hour, cell))
            .chain(minutes.map(|(start, cell)| (start, WindowLength::Minute, cell)))
    }

    pub(super) fn detector(&self) -> detectors::Kind {
        self.detector.kind()
    }

    /// Counts a prediction.
    pub(super) fn predict(
        &mut self,
        home: Home,
        measure: &Measure,
        floors: &Floors,
        answer: &Answer,
    ) {
        let score = score(answer, measure);
        self.each(home, measure, floors, true, |cell| {
            cell.cohort.predict();
            if let Some(score) = score {
                cell.scores.add(score);
            }
        });
    }

    /// Counts a label; `false` if the prediction cannot be scored with it.
    pub(super) fn label(
        &mut self,
        home: Home,
        measure: &Measure,
        floors: &Floors,
        step: Step<'_>,
    ) -> bool {
        let Some(scored) = scored(step.answer, step.truth) else { return false };
        if scored.check(measure).is_err() {
            return false;
        }
        self.each(home, measure, floors, true, |cell| {
            cell.cohort.label(step.after);
            // It was checked.
            let _counted = cell.quality.add(measure, &scored).is_ok();
        });
        true
    }

    /// Takes a label back that was counted.
    pub(super) fn unlabel(
        &mut self,
        home: Home,
        measure: &Measure,
        floors: &Floors,
        step: Step<'_>,
    ) {
        let Some(scored) = scored(step.answer, step.truth) else { return };
        self.each(home, measure, floors, false, |cell| {
            cell.cohort.unlabel(step.after);
            let _taken = cell.quality.retract(measure, &scored).is_ok();
        });
    }

    /// Shows the detector whether a prediction was an error: when it was made, and when this is.
    pub(super) fn watch(
        &mut self,
        measure: &Measure,
        step: Step<'_>,
        (predicted_us, ts_us): (u64, u64),
    ) {
        let Some(scored) = scored(step.answer, step.truth) else { return };
        let Some(is_error) = scored.is_error(measure) else { return };
        self.watched += 1;
        // This one looks for a fall.
        let counts = is_error != (self.detector.kind() == detectors::Kind::Fhddm);
        let before = self.detector.mean();
        if self.detector.observe(f64::from(u8::from(counts))) == Signal::Drift {
            self.changes += 1;
            if self.last_changes.len() == ALARMS_MAX {
                self.last_changes.pop_front();
            }
            let errors = before.zip(self.detector.mean());
            let labels = self.watched;
            self.last_changes.push_back(Change { ts_us, predicted_us, labels, errors });
        }
    }

    /// Counts in the windows of all and of the slice; slices have no windows of a minute.
    fn each(
        &mut self,
        home: Home,
        measure: &Measure,
        floors: &Floors,
        may_make: bool,
        mut count: impl FnMut(&mut Cell),
    ) {
        let all = WindowLength::ALL;
        let long = [WindowLength::Hour, WindowLength::Day];
        let own = (home.slice > 0).then_some((home.slice, long.as_slice()));
        for (slice, lengths) in [(0, all.as_slice())].into_iter().chain(own) {
            let series = self.slices.entry(slice).or_default();
            series.count((home.minute, measure), (floors, lengths), may_make, &mut count);
        }
    }

    /// Forgets what lies below the floors.
    pub(super) fn age(&mut self, floors: &Floors) {
        self.slices.values_mut().for_each(|series| series.age(floors));
    }

    /// The oldest window of a length.
    pub(super) fn oldest(&self, length: WindowLength) -> Option<Minute> {
        self.slices
            .values()
            .filter_map(|series| series.of(length).next())
            .map(|(start, _)| start)
            .min()
    }

    pub(super) fn bytes(&self) -> usize {
        self.slices.values().map(Series::bytes).sum()
    }
}

/// The score of the positive class, or the probability of the predicted one.
fn score(answer: &Answer, measure: &Measure) -> Option<f64> {
    let (Answer::Class { class, probabilities: Some(all) }, Measure::Classes { positive, .. }) =
        (answer, measure)
    else {
        return None;
    };
    all.get(usize::from(positive.unwrap_or(*class))).copied()
}

fn scored(answer: &Answer, truth: Truth) -> Option<Scored<'_>> {
    match (answer, truth) {
        (Answer::Class { class, probabilities }, Truth::Class(truth)) => Some(Scored::Class {
            truth,
            predicted: *class,
            probabilities: probabilities.as_deref(),
        }),
        (Answer::Value(predicted), Truth::Value(truth)) => {
            Some(Scored::Value { truth, predicted: *predicted })
        }
        (Answer::Anything, Truth::Value(reward)) => Some(Scored::Reward(reward)),
        (Answer::Class { .. } | Answer::Value(_) | Answer::Anything, _) => None,
    }
}
