//! What the detectors of change see: the errors of predictions, in the order in which these were made.
//!
//! Owns when a prediction is shown: once its labels have had the time to come ([`age_of`]), or at the latest when it can
//! get none any more. The order in which labels come says nothing about the model: a nightly job delivers them sorted by
//! outcome, and errors are often told sooner than what was right. So what a detector sees depends on the labels that
//! count at that moment alone, however and how often they came. What is corrected later it does not see. Never decides
//! what follows from a change.
//!
//! [`age_of`]: super::look::age_of

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::look::own_age_of;
use super::report::MATURE_SHARE;
use super::series::{Step, VersionQuality};
use super::state::{ModelQuality, State};
use super::store::Store;
use crate::domain::stats::window::{Minute, WindowLength};

/// How often it is found out anew how late labels come, in minutes of the log.
const AGE_EVERY: u32 = 10;
/// Rows of the log are not wholly in the order of their times.
const DISORDER_US: u64 = 60_000_000;

/// How far the detector of a version has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Shown {
    /// The first minute whose predictions it has not seen.
    next: Minute,
    /// The age at which labels have come, as it was found last; `None` while nothing is known.
    after: Option<Duration>,
}

/// The minutes of one version that are due.
struct Due {
    model: usize,
    version: usize,
    to: Minute,
}

impl State {
    /// Shows the detectors what has become mature up to the minute `now`; `before` is the last one in which this was done.
    /// Predictions before `expiring` get no label any more.
    pub(super) fn show_matured(&mut self, (before, now): (Minute, Minute), expiring: Minute) {
        if before.0 / AGE_EVERY != now.0 / AGE_EVERY {
            self.find_ages(now);
        }
        let end = |shown: &Shown| {
            let after = u64::try_from(shown.after?.as_micros()).unwrap_or(u64::MAX);
            let back = after.saturating_add(DISORDER_US);
            let to = Minute::of_us(now.start_us().saturating_sub(back)).max(expiring);
            (to > shown.next).then_some(to)
        };
        let due = self.models.iter().enumerate().flat_map(|(model, quality)| {
            let versions = quality.versions.iter().enumerate();
            versions.filter_map(move |(version, own)| {
                Some(Due { model, version, to: end(&own.shown)? })
            })
        });
        let due: Vec<Due> = due.collect();
        let mut minutes: BTreeMap<Minute, Vec<(usize, usize)>> = BTreeMap::new();
        for Due { model, version, to } in &due {
            let Some(own) =
                self.models.get_mut(*model).and_then(|it| it.versions.get_mut(*version))
            else {
                continue;
            };
            for minute in self.store.minutes(own.shown.next..*to) {
                minutes.entry(minute).or_default().push((*model, *version));
            }
            own.shown.next = *to;
        }
        let seen_us = now.start_us();
        for (minute, versions) in minutes {
            show(&self.store, &mut self.models, (minute, &versions), seen_us);
        }
    }

    fn find_ages(&mut self, now: Minute) {
        let (window_us, floors) = (self.window_us, self.floors);
        for model in &mut self.models {
            let is_behind = |version: &VersionQuality| {
                let days = version.slice(0).into_iter().flat_map(|it| it.of(WindowLength::Day));
                days.last().is_some_and(|(day, _)| {
                    day.plus(WindowLength::Day.minutes()) > version.shown.next
                })
            };
            if !model.versions.iter().any(is_behind) {
                continue;
            }
            let own =
                |version| own_age_of(MATURE_SHARE, version, &floors, (window_us, now.start_us()));
            let ages: Vec<Option<Duration>> = model.versions.iter().map(own).collect();
            let longest = ages.iter().flatten().max().copied();
            for (version, age) in model.versions.iter_mut().zip(ages) {
                version.shown.after = age.or(longest);
            }
        }
    }
}

/// Shows the predictions of one minute to the detectors of these versions.
fn show(
    store: &Store,
    models: &mut [ModelQuality],
    (minute, versions): (Minute, &[(usize, usize)]),
    seen_us: u64,
) {
    for entry in store.made_in(minute) {
        let place = (usize::from(entry.home.model), usize::from(entry.home.version));
        if !versions.contains(&place) {
            continue;
        }
        let Some(model) = models.get_mut(place.0) else { continue };
        let Some(truth) = entry.truth(model.spec.policy) else { continue };
        let Some(version) = model.versions.get_mut(place.1) else { continue };
        for (at, row) in entry.rows.iter().enumerate() {
            if let (Some(answer), Some(truth), Some(us)) =
                (&row.answer, truth.row(at), row.label_us)
            {
                let step = Step { answer, truth, after: Duration::from_micros(us) };
                version.watch(&model.measure, step, (entry.ts_us, seen_us));
            }
        }
    }
}
