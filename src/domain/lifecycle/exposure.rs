//! Who answers which part of a model's requests: what the state says about routes.
//!
//! Owns the way from stages to shares. A pure function of the state and of what is ready, so that a
//! process that comes back publishes what it had published. Never gives a candidate more than its step.

use super::stage::Stage;
use super::state::{Model, State, Version};
use crate::domain::ids::{ModelName, Permille, VersionName};

/// One model's traffic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exposure {
    /// Who answers what the candidate does not; `None`: nobody can.
    pub champion: Option<VersionName>,
    /// Who answers a share on trial.
    pub candidate: Option<Candidate>,
    /// Who gets copies.
    pub shadow: Option<VersionName>,
}

/// The version on trial with its part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The version.
    pub version: VersionName,
    /// Its share of the requests.
    pub share: Permille,
    /// The salt of its buckets.
    pub salt: u64,
    /// Whether its answers are compared with an equal share of the champion's: not while the champion itself cannot
    /// answer.
    pub is_compared: bool,
    /// Whether it is asked for what the champion cannot answer: not while somebody holds it where it is.
    pub stands_in: bool,
}

impl Exposure {
    /// The share of requests that `version` answers.
    pub fn share_of(&self, version: &VersionName) -> Permille {
        let candidate = self.candidate.as_ref();
        let tried = candidate.map_or(Permille::NONE, |candidate| candidate.share);
        if candidate.is_some_and(|candidate| candidate.version == *version) {
            tried
        } else if self.champion.as_ref() == Some(version) {
            Permille::saturating(Permille::ALL.thousandths() - tried.thousandths())
        } else {
            Permille::NONE
        }
    }

    /// Whether requests or copies of them reach `version`.
    pub fn reaches(&self, version: &VersionName) -> bool {
        self.share_of(version) > Permille::NONE || self.shadow.as_ref() == Some(version)
    }
}

/// Who answers `model` now.
///
/// Where the champion is cut off or not ready, the latest earlier champion that is ready answers for
/// it: that changes no stage, and ends as soon as the champion is back. A candidate that answers a share keeps it while
/// the champion is not ready, as its callers would else lose by what is not its fault; nothing is compared then, and
/// its share does not grow: what it is asked in the champion's place, one request after the other, is no share of its own.
/// Where the champion is cut off nothing is tried: somebody has said that something is wrong.
/// Copies need the champion's own answers.
pub fn exposure(
    state: &State,
    model: &ModelName,
    ready: impl Fn(&VersionName) -> bool,
) -> Exposure {
    let Some(entry) = state.model(model) else { return Exposure::default() };
    if state.killed().is_some() || entry.killed().is_some() {
        return Exposure::default();
    }
    let is_open = |version: &Version| version.killed().is_none() && is_clean(entry, version);
    let can_answer = |(name, version): &(&VersionName, &Version)| is_open(version) && ready(name);
    let champion = entry.champion().filter(|(_, version)| is_open(version));
    let itself = champion.filter(can_answer);
    let answers = itself.or_else(|| entry.standbys().into_iter().find(can_answer));
    let mut exposure =
        Exposure { champion: answers.map(|(name, _)| name.clone()), ..Exposure::default() };
    let tried = entry.candidate().filter(|_| champion.is_some()).filter(can_answer);
    match tried.map(|(name, version)| (name, version, version.stage())) {
        Some((name, _, Stage::Shadow(_))) if itself.is_some() => {
            exposure.shadow = Some(name.clone());
        }
        Some((name, version, Stage::Canary(canary))) => {
            exposure.candidate = Some(Candidate {
                version: name.clone(),
                share: canary.share(),
                salt: version.salt(),
                is_compared: itself.is_some(),
                stands_in: version.held().is_none(),
            });
        }
        _ => {}
    }
    exposure
}

/// Whether the content of a version is not condemned under another name.
fn is_clean(model: &Model, version: &Version) -> bool {
    model.condemned(&version.release().digest).is_none()
}
