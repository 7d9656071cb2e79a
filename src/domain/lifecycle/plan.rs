//! The plan: from what is and what is seen to what happens next.
//!
//! [`plan`] is pure, total and deterministic: the same state, observation, policy and moment always give
//! the same plan. It looks at levels, not at edges, so that a plan that was lost with its process is made
//! again. At most one change for each model and round: the caller writes it down, folds it, publishes the
//! routes, does the effects, and plans again.
//!
//! Order within a model, first come first served: what takes traffic away from a bad version stands before
//! everything that gives traffic to another.

mod alerts;
mod expiry;
mod intake;
mod serving;
#[cfg(test)]
mod tests;
mod trial;

use std::collections::BTreeMap;
use std::time::Duration;

pub(super) use self::trial::Percent;
use super::event::{Draft, Move, What};
use super::exposure::{Exposure, exposure as exposure_of};
use super::guard::{Aim, Defence, Ground};
use super::observed::{Observed, ObservedModel, ObservedVersion, Progress};
use super::policy::Policy;
use super::proof::{Verdict, is_warm};
use super::stage::{Edge, Purpose, Rest, Stage};
use super::state::{Model, State, Version};
use super::time::{Now, millis};
use crate::domain::ids::{ModelName, VersionName};

/// How often the journal is told that time passes.
pub const TICK: Duration = Duration::from_secs(600);
/// Logged requests that are replayed where traffic is low.
pub const REPLAY_ROWS: u64 = 2000;

/// What each model's versions follow.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    /// For models without an entry.
    pub default: Policy,
    /// By model.
    pub models: BTreeMap<ModelName, Policy>,
}

impl Policies {
    /// What `model` follows.
    pub fn of(&self, model: &ModelName) -> &Policy {
        self.models.get(model).unwrap_or(&self.default)
    }
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// To be written down, in this order; each is folded before its routes are published.
    pub drafts: Vec<Draft>,
    /// To be done, each as often as it is planned: doing one again is harmless. Empty while there are
    /// drafts: an effect follows from what is written, and is void once anything else is written.
    pub effects: Vec<Effect>,
}

/// One action on the world. The state says when it is wanted and what is seen says when it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Fetch the artifact and compare its digest.
    Fetch(ModelName, VersionName),
    /// Make the checks before any traffic.
    Check(ModelName, VersionName),
    /// Load it and warm it.
    Warm(ModelName, VersionName),
    /// Load it: it serves.
    Load(ModelName, VersionName),
    /// Replay logged requests through it, at most so many.
    Replay(ModelName, VersionName, u64),
    /// Run its golden set, or else probe rows.
    Look(ModelName, VersionName),
    /// Take it out of memory.
    Unload(ModelName, VersionName),
    /// Delete its artifact. Once begun it counts as gone, so that nothing restores it meanwhile.
    Delete(ModelName, VersionName),
}

/// Plans the next round.
pub fn plan(state: &State, observed: &Observed, policies: &Policies, now: Now) -> Plan {
    let mut plan = Plan::default();
    if let Some(draft) = clock(state, policies, now) {
        plan.drafts.push(draft);
        return plan;
    }
    let seen = observed.models.keys().filter(|name| state.model(name).is_none());
    let mut names: Vec<&ModelName> = state.models().map(|(name, _)| name).chain(seen).collect();
    names.sort();
    let nothing = (Model::default(), ObservedModel::default());
    let scenes: Vec<Scene<'_>> = names
        .into_iter()
        .map(|name| {
            let model = state.model(name).unwrap_or(&nothing.0);
            let seen = observed.models.get(name).unwrap_or(&nothing.1);
            Scene::new(state, (name, model), observed, seen, policies, now)
        })
        .collect();
    for scene in &scenes {
        let next = scene.next();
        // The hourly limit counts what is written: one a round keeps it exact over all models.
        let evicts = next.iter().any(is_eviction);
        if !(evicts && plan.drafts.iter().any(|draft| is_eviction(&draft.what))) {
            plan.drafts.extend(next.into_iter().map(Draft::own));
        }
    }
    if plan.drafts.is_empty() {
        plan.effects = scenes.iter().flat_map(Scene::effects).collect();
    }
    plan
}

fn is_eviction(what: &What) -> bool {
    let evicts = |m: &Move| matches!(m.edge, Edge::Evict(_));
    matches!(what, What::Moved { moves, .. } if moves.iter().any(evicts))
}

/// Time itself: a clock that was set, or a while without an event.
fn clock(state: &State, policies: &Policies, now: Now) -> Option<Draft> {
    let last = state.clock().last;
    if state.seq() == 0 {
        return Some(Draft::own(What::Ticked));
    }
    let step = now.clock_step(last);
    let policy = &policies.default.evict;
    if step >= policy.clock_step {
        let doubtful_until = now.steady.after(policy.clock_doubt);
        return Some(Draft::own(What::ClockSet { step_ms: millis(step), doubtful_until }));
    }
    (now.steady.since(last.steady) >= TICK).then(|| Draft::own(What::Ticked))
}

