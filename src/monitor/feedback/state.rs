//! What is known, row by row of the prediction log.
//!
//! Owns the join: each row of the log changes the state in a way that depends on the rows before it alone, so that
//! reading the log again gives the same state. Never reads a clock but to distrust rows from the future.
//!
//! ```text
//! prediction ─▶ Entry in the store, counted ─┐
//! statement ─▶ its ledger ─▶ truth changed? ─┴▶ old label retracted, new one added
//!          └─▶ waits for its prediction ─▶ given up
//! a minute of the log passes ─▶ predictions whose labels have had the time to come ─▶ the detector of their version
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use twox_hash::XxHash3_64;

use super::answer::{self, Unscored};
use super::checkpoint::{Saved, SavedModel};
use super::ledger::{Effect, Said, Statement, Truth};
use super::series::{DAYS_MAX, Floors, Step, VersionQuality};
use super::store::{self, Entry, Home, Row, Store, Waiting};
use crate::domain::ids::{ModelName, RecordId, VersionName};
use crate::domain::record::{FeedbackRecord, FeedbackTarget, Kind, PredictionRecord};
use crate::domain::spec::{FeedbackSpec, LabelsSpec};
use crate::domain::stats::quality::Measure;
use crate::domain::stats::window::{Minute, WindowLength};
use crate::monitor::about::About;

/// The most versions of a model that are measured.
const VERSIONS_MAX: usize = 256;
/// How far ahead of the clock a row may be and still be believed.
const AHEAD_US: u64 = 60 * 1_000_000;
/// The slice of what belongs to no other.
pub(super) const OTHER: &str = "other";

