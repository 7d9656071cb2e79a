//! Who answers what: from the state to the intent that is published.
//!
//! Owns the effective intent: the configured one, with the versions, shares, trials and kill switches of the life
//! cycle in it. A pure function of what is written and what is loaded, so that a process that comes back publishes
//! what it had published. Never decides, and never publishes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Key;
use super::governed::Governed;
use super::loaded::{Loaded, Resident};
use super::trials::TrialId;
use crate::control::LoadedModels;
use crate::domain::discovery::Seen;
use crate::domain::ids::{Digest, ModelName, Permille, VersionName};
use crate::domain::lifecycle::exposure::{Exposure, exposure as exposure_of};
use crate::domain::lifecycle::plan::Policies;
use crate::domain::lifecycle::stage::Stage;
use crate::domain::lifecycle::state::{Model, Signed, State, Version};
use crate::domain::routing::TargetKind;
use crate::domain::spec::{
    Balance, Execution, Intent, KeepAlive, KillScope, KillSpec, ModelMonitorSpec, ModelSpec,
    ShadowSpec, Timeouts, TrialSpec, VersionSpec,
};

/// What the life cycle says about all models: equal routes need no publication.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Routes {
    models: BTreeMap<ModelName, ModelRoutes>,
    /// Who cut off every model.
    killed: Option<KillSpec>,
}

/// What it says about one.
#[derive(Debug, Clone, Default, PartialEq)]
struct ModelRoutes {
    exposure: Exposure,
    /// The standby that gets a few copies.
    standby: Option<VersionName>,
    /// What is counted of the candidate, or of that standby.
    trial: Option<TrialId>,
    /// The step of the candidate.
    step: u32,
    /// Versions that can be asked for by their names.
    reachable: BTreeMap<VersionName, (Digest, VersionSpec)>,
    killed: Option<KillSpec>,
    killed_versions: BTreeMap<VersionName, KillSpec>,
}

impl Routes {
    /// The routes that follow from what is written and what is loaded.
    pub(super) fn of(state: &State, policies: &Policies, loaded: &Loaded, seen: &Seen) -> Self {
        let models = state.models().map(|(name, model)| {
            let trial = TrialId::of(model, policies.of(name));
            (name.clone(), ModelRoutes::of(state, (name, model), trial, loaded, seen))
        });
        let killed = state.killed().map(|signed| kill(KillScope::Gateway, signed));
        Self { models: models.collect(), killed }
    }

    /// Makes the routes of these models again; whether anything is different.
    pub(super) fn follow(
        &mut self,
        state: &State,
        policies: &Policies,
        (loaded, seen): (&Loaded, &Seen),
        models: &BTreeSet<ModelName>,
    ) -> bool {
        let mut is_new = false;
        for name in models {
            let Some(model) = state.model(name) else {
                is_new |= self.models.remove(name).is_some();
                continue;
            };
            let trial = TrialId::of(model, policies.of(name));
            let routes = ModelRoutes::of(state, (name, model), trial, loaded, seen);
            if self.models.get(name) != Some(&routes) {
                self.models.insert(name.clone(), routes);
                is_new = true;
            }
        }
        is_new
    }

    /// The intent that is to be published.
    pub(super) fn effective(&self, configured: &Intent, governed: &Governed) -> Intent {
        let mut intent = configured.clone();
        for (name, routes) in &self.models {
            if governed.has(name) && (governed.is_configured(name) || !routes.reachable.is_empty())
            {
                intent.models.entry(name.clone()).or_insert_with(|| unlisted(configured));
            }
        }
        let nothing = ModelRoutes::default();
        for (name, spec) in &mut intent.models {
            let routes = self.models.get(name).unwrap_or(&nothing);
            spec.killed = self.killed.clone().or_else(|| routes.killed.clone());
            if governed.has(name) {
                routes.apply(spec);
            }
            spec.killed_versions = routes.killed_versions.clone();
            spec.killed_versions.retain(|version, _| spec.versions.contains_key(version));
        }
        intent
    }

    /// Versions of the configuration that take no requests now, though their names stand in it.
    pub(super) fn closed(&self, configured: &Intent) -> BTreeSet<TargetKind> {
        let governed = configured.models.iter().filter(|(_, spec)| spec.lifecycle.is_some());
        let named = governed
            .flat_map(|(model, spec)| spec.versions.keys().map(move |version| (model, version)));
        let is_closed = |(model, version): &(&ModelName, &VersionName)| {
            let routes = self.models.get(*model);
            routes.is_none_or(|routes| !routes.reachable.contains_key(*version))
        };
        let closed = named.filter(is_closed);
        closed.map(|(model, version)| TargetKind::Version(model.clone(), version.clone())).collect()
    }

    /// Whether what a model's trial counts is compared: not while its champion cannot answer.
    pub(super) fn compares(&self, model: &ModelName) -> bool {
        let candidate =
            self.models.get(model).and_then(|routes| routes.exposure.candidate.as_ref());
        candidate.is_none_or(|candidate| candidate.is_compared)
    }

