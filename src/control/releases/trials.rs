//! The counts of versions on trial: which trial is which, and how long each lives.
//!
//! Owns the trials that snapshots carry. One on requests of clients lives as long as its rollout, and its steps
//! begin anew in it; one on copies begins again whenever its version is given another stay. Never judges a count.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::ids::{Digest, ModelName, VersionName};
use crate::domain::lifecycle::plan::Policies;
use crate::domain::lifecycle::stage::Stage;
use crate::domain::lifecycle::state::{Model, State};
use crate::domain::lifecycle::time::Steady;
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
}

impl TrialId {
    /// The trial that a model is in, if it is in one that is counted.
    pub(super) fn of(model: &Model) -> Option<Self> {
        let (version, candidate) = model.candidate()?;
        let shadow_since = match candidate.stage() {
            Stage::Canary(_) => None,
            Stage::Shadow(_) => Some(candidate.since()),
            _ => return None,
        };
        let (digest, salt) = (candidate.release().digest.clone(), candidate.salt());
        Some(Self { version: version.clone(), digest, salt, shadow_since })
    }
}

/// All trials under way, by model.
#[derive(Debug)]
pub(super) struct Trials {
    workers: usize,
    running: BTreeMap<ModelName, (TrialId, Arc<Trial>)>,
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
        let model = state.model(name);
        let Some((model, id)) = model.and_then(|model| Some((model, TrialId::of(model)?))) else {
            self.running.remove(name);
            return;
        };
        if self.running.get(name).is_some_and(|(running, _)| *running != id) {
            self.running.remove(name);
        }
        let (_, trial) = self.running.entry(name.clone()).or_insert_with(|| {
            let kind = match id.shadow_since {
                Some(_) => TrialKind::Shadow(ShadowSpec::new(id.version.clone())),
                None => TrialKind::Canary {
                    error_rate: None,
                    slow_after: policies.of(name).guard.latency.map(|latency| latency.slo),
                },
            };
            (id, Arc::new(Trial::new(kind, self.workers, now)))
        });
        if let Some((_, candidate)) = model.candidate()
            && let Stage::Canary(canary) = candidate.stage()
        {
            // More time on a step is another stay: what was counted before it does not count.
            let stay = canary.step().saturating_mul(2) + usize::from(canary.is_extended());
            trial.begin_step(u32::try_from(stay).unwrap_or(u32::MAX), now);
        }
    }

    /// The trials that are `counted`, for a snapshot: the others go on, and nothing is added to them meanwhile.
    pub(super) fn all(
        &self,
        counted: impl Fn(&ModelName) -> bool,
    ) -> BTreeMap<ModelName, Arc<Trial>> {
        let all = self.running.iter().filter(|(name, _)| counted(name));
        all.map(|(name, (_, trial))| (name.clone(), Arc::clone(trial))).collect()
    }

    /// The trial of a model, to be counted elsewhere.
    pub(super) fn shared(&self, model: &ModelName) -> Option<Arc<Trial>> {
        self.running.get(model).map(|(_, trial)| Arc::clone(trial))
    }

    /// The trial of a model with the version that is tried.
    pub(super) fn of(&self, model: &ModelName) -> Option<(&VersionName, &Trial)> {
        self.running.get(model).map(|(id, trial)| (&id.version, &**trial))
    }
}
