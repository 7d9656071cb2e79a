//! The state of all versions: what the events add up to.
//!
//! Owns the fold. The only way to change a [`State`] is [`State::apply`] with an event, and an event that
//! does not fit changes nothing. Models and versions are shared between states, so that a copy costs as much as
//! there are models, and an event as much as its model has versions. Never decides.

mod deaths;
mod fold;
mod shared;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

pub use self::deaths::{DEATHS_WITHIN, Deaths};
pub use self::fold::FoldError;
use super::event::{Alert, By, Draft, Event, FORMAT};
use super::proof::Verdict;
use super::release::{Release, order_of_names};
use super::stage::{Placed, Stage};
use super::time::{ClockState, Now, Steady};
use crate::domain::ids::{Digest, ModelName, VersionName};

/// Models that the table takes.
pub const MODELS_MAX: usize = 10_000;
/// Versions of one model that the table takes.
pub const VERSIONS_MAX: usize = 10_000;
/// Contents that are remembered as bad, for each model; the oldest go first.
pub const CONDEMNED_MAX: usize = 10_000;
/// Beginnings of rollouts that are remembered for each model.
pub(super) const STARTED_MAX: usize = 256;
/// Evictions that are remembered for the hourly limit.
pub(super) const EVICTIONS_MAX: usize = 1024;
/// Publishers whose failures are counted; beyond, those without failures are struck first.
pub(super) const PUBLISHERS_MAX: usize = 1024;

/// Everything that the journal says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The number of the last event.
    pub(super) seq: u64,
    pub(super) clock: ClockState,
    #[serde(with = "shared")]
    pub(super) models: BTreeMap<ModelName, Arc<Model>>,
    /// Failures in a row.
    pub(super) publishers: BTreeMap<String, u32>,
    pub(super) evictions: VecDeque<Steady>,
    pub(super) killed: Option<Signed>,
}

/// One model's versions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Counts the events of this model: what an order refers to.
    pub(super) generation: u64,
    #[serde(with = "shared")]
    pub(super) versions: BTreeMap<VersionName, Arc<Version>>,
    pub(super) condemned: BTreeMap<Digest, Condemned>,
    /// Beginnings of rollouts, newest last.
    pub(super) started: VecDeque<Steady>,
    /// Rollouts so far.
    pub(super) rollouts: u64,
    /// Rollouts in a row that a newer release cut short.
    pub(super) superseded: u32,
    pub(super) last_eviction: Option<Steady>,
    pub(super) killed: Option<Signed>,
    /// Versions that are cut off and not in the table: those of the configuration, and those to come.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) killed_names: BTreeMap<VersionName, Signed>,
    pub(super) alerts: BTreeSet<Alert>,
}

/// A content that is not tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condemned {
    /// The event that said so.
    pub seq: u64,
    /// The version that it was.
    pub version: VersionName,
    /// What stopped it.
    pub verdict: Verdict,
}

/// Who set something, why and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// Who and why.
    pub by: By,
    /// When.
    pub at: Steady,
}

/// One version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Version {
    pub(super) release: Release,
    /// The event that told of it: later ones are newer where names do not tell.
    pub(super) order: u64,
    pub(super) discovered: Steady,
    pub(super) placed: Placed,
    pub(super) pinned: Option<Signed>,
    pub(super) held: Option<Signed>,
    pub(super) killed: Option<Signed>,
    pub(super) approved: Option<Signed>,
    /// Since when it can be relied upon.
    pub(super) proven: Option<Steady>,
    /// When it last became live.
    pub(super) lived: Option<Steady>,
    /// When it first became live.
    pub(super) released: Option<Steady>,
    /// The number of its last rollout within the model.
    pub(super) rollout: u64,
    /// How often the gateway has died under it.
    #[serde(default, skip_serializing_if = "Deaths::is_none")]
    pub(super) deaths: Deaths,
    /// The lower bound of its agreement with the champion of then, at the end of its trial on copies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) agreed: Option<f64>,
    /// The content of that champion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) agreed_with: Option<Digest>,
}

impl State {
    /// The number of the last event.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Whether dates can be relied upon, and the last moment known.
    pub fn clock(&self) -> ClockState {
        self.clock
    }

    /// All models.
    pub fn models(&self) -> impl Iterator<Item = (&ModelName, &Model)> {
        self.models.iter().map(|(name, model)| (name, &**model))
    }

    /// One model.
    pub fn model(&self, name: &ModelName) -> Option<&Model> {
        self.models.get(name).map(|model| &**model)
    }

    /// Who cut off all traffic.
    pub fn killed(&self) -> Option<&Signed> {
        self.killed.as_ref()
    }

    /// Failures in a row of a publisher's releases.
    pub fn failures_of(&self, publisher: &str) -> u32 {
        self.publishers.get(publisher).copied().unwrap_or(0)
    }

    /// The next event: a draft with its number and moment.
    pub fn stamp(&self, draft: Draft, now: Now) -> Event {
        let at = Now { steady: now.steady.max(self.clock.last.steady), wall: now.wall };
        Event { v: FORMAT, seq: self.seq + 1, at, by: draft.by, what: draft.what }
    }
}

impl Model {
    /// Counts the events of this model: what an order refers to.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// All versions.
    pub fn versions(&self) -> impl Iterator<Item = (&VersionName, &Version)> {
        self.versions.iter().map(|(name, version)| (name, &**version))
    }

    /// One version.
    pub fn version(&self, name: &VersionName) -> Option<&Version> {
        self.versions.get(name).map(|version| &**version)
    }