macro_rules! fates {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// What became of a statement.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub(super) enum Fate { $($(#[$doc])* $name,)* }

        impl Fate {
            pub(super) const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word in metrics and answers.
            pub(super) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

fates! {
    /// A prediction has its label.
    Joined = "joined",
    /// A label is another one now.
    Replaced = "replaced",
    /// A label is gone.
    Retracted = "retracted",
    /// It changes nothing: the same again, or another counts.
    Unchanged = "unchanged",
    /// It came after the join window.
    Late = "late",
    /// The prediction cannot be scored.
    Unscorable = "unscorable",
    /// It names no declared class, or no number.
    Invalid = "invalid",
    /// There are too many about one prediction.
    Excess = "excess",
}

/// A model with labels.
#[derive(Debug)]
pub(super) struct ModelQuality {
    pub(super) name: ModelName,
    pub(super) spec: LabelsSpec,
    pub(super) measure: Measure,
    /// By their place in `versions`.
    pub(super) names: Vec<VersionName>,
    pub(super) versions: Vec<VersionQuality>,
    /// Names of slices; 0 stands for all.
    pub(super) slices: Vec<String>,
    pub(super) fates: BTreeMap<Fate, u64>,
}

/// The state.
#[derive(Debug)]
pub(super) struct State {
    pub(super) models: Vec<ModelQuality>,
    pub(super) store: Store,
    pub(super) floors: Floors,
    pub(super) window_us: u64,
    memory_max: usize,
    /// The time of the log.
    now_us: u64,
    /// Bytes of the windows, as of the last minute.
    series_bytes: usize,
    /// Statements that found no prediction.
    pub(super) unmatched: u64,
    /// Predictions that were dropped before their time.
    pub(super) dropped: u64,
    /// Windows that were dropped before their time.
    pub(super) forgotten: u64,
    /// Predictions before this minute were dropped before their time.
    dropped_to: Minute,
}

impl State {
    pub(super) fn new(
        models: impl IntoIterator<Item = (ModelName, LabelsSpec)>,
        feedback: &FeedbackSpec,
    ) -> Self {
        let models = models.into_iter().map(|(name, spec)| ModelQuality {
            name,
            measure: spec.measure(),
            spec,
            names: Vec::new(),
            versions: Vec::new(),
            slices: vec!["all".to_owned()],
            fates: BTreeMap::new(),
        });
        Self {
            models: models.collect(),
            store: Store::default(),
            floors: Floors::default(),
            window_us: u64::try_from(feedback.window.as_micros()).unwrap_or(u64::MAX),
            memory_max: usize::try_from(feedback.memory).unwrap_or(usize::MAX),
            now_us: 0,
            series_bytes: 0,
            unmatched: 0,
            dropped: 0,
            forgotten: 0,
            dropped_to: Minute::default(),
        }
    }

    /// The first minute whose predictions are all there; `None` where none was dropped before its time.
    pub(super) fn known_since(&self) -> Option<Minute> {
        let window = Minute::of_us(self.now_us.saturating_sub(self.window_us));
        (self.dropped_to > window).then_some(self.dropped_to)
    }

    /// How long the join reaches back, where that is less than its window.
    pub(super) fn reach(&self) -> Option<Duration> {
        let since = self.known_since()?;
        Some(Duration::from_micros(self.now_us.saturating_sub(since.start_us())))
    }

    /// Bytes, and the most that they may be.
    pub(super) fn bytes(&self) -> (usize, usize) {
        (self.store.bytes() + self.series_bytes, self.memory_max)
    }

    /// What is to be kept, once every row up to `position` is in it.
    pub(super) fn saved(&self, position: u64) -> Saved<'_> {
        Saved {
            position,
            now_us: self.now_us,
            floors: self.floors,
            lost: [self.unmatched, self.dropped, self.forgotten],
            dropped_to: self.dropped_to,
            models: self.models.iter().map(ModelQuality::saved).collect(),
            store: Cow::Borrowed(&self.store),
        }
    }

    /// Takes what was kept, of the same models.
    pub(super) fn restore(&mut self, saved: Saved<'static>) {
        let Saved { now_us, floors, lost, dropped_to, models, store, position: _ } = saved;
        self.dropped_to = dropped_to;
        (self.now_us, self.floors) = (now_us, floors);
        [self.unmatched, self.dropped, self.forgotten] = lost;
        self.store = store.into_owned();
        for (own, saved) in self.models.iter_mut().zip(models) {
            own.names = saved.names.into_owned();
            own.versions = saved.versions.into_owned();
            own.slices = saved.slices.into_owned();
            own.fates = saved.fates.into_owned();
        }
        self.store.weigh();
        self.tidy();
    }

    /// Days of the join window, for which windows are kept.
    fn days(&self) -> u32 {
        let day_us = u64::from(WindowLength::Day.minutes()) * 60_000_000;
        u32::try_from(self.window_us.div_ceil(day_us)).unwrap_or(DAYS_MAX).min(DAYS_MAX)
    }

    /// The first moment that a restart must read the log from, in microseconds since the Unix epoch.
    pub(super) fn reach_us(&self, clock_us: u64) -> u64 {
        let mut floors = Floors::default();
        floors.raise(Minute::of_us(clock_us), self.days());
        floors.of(WindowLength::Day).start_us()
    }

    /// Takes note of the time of a row.
    fn advance(&mut self, ts_us: u64, clock_us: u64) {
        if ts_us > clock_us.saturating_add(AHEAD_US) {
            return;
        }
        let (before, now) = (Minute::of_us(self.now_us), Minute::of_us(ts_us.max(self.now_us)));
        self.now_us = self.now_us.max(ts_us);
        // They are the cheapest to send, and must not drive out predictions.
        self.unmatched += self.store.give_up(self.now_us, self.memory_max / 8);
        if now > before {
            self.floors.raise(now, self.days());
            let expiring = Minute::of_us(self.now_us.saturating_sub(self.window_us));
            self.show_matured((before, now), expiring);
            self.store.expire(expiring);
            self.tidy();
        }
        self.make_room();
    }

    /// Drops the oldest predictions while there is too much, and then statements that wait for one.
    fn make_room(&mut self) {
        while self.store.bytes() + self.series_bytes > self.memory_max {
            if let Some((minute, dropped)) = self.store.drop_oldest() {
                self.dropped += dropped as u64;
                self.dropped_to = self.dropped_to.max(minute.plus(1));
            } else if let Some(given_up) = self.store.give_up_oldest() {
                self.unmatched += given_up;
            } else {
                break;
            }
        }
    }

    /// Forgets windows that are too old, and weighs the others; once a minute.
    fn tidy(&mut self) {
        // Half of the memory is for predictions, which are worth nothing without their windows.
        loop {
            let floors = self.floors;
            let versions = self.models.iter_mut().flat_map(|model| &mut model.versions);
            self.series_bytes = versions.fold(0, |bytes, version| {
                version.age(&floors);
                bytes + version.bytes()
            });
            if self.series_bytes <= self.memory_max / 2 || !self.forget() {
                return;
            }
        }
    }

    /// Forgets the oldest of the shortest windows; `false` when there is none.
    fn forget(&mut self) -> bool {
        let versions = || self.models.iter().flat_map(|model| &model.versions);
        let oldest = WindowLength::ALL.into_iter().find_map(|length| {
            Some((length, versions().filter_map(|version| version.oldest(length)).min()?))
        });
        let Some((length, start)) = oldest else { return false };
        self.floors.raise_one(length, start.plus(length.minutes()));
        self.forgotten += 1;
        true
    }

    /// Takes a prediction.
    pub(super) fn prediction(
        &mut self,
        record: &PredictionRecord<'_>,
        about: &About,
        clock_us: u64,
    ) {
        let ended_us = record.ts_us.saturating_add(record.latency.t_total.into());
        let minute = Minute::of_us(ended_us);
        if !matches!(record.kind, Kind::Inference | Kind::Shadow) {
            return;
        }
        let wanted = record.decision.model;
        let Some(model) = self.models.iter().position(|model| model.name.as_str() == wanted) else {
            return;
        };
        let Ok(place) = u16::try_from(model) else { return };
        self.advance(ended_us, clock_us);
        if self.store.contains(record.record_id) || minute < self.floors.of(WindowLength::Day) {
            return;
        }
        let Some(quality) = self.models.get_mut(model) else { return };
        let Some(version) = quality.version(record.decision.model_version) else { return };
        let slice = quality.slice(record);
        let home = Home { model: place, version, slice, minute };
        let mut rows = SmallVec::new();
        if let Some(own) = quality.versions.get_mut(usize::from(version)) {
            let read = answer::read(record, &quality.spec, about);
            for row in read.unwrap_or_else(|why| vec![Err(why)]) {
                match &row {
                    Ok(answer) => own.predict(home, &quality.measure, &self.floors, answer),
                    Err(why) => *own.unscored.entry(*why).or_default() += 1,
                }
                rows.push(Row::new(row.ok()));
            }
        }
        let parent = record.parent_record_id.filter(|_| record.kind == Kind::Shadow);
        let names = if parent.is_some() { SmallVec::new() } else { names(record) };
        let waited_for = [store::name(FeedbackTarget::Prediction(record.record_id))];
        let waited_for: SmallVec<[_; 3]> =
            waited_for.into_iter().chain(names.iter().copied()).collect();
        let ledger = parent.and_then(|parent| self.store.ledger(parent));
        let is_labelled = ledger.is_some();
        let entry = Entry { home, ts_us: record.ts_us, rows, ledger, names };
        self.store.put(record.record_id, parent, entry);
        if is_labelled {
            self.recount(record.record_id, None, self.now_us);
        }
        for name in waited_for {
            for waiting in self.store.take_waiting(name) {
                for id in self.store.find(FeedbackTarget::Prediction(record.record_id)) {
                    self.apply(id, &waiting);
                }
            }
        }
    }

    /// Takes a statement.
    pub(super) fn feedback(&mut self, lsn: u64, record: &FeedbackRecord<'_>, clock_us: u64) {
        if !self.models.iter().any(|model| model.is_meant(record.metric, record.source)) {
            return;
        }
        self.advance(record.ts_us, clock_us);
        let waiting = Waiting {
            statement: Statement {
                topic: hash(record, false),
                identity: hash(record, true),
                lsn,
                observed_us: record.observed_us,
                truth: None,
            },
            ts_us: record.ts_us,
            metric: record.metric.to_owned(),
            source: record.source.to_owned(),
            value: record.value,
            label: record.label.map(str::to_owned),
            retracted: record.retracted,
        };
        let found = self.store.find(record.target);
        if found.is_empty() {
            self.store.wait(record.target, waiting);
            return;
        }
        for id in found {
            self.apply(id, &waiting);
        }
    }

    /// Applies a statement to a prediction.
    fn apply(&mut self, id: RecordId, waiting: &Waiting) {
        let Some(entry) = self.store.get_mut(id) else { return };
        let Some(model) = self.models.get_mut(usize::from(entry.home.model)) else { return };
        if !model.is_meant(&waiting.metric, &waiting.source) {
            return;
        }
        let is_late = waiting.ts_us.saturating_sub(entry.ts_us) > self.window_us;
        let truth = if waiting.retracted {
            None
        } else {
            let says = (waiting.value, waiting.label.as_deref());
            match answer::truth(says, entry.rows.len(), &model.spec) {
                _ if is_late => None,
                Some(truth) => Some(truth),
                None => return model.count(Fate::Invalid),
            }
        };
        if is_late {
            return model.count(Fate::Late);
        }
        if entry.rows.iter().all(|row| row.answer.is_none()) {
            return model.count(Fate::Unscorable);
        }
        let before = entry.truth(model.spec.policy);
        let bytes = entry.ledger_bytes();
        let statement = Statement { truth, ..waiting.statement.clone() };
        match entry.ledger.get_or_insert_default().take(&statement, model.spec.policy) {
            Effect::Repeated => return model.count(Fate::Unchanged),
            Effect::Excess => return model.count(Fate::Excess),
            Effect::Taken => {}
        }
        self.store.resized(bytes, id);
        self.recount(id, before, waiting.ts_us);
    }

    /// Takes the labels `before` of a prediction back where they have changed, and counts those that it has now.
    fn recount(&mut self, id: RecordId, before: Option<Said>, ts_us: u64) {
        let Some(entry) = self.store.get_mut(id) else { return };
        let Some(model) = self.models.get_mut(usize::from(entry.home.model)) else { return };
        let Some(version) = model.versions.get_mut(usize::from(entry.home.version)) else { return };
        let after = entry.truth(model.spec.policy);
        if before == after {
            return model.count(Fate::Unchanged);
        }
        // A copy that went to a version on trial may have answered another number of rows.
        if after.as_ref().is_some_and(|said| said.len() != entry.rows.len()) {
            return model.count(Fate::Invalid);
        }
        let place = Place { home: entry.home, measure: &model.measure, floors: &self.floors };
        // The age of a label is that of the first: a correction does not make it late.
        let (first_us, mut is_labelled) = (ts_us.saturating_sub(entry.ts_us), false);
        for (at, row) in entry.rows.iter_mut().enumerate() {
            let of = |said: &Option<Said>| said.as_ref().and_then(|said| said.row(at));
            let (before, after) = (of(&before), of(&after));
            if before == after {
                is_labelled |= row.label_us.is_some();
            } else {
                is_labelled |= relabel(version, &place, row, (before, after), first_us);
            }
        }
        model.count(match (is_labelled, &before, &after) {
            (true, None, _) => Fate::Joined,
            (true, Some(_), _) => Fate::Replaced,
            (false, _, None) => Fate::Retracted,
            (false, _, Some(_)) => Fate::Invalid,
        });
    }
}

/// Takes the label of a row back, if it has one, and counts another, if there is one; `true` if it has one then.
fn relabel(
    version: &mut VersionQuality,
    place: &Place<'_>,
    row: &mut Row,
    (before, after): (Option<Truth>, Option<Truth>),
    first_us: u64,
) -> bool {
    let Some(answer) = &row.answer else { return false };
    let step = |truth, after_us| Step { answer, truth, after: Duration::from_micros(after_us) };
    let mut after_us = first_us;
    if let (Some(truth), Some(us)) = (before, row.label_us) {
        version.unlabel(place.home, place.measure, place.floors, step(truth, us));
        (row.label_us, after_us) = (None, us);
    }
    let Some(truth) = after else { return false };
    let step = step(truth, after_us);
    if !version.label(place.home, place.measure, place.floors, step) {
        return false;
    }
    row.label_us = Some(after_us);
    true
}

/// Where the rows of a prediction are counted.
struct Place<'s> {
    home: Home,
    measure: &'s Measure,
    floors: &'s Floors,
}