/// One model with everything that its plan depends on.
pub(super) struct Scene<'a> {
    pub(super) state: &'a State,
    pub(super) name: &'a ModelName,
    pub(super) model: &'a Model,
    pub(super) all: &'a Observed,
    pub(super) observed: &'a ObservedModel,
    pub(super) policy: &'a Policy,
    pub(super) now: Now,
    pub(super) champion: Option<(&'a VersionName, &'a Version)>,
    pub(super) candidate: Option<(&'a VersionName, &'a Version)>,
    /// The latest first.
    pub(super) standbys: Vec<(&'a VersionName, &'a Version)>,
    /// Who answers now.
    pub(super) exposure: Exposure,
}

/// What may happen to a version: something now, or what it waits for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outlook {
    /// This happens.
    Now(What),
    /// These are missing; empty where nothing is waited for.
    Waits(Vec<String>),
}

impl Outlook {
    pub(super) fn nothing() -> Self {
        Self::Waits(Vec::new())
    }

    pub(super) fn waits(reason: impl Into<String>) -> Self {
        Self::Waits(vec![reason.into()])
    }

    pub(super) fn into_what(self) -> Option<What> {
        match self {
            Self::Now(what) => Some(what),
            Self::Waits(_) => None,
        }
    }
}

impl<'a> Scene<'a> {
    pub(super) fn new(
        state: &'a State,
        (name, model): (&'a ModelName, &'a Model),
        all: &'a Observed,
        observed: &'a ObservedModel,
        policies: &'a Policies,
        now: Now,
    ) -> Self {
        let exposure = Exposure::default();
        let policy = policies.of(name);
        let (champion, candidate) = (model.champion(), model.candidate());
        let standbys = model.standbys();
        let mut scene = Self {
            state,
            name,
            model,
            all,
            observed,
            policy,
            now,
            champion,
            candidate,
            standbys,
            exposure,
        };
        scene.exposure = exposure_of(state, name, |version| scene.is_ready(version));
        scene
    }

    /// The changes of this round: one that matters, or several of the intake that do not touch each
    /// other.
    fn next(&self) -> Vec<What> {
        let first = self
            .rollback()
            .into_what()
            .or_else(|| self.trial().and_then(|(_, outlook)| outlook.into_what()))
            .or_else(|| self.drained())
            .or_else(|| self.undone());
        if let Some(first) = first {
            return vec![first];
        }
        let intake = self.intake();
        if !intake.is_empty() {
            return intake;
        }
        self.begin()
            .or_else(|| self.proven())
            .or_else(|| self.broken_standby())
            .or_else(|| self.expired())
            .or_else(|| self.deleted())
            .or_else(|| self.alerted())
            .into_iter()
            .collect()
    }