    /// Whether anybody is asked as the champion of a model: itself, one that stands in for it, or its server that went last.
    pub(super) fn has_champion(&self, model: &ModelName) -> bool {
        self.models.get(model).is_some_and(|routes| routes.exposure.champion.is_some())
    }

    /// The models in this process that take requests.
    pub(super) fn models(&self, loaded: &Loaded) -> LoadedModels {
        let mut models = LoadedModels::new();
        for (name, routes) in &self.models {
            for (version, (digest, _)) in &routes.reachable {
                let key: Key = (name.clone(), version.clone());
                if let Some(Resident::Local(model, _)) = loaded.get(&key, digest) {
                    models.insert(TargetKind::Version(key.0, key.1), Arc::clone(model));
                }
            }
        }
        models
    }
}

impl ModelRoutes {
    fn of(
        state: &State,
        (name, model): (&ModelName, &Model),
        trial: Option<TrialId>,
        loaded: &Loaded,
        seen: &Seen,
    ) -> Self {
        let is = |version: &VersionName, how: fn(&Loaded, &Key, &Digest, &Seen) -> bool| {
            model.version(version).is_some_and(|known| {
                how(loaded, &(name.clone(), version.clone()), &known.release().digest, seen)
            })
        };
        // Thousands of versions at rest need no look at what is loaded.
        let open = model.versions().filter(|(_, known)| takes_requests(known));
        let reachable = open.filter_map(|(version, known)| {
            let digest = &known.release().digest;
            let key = (name.clone(), version.clone());
            let spec = loaded.spec(&key, loaded.get(&key, digest)?, seen);
            Some((version.clone(), (digest.clone(), spec)))
        });
        let reachable: BTreeMap<_, _> = reachable.collect();
        let killed_versions = model
            .killed_versions()
            .map(|(version, signed)| (version.clone(), kill(KillScope::Version, signed)));
        let mut exposure = exposure_of(state, name, |version| is(version, Loaded::is_ready));
        if exposure.champion.is_none() {
            // Nobody stands in: who went last may be there still, and is asked on.
            let asked = exposure_of(state, name, |version| is(version, Loaded::can_be_asked));
            exposure.champion = asked.champion;
        }
        // Beside the champion itself only: one that stands in for it gets its requests.
        let standby = trial.as_ref().filter(|id| {
            id.beside.as_ref().map(|(champion, _)| champion) == exposure.champion.as_ref()
                && reachable.contains_key(&id.version)
                && is(&id.version, Loaded::is_ready)
        });
        let standby = standby.filter(|id| id.beside.is_some()).map(|id| id.version.clone());
        let candidate = exposure.candidate.as_ref();
        let candidate = candidate.and_then(|candidate| model.version(&candidate.version));
        Self {
            standby,
            trial,
            step: candidate.map_or(0, step_of),
            reachable,
            killed: model.killed().map(|signed| kill(KillScope::Model, signed)),
            killed_versions: killed_versions.collect(),
            exposure,
        }
    }

    fn apply(&self, spec: &mut ModelSpec) {
        for (version, (_, how)) in &self.reachable {
            spec.versions.insert(version.clone(), how.clone());
        }
        let champion = self.exposure.champion.clone();
        spec.traffic = champion.map(|champion| (champion, Permille::ALL)).into_iter().collect();
        spec.trial = self.exposure.candidate.as_ref().map(|candidate| TrialSpec {
            candidate: candidate.version.clone(),
            share: candidate.share,
            salt: candidate.salt,
            step: self.step,
            stands_in: candidate.stands_in,
        });
        let copied = self.exposure.shadow.as_ref().or(self.standby.as_ref());
        spec.shadow = copied.cloned().map(ShadowSpec::new);
    }
}

/// Whether a stage takes requests of those who ask for it by name.
fn takes_requests(version: &Version) -> bool {
    matches!(
        version.stage(),
        Stage::Shadow(_) | Stage::Canary(_) | Stage::Live(_) | Stage::Standby(_)
    )
}

fn step_of(version: &Version) -> u32 {
    match version.stage() {
        Stage::Canary(canary) => u32::try_from(canary.step()).unwrap_or(u32::MAX),
        _ => 0,
    }
}

fn kill(scope: KillScope, signed: &Signed) -> KillSpec {
    KillSpec { scope, why: signed.told() }
}

/// A model that no configuration names: everything as the gateway's own settings and the defaults say.
fn unlisted(configured: &Intent) -> ModelSpec {
    ModelSpec {
        versions: BTreeMap::new(),
        aliases: BTreeMap::new(),
        traffic: BTreeMap::new(),
        trial: None,
        shadow: None,
        killed: None,
        killed_versions: BTreeMap::new(),
        sticky: None,
        balance: Balance::default(),
        timeouts: Timeouts::default(),
        keep_alive: KeepAlive::default(),
        execution: Execution::default(),
        recording: configured.log.recording.clone(),
        monitor: ModelMonitorSpec::default(),
        alarms: configured.alarms.rules.clone(),
        labels: None,
        lifecycle: None,
    }
}
