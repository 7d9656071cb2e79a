//! The counts of versions on trial: which trial is which, and how long each lives.
//!
//! Owns the trials that snapshots carry. One on requests of clients lives as long as its rollout, and its steps
//! begin anew in it; one on copies begins again with another stay of its version. More time is no other stay. Beside
//! each stands for how long nothing could be compared, and which requests found nobody. While nothing is on trial
//! the latest standby gets a few copies: that is counted as a trial, lives as long as the two keep their places, and
//! decides nothing by itself. Never judges a count.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::control::health::{CopiedWindows, CopyFeed, Rules};
use crate::domain::ids::{Digest, ModelName, Permille, VersionName};
use crate::domain::lifecycle::plan::Policies;
use crate::domain::lifecycle::policy::Policy;
use crate::domain::lifecycle::stage::Stage;
use crate::domain::lifecycle::state::{Model, State, Version};
use crate::domain::lifecycle::time::Steady;
use crate::domain::lifecycle::uncompared::{Stopwatch, Uncompared, hindrance};
use crate::domain::spec::ShadowSpec;
use crate::snapshot::{Trial, TrialKind};

/// What makes a trial the same trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TrialId {
    pub(super) version: VersionName,
    digest: Digest,
    salt: u64,
    /// Since when it is in shadow; a trial on requests of clients goes on over its steps.
    shadow_since: Option<Steady>,
    /// It stands by, and gets a few copies of what this version answers, which has been live since then.
    pub(super) beside: Option<(VersionName, Steady)>,
}

impl TrialId {
    /// The trial that a model is in, if it is in one that is counted.
    pub(super) fn of(model: &Model, policy: &Policy) -> Option<Self> {
        Self::of_candidate(model).or_else(|| Self::of_standby(model, policy))
    }

    fn of_candidate(model: &Model) -> Option<Self> {
        let (version, candidate) = model.candidate()?;
        let shadow_since = match candidate.stage() {
            Stage::Canary(_) => None,
            Stage::Shadow(_) => Some(candidate.since()),
            _ => return None,
        };
        let (digest, salt) = (candidate.release().digest.clone(), candidate.salt());
        Some(Self { version: version.clone(), digest, salt, shadow_since, beside: None })
    }

    /// The latest standby that may answer, beside the champion.
    fn of_standby(model: &Model, policy: &Policy) -> Option<Self> {
        let is_open = |version: &Version| {
            version.killed().is_none() && model.condemned(&version.release().digest).is_none()
        };
        let (champion, live) = model.champion().filter(|(_, version)| is_open(version))?;
        let (version, standby) = model.standbys().into_iter().find(|(_, known)| is_open(known))?;
        (policy.guard.standby_copies > Permille::NONE).then(|| Self {
            version: version.clone(),
            digest: standby.release().digest.clone(),
            salt: standby.salt(),
            shadow_since: Some(standby.since()),
            beside: Some((champion.clone(), live.since())),
        })
    }
}

/// A trial that goes on.
#[derive(Debug)]
struct Running {
    id: TrialId,
    trial: Arc<Trial>,
    /// What was told of the copies that a standby gets.
    copies: CopyFeed,
    /// For how long nothing could be compared.
    uncompared: Stopwatch,
    /// Requests that nobody could answer, as far as they were looked at.
    missed: u64,
}

impl Running {
    fn begin(id: TrialId, model: &Model, policy: &Policy, workers: usize, now: Steady) -> Self {
        let kind = match (&id.shadow_since, &id.beside) {
            (Some(_), None) => TrialKind::Shadow(ShadowSpec::new(id.version.clone())),
            (Some(_), Some(_)) => {
                let share = policy.guard.standby_copies;
                TrialKind::Shadow(ShadowSpec::of_standby(id.version.clone(), share))
            }
            (None, _) => TrialKind::Canary {
                error_rate: None,
                slow_after: policy.guard.latency.map(|latency| latency.slo),
            },
        };
        let usual = id.beside.as_ref().and_then(|(champion, _)| {
            // One of the two may have been compared with the other before it became live.
            let (champion, standby) = (model.version(champion)?, model.version(&id.version)?);
            let of = |one: &Version, other: &Version| one.agreed_with(&other.release().digest);
            of(champion, standby).or_else(|| of(standby, champion))
        });
        let trial = Arc::new(Trial::new(kind, workers, now));
        Self {
            id,
            trial,
            copies: CopyFeed::new(usual),
            uncompared: Stopwatch::default(),
            missed: 0,
        }
    }
}