impl ModelQuality {
    pub(super) fn count(&mut self, fate: Fate) {
        *self.fates.entry(fate).or_default() += 1;
    }

    fn saved(&self) -> SavedModel<'_> {
        SavedModel {
            names: Cow::Borrowed(&self.names),
            versions: Cow::Borrowed(&self.versions),
            slices: Cow::Borrowed(&self.slices),
            fates: Cow::Borrowed(&self.fates),
        }
    }

    /// Whether feedback with this metric and source is about the labels of the model.
    fn is_meant(&self, metric: &str, source: &str) -> bool {
        self.spec.metric == metric && self.spec.source.as_deref().is_none_or(|own| own == source)
    }

    /// The place of a version; `None` for one too many.
    fn version(&mut self, name: &str) -> Option<u16> {
        if name.is_empty() {
            return None;
        }
        if let Some(at) = self.names.iter().position(|own| own.as_str() == name) {
            return u16::try_from(at).ok();
        }
        if self.names.len() >= VERSIONS_MAX {
            if let Some(last) = self.versions.last_mut() {
                *last.unscored.entry(Unscored::Versions).or_default() += 1;
            }
            return None;
        }
        self.names.push(VersionName::new(name));
        self.versions.push(VersionQuality::new(self.spec.detector));
        u16::try_from(self.names.len() - 1).ok()
    }

    /// The place of the slice of a prediction, 0 for none.
    fn slice(&mut self, record: &PredictionRecord<'_>) -> u16 {
        let Some(source) = &self.spec.slice else { return 0 };
        let Some(mut name) = answer::slice(record, source) else { return 0 };
        let at = self.slices.iter().skip(1).position(|own| *own == name);
        if let Some(at) = at {
            return u16::try_from(at + 1).unwrap_or_default();
        }
        // All, the slices, and the others.
        if self.slices.len() > self.spec.slices {
            name = OTHER.to_owned();
            if self.slices.last().is_some_and(|last| *last == name) {
                return u16::try_from(self.slices.len() - 1).unwrap_or_default();
            }
        }
        self.slices.push(name);
        u16::try_from(self.slices.len() - 1).unwrap_or_default()
    }
}