    /// What is seen of a version, if it is about its present content.
    pub(super) fn seen(&self, version: &VersionName) -> Option<&'a ObservedVersion> {
        let digest = &self.model.version(version)?.release().digest;
        self.observed.versions.get(version).filter(|seen| seen.digest.as_ref() == Some(digest))
    }

    pub(super) fn is_ready(&self, version: &VersionName) -> bool {
        self.seen(version).is_some_and(|seen| seen.ready)
    }

    pub(super) fn moved(&self, moves: Vec<Move>, why: impl Into<String>) -> What {
        What::Moved { model: self.name.clone(), moves, why: why.into() }
    }

    /// One version takes one edge.
    pub(super) fn step(&self, version: &VersionName, edge: Edge, why: impl Into<String>) -> What {
        self.moved(vec![Move { version: version.clone(), edge }], why)
    }

    /// How a version on trial leaves its trial.
    pub(super) fn leave(&self, version: &Version, towards: Rest) -> Edge {
        match (version.stage(), towards) {
            (Stage::Canary(_), towards) => Edge::Drain(towards),
            (_, Rest::Retired(why)) => Edge::Retire(why),
            (_, Rest::Quarantined(verdict)) => self.quarantine(version, verdict),
        }
    }

    pub(super) fn quarantine(&self, version: &Version, verdict: Verdict) -> Edge {
        let checks = match version.stage() {
            Stage::Warming(warming) => match warming.purpose() {
                Purpose::Rollout(admitted) => admitted.checks().to_vec(),
                Purpose::Undo => Vec::new(),
            },
            _ => Vec::new(),
        };
        Edge::Quarantine(verdict, checks)
    }

    /// Everything that speaks for `version` against `ground`.
    pub(super) fn defence(
        &self,
        name: &VersionName,
        version: &Version,
        aim: Aim,
        ground: Ground,
    ) -> Defence {
        let policy = &self.policy.evict;
        let now = self.now.steady;
        let seen = self.seen(name);
        // A route names a version, whatever its content.
        let named = self.observed.versions.get(name);
        let mut users: Vec<String> = named.map(|seen| seen.references.clone()).unwrap_or_default();
        if self.exposure.reaches(name) {
            users.push("the traffic of its model".to_owned());
        }
        let proven = self.model.proven();
        let kept = proven.iter().take(policy.keep_proven.max(1)).any(|(kept, _)| *kept == name);
        let others_loaded = self.model.versions().any(|(other, version)| {
            other != name
                && matches!(version.stage(), Stage::Live(_) | Stage::Standby(_))
                && version.killed().is_none()
                && self.is_ready(other)
        });
        let loaded = version.stage().wants_loaded();
        let recent =
            self.state.evictions.iter().filter(|at| now.since(**at) < Duration::from_secs(3600));
        let left = |since, wait: Duration| {
            let left = wait.saturating_sub(now.since(since));
            (!left.is_zero()).then_some(left)
        };
        let verdict = seen.and_then(|seen| seen.health.verdict());
        let stale = verdict.map(|(_, reading)| now.since(reading.at));
        Defence {
            aim,
            ground,
            users,
            in_flight: named.map_or(0, |seen| seen.in_flight),
            pinned: version.pinned().map(|signed| signed.told()),
            held: version.held().map(|signed| signed.told()),
            undo_left: self
                .stands_in_window(name, version)
                .then(|| left(version.since(), self.policy.release.undo))
                .flatten(),
            last_loaded: loaded && !others_loaded,
            proven_left: proven.iter().filter(|(other, _)| *other != name).count(),
            kept_proven: version.proven().is_some() && kept,
            rollout: self.candidate.is_some(),
            capacity: loaded.then(|| seen.and_then(|seen| seen.capacity)).flatten(),
            listing_doubt: self.observed.listing_doubt.clone(),
            cool_down_left: self.model.last_eviction.and_then(|at| left(at, policy.cool_down)),
            rate_limited: recent.count() >= policy.hourly,
            lease_taken: self.all.lease_taken,
            correlated: self.correlated().is_some(),
            evaluator_stale: stale.filter(|age| *age > self.policy.guard.fresh),
            short_of_samples: verdict
                .filter(|(signal, reading)| !self.has_samples(*signal, reading))
                .map(|(_, reading)| reading.samples),
            clock_doubt: self.state.clock().doubt(self.now),
        }
    }

    /// Whether the undo window protects a standby: that of the latest ones only.
    fn stands_in_window(&self, name: &VersionName, version: &Version) -> bool {
        matches!(version.stage(), Stage::Standby(_))
            && self
                .standbys
                .iter()
                .take(self.policy.release.standbys.max(1))
                .any(|(standby, _)| *standby == name)
    }

    /// Whether an evicted version can be deleted: nobody has pinned it meanwhile.
    fn grace_is_over(&self, version: &Version) -> bool {
        matches!(version.stage(), Stage::Evicted(evicted) if !evicted.is_deleted())
            && version.pinned().is_none()
            && self.now.steady.since(version.since()) >= self.policy.evict.grace
    }

    /// What the stages want done that is not done yet.
    fn effects(&self) -> Vec<Effect> {
        let mut effects = Vec::new();
        let turn = self.turn();
        for (name, version) in self.model.versions() {
            let unseen = ObservedVersion::default();
            let seen = self.seen(name).unwrap_or(&unseen);
            let named = || (self.name.clone(), name.clone());
            let since = version.since();
            let mut want = |effect: fn(ModelName, VersionName) -> Effect| {
                let (model, version) = named();
                effects.push(effect(model, version));
            };
            match version.stage() {
                Stage::Staged(_) if turn == Some(name) => match seen.fetch {
                    Progress::Idle | Progress::Failed { .. } => want(Effect::Fetch),
                    Progress::Queued | Progress::Running | Progress::Done(_) => {}
                },
                Stage::Validating(_) => match &seen.checks {
                    Progress::Queued | Progress::Running => {}
                    Progress::Done(checks) if checks.began >= since => {}
                    _ => want(Effect::Check),
                },
                Stage::Warming(_) => match &seen.warmth {
                    Progress::Queued | Progress::Running => {}
                    Progress::Done(warmth)
                        if warmth.began >= since && seen.ready && is_warm(warmth).is_ok() => {}
                    _ => want(Effect::Warm),
                },
                Stage::Shadow(_) | Stage::Canary(_) if !seen.ready => want(Effect::Load),
                Stage::Shadow(_) if self.is_quiet(version, seen) => {
                    let (model, version) = named();
                    effects.push(Effect::Replay(model, version, REPLAY_ROWS));
                }
                Stage::Live(_) | Stage::Standby(_) if !seen.ready => want(Effect::Load),
                Stage::Live(_) | Stage::Standby(_) if self.look_is_due(name, seen) => {
                    want(Effect::Look);
                }
                Stage::Retired(_) | Stage::Quarantined(_) | Stage::Evicted(_) => {
                    let idle = seen.in_flight == 0
                        && seen.references.is_empty()
                        && !self.exposure.reaches(name);
                    if seen.ready && idle {
                        want(Effect::Unload);
                    } else if seen.on_disk && idle && self.grace_is_over(version) {
                        want(Effect::Delete);
                    }
                }
                _ => {}
            }
        }
        effects
    }
}
