//! What the gateway sees of its versions at one moment: the input of a plan besides the state.
//!
//! Owns the types and the trust in listings. Never looks for itself: the controller fills this in. What is seen of
//! models and versions is shared between copies, so that showing it costs little.
//! Everything here may be missing, late or wrong; what is missing never leads to more traffic or to less
//! choice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::evidence::{CanaryEvidence, Checks, ShadowEvidence, Warmth};
use super::health::Health;
use super::proof::{Fetched, Look};
use super::release::Release;
use super::stage::Stage;
use super::time::Steady;
use super::uncompared::Uncompared;
use crate::domain::ids::{Digest, ModelName, VersionName};

/// Everything that is seen.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// By model.
    pub models: BTreeMap<ModelName, Arc<ObservedModel>>,
    /// Since when this process looks: what lives in memory is known from then on only.
    pub began: Steady,
    /// Another gateway of the fleet is evicting: this one waits.
    pub lease_taken: bool,
}

/// What is seen of one model.
#[derive(Debug, Clone, Default)]
pub struct ObservedModel {
    /// What sources tell, complete or not.
    pub sightings: Arc<BTreeMap<VersionName, Sighting>>,
    /// What is known of versions here.
    pub versions: BTreeMap<VersionName, Arc<ObservedVersion>>,
    /// Why the listing of artifacts cannot be relied upon; `None` if it can.
    pub listing_doubt: Option<String>,
    /// Bytes of this model's artifacts on disk.
    pub disk: u64,
    /// Bytes of this model's loaded versions.
    pub memory: u64,
    /// Whether the golden set that is named for versions at servers can be used, or where it is wrong; `None` until
    /// somebody has read it.
    pub golden: Option<Result<(), String>>,
}

/// A version that a source tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// What is known of it.
    pub release: Release,
    /// Whether all of it is there.
    pub complete: bool,
}

/// Work on a version that may take a while.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Progress<T> {
    /// Nobody works on it.
    #[default]
    Idle,
    /// It waits until there is room for it, which says nothing about the version.
    Queued,
    /// It is under way.
    Running,
    /// It is done.
    Done(T),
    /// It failed so many times, the last time for this reason.
    Failed {
        /// Attempts so far.
        attempts: u32,
        /// When the first of them failed.
        since: Steady,
        /// Why.
        why: String,
        /// The content is not the one that was announced.
        corrupt: bool,
    },
}

/// What is seen of one version.
#[derive(Debug, Clone, Default)]
pub struct ObservedVersion {
    /// The content that all of this is about: what was seen of an earlier release of the same name
    /// says nothing.
    pub digest: Option<Digest>,
    /// The artifact's way here.
    pub fetch: Progress<Fetched>,
    /// The checks before any traffic.
    pub checks: Progress<Checks>,
    /// The warm-up.
    pub warmth: Progress<Warmth>,
    /// For how long the work of its present stage has waited until there was room for it.
    pub waited: Duration,
    /// For how long nothing could be compared since its time on trial runs.
    pub uncompared: Uncompared,
    /// The trial on copies.
    pub shadow: Option<ShadowEvidence>,
    /// The trial on requests of clients.
    pub canary: Option<CanaryEvidence>,
    /// How it does where it serves.
    pub health: Health,
    /// The last fresh look at it.
    pub look: Option<Look>,
    /// Whether it can answer now.
    pub ready: bool,
    /// Since when it cannot: since the start at the earliest.
    pub away_since: Option<Steady>,
    /// Since when it can again: since the start at the earliest.
    pub back_since: Option<Steady>,
    /// When a client last had an answer of it.
    pub answered: Option<Steady>,
    /// When a client first asked and had no answer of it, of those since it is away and since the last answer.
    pub missed: Option<Steady>,
    /// What it was asked while it was tried and its champion was away.
    pub alone: Alone,
    /// Why it could not be loaded, the last time that it was tried.
    pub trouble: Option<String>,
    /// Requests that it holds.
    pub in_flight: u64,
    /// Routes, aliases and replays that name it.
    pub references: Vec<String>,
    /// When a client last asked for it.
    pub last_request: Option<Steady>,
    /// Whether the artifact is on disk.
    pub on_disk: bool,
    /// Whether the artifact is being deleted: it is not to be used any more, and not gone either.
    pub deleting: bool,
    /// Requests a second that the model was asked at its peak, and that the others have shown to take; both nothing where
    /// it is hardly asked, and `None` where nobody has measured.
    pub capacity: Option<Capacity>,
}