    /// The version that answers.
    pub fn champion(&self) -> Option<(&VersionName, &Version)> {
        self.versions().find(|(_, version)| matches!(version.stage(), Stage::Live(_)))
    }

    /// The version on trial.
    pub fn candidate(&self) -> Option<(&VersionName, &Version)> {
        self.versions().find(|(_, version)| version.stage().is_on_trial())
    }

    /// Earlier champions that are loaded, the latest first.
    pub fn standbys(&self) -> Vec<(&VersionName, &Version)> {
        let standing =
            |(_, version): &(&VersionName, &Version)| matches!(version.stage(), Stage::Standby(_));
        let mut all: Vec<_> = self.versions().filter(standing).collect();
        all.sort_by_key(|(name, version)| (std::cmp::Reverse(version.lived), (*name).clone()));
        all
    }

    /// Proven versions whose artifacts exist and whose content is not condemned, latest first.
    pub fn proven(&self) -> Vec<(&VersionName, &Version)> {
        let mut all: Vec<_> = self.versions().filter(|(_, it)| self.is_proven(it)).collect();
        all.sort_by_key(|(name, version)| (std::cmp::Reverse(version.lived), (*name).clone()));
        all
    }

    /// Whether a version is one of those.
    pub(super) fn is_proven(&self, version: &Version) -> bool {
        version.proven.is_some()
            && !matches!(version.stage(), Stage::Evicted(_) | Stage::Quarantined(_))
            && !self.condemned.contains_key(&version.release.digest)
    }

    /// Why a content is not tried again.
    pub fn condemned(&self, digest: &Digest) -> Option<&Condemned> {
        self.condemned.get(digest)
    }

    /// Conditions that hold now.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter()
    }

    /// Who cut off this model's traffic.
    pub fn killed(&self) -> Option<&Signed> {
        self.killed.as_ref()
    }

    /// Who cut off a version, whether or not it is in the table.
    pub fn killed_version(&self, version: &VersionName) -> Option<&Signed> {
        let own = self.version(version).and_then(Version::killed);
        own.or_else(|| self.killed_names.get(version))
    }

    /// Versions that are cut off.
    pub fn killed_versions(&self) -> impl Iterator<Item = (&VersionName, &Signed)> {
        let own = self.versions().filter_map(|(name, version)| Some((name, version.killed()?)));
        own.chain(&self.killed_names)
    }

    /// Whether `a` is newer than `b`: by their names, else by the order of discovery.
    pub(super) fn is_newer(&self, a: &VersionName, b: &VersionName) -> bool {
        let order = |name| self.versions.get(name).map_or(0, |version| version.order);
        match order_of_names(a, b) {
            Some(std::cmp::Ordering::Greater) => true,
            Some(std::cmp::Ordering::Less) => false,
            Some(std::cmp::Ordering::Equal) | None => order(a) > order(b),
        }
    }
}

impl Version {
    /// What its source told.
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// Where it is.
    pub fn stage(&self) -> &Stage {
        &self.placed.stage
    }

    /// Since when it is there.
    pub fn since(&self) -> Steady {
        self.placed.since
    }

    /// When it was given more time there; `None` if it was not, and after a restart, which begins its stay anew.
    pub fn more(&self) -> Option<Steady> {
        self.placed.more
    }

    /// Since when its time there runs: since it came, or since it was given more.
    pub fn time_from(&self) -> Steady {
        self.placed.more.unwrap_or(self.placed.since)
    }

    /// What brought it there, of a live version or one that stands by.
    pub fn told(&self) -> Option<&str> {
        self.placed.told.as_deref()
    }

    /// When it first became live, or else when it was discovered: from here its age counts.
    pub fn age_from(&self) -> Steady {
        self.released.unwrap_or(self.discovered)
    }

    /// Since when it can be relied upon.
    pub fn proven(&self) -> Option<Steady> {
        self.proven
    }

    /// When it last became live.
    pub fn lived(&self) -> Option<Steady> {
        self.lived
    }

    /// The least share of copied requests to which it gave the answer of the champion of then, as its trial on copies
    /// has shown; `None` where it had none, or beside another content than this.
    pub fn agreed_with(&self, champion: &Digest) -> Option<f64> {
        self.agreed.filter(|_| self.agreed_with.as_ref() == Some(champion))
    }

    /// Who pinned it.
    pub fn pinned(&self) -> Option<&Signed> {
        self.pinned.as_ref()
    }

    /// Who holds it.
    pub fn held(&self) -> Option<&Signed> {
        self.held.as_ref()
    }

    /// Who cut it off.
    pub fn killed(&self) -> Option<&Signed> {
        self.killed.as_ref()
    }

    /// How often the gateway has died of late while it was on trial, or had just become live.
    pub fn deaths(&self, now: Steady) -> u32 {
        self.deaths.of_late(now)
    }

    /// Whether an operator lets it answer clients.
    pub fn is_approved(&self) -> bool {
        self.approved.is_some() || self.release.named
    }

    /// Whether an operator has asked for its trial by name: then nothing newer stands before it.
    pub(super) fn is_ordered(&self) -> bool {
        self.approved.is_some()
    }

    /// The salt of its rollout's buckets: another for each rollout, so that after a rollback other
    /// callers meet the next candidate first.
    pub fn salt(&self) -> u64 {
        XxHash3_64::oneshot_with_seed(self.rollout, self.release.digest.as_str().as_bytes())
    }
}

impl Signed {
    /// `alice ("why")`.
    pub fn told(&self) -> String {
        match &self.by {
            By::Gateway => "the gateway".to_owned(),
            By::Operator { who, why } => format!("{who} (\"{why}\")"),
        }
    }
}