/// What else a prediction is called.
fn names(record: &PredictionRecord<'_>) -> SmallVec<[store::Name; 2]> {
    let mut names = SmallVec::new();
    // A request id that was minted is the record's own id.
    if !record.request_id.is_empty() && RecordId::parse(record.request_id) != Some(record.record_id)
    {
        names.push(store::name(FeedbackTarget::Request(record.request_id)));
    }
    if !record.feedback_key.is_empty() {
        names.push(store::name(FeedbackTarget::Key(record.feedback_key)));
    }
    names
}

/// What a statement is about, and with `whole` all that makes it the same as another: the rules of the prediction
/// log's feedback.
fn hash(record: &FeedbackRecord<'_>, whole: bool) -> u64 {
    let mut text = store::name(record.target).to_le_bytes().to_vec();
    let mut field = |tag: u8, bytes: &[u8]| {
        text.push(tag);
        text.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        text.extend_from_slice(bytes);
    };
    field(1, record.source.as_bytes());
    if whole && record.feedback_id.is_empty() {
        if let Some(value) = record.value {
            field(2, &value.to_bits().to_le_bytes());
        }
        if let Some(label) = record.label {
            field(3, label.as_bytes());
        }
        field(4, &[u8::from(record.retracted)]);
        if let Some(observed_us) = record.observed_us {
            field(6, &observed_us.to_le_bytes());
        }
    } else if whole {
        field(5, record.feedback_id.as_bytes());
    }
    XxHash3_64::oneshot(&text)
}