/// What clients got of a version on trial while it was compared with nobody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Alone {
    /// Answers.
    pub answered: u64,
    /// Failures.
    pub failed: u64,
}

/// Whether the others can take over.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Capacity {
    /// What the model needs, in requests a second.
    pub needed: f64,
    /// What one of its other versions has shown that it can take.
    pub others: f64,
}

impl Capacity {
    /// How much is needed is not known, which does for no load that anybody could have shown.
    pub const UNKNOWN: Self = Self { needed: f64::NAN, others: f64::NAN };
}

impl Observed {
    /// What is seen of a version.
    pub fn version(&self, model: &ModelName, version: &VersionName) -> Option<&ObservedVersion> {
        self.models.get(model)?.versions.get(version).map(|seen| &**seen)
    }

    /// What is seen of a model, to be changed; nothing yet where there is no entry.
    pub fn model_mut(&mut self, model: &ModelName) -> &mut ObservedModel {
        Arc::make_mut(self.models.entry(model.clone()).or_default())
    }
}

impl ObservedModel {
    /// What is seen of a version, to be changed; nothing yet where there is no entry.
    pub fn version_mut(&mut self, version: &VersionName) -> &mut ObservedVersion {
        Arc::make_mut(self.versions.entry(version.clone()).or_default())
    }
}

impl ObservedVersion {
    /// Notes whether it can answer now, at `now`. One that should and cannot is away, from `since` on or longer.
    pub fn note_ready(&mut self, ready: bool, since: Option<Steady>, now: Steady) {
        self.ready = ready;
        self.away_since = since.map(|since| self.away_since.unwrap_or(since));
        self.back_since = ready.then(|| self.back_since.unwrap_or(now));
        if ready {
            self.trouble = None;
        }
    }

    /// Notes whether clients had answers of it, or asked and had none, since the last look.
    pub fn note_asked(&mut self, answered: bool, missed: bool, now: Steady) {
        self.missed = match self.ready || answered {
            true => None,
            false => self.missed.or_else(|| missed.then_some(now)),
        };
    }

    /// For how long it has been able to answer; `None` while it is not.
    pub fn answers_for(&self, now: Steady) -> Option<Duration> {
        self.back_since.filter(|_| self.ready).map(|since| now.since(since))
    }

    /// Forgets what has come of work that is over for a version at `stage`: failures, so that it is tried anew when
    /// it is wanted again, and a copy that was used, so that a version that is restored takes over what its source says
    /// of it now.
    pub fn forget_what_is_over(&mut self, stage: &Stage) {
        let [fetch, checks, warmth] = self.over_at(stage);
        self.fetch.forget_if(fetch);
        self.checks.forget_if(checks);
        self.warmth.forget_if(warmth);
    }

    /// Whether there is anything to forget.
    pub fn has_what_is_over(&self, stage: &Stage) -> bool {
        self.over_at(stage).contains(&true)
    }

    /// What of fetch, checks and warm-up is over. When checks and a warm-up began says which trial they are of.
    const fn over_at(&self, stage: &Stage) -> [bool; 3] {
        let was_used = !matches!(stage, Stage::Discovered(_) | Stage::Staged(_));
        [
            self.fetch.has_failed() && !matches!(stage, Stage::Staged(_))
                || matches!(self.fetch, Progress::Done(_)) && was_used,
            self.checks.has_failed() && !matches!(stage, Stage::Validating(_)),
            self.warmth.has_failed() && !matches!(stage, Stage::Warming(_)),
        ]
    }
}

impl<T> Progress<T> {
    /// Whether it waits until there is room for it.
    pub const fn is_queued(&self) -> bool {
        matches!(self, Self::Queued)
    }

    /// Whether it has failed, the last time that it was tried.
    pub const fn has_failed(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }

    fn forget_if(&mut self, is_over: bool) {
        if is_over {
            *self = Self::Idle;
        }
    }
}