/// All trials under way, by model.
#[derive(Debug)]
pub(super) struct Trials {
    workers: usize,
    running: BTreeMap<ModelName, Running>,
}

impl Trials {
    /// None yet; they are counted by so many workers.
    pub(super) fn new(workers: usize) -> Self {
        Self { workers, running: BTreeMap::new() }
    }

    /// Begins what has begun, and ends what has ended.
    pub(super) fn follow_all(&mut self, state: &State, policies: &Policies, now: Steady) {
        self.running.retain(|name, _| state.model(name).is_some());
        for (name, _) in state.models() {
            self.follow(state, policies, name, now);
        }
    }

    /// The same for one model.
    pub(super) fn follow(
        &mut self,
        state: &State,
        policies: &Policies,
        name: &ModelName,
        now: Steady,
    ) {
        let (model, policy) = (state.model(name), policies.of(name));
        let Some((model, id)) = model.and_then(|model| Some((model, TrialId::of(model, policy)?)))
        else {
            self.running.remove(name);
            return;
        };
        if self.running.get(name).is_some_and(|running| running.id != id) {
            self.running.remove(name);
        }
        let workers = self.workers;
        let begin = || Running::begin(id, model, policy, workers, now);
        let Running { trial, .. } = self.running.entry(name.clone()).or_insert_with(begin);
        if let Some((_, candidate)) = model.candidate()
            && let Stage::Canary(canary) = candidate.stage()
        {
            trial.begin_step(u32::try_from(canary.step()).unwrap_or(u32::MAX), now);
        }
    }

    /// The trials that are `counted`, for a snapshot: the others go on, and nothing is added to them meanwhile.
    pub(super) fn all(
        &self,
        counted: impl Fn(&ModelName) -> bool,
    ) -> BTreeMap<ModelName, Arc<Trial>> {
        let all = self.running.iter().filter(|(name, _)| counted(name));
        all.map(|(name, running)| (name.clone(), Arc::clone(&running.trial))).collect()
    }

    /// The trial of a model, to be counted elsewhere.
    pub(super) fn shared(&self, model: &ModelName) -> Option<Arc<Trial>> {
        self.running.get(model).map(|running| Arc::clone(&running.trial))
    }

    /// The trial of a model with the candidate that is tried.
    pub(super) fn of(&self, model: &ModelName) -> Option<(&VersionName, &Trial)> {
        let running = self.running.get(model).filter(|running| running.id.beside.is_none())?;
        Some((&running.id.version, &*running.trial))
    }

    /// Looks what keeps the version on trial from being compared at this moment; for how long that was so since its
    /// time runs.
    pub(super) fn watch(
        &mut self,
        state: &State,
        name: &ModelName,
        ready: impl Fn(&VersionName) -> bool,
        now: Steady,
    ) -> Uncompared {
        let candidate = state.model(name).and_then(Model::candidate);
        let Some((running, (_, version))) = self.running.get_mut(name).zip(candidate) else {
            return Uncompared::default();
        };
        running.uncompared.look(version.time_from(), hindrance(state, name, ready), now)
    }

    /// Whether a request of a model has found no version since the last look.
    pub(super) fn has_missed(&mut self, model: &ModelName) -> bool {
        let Some(running) = self.running.get_mut(model) else { return false };
        let missed = running.trial.missed();
        std::mem::replace(&mut running.missed, missed) < missed
    }

    /// What the copies that a standby of a model gets say of the champion and of it, if a window of them has closed with
    /// the last minute. Once a minute.
    pub(super) fn copied(
        &mut self,
        model: &ModelName,
        rules: &Rules,
        at: Steady,
    ) -> Option<(VersionName, VersionName, CopiedWindows)> {
        let Running { id, trial, copies, .. } = self.running.get_mut(model)?;
        let (champion, _) = id.beside.as_ref()?;
        let windows = copies.window(trial.as_shadow()?.tally(), rules, at)?;
        Some((champion.clone(), id.version.clone(), windows))
    }
}

#[cfg(test)]
mod tests;
