//! Ends of the gateway without a farewell, counted against whoever may have brought them about.
//!
//! Owns which versions that is, and for how long an end is remembered. A version that kills the process cannot be asked
//! afterwards, so that all count of which code may have run on untried ground: those on trial, those that are brought
//! back, and live ones for their first day. Never decides what follows: a death may be the host's, or somebody's hand.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{State, Version};
use crate::domain::lifecycle::stage::Stage;
use crate::domain::lifecycle::time::Steady;

/// Deaths further apart have nothing to do with each other; and the time for which a live version counts as new.
pub const DEATHS_WITHIN: Duration = Duration::from_secs(86_400);
/// Versions that are named in the sentence of a death; of more, only how many there are.
const NAMED_MAX: usize = 8;

/// How often the gateway has died under a version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deaths {
    times: u32,
    last: Steady,
}

impl Deaths {
    /// Whether there was none.
    pub(super) fn is_none(&self) -> bool {
        self.times == 0
    }

    /// Those of late: none once the last lies more than a day back.
    pub(super) fn of_late(self, now: Steady) -> u32 {
        if now.since(self.last) <= DEATHS_WITHIN { self.times } else { 0 }
    }

    /// And another one.
    fn and_one(self, at: Steady) -> Self {
        Self { times: self.of_late(at).saturating_add(1), last: at }
    }
}

impl State {
    /// The process before has died: all count that may have brought it about.
    pub(super) fn died(&mut self, at: Steady) {
        for model in self.models.values_mut() {
            if !model.versions().any(|(_, version)| version.is_untried(at)) {
                continue;
            }
            let versions = Arc::make_mut(model).versions.values_mut();
            for version in versions.filter(|version| version.is_untried(at)) {
                let version = Arc::make_mut(version);
                version.deaths = version.deaths.and_one(at);
            }
        }
    }

    /// Which versions a death at `at` counts against, as the end of a sentence.
    pub fn among_the_untried(&self, at: Steady) -> String {
        let mut all = self.models().flat_map(|(model, entry)| {
            let untried = entry.versions().filter(move |(_, known)| known.is_untried(at));
            untried.map(move |(version, known)| {
                format!("{model} {version} ({})", known.stage().word())
            })
        });
        let mut named: Vec<String> = all.by_ref().take(NAMED_MAX).collect();
        let more = all.count();
        if more > 0 {
            named.push(format!("{more} more"));
        }
        match named.is_empty() {
            true => "no version was on trial".to_owned(),
            false => format!("on trial, or live for less than a day: {}", named.join(", ")),
        }
    }
}

impl Version {
    /// Whether the gateway has run it for a short while only.
    fn is_untried(&self, at: Steady) -> bool {
        match self.stage() {
            Stage::Live(_) => self.lived.is_none_or(|lived| at.since(lived) <= DEATHS_WITHIN),
            Stage::Warming(_) => true,
            stage => stage.is_on_trial(),
        }
    }
}