/// How far a listing of artifacts can be relied upon: two good ones in a row, and not half of what was
/// there gone at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListingTrust {
    good_in_a_row: u32,
    last_count: usize,
    doubt: Option<String>,
}

impl Default for ListingTrust {
    fn default() -> Self {
        Self {
            good_in_a_row: 0,
            last_count: 0,
            doubt: Some("the store has not been listed twice yet".to_owned()),
        }
    }
}

impl ListingTrust {
    /// Takes in the outcome of a listing: how many versions it showed, or why it failed.
    ///
    /// A listing that is empty or has shrunk by half counts as a failure and does not become the new
    /// measure, so that a store that stays wrong stays in doubt.
    pub fn observe(&mut self, listing: Result<usize, &str>) {
        let doubt = match listing {
            Err(why) => Some(format!("the last listing failed: {why}")),
            Ok(0) => Some("the last listing was empty".to_owned()),
            Ok(count) if count.saturating_mul(2) <= self.last_count => Some(format!(
                "the last listing shrank from {} versions to {count}",
                self.last_count
            )),
            Ok(count) => {
                self.last_count = count;
                None
            }
        };
        self.good_in_a_row = if doubt.is_none() { self.good_in_a_row.saturating_add(1) } else { 0 };
        let too_few = || "it takes a second good listing".to_owned();
        self.doubt = doubt.or_else(|| (self.good_in_a_row < 2).then(too_few));
    }

    /// The gateway has deleted an artifact itself: one fewer is no surprise.
    pub fn removed(&mut self) {
        self.last_count = self.last_count.saturating_sub(1);
    }

    /// Why the listing cannot be relied upon; `None` if it can.
    pub fn doubt(&self) -> Option<&str> {
        self.doubt.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_good_listings_in_a_row_are_trusted_and_a_bad_one_starts_again() {
        let mut trust = ListingTrust::default();
        assert!(trust.doubt().is_some());
        trust.observe(Ok(4));
        assert!(trust.doubt().is_some());
        trust.observe(Ok(4));
        assert_eq!(trust.doubt(), None);
        trust.observe(Ok(2));
        assert!(trust.doubt().is_some(), "half of it gone");
        trust.observe(Ok(2));
        assert!(trust.doubt().is_some(), "and still gone");
        trust.observe(Ok(3));
        assert!(trust.doubt().is_some(), "one good one");
        trust.observe(Ok(3));
        assert_eq!(trust.doubt(), None);
        trust.observe(Err("timed out"));
        trust.observe(Ok(3));
        assert!(trust.doubt().is_some());
        trust.observe(Ok(0));
        trust.observe(Ok(3));
        assert!(trust.doubt().is_some());
    }

    #[test]
    fn the_first_client_without_an_answer_counts_and_an_answer_begins_anew() {
        let mut seen = ObservedVersion::default();
        seen.note_asked(false, false, Steady(1));
        assert_eq!(seen.missed, None, "nobody has asked");
        seen.note_asked(false, true, Steady(2));
        seen.note_asked(false, true, Steady(3));
        seen.note_asked(false, false, Steady(4));
        assert_eq!(seen.missed, Some(Steady(2)));
        seen.note_asked(true, true, Steady(5));
        assert_eq!(seen.missed, None);
        seen.note_asked(false, true, Steady(6));
        seen.note_ready(true, None, Steady(7));
        seen.note_asked(false, true, Steady(7));
        assert_eq!(seen.missed, None, "it is there");
    }

    #[test]
    fn one_that_comes_back_has_answered_since_then() {
        let at = |seconds: u64| Steady(seconds * 1000);
        let mut seen = ObservedVersion::default();
        assert_eq!(seen.answers_for(at(5)), None);
        seen.note_ready(true, None, at(10));
        seen.note_ready(true, None, at(40));
        assert_eq!(seen.answers_for(at(45)), Some(Duration::from_secs(35)));
        seen.note_ready(false, Some(at(50)), at(50));
        assert_eq!(seen.answers_for(at(90)), None);
        seen.note_ready(true, None, at(95));
        assert_eq!(seen.answers_for(at(100)), Some(Duration::from_secs(5)));
    }
}
